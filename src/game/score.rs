//! [`Attacked`] -> [`ScoredProblem`]: rewards of both players.

use gauntlet_sandbox::Outcome;

use crate::attacks::PooledAttack;
use crate::mistake_book::Mistake;
use crate::problems::Problem;
use crate::results::{CandidateResult, TestResult, TestRun, verdict_target};
use crate::rewards::{Opponent, discriminator_reward, generator_reward, shape, wrong_candidates};
use crate::rollout::{AttackSet, CheckedAttack, Mask, Rollout, Scored, Trainable};

use super::Rules;
use super::attack::{Attacked, VerdictPrompt};
use super::sample::Candidate;

/// What rewards depend on beside execution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weights {
    /// Weight of validity against kills.
    pub alpha: f64,
    /// AUC of the verdict head on fresh samples, once there are enough.
    pub verdict_auc: Option<f64>,
}

/// One problem with the rewards of both players.
#[derive(Clone, Debug)]
pub struct ScoredProblem {
    /// The problem.
    pub problem: Problem,
    /// The generator's group.
    pub rollouts: Vec<Scored<Rollout>>,
    /// One verdict a rollout; empty without a discriminator.
    pub verdicts: Vec<VerdictPrompt>,
    /// For each rollout what its verdict should have been, where that is known.
    pub verdict_targets: Vec<Option<f32>>,
    /// Every complete chain of the group.
    pub candidates: Vec<Candidate>,
    /// What all tests say, candidate by candidate; a chain that was cut short is masked.
    pub results: Vec<Result<CandidateResult, Mask>>,
    /// What the gold tests say of the first candidate, for people to read.
    pub first_outcomes: Vec<Outcome>,
    /// The discriminator's group.
    pub sets: Vec<Scored<AttackSet>>,
    /// What became of each line of each set.
    pub checked: Vec<Vec<CheckedAttack>>,
    /// For each set and line the number of candidates that the line kills.
    pub kills: Vec<Vec<usize>>,
    /// Pooled attacks that kill a candidate which the gold tests let pass.
    pub mistakes: Vec<Mistake>,
}

/// Pays both players for one problem.
pub(super) fn score(
    attacked: Attacked,
    rules: &Rules,
    weights: &Weights,
    step: u64,
) -> ScoredProblem {
    let mistakes = mistakes(&attacked, step);
    let kills = kills(&attacked);
    let set_rewards = set_rewards(&attacked, rules, weights);
    let of_rollout = |rollout: usize| -> Vec<Result<CandidateResult, Mask>> {
        let all = attacked.candidates.iter().zip(&attacked.results);
        all.filter(|(candidate, _)| candidate.rollout == rollout)
            .map(|(_, result)| result.clone())
            .collect()
    };
    let (mut verdict_targets, mut rollouts) = (Vec::new(), Vec::new());
    for (i, rollout) in attacked.rollouts.into_iter().enumerate() {
        let results = of_rollout(i);
        verdict_targets.push(verdict_target(&results));
        let reward = match rollout.completion().truncated() {
            true => Err(Mask::Truncated),
            false => generator_reward(&results),
        };
        let verdict = attacked.verdicts.get(i);
        let reward = reward.map(|reward| match verdict {
            Some(verdict) => shape(
                reward,
                f64::from(verdict.probability),
                weights.verdict_auc,
                rules.verdict_weight,
            ),
            None => reward,
        });
        rollouts.push(Scored { rollout, reward });
    }
    let sets = attacked.sets.into_iter().zip(set_rewards);
    let first_outcomes = attacked.gold.into_iter().next().map(|run| run.outcomes);
    ScoredProblem {
        problem: attacked.problem,
        rollouts,
        verdicts: attacked.verdicts,
        verdict_targets,
        candidates: attacked.candidates,
        results: attacked.results,
        first_outcomes: first_outcomes.unwrap_or_default(),
        sets: sets
            .map(|(rollout, reward)| Scored { rollout, reward })
            .collect(),
        checked: attacked.checked,
        kills,
        mistakes,
    }
}

fn set_rewards(
    attacked: &Attacked,
    rules: &Rules,
    weights: &Weights,
) -> Vec<Result<crate::rollout::Reward, Mask>> {
    let mut opponents = wrong_candidates(attacked.results.iter().flatten());
    if opponents.is_empty() {
        let member = |run: &TestRun| Opponent {
            weight: 1.0,
            attacks: run.results.clone(),
        };
        opponents = attacked.bank.iter().map(member).collect();
    }
    let sets = attacked.sets.iter().zip(&attacked.checked).enumerate();
    sets.map(|(i, (set, checked))| {
        discriminator_reward(
            i,
            set.completion.truncated(),
            checked,
            &attacked.pool,
            &opponents,
            rules.attacks.per_set,
            weights.alpha,
        )
    })
    .collect()
}

/// For each set and line the number of candidates with code that the line kills.
fn kills(attacked: &Attacked) -> Vec<Vec<usize>> {
    let lines = attacked.checked.iter();
    let mut kills: Vec<Vec<usize>> = lines.map(|lines| vec![0; lines.len()]).collect();
    for (i, pooled) in attacked.pool.iter().enumerate() {
        let killed = attacked
            .results
            .iter()
            .flatten()
            .filter(|result| result.has_code && result.attacks[i] == TestResult::Failed)
            .count();
        for source in &pooled.sources {
            kills[source.set][source.line] = killed;
        }
    }
    kills
}

/// Every pooled attack that kills a candidate which gold lets pass.
fn mistakes(attacked: &Attacked, step: u64) -> Vec<Mistake> {
    let mistake = |pooled: &PooledAttack, candidate: &Candidate| Mistake {
        problem: attacked.problem.id.clone(),
        args: pooled.attack.args.clone(),
        expected: pooled.attack.expected.clone(),
        killed: candidate.code.clone().unwrap_or_default(),
        step,
        by: format!(
            "step_{step:06}/set_{}",
            pooled.sources.first().map_or(0, |source| source.set)
        ),
    };
    let mut mistakes = Vec::new();
    for (candidate, result) in attacked.candidates.iter().zip(&attacked.results) {
        let Ok(result) = result else { continue };
        if result.gold_right() != Some(true) {
            continue;
        }
        let met = attacked.pool.iter().zip(&result.attacks);
        let killed = met.filter(|(_, result)| **result == TestResult::Failed);
        mistakes.extend(killed.map(|(pooled, _)| mistake(pooled, candidate)));
    }
    mistakes
}
