//! The parts of a block: linear layers with adapters, attention in its three forms, rotary positions.
//!
//! Shape legend: B batch, T time, H query heads, K key-value heads, D width of a head.

use gauntlet_shim::training;
use tch::{IndexOp, Kind, Tensor};

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

pub(super) struct Layer {
    pub input_norm: Tensor,
    pub q_proj: Linear,
    pub k_proj: Linear,
    pub v_proj: Linear,
    pub o_proj: Linear,
    /// Norms of query and key heads (Qwen3).
    pub qk_norm: Option<(Tensor, Tensor)>,
    pub post_norm: Tensor,
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
    /// Grouped-query attention of `q` `[B, H, T, D]` over `k` and `v` `[B, K, T, D]`.
    pub fn attend(self, q: &Tensor, k: Tensor, v: Tensor) -> Tensor {
        let grouped = q.size()[1] != k.size()[1];
        let plain = |q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>| {
            let causal = mask.is_none();
            Tensor::scaled_dot_product_attention(q, k, v, mask, 0.0, causal, None, grouped)
        };
        match self {
            Self::Causal => plain(q, &k, &v, None),
            Self::Cached(mask, cache) => {
                let (k, v) = cache.append(&k, &v);
                plain(q, &k, &v, Some(mask))
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
                    let attended = plain(&rows(&q), &rows(&k), &rows(&v), None);
                    return attended.transpose(0, 1).reshape(q.size());
                }
                let mut parts = Vec::with_capacity(segments.len());
                for segment in segments {
                    let own = |t: &Tensor| t.narrow(2, segment.start, segment.length);
                    parts.push(match &segment.prompt {
                        None => plain(&own(q), &own(&k), &own(&v), None),
                        Some(prompt) => {
                            let seen = |t: &Tensor| {
                                let before = t.narrow(2, prompt.start, prompt.length);
                                Tensor::cat(&[before, own(t)], 2)
                            };
                            plain(&own(q), &seen(&k), &seen(&v), Some(&prompt.mask))
                        }
                    });
                }
                Tensor::cat(&parts, 2)
            }
        }
    }
}

/// Applies rotary positions to heads `x` `[B, T, H, D]`; the result is `[B, H, T, D]`. The tables, in `f32`, are `[T, D]`,
/// or `[B, 1, T, D]` where rows stand at positions of their own.
pub(super) fn rotate(x: &Tensor, (cos, sin): &(Tensor, Tensor)) -> Tensor {
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

/// RMSNorm of `x` `[.., C]` by `weight` `[C]` (Zhang and Sennrich 2019).
pub(super) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Tensor {
    let width = weight.size();
    match training::fits(x, width[0]) {
        true => training::rms_norm(x, &cast(weight, Kind::Float), eps),
        false => x.rms_norm(width, Some(&cast(weight, x.kind())), eps),
    }
}

/// `silu(gate) * up` (Shazeer 2020).
pub(super) fn swiglu(gate: &Tensor, up: &Tensor) -> Tensor {
    match training::fits(gate, gate.size()[gate.dim() - 1]) {
        true => training::swiglu(gate, up),
        false => gate.silu() * up,
    }
}
