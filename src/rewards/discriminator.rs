//! What the discriminator is paid.

use crate::attacks::PooledAttack;
use crate::results::{CandidateResult, TestResult};
use crate::rollout::{CheckedAttack, Mask, Reward, Validity};

const FORMAT: f64 = 0.1;
const DUPLICATES: f64 = 0.2;

/// The part of the reward that kills earn.
pub const KILL: &str = "kill";

/// Wrong code that an attack set may kill.
#[derive(Clone, Debug, PartialEq)]
pub struct Opponent {
    /// How much killing it counts.
    pub weight: f64,
    /// Its outcome on each pooled attack.
    pub attacks: Vec<TestResult>,
}

/// The wrong candidates of a problem. One that the gold tests had missed counts 1, one they had caught a half.
///
/// A candidate without code is none of them: it fails every attack, and no attack has earned that.
pub fn wrong_candidates<'a>(
    candidates: impl IntoIterator<Item = &'a CandidateResult>,
) -> Vec<Opponent> {
    candidates
        .into_iter()
        .filter(|candidate| candidate.has_code && candidate.right() == Some(false))
        .map(|candidate| Opponent {
            weight: if candidate.gold_right() == Some(false) {
                0.5
            } else {
                1.0
            },
            attacks: candidate.attacks.clone(),
        })
        .collect()
}

/// The weight of validity in the reward: `high` while few attacks are valid, `low` once most are. Between moving
/// validity rates of 0.4 and 0.6 it falls in a straight line, so that no step of the rate is a step of the reward.
pub fn alpha(validity_rate: f64, high: f64, low: f64) -> f64 {
    let fallen = ((validity_rate - 0.4) / 0.2).clamp(0.0, 1.0);
    high + (low - high) * fallen
}

/// The weight of kills in the reward, beside validity's `alpha`.
pub fn kill_weight(alpha: f64) -> f64 {
    (1.0 - FORMAT - alpha).max(0.0)
}

/// The reward of attack set number `set`:
/// `0.1 format + alpha min(1, valid / limit) + (0.9 - alpha) kill - 0.2 duplicates`.
///
/// `format` is the share of lines that are tests, of at least `limit` lines; `valid` counts distinct valid attacks,
/// repaired ones by a half; `kill` is the weighted share of opponents it kills, by a half where only a repaired attack
/// does; `duplicates` is the share of lines that repeat. `opponents` are the [`wrong_candidates`], or the frozen bank
/// where there are none.
///
/// Masked when the completion is truncated, when the host failed on any of its attacks, or when that leaves no
/// opponent whose fate is known.
pub fn discriminator_reward(
    set: usize,
    truncated: bool,
    checked: &[CheckedAttack],
    pool: &[PooledAttack],
    opponents: &[Opponent],
    limit: usize,
    alpha: f64,
) -> Result<Reward, Mask> {
    if truncated {
        return Err(Mask::Truncated);
    }
    let count = |matches: fn(&Validity) -> bool| {
        checked
            .iter()
            .filter(|line| matches(&line.validity))
            .count() as f64
    };
    if count(|validity| *validity == Validity::HostFault) > 0.0 {
        return Err(Mask::HostFault);
    }
    let limit = limit.max(1) as f64;
    let lines = checked.len() as f64;
    let format = count(|validity| !matches!(validity, Validity::Unparsed(_))) / lines.max(limit);
    let valid = count(|validity| *validity == Validity::Valid)
        + 0.5 * count(|validity| *validity == Validity::Repaired);
    let duplicates = count(|validity| *validity == Validity::Duplicate) / lines.max(1.0);
    let kill = kill_share(set, pool, opponents)?;
    Ok(Reward::new([
        ("format", FORMAT * format),
        ("validity", alpha * (valid / limit).min(1.0)),
        (KILL, kill_weight(alpha) * kill),
        ("duplicates", -DUPLICATES * duplicates),
    ]))
}

/// The weighted share of opponents that the set kills, 0 to 1.
fn kill_share(set: usize, pool: &[PooledAttack], opponents: &[Opponent]) -> Result<f64, Mask> {
    let (mut killed, mut all) = (0.0, 0.0);
    let mut masked = None;
    for opponent in opponents {
        let (mut credit, mut unknown) = (0.0_f64, None);
        for (attack, result) in pool.iter().zip(&opponent.attacks) {
            match (attack.credit(set), result) {
                (claim, TestResult::Failed) => credit = credit.max(claim),
                (claim, TestResult::Masked(mask)) if claim > 0.0 => unknown = Some(*mask),
                _ => {}
            }
        }
        match unknown {
            // What cannot be known counts neither for the set nor against it.
            Some(mask) if credit < 1.0 => masked = Some(mask),
            _ => {
                killed += opponent.weight * credit;
                all += opponent.weight;
            }
        }
    }
    match masked {
        Some(mask) if all == 0.0 => Err(mask),
        _ if all == 0.0 => Ok(0.0),
        _ => Ok(killed / all),
    }
}

#[cfg(test)]
mod tests {
    use gauntlet_sandbox::{Comparison, Expected, Test, Value};

    use super::*;
    use crate::attacks::{Evidence, check_attacks, novel_attacks, pool_attacks};
    use crate::prompts::parse_attacks;

    const LIMIT: usize = 4;

    fn number(value: &Value) -> i64 {
        value.to_literal().parse().unwrap()
    }

    /// The attack sets of a game in which the reference is `f(x) = 10 x`, x must not be negative, the reference fails
    /// on 7, the host on 13, and `f(100)` is a gold test.
    fn check(texts: &[&str]) -> Vec<Vec<CheckedAttack>> {
        let gold = [Test {
            args: vec![Value::from(100)],
            expected: Expected::Value(Value::from(1000)),
            tags: vec![],
        }];
        let check = |text: &&str| {
            let attacks = parse_attacks(text, LIMIT);
            let novel = novel_attacks(&attacks, &gold);
            let answer = |&index: &usize| match number(&attacks[index].as_ref().unwrap().args[0]) {
                7 => Evidence::ReferenceFailed,
                13 => Evidence::HostFault,
                x if x < 0 => Evidence::InputRejected,
                x => Evidence::Answer(Value::from(10 * x)),
            };
            let evidence: Vec<Evidence> = novel.iter().map(answer).collect();
            check_attacks(&attacks, &novel, &evidence, &Comparison::Exact)
        };
        texts.iter().map(check).collect()
    }

    /// The rewards of the sets, with opponents given as (weight, inputs they fail on, inputs nobody knows about).
    fn rewards(
        texts: &[&str],
        opponents: &[(f64, &[i64], &[i64])],
        alpha: f64,
    ) -> Vec<Result<f64, Mask>> {
        let sets = check(texts);
        let pool = pool_attacks(&sets);
        let opponents: Vec<Opponent> = opponents
            .iter()
            .map(|&(weight, fails, unknown)| Opponent {
                weight,
                attacks: pool
                    .iter()
                    .map(|pooled| match number(&pooled.attack.args[0]) {
                        x if fails.contains(&x) => TestResult::Failed,
                        x if unknown.contains(&x) => TestResult::Masked(Mask::WallClock),
                        _ => TestResult::Passed,
                    })
                    .collect(),
            })
            .collect();
        let reward = |(set, checked): (usize, &Vec<CheckedAttack>)| {
            let reward =
                discriminator_reward(set, false, checked, &pool, &opponents, LIMIT, alpha)?;
            assert!((reward.breakdown.values().sum::<f64>() - reward.value()).abs() < 1e-12);
            Ok(reward.value())
        };
        sets.iter().enumerate().map(reward).collect()
    }

    fn reward(text: &str, opponents: &[(f64, &[i64], &[i64])]) -> Result<f64, Mask> {
        rewards(&[text], opponents, 0.5)[0]
    }

    const FULL: &str = "(1,) -> 10\n(2,) -> 20\n(3,) -> 30\n(4,) -> 40";

    #[test]
    fn attack_sets_by_hand() {
        for (text, opponents, by_hand) in [
            // Four valid attacks: 0.1 + 0.5, and all, half or none of the 0.4 for kills.
            (FULL, &[(1.0, &[1][..], &[][..])][..], 1.0),
            (FULL, &[(1.0, &[1], &[]), (1.0, &[9], &[])], 0.8),
            (FULL, &[(1.0, &[], &[])], 0.6),
            (FULL, &[], 0.6),
            // The gold tests had missed one of the two: 1 of 1.5.
            (
                FULL,
                &[(1.0, &[2], &[]), (0.5, &[], &[])],
                0.6 + 0.4 * 2.0 / 3.0,
            ),
            (FULL, &[(1.0, &[], &[]), (0.5, &[2], &[])], 0.6 + 0.4 / 3.0),
            // One line of four: 0.025 + 0.125.
            ("(1,) -> 10", &[(1.0, &[], &[])], 0.15),
            // Repaired: format in full, validity and kill by half.
            (
                "(1,) -> 0\n(2,) -> 0\n(3,) -> 0\n(4,) -> 0",
                &[(1.0, &[1], &[])],
                0.1 + 0.25 + 0.2,
            ),
            // A valid killer stands over a repaired one: validity (1 + 1/2)/4.
            (
                "(1,) -> 0\n(2,) -> 20",
                &[(1.0, &[1, 2], &[])],
                0.05 + 0.5 * 0.375 + 0.4,
            ),
            // Input refused, reference fails: only the format.
            ("(-1,) -> 1\n(7,) -> 70", &[(1.0, &[-1, 7], &[])], 0.05),
            // Two of four lines repeat: 0.1 + 0.25 - 0.1.
            (
                "(1,) -> 10\n(2,) -> 20\n(1,) -> 10\n(2,) -> 20",
                &[(1.0, &[], &[])],
                0.25,
            ),
        ] {
            let reward = reward(text, opponents).unwrap();
            assert!(
                (reward - by_hand).abs() < 1e-12,
                "{text}: {reward}, by hand {by_hand}"
            );
        }
    }

    #[test]
    fn nothing_written_earns_nothing() {
        for text in [
            "",
            "\n\n",
            "I would test large inputs.",
            "(1,)\n(2,)\n(3,)\n(4,)",
        ] {
            assert_eq!(
                reward(text, &[(1.0, &[1, 2, 3, 4], &[])]),
                Ok(0.0),
                "{text:?}"
            );
        }
    }

    #[test]
    fn invalid_attacks_never_kill() {
        let wrong: &[(f64, &[i64], &[i64])] = &[(1.0, &[-1, -2, -3, -4, 7], &[])];
        let reward = reward("(-1,) -> 0\n(-2,) -> 0\n(-3,) -> 0\n(7,) -> 0", wrong).unwrap();
        assert!(
            (reward - 0.1).abs() < 1e-12,
            "the format is all there is to earn: {reward}"
        );
    }

    #[test]
    fn repeating_a_good_attack_costs() {
        let wrong: &[(f64, &[i64], &[i64])] = &[(1.0, &[1], &[])];
        let once = reward("(1,) -> 10", wrong).unwrap();
        let spam = reward(&"(1,) -> 10\n".repeat(4), wrong).unwrap();
        let flood = reward(&"(1,) -> 10\n".repeat(400), wrong).unwrap();
        assert!(spam < once && flood < once, "{once} {spam} {flood}");
        let gold = reward(&"(100,) -> 1000\n".repeat(4), wrong).unwrap();
        assert!(gold <= 0.0, "gold inputs are known: {gold}");
    }

    #[test]
    fn more_lines_than_asked_for_gain_nothing() {
        let wrong: &[(f64, &[i64], &[i64])] = &[(1.0, &[9], &[])];
        let asked = reward(FULL, wrong).unwrap();
        let more = reward(&format!("{FULL}\n(9,) -> 90"), wrong).unwrap();
        assert!(
            more < asked,
            "the fifth line is the killer, and does not count: {more}"
        );
    }

    #[test]
    fn a_set_is_paid_for_its_own_attacks_only() {
        let wrong: &[(f64, &[i64], &[i64])] = &[(1.0, &[4], &[])];
        let rewards = rewards(&[FULL, "(1,) -> 10", "(4,) -> 0"], wrong, 0.5);
        for (reward, by_hand) in rewards
            .into_iter()
            .zip([1.0, 0.15, 0.025 + 0.5 * 0.125 + 0.2])
        {
            assert!((reward.unwrap() - by_hand).abs() < 1e-12);
        }
    }

    #[test]
    fn what_the_host_did_is_masked() {
        assert_eq!(reward("(13,) -> 1\n(1,) -> 10", &[]), Err(Mask::HostFault));
        assert_eq!(
            reward("(1,) -> 10", &[(1.0, &[], &[1])]),
            Err(Mask::WallClock)
        );
        // An unknown result of an attack that the set did not write, or beside a kill, is no matter.
        assert!(rewards(&["(1,) -> 10", "(2,) -> 20"], &[(1.0, &[], &[2])], 0.5)[0].is_ok());
        let killed = reward("(1,) -> 10\n(2,) -> 20", &[(1.0, &[1], &[2])]).unwrap();
        assert!((killed - (0.05 + 0.25 + 0.4)).abs() < 1e-12);
        // The opponent whose fate is unknown is left out of the share.
        let one_of_one = reward("(1,) -> 10", &[(1.0, &[], &[1]), (1.0, &[1], &[])]).unwrap();
        assert!((one_of_one - (0.15 + 0.4)).abs() < 1e-12);
        let sets = check(&[FULL]);
        let reward = discriminator_reward(0, true, &sets[0], &pool_attacks(&sets), &[], LIMIT, 0.5);
        assert_eq!(reward, Err(Mask::Truncated));
    }

    #[test]
    fn alpha_moves_pay_from_validity_to_kills() {
        let wrong: &[(f64, &[i64], &[i64])] = &[(1.0, &[1], &[])];
        for (rate, by_hand) in [
            (0.0, 0.8),
            (0.4, 0.8),
            (0.5, 0.625),
            (0.6, 0.45),
            (1.0, 0.45),
        ] {
            assert!((alpha(rate, 0.8, 0.45) - by_hand).abs() < 1e-12, "{rate}");
        }
        let [early, late] =
            [0.8, 0.45].map(|alpha| rewards(&["(1,) -> 10"], wrong, alpha)[0].unwrap());
        assert!((early - (0.025 + 0.2 + 0.1)).abs() < 1e-12);
        assert!((late - (0.025 + 0.1125 + 0.45)).abs() < 1e-12);
    }

    #[test]
    fn wrong_candidates_that_gold_missed_count_double() {
        let row = |gold: TestResult, attack: TestResult| CandidateResult {
            has_code: true,
            parses: true,
            gold: vec![gold],
            attacks: vec![attack],
            replays: vec![],
        };
        let unknown = TestResult::Masked(Mask::HostFault);
        let opponents = wrong_candidates(&[
            row(TestResult::Passed, TestResult::Passed),
            row(TestResult::Passed, TestResult::Failed),
            row(TestResult::Failed, TestResult::Passed),
            row(TestResult::Passed, unknown),
            row(unknown, TestResult::Failed),
            CandidateResult {
                has_code: false,
                parses: false,
                ..row(TestResult::Failed, TestResult::Failed)
            },
        ]);
        let weights: Vec<f64> = opponents.iter().map(|opponent| opponent.weight).collect();
        assert_eq!(weights, [1.0, 0.5, 1.0]);
    }

    #[test]
    fn rewards_stay_in_their_range() {
        let lines = [
            "(1,) -> 10",
            "(2,) -> 0",
            "(1,) -> 10",
            "(-1,) -> 0",
            "bad",
            "(100,) -> 1",
        ];
        for mask in 0..1 << lines.len() {
            let chosen = lines
                .iter()
                .enumerate()
                .filter(|(bit, _)| mask >> bit & 1 == 1)
                .map(|(_, line)| *line);
            let text = chosen.collect::<Vec<_>>().join("\n");
            let reward = reward(&text, &[(1.0, &[1], &[]), (0.5, &[2], &[])]).unwrap();
            assert!((-0.2..=1.0).contains(&reward), "{text}: {reward}");
        }
    }
}
