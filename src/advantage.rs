//! Group-relative advantage: a rollout's reward minus the mean of its group.
//!
//! `A_i = r_i - mean(r)`, as in "Understanding R1-Zero-Like Training" (Liu et al., arXiv 2503.20783), equation 5. Left
//! out of GRPO: the division by the standard deviation (which weighs easy and hard problems more than middling ones),
//! clipping and importance ratios (each batch is on-policy and used once).

use crate::rollout::{Advantaged, Scored};

/// Why a group is not trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skip {
    /// Execution tells its members no better from one another than a constant would.
    EqualRewards,
    /// Fewer than two members have a reward, so there is no baseline.
    TooFew,
}

/// Rewards nearer than this are equal: sums of the same parts may differ by rounding.
const EQUAL: f64 = 1e-9;

/// Compares the members of one group, all of one player and with the same prompt; says why the group teaches nothing,
/// if it does. Masked members are left out of the baseline. Equality is judged on execution alone, before shaping.
pub fn estimate<R>(group: Vec<Scored<R>>) -> (Vec<Advantaged<R>>, Option<Skip>) {
    let known = || {
        group
            .iter()
            .filter_map(|member| member.reward.as_ref().ok())
    };
    let count = known().count();
    let execution = || known().map(|reward| reward.execution);
    let lowest = execution().fold(f64::INFINITY, f64::min);
    let highest = execution().fold(f64::NEG_INFINITY, f64::max);
    let skipped = if count < 2 {
        Some(Skip::TooFew)
    } else {
        (highest - lowest < EQUAL).then_some(Skip::EqualRewards)
    };
    let sum: f64 = known().map(|reward| reward.value()).sum();
    let baseline = sum / count.max(1) as f64;
    let compared = |Scored { rollout, reward }| {
        let advantage = match (&reward, skipped) {
            (Ok(reward), None) => Some(reward.value() - baseline),
            _ => None,
        };
        Advantaged {
            rollout,
            reward,
            advantage,
        }
    };
    (group.into_iter().map(compared).collect(), skipped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{Mask, Reward};

    fn group(rewards: &[Result<(f64, f64), Mask>]) -> Vec<Scored<usize>> {
        let scored = |(rollout, reward): (usize, &Result<(f64, f64), Mask>)| Scored {
            rollout,
            reward: reward.map(|(execution, shaping)| Reward {
                shaping,
                ..Reward::new([("all", execution)])
            }),
        };
        rewards.iter().enumerate().map(scored).collect()
    }

    fn advantages(rewards: &[Result<(f64, f64), Mask>]) -> Result<Vec<(usize, f64)>, Skip> {
        let (members, skipped) = estimate(group(rewards));
        let advantages: Vec<(usize, f64)> = members
            .iter()
            .filter_map(|member| Some((member.rollout, member.advantage?)))
            .collect();
        assert_eq!(members.len(), rewards.len());
        match skipped {
            Some(skip) => {
                assert!(advantages.is_empty());
                Err(skip)
            }
            None => Ok(advantages),
        }
    }

    #[test]
    fn advantages_by_hand() {
        let truncated = Err(Mask::Truncated);
        for (rewards, by_hand) in [
            (
                vec![Ok((1.0, 0.0)), Ok((0.0, 0.0))],
                Ok(vec![(0, 0.5), (1, -0.5)]),
            ),
            (
                vec![Ok((1.0, 0.0)), truncated, Ok((0.0, 0.0))],
                Ok(vec![(0, 0.5), (2, -0.5)]),
            ),
            // Not divided by the standard deviation.
            (
                vec![Ok((0.5, 0.0)), Ok((0.25, 0.0))],
                Ok(vec![(0, 0.125), (1, -0.125)]),
            ),
            // Shaping counts once execution tells the two apart.
            (
                vec![Ok((0.5, 0.0)), Ok((0.25, 0.125))],
                Ok(vec![(0, 0.0625), (1, -0.0625)]),
            ),
            // And never where it does not.
            (
                vec![Ok((0.5, 0.0)), Ok((0.5, 0.1))],
                Err(Skip::EqualRewards),
            ),
            (
                vec![Ok((0.1 + 0.2, 0.0)), Ok((0.3, 0.0))],
                Err(Skip::EqualRewards),
            ),
            (vec![Ok((1.0, 0.0)), truncated], Err(Skip::TooFew)),
            (vec![truncated, truncated], Err(Skip::TooFew)),
            (vec![], Err(Skip::TooFew)),
        ] {
            assert_eq!(advantages(&rewards), by_hand, "{rewards:?}");
        }
    }

    #[test]
    fn advantages_sum_to_zero() {
        let rewards: Vec<_> = (0..7)
            .map(|i| Ok((f64::from(i * i) / 40.0, f64::from(i % 2) / 10.0)))
            .collect();
        let sum: f64 = advantages(&rewards)
            .unwrap()
            .iter()
            .map(|(_, advantage)| advantage)
            .sum();
        assert!(sum.abs() < 1e-12);
    }
}
