//! [`Executed`] -> [`Attacked`]: the discriminator writes attacks and verdicts, and the matrix of candidates and tests is
//! executed.
//!
//! ```text
//! one target a problem -> attack sets -> checked by validator and reference -> pooled, each input once
//!   -> candidates x (pooled attacks + replayed kills), and the frozen bank where no candidate is wrong
//! ```

use gauntlet_sandbox::Test;

use crate::attacks::{PooledAttack, pool_attacks};
use crate::discriminator::Discriminator;
use crate::encoding::EncodingError;
use crate::evaluation::attacks::frozen_bank;
use crate::execution::Case;
use crate::problems::Problem;
use crate::prompts::parse_attacks;
use crate::results::{CandidateResult, TestRun};
use crate::rng::DrawKey;
use crate::rollout::{AttackSet, Chain, CheckedAttack, Mask, Role, Rollout, RolloutKey};
use crate::stage::Stage;

use super::execute::{Executed, run_all};
use super::sample::Candidate;
use super::{Rules, Scene, draw_key};

/// A rollout as the verdict head reads it.
#[derive(Clone, Debug)]
pub struct VerdictPrompt {
    /// The prompt that ends with the trained stage.
    pub tokens: Vec<u32>,
    /// The verdict: the probability that the chain ends in correct code.
    pub probability: f32,
}

/// One problem with everything both players wrote and everything execution says of it. Nothing is scored yet.
#[derive(Clone, Debug)]
pub struct Attacked {
    /// The problem.
    pub problem: Problem,
    /// The generator's group.
    pub rollouts: Vec<Rollout>,
    /// One verdict a rollout; empty without a discriminator.
    pub verdicts: Vec<VerdictPrompt>,
    /// Every complete chain of the group.
    pub candidates: Vec<Candidate>,
    /// What the gold tests say, candidate by candidate.
    pub gold: Vec<TestRun>,
    /// What all tests say, candidate by candidate; a chain that was cut short is masked.
    pub results: Vec<Result<CandidateResult, Mask>>,
    /// The discriminator's group; empty without a discriminator.
    pub sets: Vec<AttackSet>,
    /// What became of each line of each set.
    pub checked: Vec<Vec<CheckedAttack>>,
    /// The playable attacks of all sets, each input once.
    pub pool: Vec<PooledAttack>,
    /// What the pool did to each member of the frozen bank; filled only where no candidate is wrong.
    pub bank: Vec<TestRun>,
}

/// Attack sets of one problem, checked and pooled.
#[derive(Default)]
pub(super) struct Attacks {
    sets: Vec<AttackSet>,
    checked: Vec<Vec<CheckedAttack>>,
    pool: Vec<PooledAttack>,
    /// The pool as tests.
    tests: Vec<Test>,
}

/// Has `discriminator`, where there is one, attack one candidate a problem, and runs all candidates on what it wrote and
/// on past kills.
pub(super) fn attack(
    discriminator: Option<&Discriminator>,
    executed: Vec<Executed>,
    rules: &Rules,
    scene: &Scene,
) -> Result<Vec<Attacked>, EncodingError> {
    let Some(discriminator) = discriminator else {
        let attacks = executed.iter().map(|_| Attacks::default()).collect();
        let verdicts = executed.iter().map(|_| Vec::new()).collect();
        return Ok(meet(executed, attacks, verdicts, rules, scene));
    };
    let sets = write(discriminator, &executed, rules, scene)?;
    let attacks = check(&executed, sets, scene);
    let verdicts = verdicts(discriminator, &executed)?;
    Ok(meet(executed, attacks, verdicts, rules, scene))
}

/// Runs all candidates on the attacks of their problem and on past kills.
pub(super) fn meet(
    executed: Vec<Executed>,
    attacks: Vec<Attacks>,
    verdicts: Vec<Vec<VerdictPrompt>>,
    rules: &Rules,
    scene: &Scene,
) -> Vec<Attacked> {
    let replay_key = scene.key.with(scene.step);
    let replays: Vec<Vec<Test>> = executed
        .iter()
        .map(|one| {
            let (id, limit) = (&one.problem.id, rules.replay_limit);
            scene.mistakes.replay(id, limit, replay_key)
        })
        .collect();
    let run = |tests: Vec<&[Test]>| {
        let met: Vec<(&Executed, &[Test])> = executed.iter().zip(tests).collect();
        run_all(scene.executor, &met, |(one, tests)| {
            (&one.problem, &one.candidates, tests)
        })
    };
    let attacked = run(attacks.iter().map(|a| &a.tests[..]).collect());
    let replayed = run(replays.iter().map(Vec::as_slice).collect());
    let results: Vec<Vec<Result<CandidateResult, Mask>>> = executed
        .iter()
        .zip(attacked.iter().zip(&replayed))
        .map(|(one, (attacked, replayed))| {
            let runs = one.gold.iter().zip(attacked.iter().zip(replayed));
            one.candidates
                .iter()
                .zip(runs)
                .map(|(candidate, (gold, (attacked, replayed)))| {
                    match candidate.chain.truncated() {
                        true => Err(Mask::Truncated),
                        false => Ok(CandidateResult::new(gold, attacked, replayed)),
                    }
                })
                .collect()
        })
        .collect();
    let banks = try_bank(&executed, &results, &attacks, rules, scene);
    let all = executed
        .into_iter()
        .zip(attacks)
        .zip(results)
        .zip(banks.into_iter().zip(verdicts));
    all.map(
        |(((executed, attacks), results), (bank, verdicts))| Attacked {
            problem: executed.problem,
            rollouts: executed.rollouts,
            verdicts,
            candidates: executed.candidates,
            gold: executed.gold,
            results,
            sets: attacks.sets,
            checked: attacks.checked,
            pool: attacks.pool,
            bank,
        },
    )
    .collect()
}

/// The discriminator's groups: one target a problem, all its sets with the same prompt.
fn write(
    discriminator: &Discriminator,
    executed: &[Executed],
    rules: &Rules,
    scene: &Scene,
) -> Result<Vec<Vec<AttackSet>>, EncodingError> {
    let (mut prompts, mut keys) = (Vec::new(), Vec::new());
    for one in executed {
        let key = RolloutKey {
            role: Role::Discriminator,
            stage: one.rollouts.first().map_or(Stage::Code, |r| r.key.stage),
            step: scene.step,
            problem: one.problem.id.clone(),
            branch: 0,
            sample: 0,
        };
        let target = target(one, rules.blind_share, draw_key(scene.key, &key));
        let chain: Option<&Chain> = target.map(|i| &one.candidates[i].chain);
        let prompt = discriminator.encoder.attack_prompt(&one.problem, chain)?;
        for sample in 0..rules.discriminator_group_size as u32 {
            let key = RolloutKey {
                sample,
                ..key.clone()
            };
            prompts.push((prompt.clone(), draw_key(scene.key, &key)));
            keys.push((key, target));
        }
    }
    let options = &rules.attacks;
    let completions = discriminator.attack(
        &prompts,
        options.max_new_tokens,
        options.temperature,
        options.batch_size,
    )?;
    let mut sets = prompts.into_iter().zip(keys).zip(completions).map(
        |(((prompt_tokens, _), (key, target)), completion)| AttackSet {
            attacks: parse_attacks(&completion.text, options.per_set),
            key,
            prompt_tokens,
            completion,
            target,
        },
    );
    Ok(executed
        .iter()
        .map(|_| sets.by_ref().take(rules.discriminator_group_size).collect())
        .collect())
}

/// Checks the attack sets of each problem by its validator and reference, and pools them.
pub(super) fn check(
    executed: &[Executed],
    sets: Vec<Vec<AttackSet>>,
    scene: &Scene,
) -> Vec<Attacks> {
    let asked: Vec<_> = executed
        .iter()
        .zip(&sets)
        .flat_map(|(one, sets)| sets.iter().map(|set| (&one.problem, &set.attacks[..])))
        .collect();
    let mut checked = scene.executor.check_attacks(&asked).into_iter();
    sets.into_iter()
        .map(|sets| {
            let checked: Vec<Vec<CheckedAttack>> = checked.by_ref().take(sets.len()).collect();
            let pool = pool_attacks(&checked);
            Attacks {
                tests: pool.iter().map(PooledAttack::test).collect(),
                sets,
                checked,
                pool,
            }
        })
        .collect()
}

/// Which candidate is attacked: none (blind) for a share of the problems, else one that passes gold where there is one,
/// else any with code.
fn target(executed: &Executed, blind_share: f64, key: DrawKey) -> Option<usize> {
    if key.uniform(0) < blind_share {
        return None;
    }
    let with_code = |i: &usize| executed.candidates[*i].code.is_some();
    let all: Vec<usize> = (0..executed.candidates.len()).filter(with_code).collect();
    let passing: Vec<usize> = all
        .iter()
        .copied()
        .filter(|&i| executed.gold[i].passed())
        .collect();
    let among = if passing.is_empty() { all } else { passing };
    (!among.is_empty()).then(|| among[(key.uniform(1) * among.len() as f64) as usize])
}

/// Where no candidate is wrong, the pool is tried on mutants of the reference.
fn try_bank(
    executed: &[Executed],
    results: &[Vec<Result<CandidateResult, Mask>>],
    attacks: &[Attacks],
    rules: &Rules,
    scene: &Scene,
) -> Vec<Vec<TestRun>> {
    let is_wrong = |result: &Result<CandidateResult, Mask>| {
        result
            .as_ref()
            .is_ok_and(|result| result.right() == Some(false))
    };
    let banks: Vec<Vec<String>> = executed
        .iter()
        .zip(results.iter().zip(attacks))
        .map(|(one, (results, attacks))| {
            match attacks.pool.is_empty() || results.iter().any(is_wrong) {
                true => Vec::new(),
                false => frozen_bank(&one.problem, rules.bank_mutants),
            }
        })
        .collect();
    let cases: Vec<Case> = executed
        .iter()
        .zip(banks.iter().zip(attacks))
        .flat_map(|(one, (bank, attacks))| {
            bank.iter().map(|code| Case {
                problem: &one.problem,
                code: Some(code),
                tests: &attacks.tests,
            })
        })
        .collect();
    let mut runs = scene.executor.run(&cases).into_iter();
    banks
        .iter()
        .map(|bank| runs.by_ref().take(bank.len()).collect())
        .collect()
}

/// The verdict on each rollout, read up to its trained stage.
fn verdicts(
    discriminator: &Discriminator,
    executed: &[Executed],
) -> Result<Vec<Vec<VerdictPrompt>>, EncodingError> {
    let mut prompts = Vec::new();
    for one in executed {
        for rollout in &one.rollouts {
            let encoder = &discriminator.encoder;
            prompts.push(encoder.verdict_prompt(&one.problem, &rollout.chain)?);
        }
    }
    let probabilities = discriminator.verdicts(&prompts);
    let mut read = prompts
        .into_iter()
        .zip(probabilities)
        .map(|(tokens, probability)| VerdictPrompt {
            tokens,
            probability,
        });
    Ok(executed
        .iter()
        .map(|one| read.by_ref().take(one.rollouts.len()).collect())
        .collect())
}
