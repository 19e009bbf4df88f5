//! What a discriminator's tests are worth, on problems whose reference is known.

use serde::{Deserialize, Serialize};

use crate::attacks::pool_attacks;
use crate::config::Config;
use crate::discriminator::Discriminator;
use crate::encoding::EncodingError;
use crate::execution::{Case, Executor};
use crate::metrics::mean;
use crate::problems::Problem;
use crate::problems::mutate::mutants;
use crate::prompts::parse_attacks;
use crate::results::TestRun;
use crate::rng::DrawKey;
use crate::rollout::{Chain, CheckedAttack, Validity};
use gauntlet_sandbox::Test;

use super::Attempt;

/// How attack sets are written.
#[derive(Clone, Copy, Debug)]
pub struct AttackOptions {
    /// Tokens of a set, at most.
    pub max_new_tokens: usize,
    /// Temperature.
    pub temperature: f64,
    /// Sets that are decoded together.
    pub batch_size: usize,
    /// Tests of a set, at most.
    pub per_set: usize,
}

impl AttackOptions {
    /// As the game draws them.
    pub fn of(config: &Config) -> AttackOptions {
        AttackOptions {
            max_new_tokens: config.sampling.attack_max_new_tokens,
            temperature: config.sampling.temperature,
            batch_size: config.evaluation.batch_size,
            per_set: config.game.attacks_per_set,
        }
    }
}

/// Plausible bugs of a problem: mutants of its reference, the same ones every time; none without a reference.
pub fn frozen_bank(problem: &Problem, limit: usize) -> Vec<String> {
    let Some(reference) = &problem.reference else {
        return Vec::new();
    };
    let seed = DrawKey::new(0).with_name(reference).value();
    mutants(reference, limit, seed)
        .into_iter()
        .map(|mutant| mutant.code)
        .collect()
}

/// What one blind attack set a problem came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttackQuality {
    /// Lines that were written and could be checked.
    pub lines: usize,
    /// Share of them that are valid as written.
    pub valid: f64,
    /// Share that can be played: valid, or once the expected output is repaired from the reference.
    pub playable: f64,
    /// Share that repeat a gold input or another line of their set.
    pub duplicate: f64,
    /// Share of mutants, of those that gold tests kill, that the playable ones kill; none where no mutant is killed.
    pub bank_kills: Option<f64>,
}

/// Has the discriminator write one blind attack set a problem, and tries them on `bank_mutants` mutants of each
/// reference.
pub fn attack_quality(
    discriminator: &Discriminator,
    executor: &Executor,
    problems: &[Problem],
    bank_mutants: usize,
    options: &AttackOptions,
    key: DrawKey,
) -> Result<AttackQuality, EncodingError> {
    let blind: Vec<Option<&Chain>> = vec![None; problems.len()];
    let key = key.with_name("bank");
    let checked = written(discriminator, executor, problems, &blind, options, key)?;
    let tests = playable_tests(&checked);
    let banks: Vec<Vec<String>> = problems
        .iter()
        .map(|problem| frozen_bank(problem, bank_mutants))
        .collect();
    let codes: Vec<Vec<Option<&str>>> = banks
        .iter()
        .map(|bank| bank.iter().map(|code| Some(code.as_str())).collect())
        .collect();
    let gold: Vec<&[Test]> = problems.iter().map(|problem| &problem.tests[..]).collect();
    let attacks: Vec<&[Test]> = tests.iter().map(Vec::as_slice).collect();
    let golds = run_all(executor, problems, &codes, &gold);
    let attacked = run_all(executor, problems, &codes, &attacks);
    let known: Vec<bool> = golds
        .iter()
        .zip(&attacked)
        .filter(|(gold, attacked)| gold.failed() && !attacked.is_masked())
        .map(|(_, attacked)| attacked.failed())
        .collect();
    let lines: Vec<&Validity> = checked
        .iter()
        .flatten()
        .map(|checked| &checked.validity)
        .filter(|validity| **validity != Validity::HostFault)
        .collect();
    let share = |is: &dyn Fn(&Validity) -> bool| {
        lines.iter().filter(|validity| is(validity)).count() as f64 / lines.len().max(1) as f64
    };
    Ok(AttackQuality {
        lines: lines.len(),
        valid: share(&|validity| *validity == Validity::Valid),
        playable: share(&Validity::is_playable),
        duplicate: share(&|validity| *validity == Validity::Duplicate),
        bank_kills: (!known.is_empty())
            .then(|| known.iter().filter(|&&k| k).count() as f64 / known.len() as f64),
    })
}

/// What became of a generator's attempts under a discriminator's attacks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meeting {
    /// For each problem the share of attempts that stand the gold tests and the attacks.
    pub stood: Vec<f64>,
    /// For each problem with attempts that the gold tests find wrong, the share of those that the attacks find wrong too.
    pub caught: Vec<f64>,
    /// Attempts that the gold tests find right and the attacks do not.
    pub broken: usize,
}

/// Has the discriminator write one attack set a problem with the first attempt's chain in view, and runs all attempts
/// on it.
pub fn meet(
    attempts: &[Vec<Attempt>],
    discriminator: &Discriminator,
    executor: &Executor,
    problems: &[Problem],
    options: &AttackOptions,
    key: DrawKey,
) -> Result<Meeting, EncodingError> {
    let chains: Vec<Option<&Chain>> = attempts
        .iter()
        .map(|tries| {
            let first = tries.first().filter(|a| a.code.is_some());
            first.map(|attempt| &attempt.chain)
        })
        .collect();
    let key = key.with_name("meeting");
    let checked = written(discriminator, executor, problems, &chains, options, key)?;
    let tests = playable_tests(&checked);
    let codes: Vec<Vec<Option<&str>>> = attempts
        .iter()
        .map(|tries| tries.iter().map(|a| a.code.as_deref()).collect())
        .collect();
    let tests: Vec<&[Test]> = tests.iter().map(Vec::as_slice).collect();
    let mut runs = run_all(executor, problems, &codes, &tests).into_iter();
    let mut meeting = Meeting::default();
    for tries in attempts {
        let (mut stood, mut counted) = (0, 0);
        let mut caught = Vec::new();
        for attempt in tries {
            let attacked = runs.next().expect("one run for every attempt");
            if attempt.run.is_masked() || attacked.is_masked() {
                continue;
            }
            counted += 1;
            // Code that is not there fails every attack, and no attack has earned that.
            let killed = attacked.failed();
            match attempt.run.passed() {
                true if killed => meeting.broken += 1,
                true => stood += 1,
                false if attempt.code.is_some() => caught.push(f64::from(u8::from(killed))),
                false => {}
            }
        }
        if !caught.is_empty() {
            meeting.caught.push(mean(&caught));
        }
        if counted > 0 {
            meeting.stood.push(f64::from(stood) / f64::from(counted));
        }
    }
    Ok(meeting)
}

/// One attack set a problem, checked; blind where there is no chain to read.
fn written(
    discriminator: &Discriminator,
    executor: &Executor,
    problems: &[Problem],
    chains: &[Option<&Chain>],
    options: &AttackOptions,
    key: DrawKey,
) -> Result<Vec<Vec<CheckedAttack>>, EncodingError> {
    let mut prompts = Vec::new();
    for (problem, chain) in problems.iter().zip(chains) {
        let prompt = discriminator.encoder.attack_prompt(problem, *chain)?;
        prompts.push((prompt, key.with_name(&problem.id)));
    }
    let sets = discriminator.attack(
        &prompts,
        options.max_new_tokens,
        options.temperature,
        options.batch_size,
    )?;
    let attacks: Vec<_> = sets
        .iter()
        .map(|set| parse_attacks(&set.text, options.per_set))
        .collect();
    let asked: Vec<_> = problems
        .iter()
        .zip(&attacks)
        .map(|(problem, attacks)| (problem, &attacks[..]))
        .collect();
    Ok(executor.check_attacks(&asked))
}

/// Runs each problem's codes on its tests; runs in the order of the codes.
fn run_all(
    executor: &Executor,
    problems: &[Problem],
    codes: &[Vec<Option<&str>>],
    tests: &[&[Test]],
) -> Vec<TestRun> {
    let mut cases = Vec::new();
    for ((problem, codes), tests) in problems.iter().zip(codes).zip(tests) {
        for &code in codes {
            cases.push(Case {
                problem,
                code,
                tests,
            });
        }
    }
    executor.run(&cases)
}

fn playable_tests(checked: &[Vec<CheckedAttack>]) -> Vec<Vec<Test>> {
    let of_problem = |set: &Vec<CheckedAttack>| {
        let pool = pool_attacks(std::slice::from_ref(set));
        pool.iter().map(|pooled| pooled.test()).collect()
    };
    checked.iter().map(of_problem).collect()
}
