//! Judges a solution by all tests of its problem, whatever their forms.
//!
//! Calls with values and code tests are the sandbox's own; scripts and checkers are put together here. Expected
//! values, checkers and references never enter an interpreter that holds a solution. A checker that fails is a fault of
//! the problem, never the solution's.

use std::time::Instant;

use gauntlet_sandbox::{
    CheckJob, CodeCheckJob, CodeTest, Comparison, ExecuteJob, Execution, Expected, Fault, Limits,
    Mode, Outcome, Program, Report, Sandbox, Test, TestReport, Value,
};

use super::schema::{CHECKER, Problem, ScriptTest};
use super::script::{Printed, Runs, run_many};
use super::stdout;

/// A solution to judge.
#[derive(Debug, Clone, Copy)]
pub struct Solution<'a> {
    /// The problem it should solve.
    pub problem: &'a Problem,
    /// Its code.
    pub code: &'a str,
}

/// Judges solutions by all tests of their problems, in the solutions' order.
///
/// A report has one entry a test: calls first, then code tests, then scripts. Tests whose expected value is not known
/// ([`Problem::inputs`] and scripts without output, where there is no checker) judge nothing and have no entry.
/// What passes in [`Mode::Fast`] is run again in [`Mode::Pure`].
pub fn grade_many(
    sandbox: &Sandbox,
    solutions: &[Solution<'_>],
    limits: &Limits,
    mode: Mode,
) -> Vec<Result<Report, Fault>> {
    let started = Instant::now();
    let parts = [
        calls(sandbox, solutions, limits, mode),
        checked_calls(sandbox, solutions, limits),
        code(sandbox, solutions, limits, mode),
        scripts(sandbox, solutions, limits),
    ];
    let mut parts = parts.map(Vec::into_iter);
    let merged = solutions.iter().map(|_| {
        // All parts move on together, also past a fault.
        let each = parts.each_mut().map(|part| part.next());
        let mut tests = Vec::new();
        for part in each.into_iter().flatten() {
            tests.extend(part?);
        }
        Ok(report(tests, started))
    });
    merged.collect()
}

/// Judges one solution.
///
/// # Errors
/// Where the host fails, or the problem's own tests or checker do.
pub fn grade(
    sandbox: &Sandbox,
    problem: &Problem,
    code: &str,
    limits: &Limits,
    mode: Mode,
) -> Result<Report, Fault> {
    let solution = Solution { problem, code };
    let mut reports = grade_many(sandbox, &[solution], limits, mode);
    reports.pop().expect("a report a solution")
}

fn report(tests: Vec<TestReport>, started: Instant) -> Report {
    let failed = tests.iter().find(|test| !test.outcome.passed());
    Report {
        outcome: failed.map_or(Outcome::Passed, |test| test.outcome.clone()),
        fuel: tests.iter().map(|test| test.fuel).sum(),
        tests,
        wall_ms: started.elapsed().as_secs_f64() * 1e3,
    }
}

type Part = Vec<Result<Vec<TestReport>, Fault>>;

/// The results of the jobs of those solutions that have one, spread over all.
fn spread(
    has: impl Iterator<Item = bool>,
    results: impl IntoIterator<Item = Result<Vec<TestReport>, Fault>>,
) -> Part {
    let mut results = results.into_iter();
    has.map(|has| match has {
        true => results.next().expect("a result a job"),
        false => Ok(Vec::new()),
    })
    .collect()
}

fn has_calls(solution: &Solution<'_>) -> bool {
    !solution.problem.tests.is_empty() && solution.problem.checker.is_none()
}

fn calls(sandbox: &Sandbox, solutions: &[Solution<'_>], limits: &Limits, mode: Mode) -> Part {
    let job = |solution: &Solution<'_>| CheckJob {
        program: solution.problem.program(solution.code),
        tests: solution.problem.tests.clone(),
        comparison: solution.problem.comparison,
        limits: limits.clone(),
        mode,
    };
    let jobs = solutions.iter().filter(|s| has_calls(s)).map(job).collect();
    let results = sandbox.check_many(jobs).into_iter();
    spread(
        solutions.iter().map(has_calls),
        results.map(|result| Ok(result?.tests)),
    )
}

fn code(sandbox: &Sandbox, solutions: &[Solution<'_>], limits: &Limits, mode: Mode) -> Part {
    let jobs = solutions.iter().flat_map(|solution| {
        let program = solution.problem.program(solution.code);
        let tests = solution.problem.code_tests.iter();
        tests.map(move |test| CodeCheckJob {
            program: program.clone(),
            test: whole(solution.problem, test),
            limits: limits.clone(),
            mode,
        })
    });
    let mut results = sandbox.check_code_many(jobs.collect()).into_iter();
    let one = |solution: &Solution<'_>| {
        let count = solution.problem.code_tests.len();
        let results: Vec<_> = results.by_ref().take(count).collect();
        let mut tests = Vec::with_capacity(count);
        for result in results {
            tests.extend(result?.tests);
        }
        Ok(tests)
    };
    solutions.iter().map(one).collect()
}

/// A code test with the problem's setup before its own.
pub(crate) fn whole(problem: &Problem, test: &CodeTest) -> CodeTest {
    let setup = problem.setup.as_deref().unwrap_or_default();
    CodeTest {
        code: test.code.clone(),
        setup: match (setup, test.setup.as_str()) {
            ("", own) => own.to_owned(),
            (setup, own) => format!("{setup}\n{own}"),
        },
    }
}

fn stated(problem: &Problem) -> impl Iterator<Item = &ScriptTest> {
    problem
        .script_tests
        .iter()
        .filter(|test| test.stdout.is_some() || problem.checker.is_some())
}

fn scripts(sandbox: &Sandbox, solutions: &[Solution<'_>], limits: &Limits) -> Part {
    let has = |solution: &Solution<'_>| stated(solution.problem).next().is_some();
    let with: Vec<&Solution<'_>> = solutions.iter().filter(|s| has(s)).collect();
    let job = |solution: &&Solution<'_>| Runs {
        code: solution.problem.program(solution.code).code,
        stdins: stated(solution.problem)
            .map(|test| test.stdin.clone())
            .collect(),
        limits: limits.clone(),
    };
    let runs = run_many(sandbox, with.iter().map(job).collect());
    let results = with.iter().zip(runs).map(|(solution, runs)| {
        let problem = solution.problem;
        let tests = stated(problem).zip(runs?);
        let mut reports: Vec<TestReport> = tests
            .map(|(test, run)| script_report(problem, test, run))
            .collect();
        if problem.checker.is_some() {
            ask_checker(sandbox, problem, &mut reports, limits)?;
        }
        Ok(reports)
    });
    let results: Vec<_> = results.collect();
    spread(solutions.iter().map(has), results)
}

fn script_report(problem: &Problem, test: &ScriptTest, run: Printed) -> TestReport {
    let expected = test.stdout.as_deref().unwrap_or_default();
    let outcome = match &run.stdout {
        Ok(got)
            if problem.checker.is_none() && stdout::equal(&problem.comparison, expected, got) =>
        {
            Outcome::Passed
        }
        Ok(got) => Outcome::WrongAnswer {
            input: vec![Value::from(test.stdin.as_str())],
            expected: Expected::Value(match &test.stdout {
                Some(text) => Value::from(text.as_str()),
                None => Value::None,
            }),
            got: Value::from(got.as_str()),
        },
        Err(outcome) => outcome.clone(),
    };
    TestReport {
        outcome,
        got: run.stdout.ok().map(|text| Value::from(text.as_str())),
        stdout: String::new(),
        fuel: run.fuel,
    }
}

/// Calls whose values a checker judges.
fn checked_calls(sandbox: &Sandbox, solutions: &[Solution<'_>], limits: &Limits) -> Part {
    let has = |solution: &Solution<'_>| {
        let problem = solution.problem;
        problem.checker.is_some() && !(problem.tests.is_empty() && problem.inputs.is_empty())
    };
    let tests = |problem: &Problem| -> Vec<Test> {
        let open = problem.inputs.iter().map(|input| Test {
            args: input.args.clone(),
            expected: Expected::Value(Value::None),
            tags: input.tags.clone(),
        });
        problem.tests.iter().cloned().chain(open).collect()
    };
    let with: Vec<&Solution<'_>> = solutions.iter().filter(|s| has(s)).collect();
    let job = |solution: &&Solution<'_>| ExecuteJob {
        program: solution.problem.program(solution.code),
        inputs: tests(solution.problem)
            .into_iter()
            .map(|t| t.args)
            .collect(),
        limits: limits.clone(),
        mode: Mode::Pure,
    };
    let runs = sandbox.execute_many(with.iter().map(job).collect());
    let results: Vec<_> = with
        .iter()
        .zip(runs)
        .map(|(solution, runs)| {
            let problem = solution.problem;
            let each = tests(problem).into_iter().zip(runs?);
            let mut reports: Vec<TestReport> = each.map(call_report).collect();
            ask_checker(sandbox, problem, &mut reports, limits)?;
            Ok(reports)
        })
        .collect();
    spread(solutions.iter().map(has), results)
}

fn call_report((test, execution): (Test, Execution)) -> TestReport {
    let outcome = match (&execution.result, &test.expected) {
        (Ok(value), _) if value.has_opaque() => Outcome::Opaque,
        (Ok(got), expected) => Outcome::WrongAnswer {
            input: test.args,
            expected: expected.clone(),
            got: got.clone(),
        },
        (Err(Outcome::Raised { kind, .. }), Expected::Raises(wanted)) if kind == wanted => {
            Outcome::Passed
        }
        (Err(outcome), _) => outcome.clone(),
    };
    TestReport {
        outcome,
        got: execution.result.ok(),
        stdout: execution.stdout,
        fuel: execution.fuel,
    }
}

/// Puts every answer to the problem's checker, `accepts(input, expected, got)`, in an interpreter that the solution never
/// enters: True passes, False is a wrong answer, anything else is a fault of the problem.
///
/// `input` is the list of arguments, or standard input; `expected` is the test's value, or None.
fn ask_checker(
    sandbox: &Sandbox,
    problem: &Problem,
    reports: &mut [TestReport],
    limits: &Limits,
) -> Result<(), Fault> {
    let checker = problem.checker.as_deref().unwrap_or_default();
    let mut asked = Vec::new();
    let mut inputs = Vec::new();
    for (index, report) in reports.iter().enumerate() {
        let Outcome::WrongAnswer {
            input,
            expected,
            got,
        } = &report.outcome
        else {
            continue;
        };
        let expected = match expected {
            Expected::Value(value) => value.clone(),
            // Something was returned where an exception should have come.
            Expected::Raises(_) | Expected::Assertion(_) => continue,
        };
        let input = match input.as_slice() {
            [stdin] if problem.is_script() => stdin.clone(),
            args => Value::List(args.to_vec()),
        };
        asked.push(index);
        inputs.push(vec![input, expected, got.clone()]);
    }
    if inputs.is_empty() {
        return Ok(());
    }
    let program = Program {
        code: checker.to_owned(),
        entry_point: CHECKER.to_owned(),
    };
    let default = Limits::default();
    let limits = Limits {
        fuel: limits.fuel.max(default.fuel),
        memory_bytes: limits.memory_bytes.max(default.memory_bytes),
        ..limits.clone()
    };
    let answers = sandbox.execute(&program, &inputs, &limits, Mode::Pure)?;
    for ((index, input), answer) in asked.into_iter().zip(&inputs).zip(answers) {
        match answer.result {
            Ok(Value::Bool(true)) => reports[index].outcome = Outcome::Passed,
            Ok(Value::Bool(false)) => {}
            result => {
                let told = match result {
                    Ok(value) => format!("returned {value}, neither True nor False"),
                    Err(outcome) => outcome.to_string(),
                };
                let why = format!("the checker on ({}): {told}", super::inputs::key(input));
                return Err(Fault::Tests { why });
            }
        }
    }
    Ok(())
}

/// Whether two answers to a problem agree, for a consensus and for telling programs apart.
pub(crate) fn agree(comparison: &Comparison, script: bool, a: &Value, b: &Value) -> bool {
    match (script, a, b) {
        (true, Value::Str(a), Value::Str(b)) => stdout::equal(comparison, a, b),
        _ => comparison.equal(a, b),
    }
}
