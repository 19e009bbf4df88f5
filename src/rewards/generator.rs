//! What the generator is paid.

use crate::results::{CandidateResult, TestResult};
use crate::rollout::{Mask, Reward};

/// The most that shaping may add.
pub const MAX_SHAPING: f64 = 0.1;

/// The verdict head's AUC within groups above which its verdict may shape rewards.
pub const VERDICT_GATE: f64 = 0.6;

const PARSES: f64 = 0.1;
const GOLD: f64 = 0.4;
const ADVERSARIAL: f64 = 0.2;
const SOLVED: f64 = 0.3;

/// The part of the reward that a candidate earns which passes everything.
pub const SOLVED_PART: &str = "solved";

/// The reward of a rollout: the mean over its candidates, which are the one chain at the code stage and the
/// continuations at the stages before it. Masked candidates are left out of the mean; when all are masked, so is the
/// rollout.
///
/// One candidate earns 0 without code that parses, else
/// `0.1 + 0.4 gold + 0.2 adversarial + 0.3 [everything passed]`: shares of the gold tests, and of the pooled attacks
/// and replayed kills together. Without any of the latter, their weight goes to the gold tests.
pub fn generator_reward(candidates: &[Result<CandidateResult, Mask>]) -> Result<Reward, Mask> {
    let scored: Vec<[f64; 4]> = candidates
        .iter()
        .filter_map(|candidate| candidate.as_ref().ok())
        .filter_map(|candidate| parts(candidate).ok())
        .collect();
    if scored.is_empty() {
        let mask = |candidate: &Result<CandidateResult, Mask>| {
            candidate
                .as_ref()
                .map_or_else(|mask| Some(*mask), CandidateResult::mask)
        };
        return Err(candidates
            .iter()
            .filter_map(mask)
            .min()
            .unwrap_or(Mask::Truncated));
    }
    let mean =
        |part: usize| scored.iter().map(|parts| parts[part]).sum::<f64>() / scored.len() as f64;
    Ok(Reward::new([
        ("parses", mean(0)),
        ("gold", mean(1)),
        ("adversarial", mean(2)),
        (SOLVED_PART, mean(3)),
    ]))
}

fn parts(candidate: &CandidateResult) -> Result<[f64; 4], Mask> {
    if let Some(mask) = candidate.mask() {
        return Err(mask);
    }
    if !candidate.parses {
        return Ok([0.0; 4]);
    }
    let gold = share(candidate.gold.iter());
    let solved = if candidate.right() == Some(true) {
        SOLVED
    } else {
        0.0
    };
    Ok(
        if candidate.attacks.is_empty() && candidate.replays.is_empty() {
            [PARSES, (GOLD + ADVERSARIAL) * gold, 0.0, solved]
        } else {
            let adversarial = share(candidate.attacks.iter().chain(&candidate.replays));
            [PARSES, GOLD * gold, ADVERSARIAL * adversarial, solved]
        },
    )
}

fn share<'a>(results: impl Iterator<Item = &'a TestResult>) -> f64 {
    let (mut passed, mut all) = (0.0, 0.0);
    for result in results {
        passed += f64::from(u8::from(*result == TestResult::Passed));
        all += 1.0;
    }
    if all == 0.0 { 0.0 } else { passed / all }
}

/// Adds the verdict, a probability, to a reward: `weight x verdict`, at most [`MAX_SHAPING`], and only while `auc` (of
/// the verdict head within groups, on fresh samples of unseen problems) is above [`VERDICT_GATE`]. Groups are compared on
/// [`Reward::execution`] before they are skipped, so shaping never revives one.
pub fn shape(mut reward: Reward, verdict: f64, auc: Option<f64>, weight: f64) -> Reward {
    if auc.is_some_and(|auc| auc > VERDICT_GATE) && verdict.is_finite() {
        reward.shaping = weight.clamp(0.0, MAX_SHAPING) * verdict.clamp(0.0, 1.0);
    }
    reward
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row written as letters: `.` passed, `x` failed, `w` stopped by the wall clock, `h` host fault.
    fn results(row: &str) -> Vec<TestResult> {
        row.chars()
            .map(|letter| match letter {
                '.' => TestResult::Passed,
                'x' => TestResult::Failed,
                'w' => TestResult::Masked(Mask::WallClock),
                _ => TestResult::Masked(Mask::HostFault),
            })
            .collect()
    }

    fn candidate(gold: &str, attacks: &str, replays: &str) -> CandidateResult {
        CandidateResult {
            has_code: true,
            parses: true,
            gold: results(gold),
            attacks: results(attacks),
            replays: results(replays),
        }
    }

    fn without_code() -> CandidateResult {
        CandidateResult {
            has_code: false,
            parses: false,
            ..candidate("xxxx", "xx", "")
        }
    }

    fn value(candidates: &[Result<CandidateResult, Mask>]) -> Result<f64, Mask> {
        generator_reward(candidates).map(|reward| {
            let parts: f64 = reward.breakdown.values().sum();
            assert!(
                (parts - reward.execution).abs() < 1e-12,
                "the breakdown is the reward"
            );
            reward.value()
        })
    }

    #[test]
    fn one_candidate_by_hand() {
        for (candidate, by_hand) in [
            (candidate("....", "..", "."), 1.0),
            (candidate("....", "", ""), 1.0),
            (candidate("xxxx", "", ""), 0.1),
            (candidate("xxxx", "xx", "x"), 0.1),
            // 0.1 + 0.4 * 1/2 + 0.2 * 3/4
            (candidate("..xx", "..", ".x"), 0.45),
            // 0.1 + 0.6 * 3/4, nothing adversarial to weigh
            (candidate("...x", "", ""), 0.55),
            // Gold is solved, one attack in four kills: 0.1 + 0.4 + 0.2 * 3/4
            (candidate("....", "...x", ""), 0.65),
            (candidate("....", "", "x"), 0.5),
            (candidate("", "", ""), 0.1),
            (without_code(), 0.0),
            (
                CandidateResult {
                    parses: false,
                    ..candidate("....", "", "")
                },
                0.0,
            ),
        ] {
            let value = value(&[Ok(candidate.clone())]).unwrap();
            assert!(
                (value - by_hand).abs() < 1e-12,
                "{candidate:?}: {value}, by hand {by_hand}"
            );
        }
    }

    #[test]
    fn continuations_are_averaged_and_masked_ones_left_out() {
        let (solved, failed) = (
            || Ok(candidate("..", "", "")),
            || Ok(candidate("xx", "", "")),
        );
        for (candidates, by_hand) in [
            (vec![solved(), failed()], Ok(0.55)),
            (vec![solved(), Err(Mask::Truncated)], Ok(1.0)),
            (vec![failed(), Ok(candidate(".w", "", ""))], Ok(0.1)),
            (vec![Err(Mask::Truncated)], Err(Mask::Truncated)),
            (
                vec![Err(Mask::Truncated), Ok(candidate("h", "", ""))],
                Err(Mask::Truncated),
            ),
            (vec![], Err(Mask::Truncated)),
        ] {
            let value = value(&candidates);
            match (value, by_hand) {
                (Ok(value), Ok(by_hand)) => {
                    assert!((value - by_hand).abs() < 1e-12, "{candidates:?}: {value}")
                }
                (value, by_hand) => assert_eq!(value, by_hand, "{candidates:?}"),
            }
        }
    }

    #[test]
    fn a_host_fault_or_the_wall_clock_is_never_a_wrong_answer() {
        for (row, mask) in [
            (candidate("...h", "", ""), Mask::HostFault),
            (candidate("...w", "", ""), Mask::WallClock),
            (candidate("....", "w", ""), Mask::WallClock),
            (candidate("xxxx", "", "wh"), Mask::HostFault),
        ] {
            assert_eq!(value(&[Ok(row)]), Err(mask));
        }
    }

    #[test]
    fn a_right_candidate_is_never_paid_less_than_a_wrong_one() {
        let rows = ["", ".", "x", ".x", "..", "xx"];
        for index in 0..rows.len().pow(3) {
            let [gold, attacks, replays] =
                [index, index / 6, index / 36].map(|digit| rows[digit % 6]);
            let candidate = candidate(gold, attacks, replays);
            let value = value(&[Ok(candidate.clone())]).unwrap();
            assert_eq!(
                candidate.right() == Some(true),
                value > 0.99,
                "{candidate:?}: {value}"
            );
            assert!((0.0..=1.0 + 1e-12).contains(&value));
        }
    }

    #[test]
    fn the_verdict_shapes_only_behind_its_gate_and_by_a_tenth_at_most() {
        let reward = || Reward::new([("gold", 0.5)]);
        for (verdict, auc, weight, shaping) in [
            (0.8, Some(0.7), 0.1, 0.08),
            (0.8, Some(0.6), 0.1, 0.0),
            (0.8, Some(0.3), 0.1, 0.0),
            (0.8, None, 0.1, 0.0),
            (0.8, Some(f64::NAN), 0.1, 0.0),
            (1.0, Some(0.9), 50.0, 0.1),
            (1.0, Some(0.9), -1.0, 0.0),
            (900.0, Some(0.9), 0.1, 0.1),
            (f64::NAN, Some(0.9), 0.1, 0.0),
        ] {
            let shaped = shape(reward(), verdict, auc, weight);
            assert!(
                (shaped.shaping - shaping).abs() < 1e-12,
                "{verdict} {auc:?} {weight}"
            );
            assert_eq!(shaped.execution, 0.5);
        }
    }
}
