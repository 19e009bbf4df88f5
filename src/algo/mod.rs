//! Algorithms by configuration: how rewards become advantages, and how advantages become a loss.
//!
//! ```text
//! rewards of a group --estimator--> advantages --objective, kl, denominator--> loss
//! ```
//!
//! Each estimator and each objective is one small file that gives its formula, its source, and what it leaves out. The
//! trainer holds an [`Algorithm`] and cannot tell which of them it runs.

mod baseline;
mod denominator;
mod estimate;
mod estimators;
mod kl;
mod loss;
mod metrics;
mod objectives;

pub use baseline::BaselineState;
pub use denominator::BatchCounts;
pub use estimate::{Group, Skip};
pub use loss::{LossOptions, Tokens};
pub use metrics::{PolicyMetrics, RatioMetrics};
pub use objectives::Bounds;
pub use objectives::gspo::sequence_ratios;

use crate::config;
use crate::rollout::Scored;

/// What section `algorithm` of a configuration chooses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Algorithm {
    estimator: config::Estimator,
    baseline_decay: f64,
    objective: config::Objective,
    bounds: Bounds,
    kl: config::KlPlacement,
    kl_beta: f64,
    denominator: config::Denominator,
    passes: usize,
}

impl Algorithm {
    /// The algorithm that `config` describes.
    pub fn from_config(config: &config::Algorithm) -> Algorithm {
        let own = Bounds::of(config.objective);
        Algorithm {
            estimator: config.estimator,
            baseline_decay: config.baseline_decay,
            objective: config.objective,
            bounds: Bounds {
                low: config.clip_low.unwrap_or(own.low),
                high: config.clip_high.unwrap_or(own.high),
            },
            kl: config.kl,
            kl_beta: config.kl_beta,
            denominator: config.denominator,
            passes: config.passes,
        }
    }

    /// Optimizer steps on each batch.
    pub fn passes(&self) -> usize {
        self.passes
    }

    /// What the sums over a batch's tokens are divided by. `counts` are those of the whole batch, over all processes.
    pub fn denominator(&self, counts: BatchCounts, max_new_tokens: usize) -> f64 {
        counts.denominator(self.denominator, max_new_tokens)
    }

    /// Advantages of all groups of one player at one stage. Every group is compared with `baseline` as it stands before
    /// the batch; the second value is the baseline behind it, which the run keeps for the next batch. Groups come back
    /// in their order.
    pub fn estimate<R>(
        &self,
        groups: Vec<Vec<Scored<R>>>,
        baseline: &BaselineState,
    ) -> (Vec<Group<R>>, BaselineState) {
        let next = match self.estimator {
            config::Estimator::MovingBaseline => {
                let known = groups
                    .iter()
                    .flatten()
                    .filter_map(|s| s.reward.as_ref().ok());
                let rewards: Vec<f64> = known.map(|reward| reward.execution).collect();
                baseline.update(&rewards, self.baseline_decay)
            }
            _ => *baseline,
        };
        let groups = groups.into_iter();
        let estimated = groups.map(|group| estimate::estimate(self.estimator, group, baseline));
        (estimated.collect(), next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{Mask, Reward};

    fn estimated(
        estimator: config::Estimator,
        baseline: &BaselineState,
    ) -> (Vec<Vec<f64>>, BaselineState) {
        let algorithm = Algorithm::from_config(&config::Algorithm {
            estimator,
            baseline_decay: 0.5,
            ..config::Algorithm::default()
        });
        let scored = |reward: Result<f64, Mask>| Scored {
            rollout: (),
            reward: reward.map(|execution| Reward::new([("all", execution)])),
        };
        let groups = [
            vec![Ok(1.0), Ok(1.0)],
            vec![Ok(1.0), Err(Mask::Truncated), Ok(0.0)],
            vec![Err(Mask::HostFault)],
        ];
        let groups = groups.map(|group| group.into_iter().map(scored).collect());
        let (groups, next) = algorithm.estimate(groups.into(), baseline);
        let advantages =
            |group: Group<()>| group.members.iter().filter_map(|m| m.advantage).collect();
        (groups.into_iter().map(advantages).collect(), next)
    }

    #[test]
    fn all_groups_of_a_batch_meet_the_baseline_before_it() {
        let past = BaselineState::default().update(&[0.25], 0.5);
        let (advantages, next) = estimated(config::Estimator::MovingBaseline, &past);
        let by_hand = [vec![0.75, 0.75], vec![0.75, -0.25], vec![]];
        assert_eq!(advantages, by_hand);
        // The mean of the four rewards is 0.75: (0.5 * 0.125 + 0.5 * 0.75) / (0.25 + 0.5)
        assert_eq!(next.mean(), Some(0.4375 / 0.75));
    }

    #[test]
    fn estimators_of_groups_leave_the_baseline_as_it_is() {
        let past = BaselineState::default().update(&[0.25], 0.5);
        for (estimator, highest) in [
            (config::Estimator::GroupMean, 0.5),
            (config::Estimator::Grpo, 0.5 / (0.5f64.sqrt() + 1e-6)),
            (config::Estimator::Rloo, 1.0),
        ] {
            let (advantages, next) = estimated(estimator, &past);
            assert_eq!(advantages, [vec![], vec![highest, -highest], vec![]]);
            assert_eq!(next, past);
        }
    }
}
