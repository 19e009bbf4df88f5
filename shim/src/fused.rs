//! The fused decoder's parts: packed linear layers, a paged key-value cache, and attention over it. CPU, without autograd.
//!
//! Activations are contiguous `f32` on the CPU. Every function checks shapes and indices before it calls C++; a mismatch is
//! a bug of the caller and panics with the operand's name.

use tch::{Device, Kind, Tensor};

use crate::activation::Activation;
use crate::kernels::{self, RawCache, RawHeads, RawPacked};

/// How packed weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats.
    Float32,
    /// Brain floats; activations are rounded to them too where the processor multiplies them. Sums are of 32 bits.
    BFloat16,
    /// 8-bit integers in groups of 64 inputs with a scale; activations are rounded to 8 bits in the same groups.
    Int8,
}

/// Outputs of a tile, inputs that share a scale, and tokens of a cache block, as in `csrc/kernels.h`.
const TILE: i64 = 32;
const GROUP: i64 = 64;
/// Tokens in one block of a [`PagedCache`].
pub const BLOCK: i64 = 16;

/// A linear layer `y = x W^T + b`, laid out for fast products.
#[derive(Debug)]
pub struct PackedLinear {
    precision: Precision,
    outputs: i64,
    inputs: i64,
    weights: Tensor,
    scales: Option<Tensor>,
    bias: Option<Tensor>,
}

impl PackedLinear {
    /// Packs the layer whose weight `[outputs, inputs]` is `parts` `[n, inputs]` one behind the other, of any floating
    /// kind, and whose bias is `bias` `[outputs]`. Weights that are all bf16 are read as they are, others as `f32`.
    ///
    /// # Panics
    ///
    /// If there is no part, or parts have different inputs.
    pub fn new(parts: &[&Tensor], bias: Option<&Tensor>, precision: Precision) -> Self {
        let half = parts.iter().all(|part| part.kind() == Kind::BFloat16);
        let kind = if half { Kind::BFloat16 } else { Kind::Float };
        let parts: Vec<Tensor> = parts.iter().map(|part| plain(part, kind)).collect();
        let sizes = parts
            .iter()
            .map(|part| part.size2().expect("a weight has two dimensions"));
        let inputs = parts.first().expect("a layer has weights").size()[1];
        assert!(sizes.clone().all(|(_, i)| i == inputs), "inputs of parts");
        let outputs: i64 = sizes.map(|(n, _)| n).sum();
        let tiles = (outputs + TILE - 1) / TILE;
        let groups = (inputs + GROUP - 1) / GROUP;
        let bytes = |count: i64| {
            let bytes = Tensor::empty([count], (Kind::Uint8, Device::Cpu));
            #[cfg(target_os = "linux")]
            crate::filled::want_huge_pages(&bytes);
            bytes
        };
        let (weights, scales) = match precision {
            Precision::Float32 => (bytes(tiles * TILE * inputs * 4), None),
            Precision::BFloat16 => (bytes(tiles * TILE * ((inputs + 1) / 2) * 4), None),
            Precision::Int8 => {
                let scales = Tensor::empty([tiles * groups * TILE], (Kind::Float, Device::Cpu));
                (bytes(tiles * TILE * groups * GROUP), Some(scales))
            }
        };
        let bias = bias.map(|bias| plain(bias, Kind::Float));
        if let Some(bias) = &bias {
            assert_eq!(bias.size(), [outputs], "bias");
        }
        let packed = Self {
            precision,
            outputs,
            inputs,
            weights,
            scales,
            bias,
        };
        kernels::pack(&parts, half, packed.raw());
        packed
    }

    /// Width of the output.
    pub fn outputs(&self) -> i64 {
        self.outputs
    }

    /// Bytes that one product reads of the weight.
    pub fn bytes(&self) -> usize {
        let scales = self.scales.as_ref().map_or(0, |s| s.numel() * 4);
        self.weights.numel() + scales
    }

    fn raw(&self) -> RawPacked {
        RawPacked {
            precision: self.precision as i32,
            outputs: self.outputs,
            inputs: self.inputs,
            weights: self.weights.data_ptr(),
            scales: self
                .scales
                .as_ref()
                .map_or(std::ptr::null_mut(), |s| s.data_ptr().cast()),
            bias: self
                .bias
                .as_ref()
                .map_or(std::ptr::null(), |b| b.data_ptr().cast_const().cast()),
        }
    }

    /// The product `[m, outputs]` of `x` `[m, inputs]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let y = Tensor::empty([x.size()[0], self.outputs], (Kind::Float, Device::Cpu));
        self.run(x, &y, false);
        y
    }

    /// Adds the product of `x` `[m, inputs]` to `y` `[m, outputs]`.
    pub fn add_to(&self, x: &Tensor, y: &mut Tensor) {
        self.run(x, y, true);
    }

    fn run(&self, x: &Tensor, y: &Tensor, add: bool) {
        let m = x.size()[0];
        check("x", x, &[m, self.inputs]);
        check("y", y, &[m, self.outputs]);
        let groups = (self.inputs + GROUP - 1) / GROUP;
        let scratch = match self.precision {
            Precision::Int8 => m * groups * (2 * GROUP + 8),
            _ => m * self.inputs * 4,
        };
        let scratch = Tensor::empty([scratch], (Kind::Uint8, Device::Cpu));
        kernels::linear(self.raw(), x, y, add, &scratch);
    }
}

/// RMSNorm of each row of `x` `[m, c]` by `weight` `[c]`.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Tensor {
    let (m, c) = x.size2().expect("x has two dimensions");
    check("x", x, &[m, c]);
    check("weight", weight, &[c]);
    let y = Tensor::empty([m, c], (Kind::Float, Device::Cpu));
    kernels::rms_norm(x, weight, eps as f32, &y);
    y
}

/// `activation(gate) * up` `[m, i]` of `x` `[m, 2 i]`, which holds both side by side.
pub fn glu(x: &Tensor, activation: Activation) -> Tensor {
    let (m, both) = x.size2().expect("x has two dimensions");
    assert_eq!(both % 2, 0, "x has a gate for every value");
    check("x", x, &[m, both]);
    let y = Tensor::empty([m, both / 2], (Kind::Float, Device::Cpu));
    kernels::glu(x, activation as i32, &y);
    y
}

/// Numbers of heads and their width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadShape {
    /// Query heads.
    pub query: i64,
    /// Key and value heads; divides `query`.
    pub key_value: i64,
    /// Width of a head; a multiple of 16.
    pub width: i64,
}

impl HeadShape {
    fn row(&self) -> i64 {
        (self.query + 2 * self.key_value) * self.width
    }

    fn raw(&self) -> RawHeads {
        assert!(
            self.width % 16 == 0 && self.query % self.key_value == 0,
            "heads {self:?}"
        );
        RawHeads {
            query: self.query,
            key_value: self.key_value,
            width: self.width,
        }
    }
}

/// Where the tokens of one forward pass stand.
#[derive(Debug)]
pub struct Places {
    /// Position of each token in its sequence, `[m]`.
    positions: Tensor,
    /// Place of each token in the cache, `[m]`: block * [`BLOCK`] + place in the block.
    slots: Tensor,
    /// Tokens that each one may see, itself included, `[m]`.
    lengths: Tensor,
    /// Blocks of each token's sequence, `[m, stride]` (int32).
    tables: Tensor,
    /// One more than the largest position.
    longest: i64,
}

/// How the heads of a layer attend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attend<'a> {
    /// cos and sin `[positions, D]` that queries and keys are turned by; none leaves them as they are.
    pub rotary: Option<(&'a Tensor, &'a Tensor)>,
    /// Weights `[D]` that query and key heads are normed by before they are turned, and the epsilon.
    pub norms: Option<(&'a Tensor, &'a Tensor, f64)>,
    /// How many tokens, itself included, a token sees at most; all where there is none.
    pub window: Option<i64>,
    /// What products of queries and keys are multiplied by, 1 / sqrt(D) where it is not said.
    pub scale: Option<f64>,
}

impl Places {
    /// Places of `m` tokens: for each its position and the blocks of its sequence up to it. A token sees the positions up
    /// to its own.
    ///
    /// # Panics
    ///
    /// If a sequence has no block for a position.
    pub fn new(tokens: &[(i64, &[u32])]) -> Self {
        let stride = tokens
            .iter()
            .map(|(_, blocks)| blocks.len())
            .max()
            .unwrap_or(0);
        let mut tables = vec![0i32; tokens.len() * stride];
        let (mut positions, mut slots, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        for (row, (position, blocks)) in tokens.iter().enumerate() {
            let block = blocks[(position / BLOCK) as usize];
            positions.push(*position);
            slots.push(i64::from(block) * BLOCK + position % BLOCK);
            lengths.push(position + 1);
            for (to, block) in tables[row * stride..].iter_mut().zip(*blocks) {
                *to = *block as i32;
            }
        }
        Self {
            longest: lengths.iter().copied().max().unwrap_or(0),
            positions: Tensor::from_slice(&positions),
            slots: Tensor::from_slice(&slots),
            lengths: Tensor::from_slice(&lengths),
            tables: Tensor::from_slice(&tables).view([tokens.len() as i64, stride as i64]),
        }
    }

    fn len(&self) -> i64 {
        self.positions.size()[0]
    }

    /// Positions that tables of angles must cover.
    pub fn longest(&self) -> i64 {
        self.longest
    }
}

/// Keys and values of all layers in blocks of [`BLOCK`] tokens; which blocks make a sequence is the caller's to know.
#[derive(Debug)]
pub struct PagedCache {
    shape: HeadShape,
    blocks: i64,
    half: bool,
    layers: Vec<(Tensor, Tensor)>,
}

impl PagedCache {
    /// A cache of `blocks` blocks for `layers` layers, in bf16 if `half`.
    pub fn new(shape: HeadShape, layers: usize, blocks: i64, half: bool) -> Self {
        let kind = if half { Kind::BFloat16 } else { Kind::Float };
        let size = [blocks, shape.key_value, BLOCK, shape.width];
        let empty = || Tensor::zeros(size, (kind, Device::Cpu));
        Self {
            shape,
            blocks,
            half,
            layers: (0..layers).map(|_| (empty(), empty())).collect(),
        }
    }

    /// Copies block `from` to block `to` in all layers.
    pub fn copy_block(&mut self, from: u32, to: u32) {
        for (keys, values) in &self.layers {
            for store in [keys, values] {
                store.get(to.into()).copy_(&store.get(from.into()));
            }
        }
    }

    fn raw(&self, layer: usize) -> RawCache {
        let (keys, values) = &self.layers[layer];
        RawCache {
            half: i32::from(self.half),
            keys: keys.data_ptr(),
            values: values.data_ptr(),
        }
    }

    fn check(&self, places: &Places) {
        let most = |t: &Tensor| {
            if t.numel() == 0 {
                0
            } else {
                t.max().int64_value(&[])
            }
        };
        let least = |t: &Tensor| {
            if t.numel() == 0 {
                0
            } else {
                t.min().int64_value(&[])
            }
        };
        assert!(
            most(&places.slots) < self.blocks * BLOCK && least(&places.slots) >= 0,
            "slots"
        );
        assert!(
            most(&places.tables) < self.blocks && least(&places.tables) >= 0,
            "tables"
        );
        let stride = places.tables.size()[1];
        assert!(most(&places.lengths) <= stride * BLOCK, "lengths");
    }

    /// Attention of one layer: norms and turns queries and keys of `qkv` `[m, (H + 2 K) D]` in place as `with` says, stores
    /// keys and values, and returns what each token attends to, `[m, H D]`.
    pub fn attend(
        &mut self,
        layer: usize,
        qkv: &mut Tensor,
        places: &Places,
        with: &Attend,
    ) -> Tensor {
        let (m, width) = (places.len(), self.shape.width);
        check("qkv", qkv, &[m, self.shape.row()]);
        if let Some((cos, sin)) = with.rotary {
            let table = cos.size();
            check("cos", cos, &[table[0], width]);
            check("sin", sin, &table);
            assert!(places.longest <= table[0], "positions");
        }
        assert!(with.window.is_none_or(|window| window > 0), "window");
        if layer == 0 {
            // The same places serve every layer.
            self.check(places);
        }
        if let Some((q, k, _)) = with.norms {
            check("q_norm", q, &[width]);
            check("k_norm", k, &[width]);
        }
        let y = Tensor::empty([m, self.shape.query * width], (Kind::Float, Device::Cpu));
        kernels::attention(
            qkv,
            self.shape.raw(),
            &[
                &places.positions,
                &places.slots,
                &places.lengths,
                &places.tables,
            ],
            with,
            self.raw(layer),
            &y,
        );
        y
    }
}

/// Contiguous on the CPU.
fn plain(tensor: &Tensor, kind: Kind) -> Tensor {
    let tensor = tensor.detach().to_device(Device::Cpu);
    tensor.to_kind(kind).contiguous()
}

fn check(what: &str, tensor: &Tensor, shape: &[i64]) {
    assert!(
        tensor.size() == shape
            && tensor.kind() == Kind::Float
            && tensor.device() == Device::Cpu
            && tensor.is_contiguous(),
        "{what} is {:?} {:?}, but must be contiguous f32 {shape:?} on the CPU",
        tensor.kind(),
        tensor.size()
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{self, Isa};

    fn wave(shape: &[i64], phase: f64) -> Tensor {
        let n: i64 = shape.iter().product();
        let t = (Tensor::arange(n, (Kind::Double, Device::Cpu)) * 0.7311 + phase).sin();
        t.reshape(shape).to_kind(Kind::Float)
    }

    fn distance(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).abs().max().double_value(&[])
    }

    #[test]
    fn packed_products_are_those_of_libtorch() {
        isa::on_each(check_products);
    }

    fn check_products(isa: Isa) {
        for (outputs, inputs) in [(32, 64), (100, 200), (65, 576), (40, 261)] {
            let (weight, bias) = (wave(&[outputs, inputs], 0.1), wave(&[outputs], 0.2));
            for m in [1, 2, 3, 4, 5, 6, 7, 8, 11, 13, 40] {
                let x = wave(&[m, inputs], 0.3);
                let exact = x.linear(&weight, Some(&bias));
                let size = exact.abs().max().double_value(&[]);
                for (precision, tolerance) in [
                    (Precision::Float32, 1e-5),
                    (Precision::BFloat16, 6e-3),
                    (Precision::Int8, 2e-2),
                ] {
                    let packed = PackedLinear::new(&[&weight], Some(&bias), precision);
                    let mut y = packed.forward(&x);
                    assert!(
                        distance(&y, &exact) < tolerance * size,
                        "{isa:?} {precision:?} {m}x{inputs}x{outputs}: {}",
                        distance(&y, &exact)
                    );
                    packed.add_to(&x, &mut y);
                    assert!(distance(&y, &(&exact * 2.0)) < 2.0 * tolerance * size);
                }
            }
        }
    }

    #[test]
    fn parts_are_packed_as_one_weight_in_the_kind_they_have() {
        let weight = wave(&[70, 72], 0.1).to_kind(Kind::BFloat16);
        let parts: Vec<Tensor> = [(0, 40), (40, 3), (43, 27)]
            .map(|(from, n)| weight.narrow(0, from, n))
            .into();
        let parts: Vec<&Tensor> = parts.iter().collect();
        let float = weight.to_kind(Kind::Float);
        for precision in [Precision::Float32, Precision::BFloat16, Precision::Int8] {
            let whole = PackedLinear::new(&[&float], None, precision);
            let split = PackedLinear::new(&parts, None, precision);
            assert_eq!(whole.weights, split.weights, "{precision:?}");
            assert_eq!(whole.scales, split.scales, "{precision:?}");
        }
    }

    #[test]
    fn norm_and_activation_are_those_of_libtorch() {
        isa::on_each(check_norm_and_activation);
    }

    fn check_norm_and_activation(isa: Isa) {
        let (x, weight) = (wave(&[5, 72], 0.5) * 3.0, wave(&[72], 0.1));
        assert!(
            distance(
                &rms_norm(&x, &weight, 1e-6),
                &x.rms_norm([72], Some(&weight), 1e-6)
            ) < 1e-5,
            "{isa:?}"
        );
        for activation in Activation::ALL {
            let exact = activation.apply(&x.narrow(1, 0, 36)) * x.narrow(1, 36, 36);
            assert!(distance(&glu(&x, activation), &exact) < 1e-5, "{isa:?}");
        }
    }

    #[test]
    fn attention_over_scattered_blocks_is_causal_attention() {
        isa::on_each(check_attention);
    }

    /// Each position sees itself and the `window - 1` before it: bool `[tokens, tokens]`.
    fn sees(tokens: i64, window: i64) -> Tensor {
        let all = Tensor::ones([tokens, tokens], (Kind::Bool, Device::Cpu));
        all.tril(0).triu(1 - window)
    }

    fn check_attention(isa: Isa) {
        for (query, key_value, width) in [(7, 1, 64), (4, 2, 16), (6, 2, 80), (2, 2, 128)] {
            let shape = HeadShape {
                query,
                key_value,
                width,
            };
            let tokens = 37;
            let mut qkv = wave(&[tokens, shape.row()], 0.9);
            let original = qkv.copy();
            let angles = wave(&[64, width / 2], 0.4);
            let angles = Tensor::cat(&[&angles, &angles], 1);
            let (cos, sin) = (angles.cos(), angles.sin());
            let cases = [
                (false, None, true),
                (true, None, true),
                (false, Some(5), true),
                (false, Some(16), true),
                (false, Some(18), false),
                (true, Some(100), false),
            ];
            for (half, window, turns) in cases {
                qkv.copy_(&original);
                let mut cache = PagedCache::new(shape, 1, 5, half);
                let with = Attend {
                    rotary: turns.then_some((&cos, &sin)),
                    window,
                    scale: window.map(|_| 0.3),
                    norms: None,
                };
                let blocks = [4u32, 0, 2];
                let places: Vec<(i64, &[u32])> = (0..tokens).map(|p| (p, &blocks[..])).collect();
                let places = Places::new(&places);
                let y = cache.attend(0, &mut qkv, &places, &with);
                let heads = |from: i64, n: i64| {
                    let part = original.narrow(1, from * width, n * width);
                    part.view([1, tokens, n, width]).transpose(1, 2)
                };
                let turn = |x: Tensor| {
                    if !turns {
                        return x;
                    }
                    let (a, b) = (x.narrow(3, 0, width / 2), x.narrow(3, width / 2, width / 2));
                    let turned = Tensor::cat(&[&b.neg(), &a], 3);
                    x * cos.narrow(0, 0, tokens) + turned * sin.narrow(0, 0, tokens)
                };
                let exact = Tensor::scaled_dot_product_attention(
                    &turn(heads(0, query)),
                    &turn(heads(query, key_value)),
                    &heads(query + key_value, key_value),
                    Some(&sees(tokens, window.unwrap_or(tokens))),
                    0.0,
                    false,
                    window.map(|_| 0.3),
                    query != key_value,
                );
                let exact = exact.transpose(1, 2).reshape([tokens, query * width]);
                let tolerance = if half { 2e-2 } else { 1e-5 };
                assert!(
                    distance(&y, &exact) < tolerance,
                    "{isa:?} {shape:?} {half} {window:?} {turns}"
                );
            }
        }
    }

    #[test]
    #[should_panic(expected = "tables")]
    fn a_block_that_does_not_exist_is_refused() {
        let shape = HeadShape {
            query: 1,
            key_value: 1,
            width: 16,
        };
        let mut cache = PagedCache::new(shape, 1, 2, false);
        let table = Tensor::ones([8, 16], (Kind::Float, Device::Cpu));
        let mut qkv = wave(&[1, 48], 0.0);
        let places = Places::new(&[(0, &[0, 7])]);
        let with = Attend {
            rotary: Some((&table, &table)),
            ..Attend::default()
        };
        let _ = cache.attend(0, &mut qkv, &places, &with);
    }
}
