//! The parts of a block: norms, linear layers with adapters, attention in its three forms, rotary positions.
//!
//! Shape legend: B batch, T time, H query heads, K key-value heads, D width of a head.

use gauntlet_shim::training;
use tch::{Device, IndexOp, Kind, Tensor};

use super::arch::Activation;
use super::kv_cache::LayerCache;
use super::lora::{Adapter, cast};

/// A projection with an optional bias and an optional adapter.
pub(super) struct Linear {
    pub weight: Tensor,
    pub bias: Option<Tensor>,
    pub adapter: Option<Adapter>,
}

impl Linear {
    pub fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let kind = x.kind();
        let bias = self.bias.as_ref().map(|bias| cast(bias, kind));
        let y = x.linear(&cast(&self.weight, kind), bias);
        match &self.adapter {
            Some(adapter) => y + adapter.forward(x, train),
            None => y,
        }
    }

    /// The weight with its adapter added, without a graph.
    pub fn merged(&self) -> Tensor {
        let weight = self.weight.detach();
        match &self.adapter {
            Some(adapter) => {
                let kind = weight.kind();
                let sum = weight.to_kind(Kind::Float) + adapter.product().detach();
                sum.to_kind(kind)
            }
            None => weight,
        }
    }
}

/// RMSNorm (Zhang and Sennrich 2019).
pub(super) struct Norm {
    /// `[C]`.
    pub weight: Tensor,
    /// What is added to the weight.
    pub offset: f64,
    pub eps: f64,
}

impl Norm {
    /// What values over their root mean square are multiplied by, in `f32`.
    pub fn scale(&self) -> Tensor {
        let weight = cast(&self.weight, Kind::Float);
        if self.offset == 0.0 {
            weight
        } else {
            weight + self.offset
        }
    }

    /// The norm of `x` `[.., C]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let width = self.weight.size();
        if training::fits(x, width[0]) {
            return training::rms_norm(x, &self.scale(), self.eps);
        }
        if self.offset == 0.0 {
            return x.rms_norm(width, Some(&cast(&self.weight, x.kind())), self.eps);
        }
        let exact = cast(x, Kind::Float).rms_norm(width, Some(&self.scale()), self.eps);
        cast(&exact, x.kind())
    }
}

/// One block. Norms are named as [`super::arch::Norms`] names them.
pub(super) struct Layer {
    pub before_attention: Norm,
    pub q_proj: Linear,
    pub k_proj: Linear,
    pub v_proj: Linear,
    pub o_proj: Linear,
    /// Norms of query and key heads.
    pub qk_norm: Option<(Norm, Norm)>,
    /// Which of the model's ropes turns its heads.
    pub rope: Option<usize>,
    /// How many positions it sees.
    pub window: Option<i64>,
    pub after_attention: Option<Norm>,
    pub before_mlp: Norm,
    pub after_mlp: Option<Norm>,
    pub gate_proj: Linear,
    pub up_proj: Linear,
    pub down_proj: Linear,
}

impl Layer {
    /// The linear layers by the names they have within the block.
    pub fn linears(&self) -> [(&'static str, &Linear); 7] {
        [
            ("self_attn.q_proj", &self.q_proj),
            ("self_attn.k_proj", &self.k_proj),
            ("self_attn.v_proj", &self.v_proj),
            ("self_attn.o_proj", &self.o_proj),
            ("mlp.gate_proj", &self.gate_proj),
            ("mlp.up_proj", &self.up_proj),
            ("mlp.down_proj", &self.down_proj),
        ]
    }
}

/// A stretch of a packed row: a sequence, a prompt that several sequences share, or what one of those adds to it.
pub(super) struct Segment {
    pub start: i64,
    pub length: i64,
    /// The prompt that it goes on from, which stands earlier in the row.
    pub prompt: Option<Prompt>,
}

/// A segment that others go on from.
pub(super) struct Prompt {
    pub start: i64,
    pub length: i64,
    /// What each position of the segment sees of prompt and segment: bool `[T, prompt's length + T]`.
    pub mask: Tensor,
}

/// What a position may see.
pub(super) enum Attention<'a> {
    /// Itself and all before it in its row.
    Causal,
    /// Itself, all before it in its segment, and what the segment goes on from; the segments stand behind one another in
    /// one row.
    Packed(&'a [Segment]),
    /// What the additive mask leaves of the cache.
    Cached(&'a Tensor, LayerCache<'a>),
}

impl Attention<'_> {
    /// Grouped-query attention of `q` `[B, H, T, D]` over `k` and `v` `[B, K, T, D]`: each position sees the last `window`,
    /// itself included, or all; products of queries and keys are multiplied by `scale`, or 1 / sqrt(D).
    pub fn attend(
        self,
        q: &Tensor,
        k: Tensor,
        v: Tensor,
        window: Option<i64>,
        scale: Option<f64>,
    ) -> Tensor {
        let grouped = q.size()[1] != k.size()[1];
        let masked = |q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>| {
            let causal = mask.is_none();
            Tensor::scaled_dot_product_attention(q, k, v, mask, 0.0, causal, scale, grouped)
        };
        // Of sequences from their start.
        let plain = |q: &Tensor, k: &Tensor, v: &Tensor| {
            let length = q.size()[2];
            match window.filter(|window| *window < length) {
                Some(window) => {
                    let mask = sees(length, 0, q.device()).triu(1 - window);
                    masked(q, k, v, Some(&mask))
                }
                None => masked(q, k, v, None),
            }
        };
        match self {
            Self::Causal => plain(q, &k, &v),
            Self::Cached(mask, cache) => {
                let (k, v) = cache.append(&k, &v);
                let (added, all) = (q.size()[2], k.size()[2]);
                let Some(window) = window.filter(|window| *window < all) else {
                    return masked(q, &k, &v, Some(mask));
                };
                // A row's columns are neighbours up to its last one, so a window of positions is one of columns.
                if added == 1 {
                    let last = |t: &Tensor, dim: i64| t.narrow(dim, all - window, window);
                    return masked(q, &last(&k, 2), &last(&v, 2), Some(&last(mask, 3)));
                }
                let hidden = sees(added, all - added, q.device())
                    .triu(all - added - window + 1)
                    .logical_not();
                masked(
                    q,
                    &k,
                    &v,
                    Some(&mask.masked_fill(&hidden, f64::NEG_INFINITY)),
                )
            }
            Self::Packed(segments) => {
                // Sequences of one length are rows of a batch; others go one by one.
                let (n, first) = (segments.len() as i64, segments[0].length);
                if segments
                    .iter()
                    .all(|s| s.length == first && s.prompt.is_none())
                {
                    let rows = |t: &Tensor| {
                        let (heads, width) = (t.size()[1], t.size()[3]);
                        t.view([heads, n, first, width]).transpose(0, 1)
                    };
                    let (q, k, v) = (q.contiguous(), k.contiguous(), v.contiguous());
                    let attended = plain(&rows(&q), &rows(&k), &rows(&v));
                    return attended.transpose(0, 1).reshape(q.size());
                }
                let mut parts = Vec::with_capacity(segments.len());
                for segment in segments {
                    let own = |t: &Tensor| t.narrow(2, segment.start, segment.length);
                    parts.push(match &segment.prompt {
                        None => plain(&own(q), &own(&k), &own(&v)),
                        Some(prompt) => {
                            let seen = |t: &Tensor| {
                                let before = t.narrow(2, prompt.start, prompt.length);
                                Tensor::cat(&[before, own(t)], 2)
                            };
                            let known = prompt.length;
                            let mask = match window {
                                Some(window) if window < known + segment.length => {
                                    &prompt.mask.triu(known - window + 1)
                                }
                                _ => &prompt.mask,
                            };
                            masked(&own(q), &seen(&k), &seen(&v), Some(mask))
                        }
                    });
                }
                Tensor::cat(&parts, 2)
            }
        }
    }
}

/// Each of `length` positions behind a prompt of `known` tokens sees the prompt, what came before it, and itself.
pub(super) fn sees(length: i64, known: i64, device: Device) -> Tensor {
    let all = Tensor::ones([length, known + length], (Kind::Bool, device));
    all.tril(known)
}

/// Applies rotary positions to heads `x` `[B, T, H, D]`; the result is `[B, H, T, D]`. The tables, in `f32`, are `[T, D]`,
/// or `[B, 1, T, D]` where rows stand at positions of their own; without them heads stay as they are.
pub(super) fn rotate(x: &Tensor, tables: Option<&(Tensor, Tensor)>) -> Tensor {
    let Some((cos, sin)) = tables else {
        return x.transpose(1, 2);
    };
    let half = x.size()[3] / 2;
    if training::fits(x, half) {
        return training::rotate(x, cos, sin).transpose(1, 2);
    }
    let x = x.transpose(1, 2);
    let rotated = Tensor::cat(
        &[x.i((.., .., .., half..)).neg(), x.i((.., .., .., ..half))],
        3,
    );
    let kind = x.kind();
    x * cast(cos, kind) + rotated * cast(sin, kind)
}

/// `activation(gate) * up` (Shazeer 2020).
pub(super) fn glu(gate: &Tensor, up: &Tensor, activation: Activation) -> Tensor {
    match training::fits(gate, gate.size()[gate.dim() - 1]) {
        true => training::glu(gate, up, activation),
        false => activation.apply(gate) * up,
    }
}
