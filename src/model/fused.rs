//! A snapshot of a model in the layout that decoding is fastest in: projections that read the same input packed side by
//! side, adapters merged in, keys and values in blocks. CPU.
//!
//! Shape legend: M tokens of any sequences, C hidden size, V vocabulary, D width of a head.

use gauntlet_shim::fused::{HeadShape, PackedLinear, PagedCache, Places, rms_norm, swiglu};
use tch::{Device, Kind, Tensor};

use super::config::ModelConfig;
use super::layers::Linear;
use super::transformer::Transformer;

pub use gauntlet_shim::fused::Precision;

/// Why a model cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum FusedError {
    /// The kernels take heads in steps of 16.
    #[error("head_dim {0} is no multiple of 16; decode this model with sampling.backend trainer")]
    HeadWidth(i64),
    /// The kernels run on the CPU.
    #[error(
        "the fused decoder runs on the CPU, the model is on {0:?}; use sampling.backend trainer"
    )]
    Device(Device),
}

struct FusedLayer {
    input_norm: Tensor,
    qkv: PackedLinear,
    qk_norm: Option<(Tensor, Tensor)>,
    output: PackedLinear,
    post_norm: Tensor,
    gate_up: PackedLinear,
    down: PackedLinear,
}

/// A model packed for decoding. It does not change when the model it was made of is trained.
pub struct FusedModel {
    config: ModelConfig,
    embed_tokens: Tensor,
    layers: Vec<FusedLayer>,
    norm: Tensor,
    head: PackedLinear,
    cos_sin: (Tensor, Tensor),
    precision: Precision,
}

/// Whether [`FusedModel::new`] takes a model of this shape there.
pub fn packs(config: &ModelConfig, device: Device) -> bool {
    config.head_dim % 16 == 0 && device == Device::Cpu
}

impl FusedModel {
    /// Packs `model` as it is at this moment.
    pub fn new(model: &Transformer, precision: Precision) -> Result<Self, FusedError> {
        let config = model.config().clone();
        if config.head_dim % 16 != 0 {
            return Err(FusedError::HeadWidth(config.head_dim));
        }
        if model.device() != Device::Cpu {
            return Err(FusedError::Device(model.device()));
        }
        let float = |t: &Tensor| t.detach().to_kind(Kind::Float).contiguous();
        let side_by_side = |parts: &[&Linear]| {
            let weights: Vec<Tensor> = parts.iter().map(|p| p.merged()).collect();
            let weights: Vec<&Tensor> = weights.iter().collect();
            let biases: Vec<Tensor> = parts
                .iter()
                .filter_map(|p| p.bias.as_ref().map(float))
                .collect();
            let bias = (!biases.is_empty()).then(|| Tensor::cat(&biases, 0));
            PackedLinear::new(&weights, bias.as_ref(), precision)
        };
        let layers = model
            .layers
            .iter()
            .map(|layer| FusedLayer {
                input_norm: float(&layer.input_norm),
                qkv: side_by_side(&[&layer.q_proj, &layer.k_proj, &layer.v_proj]),
                qk_norm: layer.qk_norm.as_ref().map(|(q, k)| (float(q), float(k))),
                output: side_by_side(&[&layer.o_proj]),
                post_norm: float(&layer.post_norm),
                gate_up: side_by_side(&[&layer.gate_proj, &layer.up_proj]),
                down: side_by_side(&[&layer.down_proj]),
            })
            .collect();
        let (cos, sin) = &model.cos_sin;
        Ok(Self {
            embed_tokens: model.embed_tokens.detach(),
            layers,
            norm: float(&model.norm),
            head: PackedLinear::new(&[&model.lm_head], None, precision),
            cos_sin: (float(cos), float(sin)),
            config,
            precision,
        })
    }

    /// The architecture.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// How the weights are stored.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Bytes of packed weights that decoding one token reads.
    pub fn bytes(&self) -> usize {
        let layer =
            |l: &FusedLayer| l.qkv.bytes() + l.output.bytes() + l.gate_up.bytes() + l.down.bytes();
        self.layers.iter().map(layer).sum::<usize>() + self.head.bytes()
    }

    /// A cache of `blocks` blocks for this model; in bf16 unless the weights are `f32`.
    pub fn cache(&self, blocks: i64) -> PagedCache {
        let c = &self.config;
        let shape = HeadShape {
            query: c.num_attention_heads,
            key_value: c.num_key_value_heads,
            width: c.head_dim,
        };
        let half = self.precision != Precision::Float32;
        PagedCache::new(shape, self.layers.len(), blocks, half)
    }

    /// Bytes that one block of [`FusedModel::cache`] takes.
    pub fn block_bytes(&self) -> u64 {
        let c = &self.config;
        let width = if self.precision == Precision::Float32 {
            4
        } else {
            2
        };
        let values = 2 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim * 16;
        (values * width) as u64
    }

    /// Hidden states `[M, C]` of `tokens` at `places`, whose keys and values go into `cache`.
    pub fn forward(&self, tokens: &[i64], places: &Places, cache: &mut PagedCache) -> Tensor {
        let eps = self.config.rms_norm_eps;
        let (cos, sin) = (&self.cos_sin.0, &self.cos_sin.1);
        let tokens = Tensor::from_slice(tokens);
        let mut hidden =
            Tensor::embedding(&self.embed_tokens, &tokens, -1, false, false).to_kind(Kind::Float);
        for (index, layer) in self.layers.iter().enumerate() {
            let mut qkv = layer
                .qkv
                .forward(&rms_norm(&hidden, &layer.input_norm, eps));
            let norms = layer.qk_norm.as_ref().map(|(q, k)| (q, k, eps));
            let attended = cache.attend(index, &mut qkv, places, (cos, sin), norms);
            layer.output.add_to(&attended, &mut hidden);
            let gated = swiglu(
                &layer
                    .gate_up
                    .forward(&rms_norm(&hidden, &layer.post_norm, eps)),
            );
            layer.down.add_to(&gated, &mut hidden);
        }
        hidden
    }

    /// Logits `[m, V]` after the rows `at` of hidden states `[M, C]`.
    pub fn logits(&self, hidden: &Tensor, at: &[i64]) -> Tensor {
        let rows = hidden.index_select(0, &Tensor::from_slice(at));
        let normed = rms_norm(&rows, &self.norm, self.config.rms_norm_eps);
        self.head.forward(&normed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::test_config;
    use super::*;

    pub(crate) fn model(family: &str) -> Transformer {
        let config = ModelConfig {
            model_type: family.into(),
            hidden_size: 64,
            head_dim: 16,
            attention_bias: family == "qwen2",
            tie_word_embeddings: family == "llama",
            ..test_config()
        };
        Transformer::init(&config, 0.2, 3, Device::Cpu)
    }

    #[test]
    fn hidden_states_are_those_of_the_plain_model() {
        for family in ["llama", "qwen2", "qwen3"] {
            let model = model(family);
            let tokens: Vec<i64> = (0..23).map(|i| (i * 7) % 40).collect();
            let input = Tensor::from_slice(&tokens).view([1, -1]);
            let exact = model.logits(&model.forward(&input)).squeeze_dim(0);
            for (precision, tolerance) in [
                (Precision::Float32, 1e-4),
                (Precision::BFloat16, 0.1),
                (Precision::Int8, 0.2),
            ] {
                let fused = FusedModel::new(&model, precision).unwrap();
                let mut cache = fused.cache(2);
                let blocks = [1u32, 0];
                let mut rows = Vec::new();
                // A prefill of 20 tokens, then one at a time.
                for (from, to) in [(0, 20), (20, 21), (21, 22), (22, 23)] {
                    let places: Vec<(i64, &[u32])> = (from..to).map(|p| (p, &blocks[..])).collect();
                    let part = &tokens[from as usize..to as usize];
                    let hidden = fused.forward(part, &Places::new(&places), &mut cache);
                    let at: Vec<i64> = (0..to - from).collect();
                    rows.push(fused.logits(&hidden, &at));
                }
                let logits = Tensor::cat(&rows, 0);
                let (worst, size) = (
                    (&logits - &exact).abs().max().double_value(&[]),
                    exact.abs().max().double_value(&[]),
                );
                assert!(
                    worst < tolerance * size,
                    "{family} {precision:?}: {worst} of {size}"
                );
            }
        }
    }

    #[test]
    fn heads_that_do_not_fit_are_refused_by_name() {
        let narrow = Transformer::init(&test_config(), 0.2, 3, Device::Cpu);
        let error = FusedModel::new(&narrow, Precision::Int8).err().unwrap();
        assert!(error.to_string().contains("head_dim 4"), "{error}");
    }
}
