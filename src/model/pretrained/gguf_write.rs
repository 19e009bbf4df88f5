//! Writes a model as one GGUF file, which llama.cpp and what is built on it run.
//!
//! Layout as in [`super::gguf`]. Tensors are converted a few rows at a time as they are written.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use half::f16;
use tch::{Kind, Tensor};

use super::super::chat_template::ChatTemplate;
use super::super::config::ModelConfig;
use super::dequantize::Quantization;
use super::gguf::Value;
use super::{gguf_model, gguf_rope, gguf_tokenizer};

/// How the weights of a written file are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgufType {
    /// 32-bit floats.
    F32,
    /// IEEE half floats.
    F16,
    /// Brain floats.
    Bf16,
    /// 8 bits and a half float a block of 32.
    Q8_0,
}

/// Why a model was not written.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The format has no place for something in the model.
    #[error("{0}")]
    NoPlace(String),
    /// The file could not be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What is written.
pub struct GgufModel<'a> {
    /// A name for people.
    pub name: &'a str,
    /// The architecture.
    pub config: &'a ModelConfig,
    /// Weights by their published names.
    pub weights: &'a [(String, Tensor)],
    /// The text of `tokenizer.json`.
    pub tokenizer: &'a str,
    /// How conversations are written.
    pub chat_template: Option<&'a ChatTemplate>,
}

/// Writes `model` to `path`. Norms, biases and other vectors stay 32-bit floats; matrices whose rows are no whole blocks
/// are half floats.
pub fn write(path: &Path, model: &GgufModel, weights: GgufType) -> Result<(), GgufError> {
    let config = model.config;
    let mut metadata = gguf_model::metadata(config).map_err(GgufError::NoPlace)?;
    let text = |key: &str, text: &str| (key.to_owned(), Value::Text(text.to_owned()));
    let int = |key: &str, n: u32| (key.to_owned(), Value::Int(n.into()));
    metadata.push(text("general.name", model.name));
    metadata.push(int("general.file_type", weights.file_type()));
    metadata.push(int("general.quantization_version", 2));
    let end = config.eos_token_id.first().copied();
    let rows = config.vocab_size as usize;
    metadata.extend(
        gguf_tokenizer::metadata(model.tokenizer, rows, end, model.chat_template)
            .map_err(GgufError::NoPlace)?,
    );
    let mut tensors = Vec::new();
    for (name, weight) in model.weights {
        let stored = gguf_model::stored(config, name, weight)
            .ok_or_else(|| GgufError::NoPlace(format!("GGUF has no name for {name}")))?;
        tensors.push((stored.0, weights.of(weight), stored.1));
    }
    if let Some((name, factors)) = gguf_rope::stretching(config) {
        tensors.push((name, GgufType::F32, factors));
    }
    Ok(write_container(path, &metadata, &tensors)?)
}

impl GgufType {
    /// The number that `general.file_type` says it with.
    fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 7,
            Self::Bf16 => 32,
        }
    }

    fn format(self) -> Quantization {
        match self {
            Self::F32 => Quantization::F32,
            Self::F16 => Quantization::F16,
            Self::Bf16 => Quantization::BF16,
            Self::Q8_0 => Quantization::Q8_0,
        }
    }

    /// How one weight is stored in a file of this type.
    fn of(self, weight: &Tensor) -> Self {
        let size = weight.size();
        let row = size.last().map_or(0, |n| *n as usize);
        match self {
            _ if size.len() < 2 => Self::F32,
            Self::Q8_0 if !row.is_multiple_of(self.format().block().0) => Self::F16,
            same => same,
        }
    }

    /// Bytes of a weight in this type.
    fn size(self, weight: &Tensor) -> u64 {
        let (weights, bytes) = self.format().block();
        (weight.numel() / weights * bytes) as u64
    }

    /// `rows` in this type.
    fn encode(self, rows: &Tensor) -> Vec<u8> {
        let kind = match self {
            Self::F32 | Self::Q8_0 => Kind::Float,
            Self::F16 => Kind::Half,
            Self::Bf16 => Kind::BFloat16,
        };
        let rows = rows.to_device(tch::Device::Cpu).to_kind(kind).contiguous();
        if self == Self::Q8_0 {
            let mut values = vec![0.0; rows.numel()];
            rows.copy_data(&mut values, rows.numel());
            return q8_0(&values);
        }
        let mut bytes = vec![0; rows.numel() * kind.elt_size_in_bytes()];
        rows.copy_data_u8(&mut bytes, rows.numel());
        bytes
    }
}

/// Blocks of 32 weights: the scale that lets the largest be 127, and each weight over it, rounded.
fn q8_0(values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() / 32 * 34);
    for block in values.chunks_exact(32) {
        let largest = block.iter().fold(0f32, |most, x| most.max(x.abs()));
        let scale = largest / 127.0;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        bytes.extend(f16::from_f32(scale).to_le_bytes());
        bytes.extend(block.iter().map(|x| (x * inverse).round() as i8 as u8));
    }
    bytes
}

/// Where tensors begin: at multiples of this, as readers take for granted where the metadata says nothing else.
const ALIGNMENT: u64 = 32;

fn write_container(
    path: &Path,
    metadata: &[(String, Value)],
    tensors: &[(String, GgufType, Tensor)],
) -> io::Result<()> {
    let mut head = b"GGUF".to_vec();
    head.extend(3u32.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        put_text(&mut head, key);
        head.extend(type_number(value, false).to_le_bytes());
        put_value(&mut head, value, false);
    }
    let mut offset = 0u64;
    for (name, kind, tensor) in tensors {
        put_text(&mut head, name);
        let size = tensor.size();
        head.extend((size.len() as u32).to_le_bytes());
        for dimension in size.iter().rev() {
            head.extend((*dimension as u64).to_le_bytes());
        }
        head.extend(kind.format().number().to_le_bytes());
        head.extend(offset.to_le_bytes());
        offset += kind.size(tensor).next_multiple_of(ALIGNMENT);
    }
    pad(&mut head);
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&head)?;
    for (_, kind, tensor) in tensors {
        write_tensor(&mut file, *kind, tensor)?;
    }
    file.into_inner()?.sync_all()
}

/// Weights that are converted at a time.
const PIECE: i64 = 1 << 20;

fn write_tensor(file: &mut impl Write, kind: GgufType, tensor: &Tensor) -> io::Result<()> {
    let rows = tensor.detach();
    let rows = rows.reshape([-1, *tensor.size().last().unwrap_or(&1)]);
    let (count, width) = (rows.size()[0], rows.size()[1]);
    let step = (PIECE / width.max(1)).max(1);
    let mut written = 0;
    for first in (0..count).step_by(step as usize) {
        let bytes = kind.encode(&rows.narrow(0, first, step.min(count - first)));
        file.write_all(&bytes)?;
        written += bytes.len() as u64;
    }
    let padding = written.next_multiple_of(ALIGNMENT) - written;
    file.write_all(&[0; ALIGNMENT as usize][..padding as usize])
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
}

/// Whole numbers are `uint32`, in lists `int32`, and `int64` where they are larger, which is how readers expect the keys
/// written here.
fn type_number(value: &Value, listed: bool) -> u32 {
    match value {
        Value::Int(n) if !listed && u32::try_from(*n).is_ok() => 4,
        Value::Int(n) if listed && i32::try_from(*n).is_ok() => 5,
        Value::Int(_) => 11,
        Value::Float(_) => 6,
        Value::Bool(_) => 7,
        Value::Text(_) => 8,
        Value::Array(_) => 9,
    }
}

fn put_value(to: &mut Vec<u8>, value: &Value, listed: bool) {
    match value {
        Value::Int(n) => match type_number(value, listed) {
            11 => to.extend((*n as i64).to_le_bytes()),
            _ => to.extend((*n as i32).to_le_bytes()),
        },
        Value::Float(x) => to.extend((*x as f32).to_le_bytes()),
        Value::Bool(b) => to.push((*b).into()),
        Value::Text(text) => put_text(to, text),
        Value::Array(values) => {
            // An empty list is one of texts: merges are the only one that may be.
            let first = values.first().map_or(8, |first| type_number(first, true));
            to.extend(first.to_le_bytes());
            to.extend((values.len() as u64).to_le_bytes());
            values.iter().for_each(|value| put_value(to, value, true));
        }
    }
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::arch::Family;
    use crate::model::config::test_family;
    use crate::model::pretrained::gguf::Gguf;
    use crate::model::rope::RopeScaling;

    #[test]
    fn eight_bits_are_off_by_half_a_step_at_most() {
        let values: Vec<f32> = (0..64)
            .map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0)
            .collect();
        let back = Quantization::Q8_0.dequantize(&q8_0(&values));
        for (block, read) in values.chunks(32).zip(back.chunks(32)) {
            let largest = block.iter().fold(0f32, |most, x| most.max(x.abs()));
            for (x, y) in block.iter().zip(read) {
                // The scale itself is rounded to half precision.
                assert!(
                    (x - y).abs() <= largest * (0.5 / 127.0 + 1.0 / 2048.0),
                    "{x} {y}"
                );
            }
        }
        assert_eq!(q8_0(&[0.0; 32]), [0; 34]);
    }

    #[test]
    fn a_configuration_reads_back_as_it_was() {
        let scaling = |rope_type: &str, factor: f64| RopeScaling {
            rope_type: rope_type.into(),
            factor,
            original_max_position_embeddings: Some(16),
            ..RopeScaling::default()
        };
        let llama3 = RopeScaling {
            original_max_position_embeddings: Some(8192),
            low_freq_factor: Some(1.0),
            high_freq_factor: Some(4.0),
            ..scaling("llama3", 8.0)
        };
        let own = RopeScaling {
            beta_fast: Some(8.0),
            beta_slow: Some(2.0),
            ..scaling("yarn", 4.0)
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        for (family, rope_scaling) in [
            ("llama", None),
            ("qwen3", Some(scaling("linear", 2.0))),
            ("qwen2", Some(scaling("yarn", 4.0))),
            ("qwen2", Some(own)),
            ("gemma3_text", Some(scaling("linear", 8.0))),
            ("smollm3", None),
            ("llama", Some(llama3)),
        ] {
            let family = Family::of_config(family).unwrap();
            let mut config = ModelConfig {
                rms_norm_eps: 2f64.powi(-20),
                eos_token_id: vec![3],
                rope_scaling,
                ..test_family(family)
            };
            if config.query_pre_attn_scalar.is_some() {
                config.query_pre_attn_scalar = Some(config.head_dim);
            }
            if !config.no_rope_layers.is_empty() {
                (config.num_hidden_layers, config.no_rope_layers) = (4, vec![1, 1, 1, 0]);
            }
            if config
                .rope_scaling
                .as_ref()
                .is_some_and(|s| s.rope_type == "llama3")
            {
                // Low enough frequencies that one is stretched in full.
                (config.rope_theta, config.head_dim) = (500_000.0, 8);
                config.max_position_embeddings = 131_072;
            }
            let mut metadata = gguf_model::metadata(&config).unwrap();
            metadata.push(("tokenizer.ggml.eos_token_id".into(), Value::Int(3)));
            let weights = config.weight_shapes().into_iter().map(|(name, shape)| {
                let zeros = Tensor::zeros(shape, (Kind::Float, tch::Device::Cpu));
                let (name, tensor) = gguf_model::stored(&config, &name, &zeros).unwrap();
                (name, GgufType::F32, tensor)
            });
            let factors = gguf_rope::stretching(&config);
            let factors = factors.map(|(name, tensor)| (name, GgufType::F32, tensor));
            let tensors: Vec<_> = weights.chain(factors).collect();
            write_container(&path, &metadata, &tensors).unwrap();
            assert_eq!(
                gguf_model::config(&Gguf::open(&path).unwrap()).unwrap(),
                config
            );
        }
    }
}
