//! How many planted bugs the gold tests of a problem catch.

use gauntlet_sandbox::{
    Comparison, ExecuteJob, Execution, Expected, Fault, Mode, Outcome, Sandbox, Value,
};

use super::super::inputs::draw_valid;
use super::super::mutate::{Mutant, mutants};
use super::super::schema::Problem;
use super::super::{FUEL, limits};

/// Random valid inputs that a mutant is told from the reference with.
pub const INPUTS: usize = 200;

/// Mutants of one reference at most. Few references have as many.
pub const MUTANTS: usize = 200;

/// Mutants and inputs are the same in every run, so that a set that is good stays good.
const SEED: u64 = 1;

/// The inputs that every mutant meets, beside the gold tests; only one that they do not tell apart meets
/// the rest. Most are told apart at once, and one that never ends costs its whole fuel on each input.
const FIRST_INPUTS: usize = 8;

/// Fuel of one input on the reference. A random input that takes more is not used.
const REFERENCE_FUEL: u64 = 100_000_000;

/// Fuel that a mutant has beyond four times what the reference took at most.
const MUTANT_FUEL: u64 = 5_000_000;

/// How many planted bugs the gold tests of a problem catch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Strength {
    /// Random valid inputs used.
    pub inputs: usize,
    /// Mutants tried.
    pub mutants: usize,
    /// Mutants that some random input tells from the reference.
    pub told_apart: usize,
    /// Those of them that some gold test fails on.
    pub killed: usize,
    /// Those of them that pass every gold test.
    pub survivors: Vec<Mutant>,
}

impl Strength {
    /// The share of the mutants told apart that gold tests kill; 1 where none is told apart.
    pub fn kill_rate(&self) -> f64 {
        if self.told_apart == 0 {
            1.0
        } else {
            self.killed as f64 / self.told_apart as f64
        }
    }
}

/// Measures the gold tests of a problem whose reference passes them; without a reference nothing is measured.
///
/// # Errors
/// Only where the host fails.
pub fn strength(sandbox: &Sandbox, problem: &Problem) -> Result<Strength, Fault> {
    let Some(code) = &problem.reference else {
        return Ok(Strength::default());
    };
    let gold: Vec<Vec<Value>> = problem.tests.iter().map(|test| test.args.clone()).collect();
    let drawn = draw_valid(sandbox, problem, INPUTS, SEED)?;
    let reference = |inputs: &[Vec<Value>], fuel| {
        sandbox.execute(&problem.program(code), inputs, &limits(fuel), Mode::Fast)
    };
    let on_gold = reference(&gold, FUEL)?;
    let on_drawn = reference(&drawn, REFERENCE_FUEL)?;
    let (random, answers): (Vec<_>, Vec<_>) = drawn
        .into_iter()
        .zip(on_drawn)
        .filter(|(_, execution)| is_answer(execution))
        .unzip();
    let most = on_gold
        .iter()
        .chain(&answers)
        .filter_map(|execution| execution.fuel)
        .max()
        .unwrap_or(0);
    let allowance = limits(most.saturating_mul(4).saturating_add(MUTANT_FUEL));

    let bugs = mutants(code, MUTANTS, SEED);
    let run = |bugs: &[&Mutant], inputs: Vec<Vec<Value>>| {
        let job = |bug: &&Mutant| ExecuteJob {
            program: problem.program(&bug.code),
            inputs: inputs.clone(),
            limits: allowance.clone(),
            mode: Mode::Fast,
        };
        sandbox
            .execute_many(bugs.iter().map(job).collect())
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
    };
    let split = FIRST_INPUTS.min(random.len());
    let (first, rest) = random.split_at(split);
    let (first_answers, rest_answers) = answers.split_at(split);
    let differs = |answers: &[Execution], got: &[Execution]| {
        answers
            .iter()
            .zip(got)
            .any(|(answer, got)| !same(&problem.comparison, &answer.result, &got.result))
    };

    // The first run decides about killing, and for most about being told apart.
    let all: Vec<&Mutant> = bugs.iter().collect();
    let mut told = Vec::new();
    let mut open = Vec::new();
    for (&bug, got) in all.iter().zip(run(&all, [&gold, first].concat())?) {
        let killed = problem.tests.iter().zip(&got).any(|(test, got)| {
            let expected = match &test.expected {
                Expected::Value(value) => Ok(value),
                // (A condition is never read from a problem file.)
                Expected::Raises(kind) | Expected::Assertion(kind) => Err(kind.as_str()),
            };
            !agrees(&problem.comparison, expected, &got.result)
        });
        match differs(first_answers, &got[gold.len()..]) {
            true => told.push((bug, killed)),
            false => open.push((bug, killed)),
        }
    }
    let open_bugs: Vec<&Mutant> = open.iter().map(|(bug, _)| *bug).collect();
    for (&(bug, killed), got) in open.iter().zip(run(&open_bugs, rest.to_vec())?) {
        if differs(rest_answers, &got) {
            told.push((bug, killed));
        }
    }
    let survivors: Vec<Mutant> = told
        .iter()
        .filter(|(_, killed)| !killed)
        .map(|(bug, _)| (*bug).clone())
        .collect();
    Ok(Strength {
        inputs: random.len(),
        mutants: bugs.len(),
        told_apart: told.len(),
        killed: told.len() - survivors.len(),
        survivors,
    })
}

/// Whether the reference gave something that a mutant can be compared with.
fn is_answer(execution: &Execution) -> bool {
    matches!(execution.result, Ok(_) | Err(Outcome::Raised { .. }))
}

fn same(
    comparison: &Comparison,
    answer: &Result<Value, Outcome>,
    got: &Result<Value, Outcome>,
) -> bool {
    match answer {
        Ok(value) => agrees(comparison, Ok(value), got),
        Err(Outcome::Raised { kind, .. }) => agrees(comparison, Err(kind), got),
        Err(_) => true,
    }
}

/// Whether a run gave the expected value, or raised the expected exception.
fn agrees(
    comparison: &Comparison,
    expected: Result<&Value, &str>,
    got: &Result<Value, Outcome>,
) -> bool {
    match (expected, got) {
        (Ok(expected), Ok(got)) => comparison.equal(expected, got),
        (Err(expected), Err(Outcome::Raised { kind, .. })) => expected == kind,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_agrees_with_its_own_type_only() {
        let raised = |kind: &str| -> Result<Value, Outcome> {
            Err(Outcome::Raised {
                kind: kind.into(),
                message: String::new(),
                traceback: String::new(),
            })
        };
        let exact = Comparison::Exact;
        assert!(same(&exact, &raised("KeyError"), &raised("KeyError")));
        assert!(!same(&exact, &raised("KeyError"), &raised("IndexError")));
        assert!(!same(&exact, &raised("KeyError"), &Ok(Value::None)));
        assert!(!same(&exact, &Ok(Value::None), &raised("KeyError")));
        assert!(!same(
            &exact,
            &Ok(Value::from(1)),
            &Err(Outcome::OutOfMemory)
        ));
    }
}
