//! One line a step.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::rollout::{Mask, Reward};

/// What one step did: a line of `metrics.jsonl`.
///
/// ```
/// # use gauntlet::metrics::{PlayerReport, StepReport};
/// # use gauntlet::rollout::{Mask, Reward};
/// let rewards = [Ok(Reward::new([("gold", 1.0)])), Ok(Reward::new([("gold", 0.5)])), Err(Mask::Truncated)];
/// let mut report = StepReport::new(12, 5);
/// report.generator = Some(PlayerReport::new(&rewards).with("loss", 0.25));
/// assert_eq!(
///     serde_json::to_string(&report).unwrap(),
///     concat!(
///         r#"{"step":12,"stage":5,"generator":{"episodes":2,"reward":0.75,"reward_breakdown":{"gold":0.75},"#,
///         r#""masked":{"truncated":1},"groups":0,"skipped_groups":0,"loss":0.25}}"#
///     )
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StepReport {
    /// The optimizer step, counted over the whole run.
    pub step: u64,
    /// The stage in training; 0 in warm-up.
    pub stage: u8,
    /// The generator's part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<PlayerReport>,
    /// The discriminator's part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discriminator: Option<PlayerReport>,
    /// Figures of both: verdict_auc, alpha, mistakes, ..
    #[serde(flatten)]
    pub values: BTreeMap<String, f64>,
}

impl StepReport {
    /// An empty report.
    pub fn new(step: u64, stage: u8) -> StepReport {
        StepReport {
            step,
            stage,
            ..StepReport::default()
        }
    }
}

/// One player's part of a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PlayerReport {
    /// Scored work.
    pub episodes: usize,
    /// Mean reward; none where nothing was scored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward: Option<f64>,
    /// Means of the parts of the reward.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reward_breakdown: BTreeMap<String, f64>,
    /// Work without a reward, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub masked: BTreeMap<Mask, usize>,
    /// Groups in the step.
    pub groups: usize,
    /// Groups that taught nothing.
    pub skipped_groups: usize,
    /// What else there is to say: loss, kl, grad_norm, learning_rate, pass_rate, kill_rate, ..
    #[serde(flatten)]
    pub values: BTreeMap<String, f64>,
}

impl PlayerReport {
    /// Counts and means over the rewards of a step.
    pub fn new<'a>(rewards: impl IntoIterator<Item = &'a Result<Reward, Mask>>) -> PlayerReport {
        let mut report = PlayerReport::default();
        let mut sum = 0.0;
        for reward in rewards {
            match reward {
                Ok(reward) => {
                    report.episodes += 1;
                    sum += reward.value();
                    for (part, value) in &reward.breakdown {
                        *report.reward_breakdown.entry(part.clone()).or_insert(0.0) += value;
                    }
                }
                Err(mask) => *report.masked.entry(*mask).or_insert(0) += 1,
            }
        }
        if report.episodes > 0 {
            let episodes = report.episodes as f64;
            report.reward = Some(sum / episodes);
            report
                .reward_breakdown
                .values_mut()
                .for_each(|value| *value /= episodes);
        }
        report
    }

    /// The report with one more figure.
    pub fn with(mut self, name: &str, value: f64) -> PlayerReport {
        self.values.insert(name.to_owned(), value);
        self
    }

    /// The report with more figures, by name.
    pub fn with_all(
        mut self,
        figures: impl IntoIterator<Item = (&'static str, f64)>,
    ) -> PlayerReport {
        let named = figures
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        self.values.extend(named);
        self
    }
}

/// What the clock said of a step: a line of `timings.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TimingReport {
    /// The optimizer step.
    pub step: u64,
    /// The stage in training; 0 in warm-up.
    pub stage: u8,
    /// Seconds of each part of the step: sampling, sandbox, update, ..
    pub seconds: BTreeMap<String, f64>,
    /// Rates and sizes: tokens_per_second, memory_mb, ..
    #[serde(flatten)]
    pub values: BTreeMap<String, f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_report_is_the_same_line() {
        let line = || {
            let mut report = StepReport::new(1, 0);
            for name in ["zeta", "alpha", "mid"] {
                report.values.insert(name.into(), 0.1 + 0.2);
            }
            report.discriminator = Some(PlayerReport::new([]).with("kl", f64::NAN));
            serde_json::to_string(&report).unwrap()
        };
        assert_eq!(line(), line());
        assert_eq!(
            line(),
            concat!(
                r#"{"step":1,"stage":0,"discriminator":{"episodes":0,"groups":0,"skipped_groups":0,"kl":null},"#,
                r#""alpha":0.30000000000000004,"mid":0.30000000000000004,"zeta":0.30000000000000004}"#
            )
        );
    }

    #[test]
    fn shaping_counts_in_the_mean() {
        let reward = Reward {
            shaping: 0.25,
            ..Reward::new([("gold", 0.5)])
        };
        assert_eq!(PlayerReport::new([&Ok(reward)]).reward, Some(0.75));
    }
}
