//! Gradients: each function runs forward and backward over microbatches and leaves the sum of gradients on the
//! parameters; the optimizer's step comes after.

use tch::{Kind, Tensor, no_grad};

use crate::algo::{Algorithm, BatchCounts, LossOptions, PolicyMetrics, Tokens, sequence_ratios};
use crate::batch::{microbatches, packed_microbatches};
use crate::discriminator::Discriminator;
use crate::loss;
use crate::model::scoring::{Span, logprobs_of, span_backward, span_logprobs};
use crate::model::{Batching, Transformer};
use crate::rollout::{TrainSequence, VerdictExample};

/// Padded tokens in one pass of a small model: keeps activations in cache and peak memory bounded.
const PADDED_TOKENS: usize = 4096;

/// Packed tokens in one pass of a large model, where the activations of a token take megabytes; products of matrices
/// gain nothing from more.
const PACKED_TOKENS: usize = 1024;

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
    /// Objective, KL term and denominator.
    pub algorithm: Algorithm,
    /// Temperature the completions were sampled at.
    pub temperature: f64,
    /// Longest completion allowed, the constant in the constant denominator.
    pub max_new_tokens: usize,
    /// Sizes of the whole batch, whatever part of it `sequences` are: skipped and masked sequences are counted, and so
    /// are those of other processes.
    pub counts: BatchCounts,
}

/// Gradients of the policy's loss over `sequences`, with the KL anchor `reference`: one pass over the batch. Without
/// sequences there are no gradients and nothing is measured.
pub fn reinforce(
    model: &Transformer,
    reference: &Transformer,
    sequences: &[TrainSequence],
    options: &PolicyOptions,
) -> PolicyMetrics {
    let algorithm = &options.algorithm;
    let exact = model.batching() == Batching::Padded;
    let loss_options = LossOptions {
        denominator: algorithm.denominator(options.counts, options.max_new_tokens),
        // A large model may have been decoded with rounded weights.
        exact,
    };
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
        let lengths: Vec<usize> = spans.iter().map(|span| span.range.len()).collect();
        let spread = |value: &dyn Fn(usize) -> f32| {
            let values: Vec<f32> = batch
                .iter()
                .zip(&lengths)
                .flat_map(|(&i, &length)| std::iter::repeat_n(value(i), length))
                .collect();
            Tensor::from_slice(&values).to_device(model.device())
        };
        let advantages = spread(&|i| sequences[i].advantage());
        let own_lengths = algorithm
            .has_lengths()
            .then(|| spread(&|i| sequences[i].loss_range().len() as f32));
        let anchor = algorithm
            .has_kl()
            .then(|| no_grad(|| span_logprobs(reference, &spans, options.temperature)));
        let sampled: Vec<f32> = batch
            .iter()
            .flat_map(|&i| sequences[i].logprobs().iter().copied())
            .collect();
        let sampled = Tensor::from_slice(&sampled).to_device(model.device());
        // Chunks of tokens cut sequences: their ratios have to be known before the first of them.
        let ratios = (algorithm.has_sequence_ratios() && !exact).then(|| {
            let ours = no_grad(|| span_logprobs(model, &spans, options.temperature));
            sequence_ratios(&(ours - &sampled), &lengths)
        });
        span_backward(model, &spans, &mut |logits, targets, scored| {
            let part = |t: &Tensor| t.narrow(0, scored.start as i64, scored.len() as i64);
            let logprobs = logprobs_of(logits, targets, options.temperature);
            let ratios = match &ratios {
                Some(ratios) => Some(part(ratios)),
                None => algorithm
                    .has_sequence_ratios()
                    .then(|| sequence_ratios(&(logprobs.detach() - &sampled), &lengths)),
            };
            let (anchor, own_lengths) = (anchor.as_ref().map(part), own_lengths.as_ref().map(part));
            let tokens = Tokens {
                logprobs: &logprobs,
                sampled: &part(&sampled),
                advantages: &part(&advantages),
                reference: anchor.as_ref(),
                lengths: own_lengths.as_ref(),
                sequence_ratios: ratios.as_ref(),
            };
            let (loss, metrics) = algorithm.loss(&tokens, &loss_options);
            total += metrics;
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

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::config::Config;
    use crate::model::config::test_config;
    use crate::optimizer::{AdamW, AdamWOptions};
    use crate::rollout::{
        Advantaged, Completion, FinishReason, Reward, RolloutKey, TrainSequence, Trainable,
    };

    /// A prompt and what followed it.
    struct Forced(Vec<u32>, Completion);

    impl Trainable for Forced {
        fn key(&self) -> &RolloutKey {
            unreachable!("an update does not ask whose work it trains on")
        }

        fn prompt_tokens(&self) -> &[u32] {
            &self.0
        }

        fn completion(&self) -> &Completion {
            &self.1
        }
    }

    /// Twelve sequences of two prompts, of 45 to 56 trained tokens: more than one chunk of a packed row. Sampled by
    /// `model` but for `noise` in each log-probability.
    fn sequences(model: &Transformer, noise: f32) -> Vec<TrainSequence> {
        let sequence = |i: u32| {
            let prompt = vec![1 + i % 2, 5, 9];
            let tokens: Vec<u32> = (0..45 + i).map(|t| (7 * t + 3 * i + t * t) % 40).collect();
            let all = [&prompt[..], &tokens].concat();
            let span = Span {
                tokens: &all,
                range: 3..all.len(),
            };
            let logprobs = no_grad(|| span_logprobs(model, &[span], 1.0));
            let logprobs: Vec<f32> = Vec::try_from(logprobs).unwrap();
            let signs = logprobs
                .iter()
                .zip([noise, -noise, noise].into_iter().cycle());
            let completion = Completion {
                logprobs: signs.map(|(logprob, noise)| logprob + noise).collect(),
                tokens,
                text: String::new(),
                finish_reason: FinishReason::Stop,
            };
            TrainSequence::new(&Advantaged {
                rollout: Forced(prompt, completion),
                reward: Ok(Reward::new([])),
                advantage: Some(f64::from(i) - 5.25),
            })
            .expect("the advantage is not 0")
        };
        (0..12).map(sequence).collect()
    }

    fn models(batching: Batching) -> (Transformer, Transformer) {
        let model = |seed| Transformer::init(&test_config(), 0.2, seed, Device::Cpu);
        (model(5).running(tch::Kind::Float, batching), model(6))
    }

    fn options(text: &str) -> PolicyOptions {
        let text = format!("algorithm: {text}");
        let config = Config::parse(&text, "test.yaml".as_ref(), &[]).unwrap();
        PolicyOptions {
            algorithm: Algorithm::from_config(&config.algorithm),
            temperature: 1.0,
            max_new_tokens: 64,
            counts: BatchCounts {
                sequences: 16,
                tokens: 800,
            },
        }
    }

    fn gradients(model: &Transformer) -> Tensor {
        let flat = model.trainable().iter().map(|(_, tensor)| {
            let gradient = tensor.grad().copy().view([-1]);
            tensor.shallow_clone().zero_grad();
            gradient
        });
        Tensor::cat(&flat.collect::<Vec<_>>(), 0)
    }

    fn distance(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).norm().double_value(&[]) / b.norm().double_value(&[])
    }

    const PACKED: Batching = Batching::Packed {
        checkpointing: false,
    };

    #[test]
    fn an_update_does_not_depend_on_how_sequences_share_passes() {
        let (padded, reference) = models(Batching::Padded);
        let (packed, _) = models(PACKED);
        let sequences = sequences(&padded, 0.1);
        for objective in ["ppo_clip", "gspo, clip_low: 0.02, clip_high: 0.03", "cispo"] {
            for rest in [
                "kl: loss, denominator: constant",
                "kl: reward, denominator: token",
                "kl: none, denominator: sequence",
            ] {
                let text = format!("{{objective: {objective}, kl_beta: 0.2, {rest}}}");
                let options = options(&text);
                let run = |model: &Transformer, sequences: &[TrainSequence]| {
                    let metrics = reinforce(model, &reference, sequences, &options);
                    (gradients(model), metrics)
                };
                let (whole, metrics) = run(&padded, &sequences);
                let (chunked, theirs) = run(&packed, &sequences);
                assert!(distance(&chunked, &whole) < 1e-4, "{text}");
                assert_eq!(metrics.tokens, theirs.tokens);
                for ((name, ours), (_, theirs)) in metrics.figures().iter().zip(theirs.figures()) {
                    assert!(
                        (ours - theirs).abs() < 1e-4,
                        "{text}: {name} {ours} {theirs}"
                    );
                }
                // Halves of a batch, as two processes have them, add up to the whole.
                let (first, _) = run(&packed, &sequences[..5]);
                let (second, _) = run(&packed, &sequences[5..]);
                assert!(distance(&(first + second), &whole) < 1e-4, "{text}");
            }
        }
    }

    #[test]
    fn on_policy_every_objective_is_reinforce() {
        let (model, reference) = models(PACKED);
        let sequences = sequences(&model, 0.0);
        let run = |text: &str| {
            let metrics = reinforce(&model, &reference, &sequences, &options(text));
            (gradients(&model), metrics)
        };
        let (plain, metrics) = run("{}");
        assert_eq!(metrics.figures(), []);
        for objective in ["ppo_clip", "gspo", "cispo"] {
            let (gradient, metrics) = run(&format!("{{objective: {objective}}}"));
            assert!(distance(&gradient, &plain) < 1e-4, "{objective}");
            let figures: std::collections::BTreeMap<_, _> = metrics.figures().into_iter().collect();
            let near = |name: &str, value: f64| (figures[name] - value).abs() < 1e-5;
            assert!(
                near("clip_fraction", 0.0) && near("ratio_mean", 1.0) && near("ratio_max", 1.0)
            );
        }
    }

    #[test]
    fn a_second_pass_meets_the_bounds() {
        let (model, reference) = models(Batching::Padded);
        let sequences = sequences(&model, 0.0);
        let options = options("{objective: ppo_clip, passes: 2, kl: none}");
        assert_eq!(options.algorithm.passes(), 2);
        let settings = AdamWOptions {
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            muon: None,
        };
        let mut optimizer = AdamW::new(model.trainable(), settings);
        let mut fractions = Vec::new();
        for _ in 0..options.algorithm.passes() {
            let metrics = reinforce(&model, &reference, &sequences, &options);
            fractions.push(metrics.ratios.unwrap().clipped);
            optimizer.step(0.05).unwrap();
        }
        assert_eq!(fractions[0], 0.0);
        assert!(fractions[1] > 0.0, "{fractions:?}");
    }

    #[test]
    fn nothing_to_learn_from_leaves_no_gradient() {
        for batching in [Batching::Padded, PACKED] {
            let (model, reference) = models(batching);
            let metrics = reinforce(&model, &reference, &[], &options("{objective: gspo}"));
            assert_eq!(metrics, PolicyMetrics::default());
            assert!(model.trainable().iter().all(|(_, t)| !t.grad().defined()));
        }
    }
}
