//! Compares the members of one group: which of them count, whether they teach anything, and how well each did.

use crate::config::Estimator;
use crate::rollout::{Advantaged, Reward, Scored};

use super::baseline::BaselineState;
use super::estimators::{group_mean, grpo, moving_baseline, rloo};

/// Why a group is not trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skip {
    /// Execution told its members no better from one another than a constant would.
    EqualRewards,
    /// Too few members have a reward for a baseline: fewer than two, or with a moving baseline none.
    TooFew,
}

/// A group with its advantages.
#[derive(Clone, Debug, PartialEq)]
pub struct Group<R> {
    /// All members, in their order. Those that are masked have no advantage, and in a group that is skipped nobody has.
    pub members: Vec<Advantaged<R>>,
    /// Why the group is skipped, if it is.
    pub skipped: Option<Skip>,
}

/// Rewards nearer than this are equal: sums of the same parts may differ by rounding.
const EQUAL: f64 = 1e-9;

/// Compares the members of one group, all of one player and with the same prompt. Masked members are left out of the
/// baseline. Equality is judged on execution alone, before shaping: where execution tells no member from another,
/// shaping never does.
pub(super) fn estimate<R>(
    estimator: Estimator,
    group: Vec<Scored<R>>,
    baseline: &BaselineState,
) -> Group<R> {
    let known = || {
        group
            .iter()
            .filter_map(|member| member.reward.as_ref().ok())
    };
    let execution = || known().map(|reward| reward.execution);
    let lowest = execution().fold(f64::INFINITY, f64::min);
    let highest = execution().fold(f64::NEG_INFINITY, f64::max);
    let equal = highest - lowest < EQUAL;
    // The past tells apart what the group does not.
    let alone = estimator == Estimator::MovingBaseline;
    let skipped = match known().count() {
        0 => Some(Skip::TooFew),
        1 if !alone => Some(Skip::TooFew),
        _ => (equal && !alone).then_some(Skip::EqualRewards),
    };
    let counts = |reward: &Reward| match equal {
        true => reward.execution,
        false => reward.value(),
    };
    let rewards: Vec<f64> = known().map(counts).collect();
    let advantages = match estimator {
        _ if skipped.is_some() => Vec::new(),
        Estimator::GroupMean => group_mean::advantages(&rewards),
        Estimator::Grpo => grpo::advantages(&rewards),
        Estimator::Rloo => rloo::advantages(&rewards),
        Estimator::MovingBaseline => moving_baseline::advantages(&rewards, baseline),
    };
    let mut advantages = advantages.into_iter();
    let members = group
        .into_iter()
        .map(|Scored { rollout, reward }| Advantaged {
            advantage: reward.as_ref().ok().and_then(|_| advantages.next()),
            rollout,
            reward,
        });
    Group {
        members: members.collect(),
        skipped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::Mask;

    const GROUP: [Estimator; 3] = [Estimator::GroupMean, Estimator::Grpo, Estimator::Rloo];

    type Rewards = Vec<Result<(f64, f64), Mask>>;
    type Advantages = Result<Vec<(usize, f64)>, Skip>;

    fn advantages(
        estimator: Estimator,
        rewards: &[Result<(f64, f64), Mask>],
        past: &BaselineState,
    ) -> Advantages {
        let scored = |(rollout, reward): (usize, &Result<(f64, f64), Mask>)| Scored {
            rollout,
            reward: reward.map(|(execution, shaping)| Reward {
                shaping,
                ..Reward::new([("all", execution)])
            }),
        };
        let group = rewards.iter().enumerate().map(scored).collect();
        let group = estimate(estimator, group, past);
        assert_eq!(group.members.len(), rewards.len());
        let members = group.members.iter();
        let members: Vec<_> = members
            .filter_map(|m| Some((m.rollout, m.advantage?)))
            .collect();
        match group.skipped {
            Some(skip) => {
                assert!(members.is_empty());
                Err(skip)
            }
            None => Ok(members),
        }
    }

    #[test]
    fn advantages_by_hand() {
        let truncated = Err(Mask::Truncated);
        let cases: [(Rewards, Advantages); 9] = [
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
        ];
        for (rewards, by_hand) in cases {
            let none = BaselineState::default();
            for estimator in GROUP {
                let found = advantages(estimator, &rewards, &none);
                assert_eq!(found.as_ref().err(), by_hand.as_ref().err());
                if estimator == Estimator::GroupMean {
                    assert_eq!(found, by_hand, "{rewards:?}");
                }
            }
        }
    }

    #[test]
    fn the_past_tells_apart_what_a_group_does_not() {
        let past = BaselineState::default().update(&[0.5], 0.9);
        let cases: [(Rewards, Advantages); 4] = [
            // Equal in execution: shaping does not count.
            (
                vec![Ok((1.0, 0.0)), Ok((1.0, 0.1))],
                Ok(vec![(0, 0.5), (1, 0.5)]),
            ),
            (
                vec![Err(Mask::HostFault), Ok((0.0, 0.0))],
                Ok(vec![(1, -0.5)]),
            ),
            (
                vec![Ok((1.0, 0.125)), Ok((0.0, 0.0))],
                Ok(vec![(0, 0.625), (1, -0.5)]),
            ),
            (vec![Err(Mask::WallClock)], Err(Skip::TooFew)),
        ];
        for (rewards, by_hand) in cases {
            let found = advantages(Estimator::MovingBaseline, &rewards, &past);
            assert_eq!(found, by_hand, "{rewards:?}");
        }
    }
}
