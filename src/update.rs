//! Gradients: each function runs forward and backward over microbatches and leaves the sum of gradients on the
//! parameters; the optimizer's step comes after.

use tch::{Kind, Tensor, no_grad};

use crate::batch::{microbatches, packed_microbatches};
use crate::discriminator::Discriminator;
use crate::loss::{self, PolicyMetrics};
use crate::model::scoring::{Span, logprobs_of, span_backward, span_logprobs};
use crate::model::{Batching, Transformer};
use crate::rollout::{TrainSequence, VerdictExample};

/// Padded tokens in one pass of a small model: keeps activations in cache and peak memory bounded.
const PADDED_TOKENS: usize = 4096;

/// Packed tokens in one pass of a large model, where the activations of a token take megabytes; products of matrices
/// gain nothing from more.
const PACKED_TOKENS: usize = 1024;

/// Bound of the weights that correct for rollouts decoded with other numbers than those of training: each token counts
/// pi(t) over its probability at sampling time, at most this (truncated importance sampling, Ionides 2008).
const MOST_RATIO: f64 = 2.0;

/// A text to imitate: the loss is taken on `tokens[from..]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Prompt and completion.
    pub tokens: Vec<u32>,
    /// Where the completion begins; at least 1.
    pub from: usize,
}

impl Example {
    fn span(&self) -> Span<'_> {
        Span {
            tokens: &self.tokens,
            range: self.from..self.tokens.len(),
        }
    }
}

/// Which of `spans` go through the model together.
fn passes(model: &Transformer, spans: &[Span]) -> Vec<Vec<usize>> {
    match model.batching() {
        Batching::Padded => {
            let lengths: Vec<usize> = spans.iter().map(|span| span.tokens.len()).collect();
            microbatches(&lengths, PADDED_TOKENS)
        }
        Batching::Packed { .. } => {
            let parted: Vec<(&[u32], usize)> = spans
                .iter()
                .map(|span| {
                    let (prompt, rest) = span.tokens.split_at(span.range.start);
                    (prompt, rest.len())
                })
                .collect();
            packed_microbatches(&parted, PACKED_TOKENS)
        }
    }
}

/// Gradients of the cross-entropy over `examples`, averaged over all trained tokens and times `weight`. Returns nats per
/// token.
pub fn imitate(model: &Transformer, examples: &[Example], weight: f64) -> f64 {
    let tokens: usize = examples.iter().map(|e| e.span().range.len()).sum();
    let all: Vec<Span> = examples.iter().map(Example::span).collect();
    let mut nats = 0.0;
    for batch in passes(model, &all) {
        let spans: Vec<Span> = batch.iter().map(|&i| all[i].clone()).collect();
        span_backward(model, &spans, &mut |logits, targets, _| {
            let (loss, sum) = loss::cross_entropy(logits, targets, tokens as f64);
            nats += sum;
            loss * weight
        });
    }
    nats / tokens.max(1) as f64
}

/// What holds for every sequence of a policy update.
#[derive(Clone, Copy, Debug)]
pub struct PolicyOptions {
    /// Temperature the completions were sampled at.
    pub temperature: f64,
    /// Weight of the KL term.
    pub kl_beta: f64,
    /// Longest completion allowed, the constant in the denominator.
    pub max_new_tokens: usize,
    /// Sequences of the whole batch, skipped and masked ones included, so that skipping a group does not raise the
    /// weight of the others.
    pub sequences: usize,
}

/// Gradients of the policy-gradient loss over `sequences`, with the KL anchor `reference`.
pub fn reinforce(
    model: &Transformer,
    reference: &Transformer,
    sequences: &[TrainSequence],
    options: &PolicyOptions,
) -> PolicyMetrics {
    let denominator = (options.sequences.max(1) * options.max_new_tokens.max(1)) as f64;
    let all: Vec<Span> = sequences
        .iter()
        .map(|sequence| Span {
            tokens: sequence.tokens(),
            range: sequence.loss_range(),
        })
        .collect();
    let mut total = PolicyMetrics::default();
    for batch in passes(model, &all) {
        let spans: Vec<Span> = batch.iter().map(|&i| all[i].clone()).collect();
        let advantages: Vec<f32> = batch
            .iter()
            .flat_map(|&i| {
                std::iter::repeat_n(sequences[i].advantage(), sequences[i].loss_range().len())
            })
            .collect();
        let advantages = Tensor::from_slice(&advantages).to_device(model.device());
        let anchor = (options.kl_beta > 0.0)
            .then(|| no_grad(|| span_logprobs(reference, &spans, options.temperature)));
        let sampled: Vec<f32> = batch
            .iter()
            .flat_map(|&i| sequences[i].logprobs().iter().copied())
            .collect();
        let sampled = Tensor::from_slice(&sampled).to_device(model.device());
        span_backward(model, &spans, &mut |logits, targets, scored| {
            let part = |t: &Tensor| t.narrow(0, scored.start as i64, scored.len() as i64);
            let logprobs = logprobs_of(logits, targets, options.temperature);
            let mut advantages = part(&advantages);
            // A large model may have been decoded with rounded weights.
            if model.batching() != Batching::Padded {
                let difference = logprobs.detach() - part(&sampled);
                total.mismatch += difference.abs().sum(Kind::Double).double_value(&[]);
                advantages *= difference.exp().clamp_max(MOST_RATIO);
            }
            let (loss, metrics) = loss::policy_gradient(
                &logprobs,
                &advantages,
                anchor.as_ref().map(part).as_ref(),
                options.kl_beta,
                denominator,
            );
            total.kl += metrics.kl;
            total.tokens += metrics.tokens;
            loss
        });
    }
    total
}

/// Gradients of the verdict loss, averaged over `examples`; `trunk_weight` scales what reaches the trunk, the head itself
/// takes the whole. Returns nats per verdict.
pub fn judge(discriminator: &Discriminator, examples: &[VerdictExample], trunk_weight: f64) -> f64 {
    let lengths: Vec<usize> = examples.iter().map(|e| e.prompt_tokens.len()).collect();
    let mut nats = 0.0;
    let budget = match discriminator.model.batching() {
        Batching::Padded => PADDED_TOKENS,
        Batching::Packed { .. } => PACKED_TOKENS,
    };
    for batch in microbatches(&lengths, budget) {
        let prompts: Vec<&[u32]> = batch
            .iter()
            .map(|&i| &examples[i].prompt_tokens[..])
            .collect();
        let outcomes: Vec<f32> = batch.iter().map(|&i| examples[i].target).collect();
        let logits = discriminator.verdict_logits(&prompts, trunk_weight);
        let outcomes = Tensor::from_slice(&outcomes)
            .to_kind(Kind::Float)
            .to_device(logits.device());
        let (loss, sum) = loss::verdict(&logits, &outcomes, examples.len() as f64);
        loss.backward();
        nats += sum;
    }
    nats / examples.len().max(1) as f64
}
