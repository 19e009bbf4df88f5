//! Losses and gradients against those that Python's torch computes from the published formulas.
//!
//! `golden.json` is made by `python src/algo/reference.py > src/algo/golden.json`.

use serde::Deserialize;
use serde_json::{Value as Json, json};
use tch::{Kind, Tensor};

use super::super::{Algorithm, BatchCounts, PolicyMetrics, sequence_ratios};
use super::{LossOptions, Tokens};
use crate::config::Config;
use crate::model::scoring::logprobs_of;

#[derive(Deserialize)]
struct Golden {
    lengths: Vec<usize>,
    counts: Counts,
    max_new_tokens: usize,
    temperature: f64,
    kl_beta: f64,
    logits: Vec<Vec<f32>>,
    targets: Vec<i64>,
    sampled: Vec<f32>,
    reference: Vec<f32>,
    advantages: Vec<f32>,
    entropy: f64,
    mismatch: f64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Counts {
    sequences: usize,
    tokens: usize,
}

#[derive(Deserialize)]
struct Case {
    config: Json,
    loss: f64,
    gradient: Vec<Vec<f32>>,
    kl: f64,
    clipped: f64,
    ratio_sum: f64,
    ratio_max: f64,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden.json")).unwrap()
}

impl Golden {
    fn algorithm(&self, case: &Case) -> Algorithm {
        let mut config = case.config.clone();
        config["kl_beta"] = json!(self.kl_beta);
        let text = json!({ "algorithm": config }).to_string();
        let config = Config::parse(&text, "golden.json".as_ref(), &[]).unwrap();
        Algorithm::from_config(&config.algorithm)
    }

    fn spread(&self, values: &[f32]) -> Tensor {
        let tokens = values.iter().zip(&self.lengths);
        let tokens = tokens.flat_map(|(&value, &length)| std::iter::repeat_n(value, length));
        Tensor::from_slice(&tokens.collect::<Vec<f32>>())
    }

    /// Gradient for the logits `[M, V]`, the loss's value, and what was measured, with the tokens in chunks that end at
    /// `ends`.
    fn run(&self, algorithm: &Algorithm, ends: &[i64]) -> (Tensor, f64, PolicyMetrics) {
        let options = LossOptions {
            denominator: algorithm.denominator(
                BatchCounts {
                    sequences: self.counts.sequences,
                    tokens: self.counts.tokens,
                },
                self.max_new_tokens,
            ),
            exact: false,
        };
        let logits = Tensor::from_slice2(&self.logits).set_requires_grad(true);
        let targets = Tensor::from_slice(&self.targets);
        let sampled = Tensor::from_slice(&self.sampled);
        let reference = Tensor::from_slice(&self.reference);
        let advantages = self.spread(&self.advantages);
        let own_lengths: Vec<f32> = self.lengths.iter().map(|&length| length as f32).collect();
        let own_lengths = self.spread(&own_lengths);
        let whole = logprobs_of(&logits, &targets, self.temperature).detach();
        let ratios = sequence_ratios(&(whole - &sampled), &self.lengths);
        let (mut total, mut value) = (PolicyMetrics::default(), 0.0);
        let mut start = 0;
        for &end in ends {
            let part = |t: &Tensor| t.narrow(0, start, end - start);
            let logprobs = logprobs_of(&part(&logits), &part(&targets), self.temperature);
            let (reference, ratios, own_lengths) =
                (part(&reference), part(&ratios), part(&own_lengths));
            let tokens = Tokens {
                logprobs: &logprobs,
                sampled: &part(&sampled),
                advantages: &part(&advantages),
                reference: algorithm.has_kl().then_some(&reference),
                lengths: algorithm.has_lengths().then_some(&own_lengths),
                sequence_ratios: algorithm.has_sequence_ratios().then_some(&ratios),
            };
            let (loss, metrics) = algorithm.loss(&tokens, &options);
            loss.backward();
            value += loss.double_value(&[]);
            total += metrics;
            start = end;
        }
        (logits.grad(), value, total)
    }
}

#[track_caller]
fn near(ours: f64, theirs: f64, what: &str) {
    let allowed = 2e-6 * theirs.abs().max(1.0);
    assert!((ours - theirs).abs() < allowed, "{what}: {ours}, {theirs}");
}

#[test]
fn losses_and_gradients_are_pythons() {
    let golden = golden();
    assert_eq!(golden.cases.len(), 4 * 3 * 3);
    for case in &golden.cases {
        let algorithm = golden.algorithm(case);
        // In one piece, and in chunks that cut sequences.
        for ends in [&[8][..], &[2, 6, 8]] {
            let (gradient, value, metrics) = golden.run(&algorithm, ends);
            let what = format!("{} in {} chunks", case.config, ends.len());
            let theirs = Tensor::from_slice2(&case.gradient);
            let largest = theirs.abs().max().double_value(&[]);
            let distance = (gradient - theirs).abs().max().double_value(&[]);
            assert!(largest > 1e-3 && distance < 1e-6, "{what}: {distance}");
            near(metrics.kl, case.kl, &what);
            near(metrics.mismatch, golden.mismatch, &what);
            assert_eq!(metrics.tokens, 8, "{what}");
            match metrics.ratios {
                None => near(value, case.loss, &what),
                Some(ratios) => {
                    near(ratios.loss, case.loss, &what);
                    assert_eq!(ratios.clipped, case.clipped, "{what}");
                    near(ratios.sum, case.ratio_sum, &what);
                    near(ratios.max, case.ratio_max, &what);
                    near(ratios.entropy, golden.entropy, &what);
                }
            }
        }
    }
}

#[test]
fn the_cases_differ_where_they_should() {
    let golden = golden();
    for (i, a) in golden.cases.iter().enumerate() {
        for b in &golden.cases[..i] {
            let [ours, theirs] = [a, b].map(|case| Tensor::from_slice2(&case.gradient));
            let distance = (ours - theirs).abs().max().double_value(&[]);
            assert!(distance > 1e-4, "{} and {}", a.config, b.config);
        }
    }
    let clipped = |case: &Case| case.clipped > 0.0 && case.clipped < 8.0;
    let bounded = |case: &&Case| case.config["objective"] != "reinforce";
    assert!(golden.cases.iter().filter(bounded).all(clipped));
}

#[test]
fn reinforce_is_bit_for_bit_its_plain_formula() {
    // Weights of 1 where decoding is exact, and truncated ones where it is not: the same operations in the same order.
    let golden = golden();
    let config = Config::default().algorithm;
    let algorithm = Algorithm::from_config(&config);
    let targets = Tensor::from_slice(&golden.targets);
    let (sampled, reference) = (
        Tensor::from_slice(&golden.sampled),
        Tensor::from_slice(&golden.reference),
    );
    let advantages = golden.spread(&golden.advantages);
    for exact in [true, false] {
        let gradient = |loss: &dyn Fn(&Tensor) -> Tensor| {
            let logits = Tensor::from_slice2(&golden.logits).set_requires_grad(true);
            let loss = loss(&logprobs_of(&logits, &targets, 0.7));
            loss.backward();
            let bits: Vec<f32> = Vec::try_from(logits.grad().view([-1])).unwrap();
            (bits, loss.double_value(&[]))
        };
        let plain = gradient(&|logprobs| {
            let weight = match exact {
                true => advantages.shallow_clone(),
                false => &advantages * (logprobs.detach() - &sampled).exp().clamp_max(2.0),
            };
            let reward = (logprobs * weight).sum(Kind::Float) * (-1.0 / 240.0);
            let difference = &reference - logprobs;
            let k3 = (difference.exp() - &difference - 1.0).sum(Kind::Float);
            reward + k3 * (config.kl_beta / 240.0)
        });
        let ours = gradient(&|logprobs| {
            let tokens = Tokens {
                logprobs,
                sampled: &sampled,
                advantages: &advantages,
                reference: Some(&reference),
                lengths: None,
                sequence_ratios: None,
            };
            let options = LossOptions {
                denominator: 240.0,
                exact,
            };
            let (loss, metrics) = algorithm.loss(&tokens, &options);
            assert_eq!(metrics.figures(), []);
            assert_eq!(metrics.mismatch == 0.0, exact);
            loss
        });
        assert_eq!(ours, plain, "exact {exact}");
    }
}
