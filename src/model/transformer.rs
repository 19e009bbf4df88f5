//! The decoder: RMSNorm, rotary positions, grouped-query attention, SwiGLU.
//!
//! Shape legend: B batch, T time (positions of this call), S cached positions, H query heads, K key-value heads,
//! D width of a head, C hidden size, V vocabulary.

use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tch::{Device, Kind, Tensor};

use super::config::ModelConfig;
use super::kv_cache::KvCache;
use super::layers::{Attention, Layer, Linear, rms_norm, rotate, swiglu};
use super::lora::{Adapter, LoraConfig, cast};
use super::rope;

/// How sequences go through a model in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    /// One row a sequence, padded to the longest, the head in one piece: for small models.
    Padded,
    /// All sequences behind one another with block-diagonal attention, the head in chunks: for large models.
    Packed {
        /// Whether activations within blocks are computed again in the backward pass instead of kept.
        checkpointing: bool,
    },
}

/// A language model of the Llama family: weights under their published names, and the forward pass.
pub struct Transformer {
    config: ModelConfig,
    /// Name and tensor in the order of the state dict. The layers hold shallow clones of the same storages.
    parameters: Vec<(String, Tensor)>,
    /// The adapter with its weights by PEFT's names, if there is one; the parameters are frozen then.
    lora: Option<(LoraConfig, Vec<(String, Tensor)>)>,
    pub(super) embed_tokens: Tensor,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Tensor,
    pub(super) lm_head: Tensor,
    /// Rotary tables, each of shape `[max_position_embeddings, D]`.
    pub(super) cos_sin: (Tensor, Tensor),
    /// Kind of the hidden states; weights of another kind are cast where they are used.
    compute: Kind,
    /// How sequences go through it in training.
    batching: Batching,
    /// Whether dropout is on.
    train: Cell<bool>,
}

/// LibTorch's generator is the process's: two threads that draw at once would share one stream. Seeds it, and keeps it
/// until the guard is dropped.
pub(super) fn seeded(seed: u64) -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    let alone = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    tch::manual_seed(seed as i64);
    alone
}

impl Transformer {
    /// Freshly initialised weights: normal with `deviation`, the two projections that write to the residual stream
    /// divided by sqrt(2 layers) (GPT-2, section 2.3), norms at one. Draws from LibTorch's generator, seeded by `seed`.
    pub fn init(config: &ModelConfig, deviation: f64, seed: u64, device: Device) -> Self {
        let _alone = seeded(seed);
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
    /// (checkpoint loading compares names and shapes before it comes here). All of them take gradients.
    pub fn from_weights(
        config: &ModelConfig,
        weights: Vec<(String, Tensor)>,
        device: Device,
    ) -> Self {
        Self::build(config, weights, None, device, true)
    }

    /// The same with weights that take no gradient.
    pub fn frozen(config: &ModelConfig, weights: Vec<(String, Tensor)>, device: Device) -> Self {
        Self::build(config, weights, None, device, false)
    }

    /// A model on the frozen weights of this one, which it shares, with an adapter that takes gradients. `weights` are
    /// those of [`LoraConfig::weight_shapes`], in that order.
    pub fn with_adapter(&self, lora: LoraConfig, weights: Vec<(String, Tensor)>) -> Self {
        let device = self.device();
        let weights = weights
            .into_iter()
            .map(|(name, t)| {
                (
                    name,
                    t.to_device(device).contiguous().set_requires_grad(true),
                )
            })
            .collect();
        let shared = self.shared_parameters();
        Self {
            compute: self.compute,
            batching: self.batching,
            ..Self::build(&self.config, shared, Some((lora, weights)), device, false)
        }
    }

    /// A model on the same weights, without an adapter, that takes no gradient.
    pub fn share(&self) -> Self {
        Self {
            compute: self.compute,
            batching: self.batching,
            ..Self::build(
                &self.config,
                self.shared_parameters(),
                None,
                self.device(),
                false,
            )
        }
    }

    fn shared_parameters(&self) -> Vec<(String, Tensor)> {
        let share = |(name, t): &(String, Tensor)| (name.clone(), t.detach());
        self.parameters.iter().map(share).collect()
    }

    fn build(
        config: &ModelConfig,
        weights: Vec<(String, Tensor)>,
        lora: Option<(LoraConfig, Vec<(String, Tensor)>)>,
        device: Device,
        trainable: bool,
    ) -> Self {
        let parameters: Vec<(String, Tensor)> = weights
            .into_iter()
            .map(|(name, tensor)| {
                (
                    name,
                    tensor
                        .to_device(device)
                        .contiguous()
                        .set_requires_grad(trainable),
                )
            })
            .collect();
        let mut adapters = lora.iter().flat_map(|(_, weights)| {
            let pairs = weights.iter().map(|(_, t)| t.shallow_clone());
            pairs.collect::<Vec<_>>()
        });
        let adapted = |target: &str| {
            let (lora, _) = lora.as_ref()?;
            lora.target_modules
                .iter()
                .any(|t| t == target)
                .then_some(lora)
        };
        let mut remaining = parameters.iter().map(|(_, tensor)| tensor.shallow_clone());
        let mut next = || {
            remaining
                .next()
                .expect("one tensor for every name of weight_shapes")
        };
        let embed_tokens = next();
        let layers = (0..config.num_hidden_layers)
            .map(|_| {
                // Called in the order of weight_shapes.
                let mut linear =
                    |target: &str, bias: bool, next: &mut dyn FnMut() -> Tensor| Linear {
                        weight: next(),
                        bias: bias.then(&mut *next),
                        adapter: adapted(target).map(|lora| {
                            let mut factor = || adapters.next().expect("two factors a target");
                            Adapter {
                                a: factor(),
                                b: factor(),
                                scale: lora.scale(),
                                dropout: lora.lora_dropout,
                            }
                        }),
                    };
                Layer {
                    input_norm: next(),
                    q_proj: linear("q_proj", config.attention_bias, &mut next),
                    k_proj: linear("k_proj", config.attention_bias, &mut next),
                    v_proj: linear("v_proj", config.attention_bias, &mut next),
                    o_proj: linear("o_proj", config.output_bias(), &mut next),
                    qk_norm: config.qk_norm().then(|| (next(), next())),
                    post_norm: next(),
                    gate_proj: linear("gate_proj", false, &mut next),
                    up_proj: linear("up_proj", false, &mut next),
                    down_proj: linear("down_proj", false, &mut next),
                }
            })
            .collect();
        let norm = next();
        let lm_head = if config.tie_word_embeddings {
            embed_tokens.shallow_clone()
        } else {
            next()
        };
        drop(adapters);
        let compute = embed_tokens.kind();
        Self {
            cos_sin: rope::tables(config, device),
            config: config.clone(),
            parameters,
            lora,
            embed_tokens,
            layers,
            norm,
            lm_head,
            compute,
            batching: Batching::Padded,
            train: Cell::new(false),
        }
    }

    /// The same model with hidden states of `compute` and training passes as `batching` says. With weights in `f32` and
    /// hidden states in bf16, the weights are the masters of what is computed with.
    #[must_use]
    pub fn running(self, compute: Kind, batching: Batching) -> Self {
        Self {
            compute,
            batching,
            ..self
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

    /// Kind of the hidden states.
    pub fn compute_kind(&self) -> Kind {
        self.compute
    }

    /// How sequences go through it in training.
    pub fn batching(&self) -> Batching {
        self.batching
    }

    /// Weights by published name, in the order of the state dict; an adapter is apart.
    pub fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }

    /// The adapter and its weights.
    pub fn lora(&self) -> Option<(&LoraConfig, &[(String, Tensor)])> {
        self.lora.as_ref().map(|(lora, weights)| (lora, &**weights))
    }

    /// What training changes: the adapter's weights where there is one, else all.
    pub fn trainable(&self) -> &[(String, Tensor)] {
        self.lora
            .as_ref()
            .map_or(&self.parameters, |(_, weights)| weights)
    }

    /// All weights by published name, adapters merged in, without a graph.
    pub fn merged(&self) -> Vec<(String, Tensor)> {
        let mut merged = self.shared_parameters();
        for (index, layer) in self.layers.iter().enumerate() {
            for (name, linear) in layer.linears() {
                if linear.adapter.is_none() {
                    continue;
                }
                let name = format!("model.layers.{index}.{name}.weight");
                let entry = merged.iter_mut().find(|(n, _)| *n == name);
                entry.expect("a layer's weight is a parameter").1 = linear.merged();
            }
        }
        merged
    }

    /// Switches dropout on until the guard's closure returns; the stream of masks is `seed`'s.
    pub fn training<T>(&self, seed: u64, f: impl FnOnce() -> T) -> T {
        let drops = self
            .lora
            .as_ref()
            .is_some_and(|(l, _)| l.lora_dropout > 0.0);
        if !drops {
            return f();
        }
        let _alone = seeded(seed);
        self.train.set(true);
        let result = f();
        self.train.set(false);
        result
    }

    /// A model that takes no gradient and does not change when this one is trained: the frozen KL anchor. The weights
    /// below an adapter do not change, so they are shared.
    pub fn frozen_copy(&self) -> Self {
        if let Some((lora, weights)) = &self.lora {
            let weights = weights.iter().map(|(n, t)| (n.clone(), t.detach().copy()));
            let copy = self.with_adapter(lora.clone(), weights.collect());
            for (_, tensor) in copy.trainable() {
                let _ = tensor.set_requires_grad(false);
            }
            return copy;
        }
        let weights = self
            .parameters
            .iter()
            .map(|(name, t)| (name.clone(), t.detach().copy()))
            .collect();
        Self {
            compute: self.compute,
            batching: self.batching,
            ..Self::frozen(&self.config, weights, self.device())
        }
    }

    /// Hidden states `[B, T, C]` of right-padded `tokens` `[B, T]` (int64). Padding may hold any token: attention is causal,
    /// so no real position sees it.
    pub fn forward(&self, tokens: &Tensor) -> Tensor {
        let time = tokens.size()[1];
        let (cos, sin) = &self.cos_sin;
        let rotary = (cos.narrow(0, 0, time), sin.narrow(0, 0, time));
        let mut hidden = self.embed(tokens);
        for layer in &self.layers {
            hidden = self.block(layer, hidden, &rotary, Attention::Causal);
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
        let mask = cast(mask, self.compute);
        let rotary = self.rotary_at(positions);
        let mut hidden = self.embed(tokens);
        for (layer, layer_cache) in self.layers.iter().zip(cache.layers_mut()) {
            let attention = Attention::Cached(&mask, layer_cache);
            hidden = self.block(layer, hidden, &rotary, attention);
        }
        cache.advance(tokens.size()[1]);
        self.final_norm(&hidden)
    }

    /// Rotary tables at `positions` `[B, T]`, each `[B, 1, T, D]` in `f32`, to broadcast over heads.
    pub(super) fn rotary_at(&self, positions: &Tensor) -> (Tensor, Tensor) {
        let table = |t: &Tensor| {
            let (b, n) = positions.size2().expect("positions have two dimensions");
            let rows = t.index_select(0, &positions.view([-1]));
            rows.view([b, 1, n, self.config.head_dim])
        };
        (table(&self.cos_sin.0), table(&self.cos_sin.1))
    }

    /// Logits `[.., V]` of hidden states `[.., C]`.
    pub fn logits(&self, hidden: &Tensor) -> Tensor {
        hidden.linear(&cast(&self.lm_head, hidden.kind()), None::<Tensor>)
    }

    pub(super) fn embed(&self, tokens: &Tensor) -> Tensor {
        let embedded = Tensor::embedding(&self.embed_tokens, tokens, -1, false, false);
        cast(&embedded, self.compute)
    }

    pub(super) fn final_norm(&self, hidden: &Tensor) -> Tensor {
        self.rms_norm(hidden, &self.norm)
    }

    fn rms_norm(&self, x: &Tensor, weight: &Tensor) -> Tensor {
        rms_norm(x, weight, self.config.rms_norm_eps)
    }

    pub(super) fn block(
        &self,
        layer: &Layer,
        hidden: Tensor,
        rotary: &(Tensor, Tensor),
        attention: Attention,
    ) -> Tensor {
        let attended = self.attend(layer, &hidden, rotary, attention);
        self.after_attention(layer, hidden, &attended)
    }

    /// What the heads of a block `[B, T, H D]` make of its input `[B, T, C]`.
    pub(super) fn attend(
        &self,
        layer: &Layer,
        hidden: &Tensor,
        rotary: &(Tensor, Tensor),
        attention: Attention,
    ) -> Tensor {
        let c = &self.config;
        let train = self.train.get();
        let (b, t) = (hidden.size()[0], hidden.size()[1]);
        let x = self.rms_norm(hidden, &layer.input_norm);
        let heads =
            |projection: &Linear, n: i64| projection.forward(&x, train).view([b, t, n, c.head_dim]);
        let (q, k) = (
            heads(&layer.q_proj, c.num_attention_heads),
            heads(&layer.k_proj, c.num_key_value_heads),
        );
        let (q, k) = match &layer.qk_norm {
            Some((q_norm, k_norm)) => (self.rms_norm(&q, q_norm), self.rms_norm(&k, k_norm)),
            None => (q, k),
        };
        let (q, k) = (rotate(&q, rotary), rotate(&k, rotary));
        let v = heads(&layer.v_proj, c.num_key_value_heads).transpose(1, 2);
        attention.attend(&q, k, v).transpose(1, 2).reshape([
            b,
            t,
            c.num_attention_heads * c.head_dim,
        ])
    }

    /// The rest of a block, which looks at one position at a time: its input `[.., C]` and what the heads made of it
    /// `[.., H D]`, of any positions.
    pub(super) fn after_attention(
        &self,
        layer: &Layer,
        hidden: Tensor,
        attended: &Tensor,
    ) -> Tensor {
        let train = self.train.get();
        let hidden = hidden + layer.o_proj.forward(attended, train);
        let x = self.rms_norm(&hidden, &layer.post_norm);
        let (gate, up) = (&layer.gate_proj, &layer.up_proj);
        let gated = swiglu(&gate.forward(&x, train), &up.forward(&x, train));
        hidden + layer.down_proj.forward(&gated, train)
    }
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
