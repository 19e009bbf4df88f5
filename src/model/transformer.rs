//! The decoder: RMSNorm, rotary positions, grouped-query attention, SwiGLU.
//!
//! Shape legend: B batch, T time (positions of this call), S cached positions, H query heads, K key-value heads,
//! D width of a head, C hidden size, V vocabulary.

use std::sync::{Mutex, PoisonError};

use tch::{Device, IndexOp, Kind, Tensor};

use super::config::ModelConfig;
use super::kv_cache::{KvCache, LayerCache};

/// A projection with an optional bias.
struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, self.bias.as_ref())
    }
}

struct Layer {
    input_norm: Tensor,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Tensor,
    post_norm: Tensor,
    gate_proj: Tensor,
    up_proj: Tensor,
    down_proj: Tensor,
}

/// A Llama-style language model: weights under their published names, and the forward pass.
pub struct Transformer {
    config: ModelConfig,
    /// Name and tensor in the order of the state dict. The layers hold shallow clones of the same storages.
    parameters: Vec<(String, Tensor)>,
    embed_tokens: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    lm_head: Tensor,
    /// Rotary tables, each of shape `[max_position_embeddings, D]`.
    cos_sin: (Tensor, Tensor),
}

impl Transformer {
    /// Freshly initialised weights: normal with `deviation`, the two projections that write to the residual stream
    /// divided by sqrt(2 layers) (GPT-2, section 2.3), norms at one. Draws from LibTorch's generator, seeded by `seed`.
    pub fn init(config: &ModelConfig, deviation: f64, seed: u64, device: Device) -> Self {
        // LibTorch's generator is the process's: two threads that draw at once would share one stream.
        static GENERATOR: Mutex<()> = Mutex::new(());
        let _alone = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
        tch::manual_seed(seed as i64);
        let residual = deviation / ((2 * config.num_hidden_layers) as f64).sqrt();
        let weights = config
            .weight_shapes()
            .into_iter()
            .map(|(name, shape)| {
                // Drawn on the CPU so that every device starts from the same weights.
                let options = (Kind::Float, Device::Cpu);
                let tensor = if name.ends_with("norm.weight") {
                    Tensor::ones(&shape, options)
                } else if name.ends_with("bias") {
                    Tensor::zeros(&shape, options)
                } else {
                    let writes_residual = name.contains("o_proj") || name.contains("down_proj");
                    Tensor::randn(&shape, options)
                        * if writes_residual { residual } else { deviation }
                };
                (name, tensor)
            })
            .collect();
        Self::from_weights(config, weights, device)
    }

    /// Builds the model on given weights, which must be exactly [`ModelConfig::weight_shapes`] in that order
    /// (checkpoint loading compares names and shapes before it comes here).
    pub fn from_weights(
        config: &ModelConfig,
        weights: Vec<(String, Tensor)>,
        device: Device,
    ) -> Self {
        let parameters: Vec<(String, Tensor)> = weights
            .into_iter()
            .map(|(name, tensor)| {
                (
                    name,
                    tensor
                        .to_device(device)
                        .contiguous()
                        .set_requires_grad(true),
                )
            })
            .collect();
        let mut remaining = parameters.iter().map(|(_, tensor)| tensor.shallow_clone());
        let mut next = || {
            remaining
                .next()
                .expect("one tensor for every name of weight_shapes")
        };
        let embed_tokens = next();
        let layers = (0..config.num_hidden_layers)
            .map(|_| Layer {
                input_norm: next(),
                q_proj: Linear {
                    weight: next(),
                    bias: config.attention_bias.then(&mut next),
                },
                k_proj: Linear {
                    weight: next(),
                    bias: config.attention_bias.then(&mut next),
                },
                v_proj: Linear {
                    weight: next(),
                    bias: config.attention_bias.then(&mut next),
                },
                o_proj: next(),
                post_norm: next(),
                gate_proj: next(),
                up_proj: next(),
                down_proj: next(),
            })
            .collect();
        let norm = next();
        let lm_head = if config.tie_word_embeddings {
            embed_tokens.shallow_clone()
        } else {
            next()
        };
        Self {
            cos_sin: rotary_tables(config, device),
            config: config.clone(),
            parameters,
            embed_tokens,
            layers,
            norm,
            lm_head,
        }
    }

    /// The architecture.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where the weights live.
    pub fn device(&self) -> Device {
        self.embed_tokens.device()
    }

    /// Weights by published name, in the order of the state dict.
    pub fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }

    /// A copy that shares nothing with this model and takes no gradient: the frozen KL anchor.
    pub fn frozen_copy(&self) -> Self {
        let weights = self
            .parameters
            .iter()
            .map(|(name, t)| (name.clone(), t.detach().copy()))
            .collect();
        let copy = Self::from_weights(&self.config, weights, self.device());
        for (_, tensor) in &copy.parameters {
            let _ = tensor.set_requires_grad(false);
        }
        copy
    }

    /// Hidden states `[B, T, C]` of right-padded `tokens` `[B, T]` (int64). Padding may hold any token: attention is causal,
    /// so no real position sees it.
    pub fn forward(&self, tokens: &Tensor) -> Tensor {
        let time = tokens.size()[1];
        let rotary = (
            self.cos_sin.0.narrow(0, 0, time),
            self.cos_sin.1.narrow(0, 0, time),
        );
        let mut hidden = self.embed(tokens);
        for layer in &self.layers {
            hidden = self.block(layer, hidden, &rotary, None, None);
        }
        self.final_norm(&hidden)
    }

    /// Hidden states `[B, T, C]` of `tokens` `[B, T]` at `positions` `[B, T]`, appended to `cache`.
    /// `mask` is additive and broadcasts to `[B, H, T, S + T]`.
    pub fn forward_cached(
        &self,
        tokens: &Tensor,
        positions: &Tensor,
        mask: &Tensor,
        cache: &mut KvCache,
    ) -> Tensor {
        // [B, T, D] -> [B, 1, T, D], to broadcast over heads.
        let table = |t: &Tensor| {
            let (b, n) = positions.size2().expect("positions have two dimensions");
            t.index_select(0, &positions.view([-1]))
                .view([b, 1, n, self.config.head_dim])
        };
        let rotary = (table(&self.cos_sin.0), table(&self.cos_sin.1));
        let mut hidden = self.embed(tokens);
        for (layer, layer_cache) in self.layers.iter().zip(cache.layers_mut()) {
            hidden = self.block(layer, hidden, &rotary, Some(mask), Some(layer_cache));
        }
        cache.advance(tokens.size()[1]);
        self.final_norm(&hidden)
    }

    /// Logits `[.., V]` of hidden states `[.., C]`.
    pub fn logits(&self, hidden: &Tensor) -> Tensor {
        hidden.linear(&self.lm_head, None::<Tensor>)
    }

    fn embed(&self, tokens: &Tensor) -> Tensor {
        Tensor::embedding(&self.embed_tokens, tokens, -1, false, false)
    }

    fn final_norm(&self, hidden: &Tensor) -> Tensor {
        self.rms_norm(hidden, &self.norm)
    }

    fn rms_norm(&self, x: &Tensor, weight: &Tensor) -> Tensor {
        x.rms_norm(
            self.config.hidden_size,
            Some(weight),
            self.config.rms_norm_eps,
        )
    }

    fn block(
        &self,
        layer: &Layer,
        hidden: Tensor,
        rotary: &(Tensor, Tensor),
        mask: Option<&Tensor>,
        cache: Option<LayerCache<'_>>,
    ) -> Tensor {
        let c = &self.config;
        let (b, t) = (hidden.size()[0], hidden.size()[1]);
        let x = self.rms_norm(&hidden, &layer.input_norm);
        let heads = |projection: &Linear, n: i64| {
            projection
                .forward(&x)
                .view([b, t, n, c.head_dim])
                .transpose(1, 2)
        };
        let q = rotate(&heads(&layer.q_proj, c.num_attention_heads), rotary);
        let mut k = rotate(&heads(&layer.k_proj, c.num_key_value_heads), rotary);
        let mut v = heads(&layer.v_proj, c.num_key_value_heads);
        if let Some(cache) = cache {
            (k, v) = cache.append(&k, &v);
        }
        let grouped = c.num_key_value_heads != c.num_attention_heads;
        let attended = Tensor::scaled_dot_product_attention(
            &q,
            &k,
            &v,
            mask,
            0.0,
            mask.is_none(),
            None,
            grouped,
        );
        let attended = attended
            .transpose(1, 2)
            .reshape([b, t, c.num_attention_heads * c.head_dim]);
        let hidden = hidden + attended.linear(&layer.o_proj, None::<Tensor>);
        let x = self.rms_norm(&hidden, &layer.post_norm);
        let gated = x.linear(&layer.gate_proj, None::<Tensor>).silu()
            * x.linear(&layer.up_proj, None::<Tensor>);
        hidden + gated.linear(&layer.down_proj, None::<Tensor>)
    }
}

/// cos and sin of position times frequency, each `[max_position_embeddings, D]` with the halves repeated
/// (RoFormer, arXiv 2104.09864, in the half-rotation layout of the published Llama weights).
fn rotary_tables(config: &ModelConfig, device: Device) -> (Tensor, Tensor) {
    let half = config.head_dim / 2;
    let exponent =
        Tensor::arange(half, (Kind::Double, Device::Cpu)) * (2.0 / config.head_dim as f64);
    let inverse_frequency = (exponent * -config.rope_theta.ln()).exp();
    let positions = Tensor::arange(config.max_position_embeddings, (Kind::Double, Device::Cpu));
    let angles = positions.outer(&inverse_frequency);
    let angles = Tensor::cat(&[&angles, &angles], 1);
    let table = |t: Tensor| t.to_kind(Kind::Float).to_device(device);
    (table(angles.cos()), table(angles.sin()))
}

/// Applies rotary positions to `x` `[B, H, T, D]`.
fn rotate(x: &Tensor, (cos, sin): &(Tensor, Tensor)) -> Tensor {
    let half = x.size()[3] / 2;
    let rotated = Tensor::cat(
        &[x.i((.., .., .., half..)).neg(), x.i((.., .., .., ..half))],
        3,
    );
    x * cos + rotated * sin
}

#[cfg(test)]
mod tests {
    use super::super::config::test_config;
    use super::*;

    #[test]
    fn padding_and_later_tokens_change_nothing_before_them() {
        let model = Transformer::init(&test_config(), 0.02, 7, Device::Cpu);
        let a = Tensor::from_slice(&[1i64, 2, 3, 4, 5, 6]).view([1, 6]);
        let b = Tensor::from_slice(&[1i64, 2, 3, 9, 9, 9]).view([1, 6]);
        let (x, y) = (model.forward(&a), model.forward(&b));
        let difference = |from: i64, len: i64| {
            f64::try_from(
                (x.narrow(1, from, len) - y.narrow(1, from, len))
                    .abs()
                    .max(),
            )
            .unwrap()
        };
        assert!(difference(0, 3) < 1e-6);
        assert!(difference(3, 3) > 1e-3);
    }

    #[test]
    fn a_seed_decides_the_weights() {
        let sum = |seed| {
            let model = Transformer::init(&test_config(), 0.02, seed, Device::Cpu);
            f64::try_from(model.parameters()[1 + 1].1.abs().sum(Kind::Double)).unwrap()
        };
        assert_eq!(sum(3), sum(3));
        assert_ne!(sum(3), sum(4));
    }
}
