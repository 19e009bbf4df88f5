//! Which of several candidates is likely right where no gold test is at hand.

use gauntlet_sandbox::{ExecuteJob, Execution, Expected, Mode, Program, Test, Value};

use crate::discriminator::Discriminator;
use crate::encoding::EncodingError;
use crate::execution::Executor;
use crate::prompts::parse_attacks;
use crate::rng::DrawKey;
use crate::rollout::{Completion, ParsedAttack};

use super::attacks::AttackOptions;

/// Blind attack sets that rank the candidates of a problem: the likeliest one, then drawn ones.
pub const BLIND_SETS: usize = 4;

/// Temperature of the drawn ones.
const DRAWN_AT: f64 = 0.8;

/// Tests for each prompt, which shows a problem alone, out of `sets` attack sets; each input once. The expected outputs
/// are the discriminator's: nothing here knows the right ones.
pub fn blind_tests(
    discriminator: &Discriminator,
    prompts: &[(Vec<u32>, DrawKey)],
    sets: usize,
    options: &AttackOptions,
) -> Result<Vec<Vec<ParsedAttack>>, EncodingError> {
    let mut tests: Vec<Vec<ParsedAttack>> = vec![Vec::new(); prompts.len()];
    for set in 0..sets {
        let temperature = if set == 0 { 0.0 } else { DRAWN_AT };
        let keyed: Vec<(Vec<u32>, DrawKey)> = prompts
            .iter()
            .map(|(prompt, key)| (prompt.clone(), key.with_name("blind").with(set as u64)))
            .collect();
        let written = discriminator.attack(
            &keyed,
            options.max_new_tokens,
            temperature,
            options.batch_size,
        )?;
        for (tests, completion) in tests.iter_mut().zip(&written) {
            keep_new(tests, completion, options.per_set);
        }
    }
    Ok(tests)
}

/// Adds the tests of an attack set whose inputs are new.
pub fn keep_new(tests: &mut Vec<ParsedAttack>, completion: &Completion, per_set: usize) {
    for attack in parse_attacks(&completion.text, per_set)
        .into_iter()
        .flatten()
    {
        if tests.iter().all(|known| known.args != attack.args) {
            tests.push(attack);
        }
    }
}

/// An attack as the sandbox runs it, with the expected output that was written.
pub fn as_written(attack: &ParsedAttack) -> Test {
    Test {
        args: attack.args.clone(),
        expected: Expected::Value(attack.expected.clone()),
        tags: Vec::new(),
    }
}

/// How far candidates agree in what they answer, whatever a test expects: for each input every candidate scores the number
/// of candidates that give the same value, itself included (minimum Bayes risk by execution, arXiv 2204.11454). An input
/// that a candidate fails on gives it nothing; one without code scores -1.
pub fn answer_agreement(
    executor: &Executor,
    candidates: &[Option<Program>],
    inputs: &[Vec<Value>],
) -> Vec<f64> {
    let jobs = candidates.iter().flatten().map(|program| ExecuteJob {
        program: program.clone(),
        inputs: inputs.to_vec(),
        limits: executor.limits().clone(),
        mode: Mode::Fast,
    });
    let jobs: Vec<ExecuteJob> = match inputs {
        [] => Vec::new(),
        _ => jobs.collect(),
    };
    let mut answered = executor.sandbox().execute_many(jobs).into_iter();
    let answers: Vec<Option<Vec<Option<String>>>> = candidates
        .iter()
        .map(|candidate| {
            candidate.as_ref()?;
            // What the host failed at says nothing for a candidate and nothing against it.
            let executions = answered.next().and_then(Result::ok).unwrap_or_default();
            let literal = |e: &Execution| e.result.as_ref().ok().map(Value::to_literal);
            Some(executions.iter().map(literal).collect())
        })
        .collect();
    votes(&answers)
}

/// The votes of [`answer_agreement`] for the answers of each candidate, input by input.
fn votes(answers: &[Option<Vec<Option<String>>>]) -> Vec<f64> {
    let score = |own: &Option<Vec<Option<String>>>| {
        let Some(own) = own else { return -1.0 };
        let mut votes = 0;
        for (input, answer) in own.iter().enumerate().filter(|(_, a)| a.is_some()) {
            let same = |other: &&Vec<Option<String>>| other.get(input) == Some(answer);
            votes += answers.iter().flatten().filter(same).count();
        }
        votes as f64
    };
    answers.iter().map(score).collect()
}

/// Dual agreement (CodeT, arXiv 2207.10397): candidates that pass the same tests agree, and each scores the size of its
/// group times the number of tests it passes. `passes` has a row a candidate; none is for one without code, which scores
/// -1: with code that runs nowhere there is nothing to agree on.
pub fn dual_agreement(passes: &[Option<Vec<bool>>]) -> Vec<f64> {
    let score = |own: &Option<Vec<bool>>| match own {
        None => -1.0,
        Some(row) => {
            let size = passes.iter().filter(|other| *other == own).count();
            let passed = row.iter().filter(|passed| **passed).count();
            (size * passed) as f64
        }
    };
    passes.iter().map(score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_group_that_passes_most_is_ahead() {
        let row = |passed: &[bool]| Some(passed.to_vec());
        let (both, first) = (row(&[true, true]), row(&[true, false]));
        let passes = [first.clone(), both.clone(), first, None, both.clone(), both];
        assert_eq!(dual_agreement(&passes), [2.0, 6.0, 2.0, -1.0, 6.0, 6.0]);
    }

    #[test]
    fn every_answer_is_a_vote_for_those_who_give_it() {
        let answers = |list: &[&str]| {
            let answer = |a: &&str| (!a.is_empty()).then(|| (*a).to_owned());
            Some(list.iter().map(answer).collect::<Vec<_>>())
        };
        let right = answers(&["1", "2", ""]);
        let candidates = [
            right.clone(),
            answers(&["1", "3", "4"]),
            None,
            right,
            answers(&[]),
        ];
        assert_eq!(votes(&candidates), [5.0, 5.0, -1.0, 5.0, 0.0]);
    }

    #[test]
    fn without_tests_no_code_is_ahead_of_other_code() {
        assert_eq!(dual_agreement(&[Some(vec![]), None]), [0.0, -1.0]);
    }
}
