//! Training passes of large models: sequences behind one another in one row, attention block-diagonal, the output head in
//! chunks, and on request activations computed again instead of kept. A prompt that several sequences share, as those of a
//! group do, stands in the row once, and each of them attends to it; its gradient is the sum of theirs.
//!
//! The backward pass goes part by part. A part's output is cut from the graph and made a leaf; the part behind it leaves
//! its gradient on that leaf, and `sum(output * gradient)` has exactly that gradient to hand on. So logits of a large
//! vocabulary exist for one chunk at a time, and with checkpointing the activations of one block at a time (Chen et al.
//! 2016, arXiv 1604.06174).
//!
//! Shape legend: T tokens of all sequences, M scored positions, C hidden size, V vocabulary.

use std::collections::HashMap;
use std::ops::Range;

use tch::{Kind, Tensor, no_grad};

use super::layers::{Attention, Prompt, Segment, sees};
use super::lora::cast;
use super::scoring::Span;
use super::transformer::{Rotary, Transformer};

/// Scored positions that go through the head together: logits of a chunk take `HEAD_ROWS` x V values.
const HEAD_ROWS: i64 = 512;

/// Sequences behind one another, and what of them is scored.
struct Packed {
    /// `[1, T]` (int64).
    tokens: Tensor,
    /// `[1, T]` (int64), counted from each sequence's start.
    positions: Tensor,
    /// Length of the longest sequence.
    longest: i64,
    /// In the order of the row, which they fill.
    segments: Vec<Segment>,
    /// Positions `[M]` that predict the scored tokens.
    at: Tensor,
    /// Those tokens `[M]`.
    targets: Tensor,
}

impl Packed {
    fn new(model: &Transformer, spans: &[Span]) -> Self {
        let device = model.device();
        let mut row = Row::default();
        let (mut at, mut targets) = (Vec::new(), Vec::new());
        let mut sharers: HashMap<&[u32], usize> = HashMap::new();
        for span in spans {
            *sharers.entry(prompt(span)).or_default() += 1;
        }
        let mut prompts: HashMap<&[u32], i64> = HashMap::new();
        for span in spans {
            let prompt = prompt(span);
            // Without a token of its own there is no segment to go on.
            let shared = sharers[prompt] > 1 && prompt.len() < span.tokens.len();
            let begun = shared.then(|| {
                *prompts
                    .entry(prompt)
                    .or_insert_with(|| row.push(prompt, 0, None))
            });
            let known = if shared { prompt.len() } else { 0 };
            let own = &span.tokens[known..];
            let before = begun.map(|start| Prompt {
                start,
                length: known as i64,
                mask: sees(own.len() as i64, known as i64, device),
            });
            let start = row.push(own, known, before);
            for column in span.range.clone() {
                let (before, known) = (column as i64 - 1, known as i64);
                at.push(match begun {
                    Some(prompt) if before < known => prompt + before,
                    _ => start + before - known,
                });
                targets.push(i64::from(span.tokens[column]));
            }
        }
        let on_device = |values: &[i64]| Tensor::from_slice(values).to_device(device);
        Self {
            tokens: on_device(&row.tokens).view([1, -1]),
            positions: on_device(&row.positions).view([1, -1]),
            longest: row.positions.iter().max().map_or(0, |last| last + 1),
            segments: row.segments,
            at: on_device(&at),
            targets: on_device(&targets),
        }
    }

    /// The scored rows `[M, n]` of `x` `[1, T, n]`.
    fn scored(&self, x: &Tensor) -> Tensor {
        x.squeeze_dim(0).index_select(0, &self.at)
    }

    /// Block `index` of `model`. What the last one makes of positions that are not scored nobody reads, so it goes on
    /// with the scored rows `[M, C]` behind its attention.
    fn block(&self, model: &Transformer, index: usize, hidden: Tensor, rotary: &Rotary) -> Tensor {
        let layer = &model.layers[index];
        let attention = Attention::Packed(&self.segments);
        if index + 1 < model.layers.len() {
            return model.block(layer, hidden, rotary, attention);
        }
        let attended = model.attend(layer, &hidden, rotary, attention);
        model.after_attention(layer, self.scored(&hidden), &self.scored(&attended))
    }
}

/// What the scored part of a sequence goes on from.
fn prompt<'a>(span: &Span<'a>) -> &'a [u32] {
    &span.tokens[..span.range.start]
}

/// A row while it is filled.
#[derive(Default)]
struct Row {
    tokens: Vec<i64>,
    positions: Vec<i64>,
    segments: Vec<Segment>,
}

impl Row {
    /// Adds `tokens`, the first of which stands at position `first` of its sequence. Returns where the segment begins.
    fn push(&mut self, tokens: &[u32], first: usize, prompt: Option<Prompt>) -> i64 {
        let start = self.tokens.len() as i64;
        self.tokens.extend(tokens.iter().map(|t| i64::from(*t)));
        self.positions
            .extend((first..first + tokens.len()).map(|position| position as i64));
        self.segments.push(Segment {
            start,
            length: tokens.len() as i64,
            prompt,
        });
        start
    }
}

/// Hidden states `[M, C]` at the positions that predict the scored tokens of `spans`, with their graph, and those tokens
/// `[M]`.
pub fn scored_hidden(model: &Transformer, spans: &[Span]) -> (Tensor, Tensor) {
    let packed = Packed::new(model, spans);
    let rotary = model.rotary_at(&packed.positions, packed.longest);
    let mut hidden = model.embed(&packed.tokens);
    for index in 0..model.layers.len() {
        hidden = packed.block(model, index, hidden, &rotary);
    }
    (model.final_norm(&hidden), packed.targets)
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
    let rotary = model.rotary_at(&packed.positions, packed.longest);
    let block = |index, hidden| packed.block(model, index, hidden, &rotary);
    let mut inputs = Vec::with_capacity(model.layers.len());
    let mut hidden = no_grad(|| model.embed(&packed.tokens));
    for index in 0..model.layers.len() {
        inputs.push(hidden.shallow_clone());
        hidden = no_grad(|| block(index, hidden));
    }
    let leaf = hidden.detach().set_requires_grad(true);
    let rows = model.final_norm(&leaf);
    let gradient = head_backward(model, &rows, &packed.targets, loss);
    hand_on(&rows, &gradient);
    let mut gradient = leaf.grad();
    for (index, input) in inputs.into_iter().enumerate().rev() {
        let leaf = input.detach().set_requires_grad(true);
        hand_on(&block(index, leaf.shallow_clone()), &gradient);
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
        let logits = no_grad(|| rows.linear(&frozen, None::<Tensor>).to_kind(Kind::Float));
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

    use super::super::arch::{FAMILIES, Family};
    use super::super::config::test_family;
    use super::super::lora::LoraConfig;
    use super::super::scoring::span_logits;
    use super::*;

    const A: [u32; 7] = [1, 2, 3, 4, 5, 6, 7];
    const B: [u32; 4] = [9, 8, 7, 6];
    const C: [u32; 4] = [3, 1, 4, 1];
    /// Two that go on from one prompt.
    const D: [u32; 5] = [5, 2, 8, 1, 6];
    const E: [u32; 6] = [5, 2, 8, 7, 3, 3];

    fn spans() -> Vec<Span<'static>> {
        let span = |tokens, range| Span { tokens, range };
        vec![
            span(&A, 2..7),
            span(&D, 3..5),
            span(&B, 1..4),
            span(&E, 3..6),
            span(&C, 3..4),
        ]
    }

    #[test]
    fn a_shared_prompt_stands_in_the_row_once() {
        let model = &models()[0];
        let packed = Packed::new(model, &spans());
        let all = A.len() + B.len() + C.len() + D.len() + E.len();
        assert_eq!(packed.tokens.size(), [1, all as i64 - 3]);
        // Without a second sequence there is nothing to share.
        let alone = Packed::new(model, &spans()[2..]);
        assert_eq!(alone.segments.len(), 3);
        assert!(alone.segments.iter().all(|s| s.prompt.is_none()));
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
        FAMILIES.into_iter().flat_map(models_of).collect()
    }

    fn models_of(family: &Family) -> [Transformer; 2] {
        let config = test_family(family);
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
        [full, adapted]
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
                assert_eq!(seen, 14);
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
        for family in FAMILIES {
            let [_, model] = models_of(family);
            check_merged(&model);
        }
    }

    fn check_merged(model: &Transformer) {
        let merged = Transformer::frozen(model.config(), model.merged(), Device::Cpu);
        let (adapted, _) = scored_hidden(model, &spans());
        let (plain, _) = scored_hidden(&merged, &spans());
        assert!(close(&[adapted], &[plain]));
        let base = scored_hidden(&model.share(), &spans()).0;
        assert!(!close(&[base], &[scored_hidden(&merged, &spans()).0]));
    }
}
