//! Teacher forcing: hidden states and log-probabilities of given sequences, for the losses.
//!
//! Shape legend: B sequences, T longest of them, C hidden size, M scored tokens over all sequences, V vocabulary.

use std::ops::Range;

use tch::{Kind, Tensor};

use super::packed::{self, ChunkLoss};
use super::transformer::{Batching, Transformer};
use crate::rng::DrawKey;

/// A sequence and the part of it that is scored: `tokens[range]`, each predicted from what precedes it.
#[derive(Clone, Debug)]
pub struct Span<'a> {
    /// The whole sequence.
    pub tokens: &'a [u32],
    /// The scored part; starts at 1 or later, since nothing predicts the first token.
    pub range: Range<usize>,
}

/// Hidden states `[B, T, C]` of right-padded sequences, with T.
fn padded_forward(model: &Transformer, sequences: &[&[u32]]) -> (Tensor, usize) {
    let longest = sequences.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut tokens = vec![0i64; sequences.len() * longest];
    for (row, sequence) in sequences.iter().enumerate() {
        for (column, token) in sequence.iter().enumerate() {
            tokens[row * longest + column] = i64::from(*token);
        }
    }
    let tokens = Tensor::from_slice(&tokens)
        .view([sequences.len() as i64, longest as i64])
        .to_device(model.device());
    (model.forward(&tokens), longest)
}

/// Logits `[M, V]` that predict the scored tokens, and those tokens `[M]` (int64), in the order of `spans`. The output head
/// runs on the scored positions only.
pub fn span_logits(model: &Transformer, spans: &[Span]) -> (Tensor, Tensor) {
    if let Batching::Packed { .. } = model.batching() {
        let (rows, targets) = packed::scored_hidden(model, spans);
        return (model.logits(&rows).to_kind(Kind::Float), targets);
    }
    let sequences: Vec<&[u32]> = spans.iter().map(|span| span.tokens).collect();
    let (hidden, longest) = padded_forward(model, &sequences);
    let mut at = Vec::new();
    let mut targets = Vec::new();
    for (row, span) in spans.iter().enumerate() {
        for column in span.range.clone() {
            at.push((row * longest + column - 1) as i64);
            targets.push(i64::from(span.tokens[column]));
        }
    }
    let on_device = |values: &[i64]| Tensor::from_slice(values).to_device(model.device());
    let rows = hidden
        .view([-1, model.config().hidden_size])
        .index_select(0, &on_device(&at));
    (model.logits(&rows), on_device(&targets))
}

/// Forward and backward of a loss on the scored tokens. `loss` takes logits `[m, V]`, targets `[m]` and which of the M
/// scored tokens these are; it is called once, or for one chunk after another, as the model's [`Batching`] says, and the
/// gradient of the sum of what it returns is added to the trainable weights.
pub fn span_backward(model: &Transformer, spans: &[Span], loss: &mut ChunkLoss) {
    match model.batching() {
        Batching::Packed { checkpointing } => {
            // Dropout is a function of the sequences, so that a resumed run drops what it would have dropped.
            let tokens = spans.iter().flat_map(|span| span.tokens);
            let key = tokens.fold(DrawKey::new(spans.len() as u64), |key, token| {
                key.with(u64::from(*token))
            });
            model.training(key.value() >> 1, || {
                packed::backward(model, spans, checkpointing, loss);
            });
        }
        Batching::Padded => {
            let (logits, targets) = span_logits(model, spans);
            let scored = targets.size()[0] as usize;
            loss(&logits, &targets, 0..scored).backward();
        }
    }
}

/// Log-probabilities `[m]` of `targets` `[m]` under `logits` `[m, V]` at `temperature`.
pub fn logprobs_of(logits: &Tensor, targets: &Tensor, temperature: f64) -> Tensor {
    (logits / temperature)
        .log_softmax(-1, Kind::Float)
        .gather(1, &targets.unsqueeze(1), false)
        .squeeze_dim(1)
}

/// Log-probabilities `[M]` of the scored tokens at `temperature`.
pub fn span_logprobs(model: &Transformer, spans: &[Span], temperature: f64) -> Tensor {
    if let Batching::Packed { .. } = model.batching() {
        let (rows, targets) = packed::scored_hidden(model, spans);
        let chunks = packed::chunks(targets.size()[0]).map(|(start, length)| {
            let logits = model.logits(&rows.narrow(0, start, length));
            let targets = targets.narrow(0, start, length);
            logprobs_of(&logits.to_kind(Kind::Float), &targets, temperature)
        });
        return Tensor::cat(&chunks.collect::<Vec<_>>(), 0);
    }
    let (logits, targets) = span_logits(model, spans);
    logprobs_of(&logits, &targets, temperature)
}

/// Hidden states `[B, C]` at the last token of each sequence.
pub fn last_hidden(model: &Transformer, sequences: &[&[u32]]) -> Tensor {
    if let Batching::Packed { .. } = model.batching() {
        // The position that would predict a token behind the last one.
        let padded: Vec<Vec<u32>> = sequences.iter().map(|s| [s, &[0][..]].concat()).collect();
        let spans: Vec<Span> = padded
            .iter()
            .map(|tokens| Span {
                tokens,
                range: tokens.len() - 1..tokens.len(),
            })
            .collect();
        return packed::scored_hidden(model, &spans).0.to_kind(Kind::Float);
    }
    let (hidden, longest) = padded_forward(model, sequences);
    let at: Vec<i64> = sequences
        .iter()
        .enumerate()
        .map(|(row, s)| (row * longest + s.len()) as i64 - 1)
        .collect();
    let at = Tensor::from_slice(&at).to_device(model.device());
    hidden
        .view([-1, model.config().hidden_size])
        .index_select(0, &at)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::super::config::test_config;
    use super::*;

    #[test]
    fn scores_do_not_depend_on_what_shares_the_batch() {
        let model = Transformer::init(&test_config(), 0.02, 5, Device::Cpu);
        let (long, short) = ([1u32, 2, 3, 4, 5, 6], [7u32, 8, 9]);
        let spans = [
            Span {
                tokens: &long,
                range: 2..6,
            },
            Span {
                tokens: &short,
                range: 1..3,
            },
        ];
        let together: Vec<f32> = Vec::try_from(span_logprobs(&model, &spans, 0.7)).unwrap();
        let alone: Vec<f32> = Vec::try_from(span_logprobs(&model, &spans[1..], 0.7)).unwrap();
        assert_eq!(together.len(), 6);
        assert!(
            together[4..]
                .iter()
                .zip(&alone)
                .all(|(a, b)| (a - b).abs() < 1e-5)
        );
        let last = last_hidden(&model, &[&long, &short]);
        let difference = (last.get(1) - last_hidden(&model, &[&short]).get(0))
            .abs()
            .max();
        assert!(f64::try_from(difference).unwrap() < 1e-5);
    }
}
