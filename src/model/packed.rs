//! Training passes of large models: sequences behind one another in one row, attention block-diagonal, the output head in
//! chunks, and on request activations computed again instead of kept.
//!
//! The backward pass goes part by part. A part's output is cut from the graph and made a leaf; the part behind it leaves
//! its gradient on that leaf, and `sum(output * gradient)` has exactly that gradient to hand on. So logits of a large
//! vocabulary exist for one chunk at a time, and with checkpointing the activations of one block at a time (Chen et al.
//! 2016, arXiv 1604.06174).
//!
//! Shape legend: T tokens of all sequences, M scored positions, C hidden size, V vocabulary.

use std::ops::Range;

use tch::{Kind, Tensor, no_grad};

use super::layers::Attention;
use super::lora::cast;
use super::scoring::Span;
use super::transformer::Transformer;

/// Scored positions that go through the head together: logits of a chunk take `HEAD_ROWS` x V values.
const HEAD_ROWS: i64 = 512;

/// Sequences behind one another, and what of them is scored.
struct Packed {
    /// `[1, T]` (int64).
    tokens: Tensor,
    /// `[1, T]` (int64), counted from each sequence's start.
    positions: Tensor,
    lengths: Vec<i64>,
    /// Positions `[M]` that predict the scored tokens.
    at: Tensor,
    /// Those tokens `[M]`.
    targets: Tensor,
}

impl Packed {
    fn new(model: &Transformer, spans: &[Span]) -> Self {
        let (mut tokens, mut positions, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        let (mut at, mut targets) = (Vec::new(), Vec::new());
        for span in spans {
            let start = tokens.len();
            tokens.extend(span.tokens.iter().map(|t| i64::from(*t)));
            positions.extend(0..span.tokens.len() as i64);
            lengths.push(span.tokens.len() as i64);
            at.extend(span.range.clone().map(|column| (start + column) as i64 - 1));
            targets.extend(
                span.range
                    .clone()
                    .map(|column| i64::from(span.tokens[column])),
            );
        }
        let on_device = |values: &[i64]| Tensor::from_slice(values).to_device(model.device());
        Self {
            tokens: on_device(&tokens).view([1, -1]),
            positions: on_device(&positions).view([1, -1]),
            lengths,
            at: on_device(&at),
            targets: on_device(&targets),
        }
    }

    /// The scored rows `[M, C]` of hidden states `[1, T, C]`.
    fn scored(&self, hidden: &Tensor) -> Tensor {
        hidden.squeeze_dim(0).index_select(0, &self.at)
    }
}

/// Hidden states `[M, C]` at the positions that predict the scored tokens of `spans`, with their graph, and those tokens
/// `[M]`.
pub fn scored_hidden(model: &Transformer, spans: &[Span]) -> (Tensor, Tensor) {
    let packed = Packed::new(model, spans);
    let rotary = model.rotary_at(&packed.positions);
    let mut hidden = model.embed(&packed.tokens);
    for layer in &model.layers {
        let attention = Attention::Packed(&packed.lengths);
        hidden = model.block(layer, hidden, &rotary, attention);
    }
    let rows = packed.scored(&hidden);
    (model.final_norm(&rows), packed.targets)
}

/// What a loss makes of a chunk of the scored positions: logits `[m, V]`, their targets `[m]`, and which of the M
/// positions they are.
pub type ChunkLoss<'a> = dyn FnMut(&Tensor, &Tensor, Range<usize>) -> Tensor + 'a;

/// Forward and backward: `loss` is called for one chunk of scored positions after another, and the gradient of the sum of
/// what it returns is added to the model's trainable weights.
pub fn backward(model: &Transformer, spans: &[Span], checkpointing: bool, loss: &mut ChunkLoss) {
    if checkpointing {
        return backward_by_block(model, spans, loss);
    }
    let (hidden, targets) = scored_hidden(model, spans);
    let gradient = head_backward(model, &hidden, &targets, loss);
    hand_on(&hidden, &gradient);
}

/// The same with the activations of one block at a time.
fn backward_by_block(model: &Transformer, spans: &[Span], loss: &mut ChunkLoss) {
    let packed = Packed::new(model, spans);
    let rotary = model.rotary_at(&packed.positions);
    let block = |layer, hidden| {
        let attention = Attention::Packed(&packed.lengths);
        model.block(layer, hidden, &rotary, attention)
    };
    let mut inputs = Vec::with_capacity(model.layers.len());
    let mut hidden = no_grad(|| model.embed(&packed.tokens));
    for layer in &model.layers {
        inputs.push(hidden.shallow_clone());
        hidden = no_grad(|| block(layer, hidden));
    }
    let leaf = hidden.detach().set_requires_grad(true);
    let rows = model.final_norm(&packed.scored(&leaf));
    let gradient = head_backward(model, &rows, &packed.targets, loss);
    hand_on(&rows, &gradient);
    let mut gradient = leaf.grad();
    for (layer, input) in model.layers.iter().zip(inputs).rev() {
        let leaf = input.detach().set_requires_grad(true);
        hand_on(&block(layer, leaf.shallow_clone()), &gradient);
        gradient = leaf.grad();
    }
    let embedded = model.embed(&packed.tokens);
    if embedded.requires_grad() {
        hand_on(&embedded, &gradient);
    }
}

/// Runs the head and the loss chunk by chunk. Returns the gradient of their sum for `hidden` `[M, C]`. The head's own
/// gradients are products by hand, which add to what is there: autograd would hold a gradient of the head for each chunk.
fn head_backward(
    model: &Transformer,
    hidden: &Tensor,
    targets: &Tensor,
    loss: &mut ChunkLoss,
) -> Tensor {
    let hidden = hidden.detach();
    let head = &model.lm_head;
    let kind = hidden.kind();
    let frozen = cast(&head.detach(), kind);
    let gradient = hidden.empty_like();
    for (start, length) in chunks(targets.size()[0]) {
        let chunk = |t: &Tensor| t.narrow(0, start, length);
        let rows = chunk(&hidden);
        let logits = no_grad(|| model.logits(&rows).to_kind(Kind::Float));
        let logits = logits.set_requires_grad(true);
        let range = start as usize..(start + length) as usize;
        loss(&logits, &chunk(targets), range).backward();
        let towards = cast(&logits.grad(), kind);
        no_grad(|| {
            let _ = towards.mm_out(&chunk(&gradient), &frozen);
            if head.requires_grad() {
                let mut sum = gradient_of(head);
                match sum.kind() == kind {
                    true => drop(sum.addmm_(&towards.tr(), &rows)),
                    false => drop(sum.g_add_(&towards.tr().mm(&rows))),
                }
            }
        });
    }
    gradient
}

/// The gradient of `leaf`, of zeros where there is none yet.
fn gradient_of(leaf: &Tensor) -> Tensor {
    if !leaf.grad().defined() {
        tch::with_grad(|| (leaf.narrow(0, 0, 1) * 0.0).sum(leaf.kind()).backward());
    }
    leaf.grad()
}

/// Start and length of the chunks that `scored` positions go through the head in.
pub(super) fn chunks(scored: i64) -> impl Iterator<Item = (i64, i64)> {
    (0..scored)
        .step_by(HEAD_ROWS as usize)
        .map(move |start| (start, HEAD_ROWS.min(scored - start)))
}

/// Continues the backward pass from `output`, whose gradient is known.
fn hand_on(output: &Tensor, gradient: &Tensor) {
    (output * gradient).sum(Kind::Float).backward();
}

#[cfg(test)]
mod tests {
    use tch::{Device, Reduction};

    use super::super::config::test_config;
    use super::super::lora::LoraConfig;
    use super::super::scoring::span_logits;
    use super::*;

    const A: [u32; 7] = [1, 2, 3, 4, 5, 6, 7];
    const B: [u32; 4] = [9, 8, 7, 6];
    const C: [u32; 4] = [3, 1, 4, 1];

    fn spans() -> Vec<Span<'static>> {
        let span = |tokens, range| Span { tokens, range };
        vec![span(&A, 2..7), span(&B, 1..4), span(&C, 3..4)]
    }

    fn sum(logits: &Tensor, targets: &Tensor) -> Tensor {
        logits.cross_entropy_loss(targets, None::<Tensor>, Reduction::Sum, -100, 0.0)
    }

    fn gradients(model: &Transformer) -> Vec<Tensor> {
        let mut gradients = Vec::new();
        for (_, tensor) in model.trainable() {
            gradients.push(tensor.grad().copy());
            tensor.shallow_clone().zero_grad();
        }
        gradients
    }

    fn close(a: &[Tensor], b: &[Tensor]) -> bool {
        let near = |(a, b): (&Tensor, &Tensor)| (a - b).abs().max().double_value(&[]) < 1e-5;
        a.len() == b.len() && a.iter().zip(b).all(near)
    }

    fn models() -> Vec<Transformer> {
        let config = super::super::ModelConfig {
            model_type: "qwen3".into(),
            ..test_config()
        };
        let full = Transformer::init(&config, 0.2, 5, Device::Cpu);
        let lora = LoraConfig {
            r: 2,
            lora_alpha: 4.0,
            lora_dropout: 0.0,
            target_modules: vec!["q_proj".into(), "down_proj".into()],
        };
        let mut factors = lora.init(&config, 1, Device::Cpu);
        for (_, factor) in &mut factors {
            *factor = factor.randn_like() * 0.1;
        }
        let adapted = full.share().with_adapter(lora, factors);
        vec![full, adapted]
    }

    #[test]
    fn packed_gradients_are_those_of_padded_rows() {
        for model in models() {
            let (logits, targets) = span_logits(&model, &spans());
            sum(&logits, &targets).backward();
            let padded = gradients(&model);
            let largest = padded.iter().map(|g| g.abs().max().double_value(&[]));
            assert!(largest.fold(0.0, f64::max) > 1e-2);
            for checkpointing in [false, true] {
                let mut seen = 0;
                backward(
                    &model,
                    &spans(),
                    checkpointing,
                    &mut |logits, targets, range| {
                        seen += range.len();
                        sum(logits, targets)
                    },
                );
                assert_eq!(seen, 9);
                assert!(
                    close(&gradients(&model), &padded),
                    "checkpointing {checkpointing}"
                );
            }
        }
    }

    #[test]
    fn a_sequence_sees_nothing_of_its_neighbours() {
        for model in models() {
            for spans in [&spans()[..], &spans()[1..]] {
                let (together, _) = scored_hidden(&model, spans);
                let alone = spans.iter().map(|span| {
                    let one = std::slice::from_ref(span);
                    scored_hidden(&model, one).0
                });
                let alone = Tensor::cat(&alone.collect::<Vec<_>>(), 0);
                assert!(close(&[together], &[alone]));
            }
        }
    }

    #[test]
    fn a_merged_model_is_the_adapted_one() {
        let model = models().pop().unwrap();
        let merged = Transformer::frozen(model.config(), model.merged(), Device::Cpu);
        let (adapted, _) = scored_hidden(&model, &spans());
        let (plain, _) = scored_hidden(&merged, &spans());
        assert!(close(&[adapted], &[plain]));
        let base = scored_hidden(&model.share(), &spans()).0;
        assert!(!close(&[base], &[scored_hidden(&merged, &spans()).0]));
    }
}
