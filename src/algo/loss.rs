//! The loss of a policy: an objective's weights on log-probabilities, the KL term, and the denominator.
//!
//! ```text
//! loss = -(1 / D) sum_t w_t log pi(t) / n_t  +  (beta / D) sum_t k3_t / n_t
//! ```
//!
//! `n_t` is the length of the token's sequence where the denominator is `sequence`, else 1; `D` is
//! [`super::BatchCounts::denominator`]. With the KL penalty in the reward the second sum is missing, and the weights are
//! made of `A_t - beta k1_t`.
//!
//! Shape legend: m tokens of a chunk, M of the microbatch.

use tch::{Kind, Tensor};

use crate::config::{Denominator, KlPlacement, Objective};

use super::metrics::{PolicyMetrics, RatioMetrics};
use super::objectives::{cispo, gspo, ppo_clip, reinforce};
use super::{Algorithm, kl};

/// What the loss reads of some tokens, all `[m]`; only `logprobs` carries gradient.
pub struct Tokens<'a> {
    /// Log-probabilities under the policy.
    pub logprobs: &'a Tensor,
    /// Log-probabilities at sampling time.
    pub sampled: &'a Tensor,
    /// Advantages.
    pub advantages: &'a Tensor,
    /// Log-probabilities under the reference, where there is a KL term.
    pub reference: Option<&'a Tensor>,
    /// Lengths of the completions that the tokens belong to, where the denominator is `sequence`.
    pub lengths: Option<&'a Tensor>,
    /// Ratios of their sequences, where the objective reads those.
    pub sequence_ratios: Option<&'a Tensor>,
}

/// What holds for all tokens of an update.
#[derive(Clone, Copy, Debug)]
pub struct LossOptions {
    /// What the sums are divided by, from the sizes of the whole batch.
    pub denominator: f64,
    /// Whether rollouts are decoded with the numbers of training, so that log-probabilities at sampling time are the
    /// policy's before its first step.
    pub exact: bool,
}

impl Algorithm {
    /// Whether the loss compares the policy with its reference.
    pub fn has_kl(&self) -> bool {
        self.kl != KlPlacement::None && self.kl_beta > 0.0
    }

    /// Whether the objective reads the ratios of whole sequences.
    pub fn has_sequence_ratios(&self) -> bool {
        self.objective == Objective::Gspo
    }

    /// Whether the denominator reads the lengths of completions.
    pub fn has_lengths(&self) -> bool {
        self.denominator == Denominator::Sequence
    }

    /// The loss of some tokens, with what it measured. Its gradient is the objective's; its value need not be, and
    /// [`RatioMetrics::loss`] is.
    pub fn loss(&self, tokens: &Tokens, options: &LossOptions) -> (Tensor, PolicyMetrics) {
        let sum = |t: &Tensor| t.sum(Kind::Double).double_value(&[]);
        let per_token = |t: Tensor| match tokens.lengths {
            Some(lengths) => t / lengths,
            None => t,
        };
        let mut metrics = PolicyMetrics {
            tokens: tokens.logprobs.numel(),
            ..PolicyMetrics::default()
        };
        let logprobs = tokens.logprobs.detach();
        let difference = &logprobs - tokens.sampled;
        if !options.exact {
            metrics.mismatch = sum(&difference.abs());
        }
        let advantages = match (tokens.reference, self.kl) {
            (Some(reference), KlPlacement::Reward) => {
                let k1 = kl::k1(&logprobs, reference);
                metrics.kl = sum(&k1);
                tokens.advantages - k1 * self.kl_beta
            }
            _ => tokens.advantages.shallow_clone(),
        };
        let weighed = match self.objective {
            Objective::Reinforce => {
                // Decoded exactly, a batch is on-policy and its ratios are 1 but for rounding.
                let ratios = (!options.exact).then(|| difference.exp());
                reinforce::weigh(ratios.as_ref(), &advantages)
            }
            Objective::PpoClip => ppo_clip::weigh(&difference.exp(), &advantages, self.bounds),
            Objective::Gspo => {
                let ratios = tokens.sequence_ratios;
                let ratios = ratios.expect("an objective on sequences is given their ratios");
                gspo::weigh(ratios, &advantages, self.bounds)
            }
            Objective::Cispo => {
                cispo::weigh(&difference.exp(), &advantages, &logprobs, self.bounds)
            }
        };
        metrics.ratios = weighed.seen.map(|seen| RatioMetrics {
            loss: -sum(&per_token(seen.values)) / options.denominator,
            clipped: sum(&seen.clipped),
            sum: sum(&seen.ratios),
            max: seen.ratios.max().double_value(&[]),
            entropy: -sum(&logprobs),
        });
        let reward = per_token(tokens.logprobs * weighed.weights).sum(Kind::Float);
        let loss = reward * (-1.0 / options.denominator);
        let (Some(reference), KlPlacement::Loss) = (tokens.reference, self.kl) else {
            return (loss, metrics);
        };
        let k3 = kl::k3(tokens.logprobs, reference);
        let mut term = k3.sum(Kind::Float);
        metrics.kl = term.double_value(&[]);
        if tokens.lengths.is_some() {
            term = per_token(k3).sum(Kind::Float);
        }
        let term = term * (self.kl_beta / options.denominator);
        if let Some(ratios) = &mut metrics.ratios {
            ratios.loss += term.double_value(&[]);
        }
        (loss + term, metrics)
    }
}

#[cfg(test)]
#[path = "golden_tests.rs"]
mod tests;
