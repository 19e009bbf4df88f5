//! Block formats of GGUF tensors, turned into `f32`.
//!
//! A block holds a fixed number of weights: small integers and the scales they share. Formats as llama.cpp lays them out
//! in memory (ggml-quants); all numbers are little-endian.

use half::{bf16, f16};

/// How the weights of a GGUF tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantization {
    /// 32-bit floats.
    F32,
    /// IEEE half floats.
    F16,
    /// Brain floats.
    BF16,
    /// 4 bits and a scale, in blocks of 32.
    Q4_0,
    /// 4 bits, a scale and a minimum, in blocks of 32.
    Q4_1,
    /// 5 bits and a scale, in blocks of 32.
    Q5_0,
    /// 5 bits, a scale and a minimum, in blocks of 32.
    Q5_1,
    /// 8 bits and a scale, in blocks of 32.
    Q8_0,
    /// 4 bits in blocks of 256, with 8 scales and minima of 6 bits.
    Q4K,
    /// 5 bits in blocks of 256, with 8 scales and minima of 6 bits.
    Q5K,
    /// 6 bits in blocks of 256, with 16 scales of 8 bits.
    Q6K,
}

/// The formats by their number in the file, with their published names.
const FORMATS: [(u32, &str, Quantization); 11] = [
    (0, "F32", Quantization::F32),
    (1, "F16", Quantization::F16),
    (2, "Q4_0", Quantization::Q4_0),
    (3, "Q4_1", Quantization::Q4_1),
    (6, "Q5_0", Quantization::Q5_0),
    (7, "Q5_1", Quantization::Q5_1),
    (8, "Q8_0", Quantization::Q8_0),
    (12, "Q4_K", Quantization::Q4K),
    (13, "Q5_K", Quantization::Q5K),
    (14, "Q6_K", Quantization::Q6K),
    (30, "BF16", Quantization::BF16),
];

/// Formats that exist and are not read here.
const OTHERS: [(u32, &str); 16] = [
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];

impl Quantization {
    /// The format with this number in the file, else its name.
    pub fn from_number(number: u32) -> Result<Self, String> {
        let known = FORMATS.iter().find(|(n, ..)| *n == number);
        known.map(|(.., format)| *format).ok_or_else(|| {
            let name = OTHERS.iter().find(|(n, _)| *n == number);
            name.map_or(format!("number {number}"), |(_, name)| (*name).to_owned())
        })
    }

    /// Its number in the file.
    pub fn number(self) -> u32 {
        let known = FORMATS.iter().find(|(.., format)| *format == self);
        known.expect("every format is listed").0
    }

    /// The names of all formats that are read.
    pub fn names() -> String {
        FORMATS.map(|(_, name, _)| name).join(", ")
    }

    /// Weights in a block and bytes they take.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
        }
    }

    /// The weights in `bytes`, which must be whole blocks.
    pub fn dequantize(self, bytes: &[u8]) -> Vec<f32> {
        let (weights, size) = self.block();
        let mut out = vec![0.0; bytes.len() / size * weights];
        let block = match self {
            Self::F32 => |b: &[u8], w: &mut [f32]| {
                w[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            },
            Self::F16 => |b: &[u8], w: &mut [f32]| w[0] = half(b),
            Self::BF16 => {
                |b: &[u8], w: &mut [f32]| w[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32()
            }
            Self::Q4_0 => q4_0,
            Self::Q4_1 => q4_1,
            Self::Q5_0 => q5_0,
            Self::Q5_1 => q5_1,
            Self::Q8_0 => q8_0,
            Self::Q4K => q4_k,
            Self::Q5K => q5_k,
            Self::Q6K => q6_k,
        };
        for (b, w) in bytes.chunks_exact(size).zip(out.chunks_exact_mut(weights)) {
            block(b, w);
        }
        out
    }
}

fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

fn q4_0(b: &[u8], w: &mut [f32]) {
    let scale = half(b);
    for (i, q) in b[2..18].iter().enumerate() {
        w[i] = scale * (f32::from(q & 15) - 8.0);
        w[i + 16] = scale * (f32::from(q >> 4) - 8.0);
    }
}

fn q4_1(b: &[u8], w: &mut [f32]) {
    let (scale, minimum) = (half(b), half(&b[2..]));
    for (i, q) in b[4..20].iter().enumerate() {
        w[i] = scale * f32::from(q & 15) + minimum;
        w[i + 16] = scale * f32::from(q >> 4) + minimum;
    }
}

/// The fifth bits of a block of 32.
fn fifth_bits(b: &[u8]) -> impl Fn(usize) -> u8 {
    let bits = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    move |i| ((bits >> i & 1) << 4) as u8
}

fn q5_0(b: &[u8], w: &mut [f32]) {
    let (scale, fifth) = (half(b), fifth_bits(&b[2..]));
    for (i, q) in b[6..22].iter().enumerate() {
        w[i] = scale * (f32::from(q & 15 | fifth(i)) - 16.0);
        w[i + 16] = scale * (f32::from(q >> 4 | fifth(i + 16)) - 16.0);
    }
}

fn q5_1(b: &[u8], w: &mut [f32]) {
    let (scale, minimum, fifth) = (half(b), half(&b[2..]), fifth_bits(&b[4..]));
    for (i, q) in b[8..24].iter().enumerate() {
        w[i] = scale * f32::from(q & 15 | fifth(i)) + minimum;
        w[i + 16] = scale * f32::from(q >> 4 | fifth(i + 16)) + minimum;
    }
}

fn q8_0(b: &[u8], w: &mut [f32]) {
    let scale = half(b);
    for (w, q) in w.iter_mut().zip(&b[2..34]) {
        *w = scale * f32::from(*q as i8);
    }
}

/// The `i`-th of 8 scales and minima of 6 bits that are packed into 12 bytes.
fn scale_and_minimum(packed: &[u8], i: usize) -> (f32, f32) {
    let (scale, minimum) = if i < 4 {
        (packed[i] & 63, packed[i + 4] & 63)
    } else {
        (
            packed[i + 4] & 15 | (packed[i - 4] >> 6) << 4,
            packed[i + 4] >> 4 | (packed[i] >> 6) << 4,
        )
    };
    (f32::from(scale), f32::from(minimum))
}

fn q4_k(b: &[u8], w: &mut [f32]) {
    let (d, d_min, packed, quants) = (half(b), half(&b[2..]), &b[4..16], &b[16..144]);
    for (i, w) in w.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = scale_and_minimum(packed, i);
        let (scale, minimum) = (d * scale, d_min * minimum);
        // Two runs of 32 weights share 32 bytes, the first in the low halves.
        let shift = 4 * (i % 2);
        for (w, q) in w.iter_mut().zip(&quants[i / 2 * 32..]) {
            *w = scale * f32::from(q >> shift & 15) - minimum;
        }
    }
}

fn q5_k(b: &[u8], w: &mut [f32]) {
    let (d, d_min, packed) = (half(b), half(&b[2..]), &b[4..16]);
    let (fifth, quants) = (&b[16..48], &b[48..176]);
    for (i, w) in w.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = scale_and_minimum(packed, i);
        let (scale, minimum) = (d * scale, d_min * minimum);
        let shift = 4 * (i % 2);
        for ((w, q), high) in w.iter_mut().zip(&quants[i / 2 * 32..]).zip(fifth) {
            *w = scale * f32::from(q >> shift & 15 | (high >> i & 1) << 4) - minimum;
        }
    }
}

fn q6_k(b: &[u8], w: &mut [f32]) {
    let (low, high, scales, d) = (&b[..128], &b[128..192], &b[192..208], half(&b[208..]));
    for (n, w) in w.chunks_exact_mut(128).enumerate() {
        let (low, high) = (&low[64 * n..64 * n + 64], &high[32 * n..32 * n + 32]);
        for (i, w) in w.iter_mut().enumerate() {
            let (run, at) = (i / 32, i % 32);
            // Runs 0 and 1 are the low halves of 64 bytes, runs 2 and 3 the high halves.
            let four = low[32 * (run % 2) + at] >> (4 * (run / 2)) & 15;
            let two = high[at] >> (2 * run) & 3;
            let scale = scales[8 * n + i / 16] as i8;
            *w = d * f32::from(scale) * (f32::from(four | two << 4) - 32.0);
        }
    }
}
