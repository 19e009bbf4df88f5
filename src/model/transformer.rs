//! The decoder: RMSNorm, rotary positions, grouped-query attention, a gated feed-forward layer.
//!
//! Shape legend: B batch, T time (positions of this call), S cached positions, H query heads, K key-value heads,
//! D width of a head, C hidden size, V vocabulary.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tch::{Device, Kind, Tensor};

use super::arch::Family;
use super::config::ModelConfig;
use super::kv_cache::KvCache;
use super::layers::{Attention, Layer, Linear, Norm, glu, rotate};
use super::lora::{Adapter, LoraConfig, adapter_name, cast};
use super::rope::Rope;

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

/// A language model: weights under their published names, and the forward pass.
pub struct Transformer {
    config: ModelConfig,
    /// Name and tensor in the order of the state dict. The layers hold shallow clones of the same storages.
    parameters: Vec<(String, Tensor)>,
    /// The adapter with its weights by PEFT's names, if there is one; the parameters are frozen then.
    lora: Option<(LoraConfig, Vec<(String, Tensor)>)>,
    pub(super) embed_tokens: Tensor,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Norm,
    pub(super) lm_head: Tensor,
    /// The angles of [`ModelConfig::rope_bases`], shared by models on the same weights.
    pub(super) ropes: Vec<Arc<Rope>>,
    /// What embeddings are multiplied by.
    embedding_scale: Option<f64>,
    /// Kind of the hidden states; weights of another kind are cast where they are used.
    compute: Kind,
    /// How sequences go through it in training.
    batching: Batching,
    /// Whether dropout is on.
    train: Cell<bool>,
}

/// cos and sin for each of a model's ropes.
pub(super) type Rotary = [(Tensor, Tensor)];

/// LibTorch's generator is the process's: two threads that draw at once would share one stream. Seeds it, and keeps it
/// until the guard is dropped.
pub(super) fn seeded(seed: u64) -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    let alone = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    tch::manual_seed(seed as i64);
    alone
}

/// The angles of a model's layers.
fn ropes(config: &ModelConfig, device: Device) -> Vec<Arc<Rope>> {
    let bases = config.rope_bases().into_iter();
    let rope = |(base, scaling)| Arc::new(Rope::new(config, base, scaling, device));
    bases.map(rope).collect()
}

/// `value` as a tensor of `kind` would hold it.
fn rounded(value: f64, kind: Kind) -> f64 {
    Tensor::from(value).to_kind(kind).double_value(&[])
}

fn by_name(weights: &[(String, Tensor)]) -> HashMap<&str, &Tensor> {
    weights.iter().map(|(name, t)| (&**name, t)).collect()
}

/// Weights by their published names, of which layers hold shallow clones.
struct Named<'a> {
    config: &'a ModelConfig,
    weights: HashMap<&'a str, &'a Tensor>,
    factors: Option<(&'a LoraConfig, HashMap<&'a str, &'a Tensor>)>,
}

impl Named<'_> {
    /// # Panics
    ///
    /// If there is none of that name, which is then missing in [`ModelConfig::weight_shapes`].
    fn weight(&self, name: &str) -> Tensor {
        self.weights[name].shallow_clone()
    }

    fn norm(&self, name: &str) -> Norm {
        Norm {
            weight: self.weight(&format!("{name}.weight")),
            offset: self.config.family().norm_offset,
            eps: self.config.rms_norm_eps,
        }
    }

    fn linear(&self, name: &str) -> Linear {
        let adapter = self.factors.as_ref().and_then(|(lora, factors)| {
            let factor = |which| Some((*factors.get(&*adapter_name(name, which))?).shallow_clone());
            Some(Adapter {
                a: factor('A')?,
                b: factor('B')?,
                scale: lora.scale(),
                dropout: lora.lora_dropout,
            })
        });
        let bias = self.weights.get(&*format!("{name}.bias"));
        Linear {
            weight: self.weight(&format!("{name}.weight")),
            bias: bias.map(|bias| bias.shallow_clone()),
            adapter,
        }
    }

    fn layer(&self, index: usize) -> Layer {
        let family = self.config.family();
        let linear = |name: &str| self.linear(&format!("model.layers.{index}.{name}"));
        let norm = |name: &str| self.norm(&format!("model.layers.{index}.{name}"));
        let norms = family.norms;
        Layer {
            before_attention: norm(norms.before_attention),
            q_proj: linear("self_attn.q_proj"),
            k_proj: linear("self_attn.k_proj"),
            v_proj: linear("self_attn.v_proj"),
            o_proj: linear("self_attn.o_proj"),
            qk_norm: family
                .qk_norm
                .then(|| (norm("self_attn.q_norm"), norm("self_attn.k_norm"))),
            rope: self.config.rope(index),
            window: self.config.window(index),
            after_attention: norms.after_attention.map(norm),
            before_mlp: norm(norms.before_mlp),
            gate_proj: linear("mlp.gate_proj"),
            up_proj: linear("mlp.up_proj"),
            down_proj: linear("mlp.down_proj"),
            after_mlp: norms.after_mlp.map(norm),
        }
    }
}

impl Transformer {
    /// Freshly initialised weights: normal with `deviation`, the two projections that write to the residual stream
    /// divided by sqrt(2 layers) (GPT-2, section 2.3), norms one. Draws from LibTorch's generator, seeded by `seed`.
    pub fn init(config: &ModelConfig, deviation: f64, seed: u64, device: Device) -> Self {
        let _alone = seeded(seed);
        let residual = deviation / ((2 * config.num_hidden_layers) as f64).sqrt();
        let weights = config
            .weight_shapes()
            .into_iter()
            .map(|(name, shape)| {
                // Drawn on the CPU so that every device starts from the same weights.
                let options = (Kind::Float, Device::Cpu);
                let tensor = if Family::is_norm(&name) {
                    Tensor::full(&shape, 1.0 - config.family().norm_offset, options)
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

    /// Builds the model on given weights, which must be those of [`ModelConfig::weight_shapes`], in any order (loading
    /// compares names and shapes before it comes here). All of them take gradients.
    pub fn from_weights(
        config: &ModelConfig,
        weights: Vec<(String, Tensor)>,
        device: Device,
    ) -> Self {
        Self::build(config, weights, None, ropes(config, device), device, true)
    }

    /// The same with weights that take no gradient.
    pub fn frozen(config: &ModelConfig, weights: Vec<(String, Tensor)>, device: Device) -> Self {
        Self::build(config, weights, None, ropes(config, device), device, false)
    }

    /// A model on the frozen weights of this one, which it shares, with an adapter that takes gradients. `weights` are
    /// those of [`LoraConfig::weight_shapes`], in any order.
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
            embedding_scale: self.embedding_scale,
            compute: self.compute,
            batching: self.batching,
            ..Self::build(
                &self.config,
                shared,
                Some((lora, weights)),
                self.ropes.clone(),
                device,
                false,
            )
        }
    }

    /// A model on the same weights, without an adapter, that takes no gradient.
    pub fn share(&self) -> Self {
        Self {
            embedding_scale: self.embedding_scale,
            compute: self.compute,
            batching: self.batching,
            ..Self::build(
                &self.config,
                self.shared_parameters(),
                None,
                self.ropes.clone(),
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
        ropes: Vec<Arc<Rope>>,
        device: Device,
        trainable: bool,
    ) -> Self {
        let mut weights: HashMap<String, Tensor> = weights.into_iter().collect();
        let parameters: Vec<(String, Tensor)> = config
            .weight_shapes()
            .into_iter()
            .map(|(name, _)| {
                let tensor = weights
                    .remove(&name)
                    .unwrap_or_else(|| panic!("no weight {name}"));
                let tensor = tensor.to_device(device).contiguous();
                (name, tensor.set_requires_grad(trainable))
            })
            .collect();
        let lora = lora.map(|(lora, weights)| {
            let mut weights: HashMap<String, Tensor> = weights.into_iter().collect();
            let ordered = lora.weight_shapes(config).into_iter().map(|(name, _)| {
                let tensor = weights
                    .remove(&name)
                    .unwrap_or_else(|| panic!("no weight {name}"));
                (name, tensor)
            });
            let ordered: Vec<(String, Tensor)> = ordered.collect();
            (lora, ordered)
        });
        let named = Named {
            config,
            weights: by_name(&parameters),
            factors: lora
                .as_ref()
                .map(|(lora, weights)| (lora, by_name(weights))),
        };
        let layers = (0..config.num_hidden_layers as usize).map(|index| named.layer(index));
        let layers = layers.collect();
        let embed_tokens = named.weight("model.embed_tokens.weight");
        let norm = named.norm("model.norm");
        let lm_head = named.weight(match config.tie_word_embeddings {
            true => "model.embed_tokens.weight",
            false => "lm_head.weight",
        });
        drop(named);
        let compute = embed_tokens.kind();
        Self {
            ropes,
            embedding_scale: config
                .embedding_scale()
                .map(|scale| rounded(scale, compute)),
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
        let scale = self.config.embedding_scale();
        Self {
            embedding_scale: scale.map(|scale| rounded(scale, compute)),
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
            embedding_scale: self.embedding_scale,
            compute: self.compute,
            batching: self.batching,
            ..Self::frozen(&self.config, weights, self.device())
        }
    }

    /// Hidden states `[B, T, C]` of right-padded `tokens` `[B, T]` (int64). Padding may hold any token: attention is causal,
    /// so no real position sees it.
    pub fn forward(&self, tokens: &Tensor) -> Tensor {
        let time = tokens.size()[1];
        let first = |rope: &Arc<Rope>| {
            let (cos, sin) = rope.tables(time);
            (cos.narrow(0, 0, time), sin.narrow(0, 0, time))
        };
        let rotary: Vec<_> = self.ropes.iter().map(first).collect();
        let mut hidden = self.embed(tokens);
        for layer in &self.layers {
            hidden = self.block(layer, hidden, &rotary, Attention::Causal);
        }
        self.final_norm(&hidden)
    }

    /// Hidden states `[B, T, C]` of `tokens` `[B, T]` at `positions` `[B, T]`, appended to `cache`.
    /// `mask` is additive and broadcasts to `[B, H, T, S + T]`; the columns that it leaves a row are neighbours.
    pub fn forward_cached(
        &self,
        tokens: &Tensor,
        positions: &Tensor,
        mask: &Tensor,
        cache: &mut KvCache,
    ) -> Tensor {
        let mask = cast(mask, self.compute);
        // No row has more positions than the cache has columns.
        let rotary = self.rotary_at(positions, cache.filled() + tokens.size()[1]);
        let mut hidden = self.embed(tokens);
        for (layer, layer_cache) in self.layers.iter().zip(cache.layers_mut()) {
            let attention = Attention::Cached(&mask, layer_cache);
            hidden = self.block(layer, hidden, &rotary, attention);
        }
        cache.advance(tokens.size()[1]);
        self.final_norm(&hidden)
    }

    /// Rotary tables at `positions` `[B, T]` below `end`, each `[B, 1, T, D]` in `f32`, to broadcast over heads.
    pub(super) fn rotary_at(&self, positions: &Tensor, end: i64) -> Vec<(Tensor, Tensor)> {
        let table = |t: &Tensor| {
            let (b, n) = positions.size2().expect("positions have two dimensions");
            let rows = t.index_select(0, &positions.view([-1]));
            rows.view([b, 1, n, self.config.head_dim])
        };
        let at = |rope: &Arc<Rope>| {
            let (cos, sin) = rope.tables(end);
            (table(&cos), table(&sin))
        };
        self.ropes.iter().map(at).collect()
    }

    /// Logits `[.., V]` of hidden states `[.., C]`.
    pub fn logits(&self, hidden: &Tensor) -> Tensor {
        hidden.linear(&cast(&self.lm_head, hidden.kind()), None::<Tensor>)
    }

    pub(super) fn embed(&self, tokens: &Tensor) -> Tensor {
        let embedded = Tensor::embedding(&self.embed_tokens, tokens, -1, false, false);
        let embedded = cast(&embedded, self.compute);
        match self.embedding_scale {
            Some(scale) => embedded * scale,
            None => embedded,
        }
    }

    /// What embeddings are multiplied by, rounded as hidden states are.
    pub(super) fn embedding_scale(&self) -> Option<f64> {
        self.embedding_scale
    }

    pub(super) fn final_norm(&self, hidden: &Tensor) -> Tensor {
        self.norm.forward(hidden)
    }

    pub(super) fn block(
        &self,
        layer: &Layer,
        hidden: Tensor,
        rotary: &Rotary,
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
        rotary: &Rotary,
        attention: Attention,
    ) -> Tensor {
        let c = &self.config;
        let train = self.train.get();
        let (b, t) = (hidden.size()[0], hidden.size()[1]);
        let x = layer.before_attention.forward(hidden);
        let heads =
            |projection: &Linear, n: i64| projection.forward(&x, train).view([b, t, n, c.head_dim]);
        let (q, k) = (
            heads(&layer.q_proj, c.num_attention_heads),
            heads(&layer.k_proj, c.num_key_value_heads),
        );
        let (q, k) = match &layer.qk_norm {
            Some((q_norm, k_norm)) => (q_norm.forward(&q), k_norm.forward(&k)),
            None => (q, k),
        };
        let rotary = layer.rope.map(|rope| &rotary[rope]);
        let (q, k) = (rotate(&q, rotary), rotate(&k, rotary));
        let v = heads(&layer.v_proj, c.num_key_value_heads).transpose(1, 2);
        let attended = attention.attend(&q, k, v, layer.window, c.attention_scale());
        let width = c.num_attention_heads * c.head_dim;
        attended.transpose(1, 2).reshape([b, t, width])
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
        let normed = |added: Tensor, norm: &Option<Norm>| match norm {
            Some(norm) => norm.forward(&added),
            None => added,
        };
        let added = layer.o_proj.forward(attended, train);
        let hidden = hidden + normed(added, &layer.after_attention);
        let x = layer.before_mlp.forward(&hidden);
        let (gate, up) = (&layer.gate_proj, &layer.up_proj);
        let activation = self.config.family().activation;
        let gated = glu(&gate.forward(&x, train), &up.forward(&x, train), activation);
        hidden + normed(layer.down_proj.forward(&gated, train), &layer.after_mlp)
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
