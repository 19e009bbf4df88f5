//! What a problem must prove in the sandbox before it is used.
//!
//! [`validate`] asks everything of one problem, [`validate_all`] of a set; [`check_references`] asks only
//! the first thing, and is quick enough for every start of a run.
//!
//! Tests are measured by the bugs they catch ([`strength`]): of the mutants of the reference that random
//! valid inputs can tell from it, the gold tests must kill [`MIN_KILL_RATE`]. A mutant that no input tells
//! apart may mean the same as the reference, and counts for nothing.

mod strength;

use std::fmt;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use gauntlet_sandbox::{CheckJob, Fault, Limits, Mode, Report, Sandbox, Value};

use super::inputs::permit_job;
use super::schema::{MIN_TESTS, Problem};
use super::signature::find_function;
use super::{FUEL, limits};

pub use strength::{INPUTS, MUTANTS, Strength, strength};

/// The share of telling mutants that gold tests must kill.
pub const MIN_KILL_RATE: f64 = 0.9;

/// Something that a problem does not prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The problem's id.
    pub problem: String,
    /// What was asked.
    pub what: What,
    /// What was found.
    pub detail: String,
}

/// What is asked of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// Every field is as it should be.
    Fields,
    /// Reference and trace name their parameters as the signature does.
    Signature,
    /// There are at least [`MIN_TESTS`] gold tests.
    Tests,
    /// The reference passes the gold tests.
    Reference,
    /// The code of the trace passes the gold tests.
    Trace,
    /// The validator allows the input of every gold test.
    Validator,
    /// Half as many random inputs as there are gold tests can be drawn, at least.
    Inputs,
    /// Gold tests kill [`MIN_KILL_RATE`] of the mutants that random inputs tell from the reference.
    Mutants,
    /// The host failed: nothing is known about the problem.
    Host,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::Fields | What::Signature => "",
            What::Tests => "too few tests: ",
            What::Reference => "the reference fails its own tests: ",
            What::Trace => "the code of the trace fails the tests: ",
            What::Validator => "the validator refuses a gold input: ",
            What::Inputs => "too few valid inputs: ",
            What::Mutants => "weak tests: ",
            What::Host => "could not be executed: ",
        };
        write!(f, "problem {:?}: {what}{}", self.problem, self.detail)
    }
}

/// Asks everything of one problem that a shipped one must prove: every field is there, and holds.
///
/// # Errors
/// Everything it does not prove.
pub fn validate(sandbox: &Sandbox, problem: &Problem) -> Result<(), Vec<Finding>> {
    match findings(sandbox, problem) {
        Ok(findings) if findings.is_empty() => Ok(()),
        Ok(findings) => Err(findings),
        Err(fault) => Err(vec![finding(problem, What::Host, fault.to_string())]),
    }
}

/// Asks everything of every problem, some at a time.
///
/// # Errors
/// Everything that is not proved, in the problems' order.
pub fn validate_all(sandbox: &Sandbox, problems: &[Problem]) -> Result<(), Vec<Finding>> {
    let found = Mutex::new(vec![Vec::new(); problems.len()]);
    let next = AtomicUsize::new(0);
    // One more than there are cores: while one waits for its last mutant, the next keeps a worker busy.
    let threads = 1 + std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((index, problem)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    problems.get(index).map(|problem| (index, problem))
                } {
                    if let Err(findings) = validate(sandbox, problem) {
                        found.lock().expect("no thread panics while it holds this")[index] =
                            findings;
                    }
                }
            });
        }
    });
    let found: Vec<Finding> = found
        .into_inner()
        .expect("all threads have ended")
        .into_iter()
        .flatten()
        .collect();
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// Asks of every problem that its reference passes its gold tests under `limits`, and no more.
///
/// # Errors
/// The problems whose references fail, with the first test that each fails.
pub fn check_references(
    sandbox: &Sandbox,
    problems: &[Problem],
    limits: &Limits,
) -> Result<(), Vec<Finding>> {
    let job = |problem: &Problem| {
        let code = problem.reference.as_deref()?;
        Some(CheckJob {
            limits: limits.clone(),
            ..check_job(problem, code, Mode::Fast)
        })
    };
    let with = problems
        .iter()
        .filter(|problem| problem.reference.is_some() && !problem.is_script());
    let jobs = with.clone().filter_map(job).collect();
    let mut findings = Vec::new();
    for (problem, result) in with.zip(sandbox.check_many(jobs)) {
        match result {
            Ok(report) => findings.extend(failure(problem, What::Reference, &report)),
            Err(fault) => findings.push(finding(problem, What::Host, fault.to_string())),
        }
    }
    if findings.is_empty() {
        Ok(())
    } else {
        Err(findings)
    }
}

fn findings(sandbox: &Sandbox, problem: &Problem) -> Result<Vec<Finding>, Fault> {
    if let Err(flaw) = problem.check() {
        // What follows relies on the fields.
        return Ok(vec![finding(problem, What::Fields, flaw.to_string())]);
    }
    let missing = problem.missing_fields();
    if !missing.is_empty() {
        let told = missing.iter().map(|field| format!("{field}: is missing"));
        return Ok(told.map(|t| finding(problem, What::Fields, t)).collect());
    }
    let mut findings = Vec::new();
    if problem.tests.len() < MIN_TESTS {
        let detail = format!("{}; a problem needs {MIN_TESTS}", problem.tests.len());
        findings.push(finding(problem, What::Tests, detail));
    }
    findings.extend(renamed(problem));
    let solutions: Vec<(What, &str)> = [
        (What::Reference, problem.reference.as_deref()),
        (What::Trace, trace_code(problem)),
    ]
    .into_iter()
    .filter_map(|(what, code)| Some((what, code?)))
    .collect();
    let jobs = solutions
        .iter()
        .map(|(_, code)| check_job(problem, code, Mode::Pure))
        .collect();
    for ((what, _), report) in solutions.iter().zip(sandbox.check_many(jobs)) {
        findings.extend(failure(problem, *what, &report?));
    }
    let gold = problem.tests.iter().map(|test| test.args.clone()).collect();
    let Some(job) = permit_job(problem, gold) else {
        return Ok(findings);
    };
    let answers = sandbox.execute(&job.program, &job.inputs, &job.limits, job.mode)?;
    let refused = answers
        .iter()
        .position(|answer| answer.result != Ok(Value::Bool(true)));
    if let Some(index) = refused {
        let answer = match &answers[index].result {
            Ok(value) => format!("returned {value}"),
            Err(outcome) => outcome.to_string(),
        };
        let input = super::inputs::key(&job.inputs[index]);
        let detail = format!("tests[{index}], ({input}): {answer}");
        findings.push(finding(problem, What::Validator, detail));
    }
    // Tests that the reference fails would kill every mutant, and prove nothing.
    if findings.is_empty() {
        findings.extend(weakness(problem, &strength(sandbox, problem)?));
    }
    Ok(findings)
}

/// Code whose parameters are not those of the signature: calls would pass, but a player that learns from it
/// learns to ignore what was asked.
fn renamed(problem: &Problem) -> Vec<Finding> {
    let Ok(Some(signature)) = problem.parsed_signature() else {
        return Vec::new();
    };
    let solutions = [
        ("reference", problem.reference.as_deref()),
        ("trace[4]", trace_code(problem)),
    ];
    let differs = |(field, code): (&str, Option<&str>)| {
        let found = find_function(code?, &signature.name)
            .ok()
            .filter(|found| !signature.is_kept_by(found))?;
        let detail =
            format!("{field}: `{found}` names its parameters otherwise than `{signature}`");
        Some(finding(problem, What::Signature, detail))
    };
    solutions.into_iter().filter_map(differs).collect()
}

fn trace_code(problem: &Problem) -> Option<&str> {
    problem.trace.as_ref().map(|trace| trace[4].as_str())
}

fn weakness(problem: &Problem, strength: &Strength) -> Option<Finding> {
    let Strength {
        inputs,
        told_apart,
        killed,
        survivors,
        ..
    } = strength;
    if inputs * 2 < problem.tests.len() {
        let detail = format!(
            "{inputs} random ones; the validator is too narrow, or the gold arguments are too alike"
        );
        return Some(finding(problem, What::Inputs, detail));
    }
    let survivor = survivors
        .first()
        .filter(|_| strength.kill_rate() < MIN_KILL_RATE)?;
    let line = survivor
        .code
        .lines()
        .nth(survivor.line - 1)
        .unwrap_or_default()
        .trim();
    let detail = format!(
        "they kill {killed} of the {told_apart} mutants that random inputs tell from the reference; add a test that \
         fails on this one ({} at line {}: `{line}`):\n{}",
        survivor.operator, survivor.line, survivor.code,
    );
    Some(finding(problem, What::Mutants, detail))
}

fn finding(problem: &Problem, what: What, detail: String) -> Finding {
    Finding {
        problem: problem.id.clone(),
        what,
        detail,
    }
}

/// The first test that did not pass, if one did not.
fn failure(problem: &Problem, what: What, report: &Report) -> Option<Finding> {
    let (index, test) = report
        .tests
        .iter()
        .enumerate()
        .find(|(_, test)| !test.outcome.passed())?;
    Some(finding(
        problem,
        what,
        format!("tests[{index}]: {}", test.outcome),
    ))
}

fn check_job(problem: &Problem, code: &str, mode: Mode) -> CheckJob {
    CheckJob {
        program: problem.program(code),
        tests: problem.tests.clone(),
        comparison: problem.comparison,
        limits: limits(FUEL),
        mode,
    }
}

#[cfg(test)]
mod tests {
    use super::super::mutate::Mutant;
    use super::super::schema::example;
    use super::*;

    fn problem() -> Problem {
        serde_json::from_value(example::json(serde_json::json!({}))).unwrap()
    }

    #[test]
    fn renamed_parameters_are_found() {
        assert_eq!(renamed(&problem()), []);
        let mut other = problem();
        other.trace.as_mut().unwrap()[4] = "def double(x):\n    return x * 2\n".to_owned();
        let found = renamed(&other);
        assert_eq!(
            found[0].to_string(),
            "problem \"numbers/double\": trace[4]: `def double(x)` names its parameters otherwise than \
             `def double(n: int) -> int`"
        );
    }

    #[test]
    fn weak_tests_are_shown_the_bug_they_miss() {
        let survivor = Mutant {
            code: "def double(n):\n    return n * 3\n".into(),
            operator: "integer_constant",
            line: 2,
        };
        let strength = |killed, told_apart, inputs| Strength {
            inputs,
            mutants: 24,
            told_apart,
            killed,
            survivors: vec![survivor.clone(); told_apart - killed],
        };
        assert_eq!(weakness(&problem(), &strength(18, 20, 200)), None);
        assert_eq!(weakness(&problem(), &strength(0, 0, 200)), None);
        let weak = weakness(&problem(), &strength(17, 20, 200))
            .unwrap()
            .to_string();
        assert!(
            weak.starts_with(
                "problem \"numbers/double\": weak tests: they kill 17 of the 20 mutants"
            ),
            "{weak}"
        );
        assert!(
            weak.contains("integer_constant at line 2: `return n * 3`"),
            "{weak}"
        );
        assert_eq!(
            weakness(&problem(), &strength(20, 20, 0)).unwrap().what,
            What::Inputs
        );
    }
}
