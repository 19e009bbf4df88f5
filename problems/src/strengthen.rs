//! More tests for a problem: random and boundary inputs, kept where they kill a wrong program that the tests let pass.
//!
//! The reference says what is right; where there is none, a consensus of candidates does, and such tests are tagged
//! `consensus`. Inputs are drawn until a round kills nothing more. Then the tests are filled up with inputs that give
//! answers not seen yet.

use std::collections::HashSet;

use gauntlet_sandbox::{
    ExecuteJob, Execution, Expected, Fault, Limits, Mode, Outcome, Sandbox, Test, Value,
};
use serde::{Deserialize, Serialize};

use super::asserts::inputs_in;
use super::consensus::{Decision, Rule, consensus, passing};
use super::grade::{Solution, agree, grade_many};
use super::ground::{self, complete};
use super::inputs::{key, random_inputs, valid_inputs};
use super::mutate::mutants;
use super::schema::{Input, Problem};
use super::{FUEL, limits};

/// What to aim at.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Tests of a problem, at least, where so many inputs can be drawn.
    pub tests: usize,
    /// Rounds of drawing at most; a round that kills nothing is the last.
    pub rounds: u64,
    /// What the inputs depend on.
    pub seed: u64,
    /// When candidates agree enough, where there is no reference.
    pub rule: Rule,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            tests: 30,
            rounds: 4,
            seed: 1,
            rule: Rule::default(),
        }
    }
}

/// A problem with more tests, and what they are worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Strengthened {
    /// The problem.
    pub problem: Problem,
    /// Tests before.
    pub before: usize,
    /// Tests added.
    pub added: usize,
    /// Wrong programs tried.
    pub wrong: usize,
    /// Those that the given tests kill.
    pub killed_before: usize,
    /// Those that all tests kill. What is left may mean the same as the reference.
    pub killed_after: usize,
    /// Why nothing was added, where nothing could be.
    pub skipped: Option<String>,
}

/// Wrong programs tried.
const WRONG: usize = 100;
/// Inputs drawn in a round.
const DRAWN: usize = 120;
/// Inputs that every wrong program meets in a round before the rest; most are killed by them.
const FIRST: usize = 12;
/// Fuel of one drawn input on the reference.
const REFERENCE_FUEL: u64 = 100_000_000;
/// Fuel that a wrong program has beyond four times what the reference took at most.
const WRONG_FUEL: u64 = 5_000_000;
/// The longest arguments and answer of an added test, as text.
const MAX_TEXT: usize = 1000;
/// The tag of an added test.
pub const ADDED: &str = "added";
/// The tag of an added test whose expected value candidates agreed on.
pub const CONSENSUS: &str = "consensus";

/// Adds tests to a problem. `candidates` are solutions that a consensus is taken of where there is no reference; those
/// that fail the given tests count as wrong programs.
///
/// # Errors
/// Only where the host fails.
pub fn strengthen(
    sandbox: &Sandbox,
    problem: &Problem,
    candidates: &[&str],
    options: &Options,
) -> Result<Strengthened, Fault> {
    let mut problem = problem.clone();
    let before = problem.test_count();
    complete(sandbox, &mut problem)?;
    let mut done = Strengthened {
        before,
        added: 0,
        wrong: 0,
        killed_before: 0,
        killed_after: 0,
        skipped: None,
        problem,
    };
    let skip = |mut done: Strengthened, why: &str| {
        done.skipped = Some(why.to_owned());
        Ok(done)
    };
    if done.problem.is_script() {
        return skip(done, "it is a script: nothing says which inputs it allows");
    }
    if done.problem.checker.is_some() {
        return skip(
            done,
            "a checker judges it: an input has several right answers",
        );
    }
    let passed = match own_tests_hold(sandbox, &done.problem, candidates) {
        Ok(passed) => passed,
        Err(Fault::Tests { why }) => {
            return skip(done, &format!("its tests fail by themselves: {why}"));
        }
        Err(fault) => return Err(fault),
    };
    let oracle = match (&done.problem.reference, passed) {
        (Some(code), Passed::Reference(true)) => Oracle::Reference(code.clone()),
        (Some(_), _) => return skip(done, "its reference fails its own tests"),
        (None, Passed::Candidates(passed)) if passed.len() >= options.rule.min_candidates => {
            Oracle::Consensus(
                passed
                    .iter()
                    .map(|index| candidates[*index].to_owned())
                    .collect(),
            )
        }
        (None, Passed::Candidates(passed)) => {
            let why = format!(
                "it has no reference, and {} candidates pass its tests; a consensus takes {}",
                passed.len(),
                options.rule.min_candidates
            );
            return skip(done, &why);
        }
        (None, Passed::Reference(_)) => return skip(done, "it has no reference"),
    };
    let mut work = Work::new(sandbox, done.problem.clone(), oracle, candidates, options)?;
    done.wrong = work.alive.len();
    work.drop_killed_by_own_tests()?;
    done.killed_before = done.wrong - work.alive.len();
    for round in 0..options.rounds {
        if work.alive.is_empty() && round > 0 || !work.round(round)? {
            break;
        }
    }
    work.fill();
    done.killed_after = done.wrong - work.alive.len();
    done.added = work.added.len();
    done.problem.tests.extend(work.added);
    Ok(done)
}

/// Who says what is right.
enum Oracle {
    Reference(String),
    Consensus(Vec<String>),
}

/// What passes the problem's own tests.
enum Passed {
    Reference(bool),
    Candidates(Vec<usize>),
}

fn own_tests_hold(
    sandbox: &Sandbox,
    problem: &Problem,
    candidates: &[&str],
) -> Result<Passed, Fault> {
    let limits = limits(FUEL);
    Ok(match problem.reference.as_deref() {
        Some(code) => Passed::Reference(!passing(sandbox, problem, &[code], &limits)?.is_empty()),
        None => Passed::Candidates(passing(sandbox, problem, candidates, &limits)?),
    })
}

struct Work<'a> {
    sandbox: &'a Sandbox,
    /// The problem with every input that its author thought of, to draw from.
    problem: Problem,
    oracle: Oracle,
    options: &'a Options,
    /// Wrong programs that no test kills yet.
    alive: Vec<String>,
    seen: HashSet<String>,
    added: Vec<Test>,
    /// Inputs with their answers that killed nothing.
    spare: Vec<Test>,
    /// The most fuel that an answer took.
    most: u64,
}

impl<'a> Work<'a> {
    fn new(
        sandbox: &'a Sandbox,
        mut problem: Problem,
        oracle: Oracle,
        candidates: &[&str],
        options: &'a Options,
    ) -> Result<Work<'a>, Fault> {
        let names = [problem.function().to_owned(), "candidate".to_owned()];
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let found: Vec<Vec<Value>> = problem
            .code_tests
            .iter()
            .flat_map(|test| inputs_in(&test.code, &names))
            .collect();
        problem.inputs.extend(found.into_iter().map(|args| Input {
            args,
            tags: Vec::new(),
        }));
        let right = match &oracle {
            Oracle::Reference(code) => code.clone(),
            Oracle::Consensus(codes) => codes.first().cloned().unwrap_or_default(),
        };
        let mut alive: Vec<String> = mutants(&right, WRONG, options.seed)
            .into_iter()
            .map(|mutant| mutant.code)
            .collect();
        alive.extend(problem.incorrect.iter().cloned());
        if let Oracle::Consensus(codes) = &oracle {
            let others = candidates
                .iter()
                .filter(|c| codes.iter().all(|code| code != *c));
            alive.extend(others.map(|code| (*code).to_owned()));
        }
        let seen = problem.tests.iter().map(|test| key(&test.args)).collect();
        Ok(Work {
            sandbox,
            problem,
            oracle,
            options,
            alive,
            seen,
            added: Vec::new(),
            spare: Vec::new(),
            most: 0,
        })
    }

    fn drop_killed_by_own_tests(&mut self) -> Result<(), Fault> {
        let allowance = Limits {
            fuel: Some(FUEL / 20),
            ..limits(FUEL)
        };
        let solutions: Vec<Solution<'_>> = self
            .alive
            .iter()
            .map(|code| Solution {
                problem: &self.problem,
                code,
            })
            .collect();
        let reports = grade_many(self.sandbox, &solutions, &allowance, Mode::Fast);
        let mut alive = Vec::new();
        for (code, report) in self.alive.iter().zip(reports) {
            match report {
                Ok(report) if report.outcome.passed() => alive.push(code.clone()),
                Ok(_) | Err(Fault::Tests { .. } | Fault::Input { .. }) => {}
                Err(fault) => return Err(fault),
            }
        }
        self.alive = alive;
        Ok(())
    }

    /// Draws inputs and keeps those that kill. Whether any did.
    fn round(&mut self, round: u64) -> Result<bool, Fault> {
        let seed = self.options.seed.wrapping_mul(64).wrapping_add(round);
        let mut drawn: Vec<Vec<Value>> = match round {
            // The inputs of tests that are code have no expected value yet.
            0 => self
                .problem
                .inputs
                .iter()
                .map(|input| input.args.clone())
                .collect(),
            _ => Vec::new(),
        };
        drawn.extend(random_inputs(&self.problem, DRAWN, seed));
        drawn.retain(|args| {
            let text = key(args);
            text.len() <= MAX_TEXT && self.seen.insert(text)
        });
        let tests = self.answered(drawn)?;
        let split = FIRST.min(tests.len());
        let mut killed = false;
        let mut rest = tests;
        let later = rest.split_off(split);
        for chunk in [rest, later] {
            killed |= self.keep_killers(chunk)?;
        }
        Ok(killed)
    }

    /// The inputs that the problem allows, with what is right for them.
    fn answered(&mut self, inputs: Vec<Vec<Value>>) -> Result<Vec<Test>, Fault> {
        let mut tests = match &self.oracle {
            Oracle::Consensus(codes) => {
                let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
                let inputs = valid_inputs(self.sandbox, &self.problem, inputs)?;
                let rule = &self.options.rule;
                let decisions = consensus(self.sandbox, &self.problem, &codes, &inputs, rule)?;
                let decided = inputs.into_iter().zip(decisions);
                decided
                    .filter_map(|(args, decision)| match decision {
                        Decision::Decided { expected, .. } => Some(Test {
                            args,
                            expected,
                            tags: vec![ADDED.to_owned(), CONSENSUS.to_owned()],
                        }),
                        Decision::Undecided { .. } => None,
                    })
                    .collect()
            }
            Oracle::Reference(code) => {
                let program = self.problem.program(code);
                let inputs = match self.problem.input_validator.is_some() {
                    true => valid_inputs(self.sandbox, &self.problem, inputs)?,
                    false => inputs,
                };
                let limits = limits(REFERENCE_FUEL);
                let runs = self
                    .sandbox
                    .execute(&program, &inputs, &limits, Mode::Fast)?;
                let mut tests = Vec::new();
                for (args, run) in inputs.into_iter().zip(runs) {
                    let fuel = run.fuel.unwrap_or(0);
                    if let Some(test) = answer(&self.problem, args, run) {
                        self.most = self.most.max(fuel);
                        tests.push(test);
                    }
                }
                tests
            }
        };
        tests.retain(|test| test.expected.to_string().len() <= MAX_TEXT);
        Ok(tests)
    }

    /// Runs the wrong programs that are alive, and keeps the fewest inputs that kill all that these kill.
    fn keep_killers(&mut self, tests: Vec<Test>) -> Result<bool, Fault> {
        if tests.is_empty() {
            return Ok(false);
        }
        let allowance = limits(self.most.saturating_mul(4).saturating_add(WRONG_FUEL));
        let inputs: Vec<Vec<Value>> = tests.iter().map(|test| test.args.clone()).collect();
        let job = |code: &String| ExecuteJob {
            program: self.problem.program(code),
            inputs: inputs.clone(),
            limits: allowance.clone(),
            mode: Mode::Fast,
        };
        let jobs = self.alive.iter().map(job).collect();
        let mut kills: Vec<HashSet<usize>> = vec![HashSet::new(); tests.len()];
        for (program, runs) in self.sandbox.execute_many(jobs).into_iter().enumerate() {
            for (index, run) in runs?.iter().enumerate() {
                if !is_right(&self.problem, &tests[index].expected, run) {
                    kills[index].insert(program);
                }
            }
        }
        let mut dead: HashSet<usize> = HashSet::new();
        let mut tests: Vec<Option<Test>> = tests.into_iter().map(Some).collect();
        loop {
            let fresh = |index: usize| kills[index].difference(&dead).count();
            // Of inputs that kill as many the first one drawn is kept.
            let best = (0..tests.len()).rev().max_by_key(|index| fresh(*index));
            let Some(best) = best.filter(|index| fresh(*index) > 0) else {
                break;
            };
            dead.extend(kills[best].iter().copied());
            self.added.extend(tests[best].take());
        }
        self.spare.extend(tests.into_iter().flatten());
        let mut place = 0..;
        self.alive
            .retain(|_| !dead.contains(&place.next().expect("places do not end")));
        Ok(!dead.is_empty())
    }

    /// Fills the tests up with inputs that killed nothing: first those with answers that no test has.
    fn fill(&mut self) {
        let known = self.problem.tests.iter().chain(&self.added);
        let mut answers: HashSet<String> = known.map(|test| test.expected.to_string()).collect();
        let missing = self
            .options
            .tests
            .saturating_sub(self.problem.test_count() + self.added.len());
        let (fresh, rest): (Vec<Test>, Vec<Test>) = std::mem::take(&mut self.spare)
            .into_iter()
            .partition(|test| answers.insert(test.expected.to_string()));
        self.added
            .extend(fresh.into_iter().chain(rest).take(missing));
    }
}

/// The test that a run of the reference makes; none where the problem does not allow the input.
fn answer(problem: &Problem, args: Vec<Value>, run: Execution) -> Option<Test> {
    let raised = match &run.result {
        Ok(value) if value.has_opaque() => return None,
        Ok(_) => None,
        Err(Outcome::Raised { kind, .. }) => Some(kind.clone()),
        Err(_) => return None,
    };
    // Without a validator an exception says that the input is not allowed, unless the given tests expect it.
    let expected = |kind: &String| {
        problem
            .tests
            .iter()
            .any(|test| matches!(&test.expected, Expected::Raises(known) if known == kind))
    };
    if problem.input_validator.is_none() && raised.as_ref().is_some_and(|kind| !expected(kind)) {
        return None;
    }
    let mut test = ground::test(problem, args, run).ok()?;
    test.tags = vec![ADDED.to_owned()];
    Some(test)
}

fn is_right(problem: &Problem, expected: &Expected, run: &Execution) -> bool {
    match (expected, &run.result) {
        (Expected::Value(expected), Ok(got)) => agree(&problem.comparison, false, expected, got),
        (Expected::Raises(expected), Err(Outcome::Raised { kind, .. })) => expected == kind,
        _ => false,
    }
}
