//! Everything that is wrong with a problem of any set: [`examine`].
//!
//! What the shipped set must prove is in [`super::validate`]; here nothing is required, and what is found is told.

use gauntlet_sandbox::{Expected, Fault, Mode, Sandbox};
use serde::{Deserialize, Serialize};

use super::grade::{Solution, grade_many};
use super::ground::complete;
use super::mutate::{Mutant, mutants};
use super::schema::Problem;
use super::validate::{MIN_KILL_RATE, strength};
use super::{FUEL, limits};

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// The reference does not pass the problem's own tests.
    Reference,
    /// The tests fail whatever the solution does, or a checker does.
    Tests,
    /// The problem has no test that says what is right.
    NoTests,
    /// An answer that looks at no input passes every test.
    Constant,
    /// Wrong programs pass every test.
    Weak,
    /// A solution listed as wrong passes every test.
    Incorrect,
    /// Inputs on which the reference gives no answer.
    Inputs,
    /// The reference takes more than a tenth of the fuel that a solution may burn.
    Slow,
    /// Another problem says nearly the same.
    Duplicate,
}

/// One thing that is wrong, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What.
    pub what: Wrong,
    /// Where and how.
    pub detail: String,
}

/// What was found about a problem.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Examination {
    /// The problem's id.
    pub problem: String,
    /// What is wrong, if anything.
    pub found: Vec<Found>,
    /// Tests that say what is right.
    pub tests: usize,
    /// Wrong programs that differ from the reference on some input.
    pub told_apart: usize,
    /// Those of them that a test kills.
    pub killed: usize,
    /// The most fuel that the reference burns in a test.
    pub reference_fuel: Option<u64>,
}

/// Wrong programs tried where the tests are not calls.
const MUTANTS: usize = 40;
const SEED: u64 = 1;

/// Fuel that a wrong program has beyond four times what the reference took at most.
const WRONG_FUEL: u64 = 50_000_000;

/// Looks for everything that is wrong with one problem.
///
/// # Errors
/// Only where the host fails.
pub fn examine(sandbox: &Sandbox, problem: &Problem) -> Result<Examination, Fault> {
    let mut problem = problem.clone();
    let mut seen = Examination {
        problem: problem.id.clone(),
        ..Examination::default()
    };
    let mut found = Vec::new();
    let mut add = |what, detail: String| found.push(Found { what, detail });
    let unanswered = complete(sandbox, &mut problem)?;
    if let Some(first) = unanswered.first() {
        add(
            Wrong::Inputs,
            format!("{} without an answer; the first: {first}", unanswered.len()),
        );
    }
    seen.tests = problem.test_count();
    if seen.tests == 0 {
        add(
            Wrong::NoTests,
            "no test says what is right; `problems strengthen` makes some from a reference".into(),
        );
        seen.found = found;
        return Ok(seen);
    }
    let codes: Vec<&str> = problem.reference.as_deref().into_iter().collect();
    let mut good = true;
    if let Some(report) = judge(sandbox, &problem, &codes, FUEL)?.pop() {
        match report {
            Err(why) => {
                add(Wrong::Tests, why);
                good = false;
            }
            Ok(report) => {
                seen.reference_fuel = report.tests.iter().filter_map(|t| t.fuel).max();
                let failed = report.tests.iter().position(|test| !test.outcome.passed());
                if let Some(index) = failed {
                    good = false;
                    let outcome = &report.tests[index].outcome;
                    add(
                        Wrong::Reference,
                        format!("fails its own tests: tests[{index}]: {outcome}"),
                    );
                } else if seen.reference_fuel.is_some_and(|fuel| fuel > FUEL / 10) {
                    let share = seen.reference_fuel.unwrap_or(0) * 100 / FUEL;
                    add(
                        Wrong::Slow,
                        format!("the reference burns {share} % of the fuel of a solution"),
                    );
                }
            }
        }
    }
    if good {
        let constants = constants(&problem);
        let codes: Vec<&str> = constants.iter().map(|(_, code)| code.as_str()).collect();
        for ((answer, _), report) in constants
            .iter()
            .zip(judge(sandbox, &problem, &codes, FUEL)?)
        {
            match report {
                Ok(report) if report.outcome.passed() => {
                    add(
                        Wrong::Constant,
                        format!("a solution that always answers {answer} passes"),
                    );
                    break;
                }
                Err(why) if problem.reference.is_none() => {
                    add(Wrong::Tests, why);
                    break;
                }
                _ => {}
            }
        }
        let wrong: Vec<&str> = problem.incorrect.iter().map(String::as_str).collect();
        for (index, report) in judge(sandbox, &problem, &wrong, FUEL)?
            .into_iter()
            .enumerate()
        {
            if report.is_ok_and(|report| report.outcome.passed()) {
                add(
                    Wrong::Incorrect,
                    format!("incorrect[{index}] passes every test"),
                );
            }
        }
        if problem.reference.is_some() {
            // Wrong programs that never end cost their whole fuel in every test.
            let most = seen.reference_fuel.unwrap_or(FUEL / 4);
            let allowance = most.saturating_mul(4).saturating_add(WRONG_FUEL).min(FUEL);
            let (told_apart, survivors) = weakness(sandbox, &problem, allowance)?;
            seen.told_apart = told_apart;
            seen.killed = told_apart - survivors.len();
            let rate = seen.killed as f64 / told_apart.max(1) as f64;
            if let Some(survivor) = survivors.first().filter(|_| rate < MIN_KILL_RATE) {
                add(Wrong::Weak, told(&seen, survivor));
            }
        }
    }
    seen.found = found;
    Ok(seen)
}

fn told(seen: &Examination, survivor: &Mutant) -> String {
    let line = survivor
        .code
        .lines()
        .nth(survivor.line - 1)
        .unwrap_or_default();
    format!(
        "{} tests kill {} of {} wrong programs; this one passes ({} at line {}: `{}`)",
        seen.tests,
        seen.killed,
        seen.told_apart,
        survivor.operator,
        survivor.line,
        line.trim()
    )
}

/// Reports on solutions; the inner error is a fault of the problem's own tests.
fn judge(
    sandbox: &Sandbox,
    problem: &Problem,
    codes: &[&str],
    fuel: u64,
) -> Result<Vec<Result<gauntlet_sandbox::Report, String>>, Fault> {
    let solutions: Vec<Solution<'_>> = codes
        .iter()
        .map(|code| Solution { problem, code })
        .collect();
    grade_many(sandbox, &solutions, &limits(fuel), Mode::Fast)
        .into_iter()
        .map(|report| match report {
            Ok(report) => Ok(Ok(report)),
            Err(Fault::Tests { why }) => Ok(Err(why)),
            Err(Fault::Input {
                input,
                argument,
                value,
            }) => Ok(Err(format!(
                "tests[{input}].args[{argument}]: {value} cannot enter the sandbox"
            ))),
            Err(fault) => Err(fault),
        })
        .collect()
}

/// Wrong programs that some input tells from the reference, and those of them that pass every test.
fn weakness(
    sandbox: &Sandbox,
    problem: &Problem,
    fuel: u64,
) -> Result<(usize, Vec<Mutant>), Fault> {
    if !problem.tests.is_empty() && problem.checker.is_none() {
        let strength = strength(sandbox, problem)?;
        let mut survivors = strength.survivors;
        if !problem.code_tests.is_empty() && !survivors.is_empty() {
            let codes: Vec<&str> = survivors.iter().map(|m| m.code.as_str()).collect();
            let mut passed = judge(sandbox, problem, &codes, fuel)?.into_iter();
            survivors.retain(|_| {
                let report = passed.next().expect("a report a survivor");
                report.is_ok_and(|report| report.outcome.passed())
            });
        }
        return Ok((strength.told_apart, survivors));
    }
    // Without calls nothing tells a mutant that means the same from one that the tests miss: all count.
    let code = problem.reference.as_deref().unwrap_or_default();
    let mutants = mutants(code, MUTANTS, SEED);
    let codes: Vec<&str> = mutants.iter().map(|mutant| mutant.code.as_str()).collect();
    let reports = judge(sandbox, problem, &codes, fuel)?;
    let passed = |report: &Result<gauntlet_sandbox::Report, String>| {
        report.as_ref().is_ok_and(|report| report.outcome.passed())
    };
    let survivors = mutants
        .iter()
        .zip(&reports)
        .filter(|(_, report)| passed(report));
    Ok((
        mutants.len(),
        survivors.map(|(mutant, _)| mutant.clone()).collect(),
    ))
}

/// Solutions that look at no input, with what they answer.
fn constants(problem: &Problem) -> Vec<(String, String)> {
    if problem.is_script() {
        let texts = problem
            .script_tests
            .iter()
            .filter_map(|test| test.stdout.clone());
        let mut texts: Vec<String> = texts.take(3).collect();
        texts.dedup();
        return texts
            .into_iter()
            .map(|text| {
                let literal = gauntlet_sandbox::Value::from(text.as_str()).to_literal();
                (literal.clone(), format!("print({literal}, end='')\n"))
            })
            .collect();
    }
    let mut answers: Vec<String> = Vec::new();
    for test in problem.tests.iter().take(3) {
        if let Expected::Value(value) = &test.expected {
            answers.push(value.to_literal());
        }
    }
    if answers.is_empty() {
        answers.extend(["None", "True", "0", "[]"].map(str::to_owned));
    }
    answers.dedup();
    let entry_point = problem.entry_point.as_deref().unwrap_or_default();
    answers
        .into_iter()
        .map(|answer| {
            let code = match entry_point.rsplit_once('.') {
                Some((class, method)) => format!(
                    "class {class}:\n    def {method}(self, *args, **kwargs):\n        return {answer}\n"
                ),
                None => format!("def {entry_point}(*args, **kwargs):\n    return {answer}\n"),
            };
            (answer, code)
        })
        .collect()
}
