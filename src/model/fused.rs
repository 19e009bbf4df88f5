//! A snapshot of a model in the layout that decoding is fastest in: projections that read the same input packed side by
//! side, adapters merged in, keys and values in blocks. CPU.
//!
//! Shape legend: M tokens of any sequences, C hidden size, V vocabulary, D width of a head.

use std::sync::Arc;

use gauntlet_shim::fused::{Attend, HeadShape, PackedLinear, PagedCache, Places, glu, rms_norm};
use tch::{Device, Kind, Tensor};

use super::config::ModelConfig;
use super::layers::{Linear, Norm};
use super::rope::Rope;
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
    before_attention: Tensor,
    qkv: PackedLinear,
    qk_norm: Option<(Tensor, Tensor)>,
    rope: Option<usize>,
    window: Option<i64>,
    output: PackedLinear,
    after_attention: Option<Tensor>,
    before_mlp: Tensor,
    gate_up: PackedLinear,
    down: PackedLinear,
    after_mlp: Option<Tensor>,
}

/// A model packed for decoding. It does not change when the model it was made of is trained.
pub struct FusedModel {
    config: ModelConfig,
    embed_tokens: Tensor,
    layers: Vec<FusedLayer>,
    norm: Tensor,
    head: PackedLinear,
    ropes: Vec<Arc<Rope>>,
    embedding_scale: Option<f64>,
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
        let scale = |norm: &Norm| float(&norm.scale());
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
                before_attention: scale(&layer.before_attention),
                qkv: side_by_side(&[&layer.q_proj, &layer.k_proj, &layer.v_proj]),
                qk_norm: layer.qk_norm.as_ref().map(|(q, k)| (scale(q), scale(k))),
                rope: layer.rope,
                window: layer.window,
                output: side_by_side(&[&layer.o_proj]),
                after_attention: layer.after_attention.as_ref().map(scale),
                before_mlp: scale(&layer.before_mlp),
                gate_up: side_by_side(&[&layer.gate_proj, &layer.up_proj]),
                down: side_by_side(&[&layer.down_proj]),
                after_mlp: layer.after_mlp.as_ref().map(scale),
            })
            .collect();
        Ok(Self {
            embed_tokens: model.embed_tokens.detach(),
            layers,
            norm: scale(&model.norm),
            head: PackedLinear::new(&[&model.lm_head], None, precision),
            ropes: model.ropes.clone(),
            embedding_scale: model.embedding_scale(),
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
        let tables = |rope: &Arc<Rope>| rope.tables(places.longest());
        let tables: Vec<(Tensor, Tensor)> = self.ropes.iter().map(tables).collect();
        let activation = self.config.family().activation;
        // Adds a layer's output, normed where the block says so, to the residual stream.
        let add = |linear: &PackedLinear, x: &Tensor, norm: &Option<Tensor>, to: &mut Tensor| {
            match norm {
                Some(norm) => *to += rms_norm(&linear.forward(x), norm, eps),
                None => linear.add_to(x, to),
            }
        };
        let tokens = Tensor::from_slice(tokens);
        let mut hidden =
            Tensor::embedding(&self.embed_tokens, &tokens, -1, false, false).to_kind(Kind::Float);
        if let Some(scale) = self.embedding_scale {
            hidden *= scale;
        }
        for (index, layer) in self.layers.iter().enumerate() {
            let mut qkv = layer
                .qkv
                .forward(&rms_norm(&hidden, &layer.before_attention, eps));
            let with = Attend {
                rotary: layer.rope.map(|rope| (&tables[rope].0, &tables[rope].1)),
                norms: layer.qk_norm.as_ref().map(|(q, k)| (q, k, eps)),
                window: layer.window,
                scale: self.config.attention_scale(),
            };
            let attended = cache.attend(index, &mut qkv, places, &with);
            add(
                &layer.output,
                &attended,
                &layer.after_attention,
                &mut hidden,
            );
            let x = rms_norm(&hidden, &layer.before_mlp, eps);
            let gated = glu(&layer.gate_up.forward(&x), activation);
            add(&layer.down, &gated, &layer.after_mlp, &mut hidden);
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
    use super::super::arch::{FAMILIES, Family};
    use super::super::config::{test_config, test_family};
    use super::*;

    fn model(family: &Family) -> Transformer {
        let config = ModelConfig {
            hidden_size: 64,
            head_dim: 16,
            tie_word_embeddings: family.model_type == "llama",
            ..test_family(family)
        };
        Transformer::init(&config, 0.2, 3, Device::Cpu)
    }

    #[test]
    fn hidden_states_are_those_of_the_plain_model() {
        for family in FAMILIES {
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
                    "{} {precision:?}: {worst} of {size}",
                    family.model_type
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
