//! `sandbox check`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use gauntlet_sandbox::{
    CodeTest, Comparison, Expected, Limits, Mode, Outcome, Program, Report, Sandbox, SetOrder,
    Test, TestReport,
};
use serde::Deserialize;
use serde_json::json;

use crate::input::{LimitArgs, one_from_stdin, read_code, read_text, usage};

/// `sandbox check CODE --tests TESTS`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The program, or - for standard input
    code: PathBuf,
    /// The tests: {"entry_point": .., "tests": [{"args": [..], "expected": ..}, ..]}, or {"entry_point": .., "code":
    /// "def check(candidate): ..", "setup": ".."}
    #[arg(long, value_name = "FILE")]
    tests: PathBuf,
    /// Run all tests in one interpreter first; what passes is repeated in fresh ones
    #[arg(long)]
    batch: bool,
    /// Run the program also with its sets walked from the end, and say where the verdict hangs on their order
    #[arg(long)]
    set_orders: bool,
    #[command(flatten)]
    limits: LimitArgs,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// The file behind `--tests`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TestFile {
    entry_point: String,
    tests: Option<Vec<Test>>,
    comparison: Option<Comparison>,
    code: Option<String>,
    setup: Option<String>,
}

/// The two forms of tests.
enum Tests {
    Values(Vec<Test>, Comparison),
    Code(CodeTest),
}

/// True if every test passed.
pub(crate) fn check(args: &Args) -> Result<bool> {
    one_from_stdin([&args.code, &args.tests])?;
    let (entry_point, tests) = read_tests(&args.tests)?;
    let limits = args.limits.resolve()?;
    let mode = if args.batch { Mode::Fast } else { Mode::Pure };
    let mut reversed = None;
    let report = match read_code(&args.code)? {
        Err(outcome) => unread(&tests, outcome),
        Ok(code) => {
            let (sandbox, program) = (Sandbox::open()?, Program { code, entry_point });
            let check = |limits: &Limits| match &tests {
                Tests::Values(tests, comparison) => {
                    sandbox.check(&program, tests, comparison, limits, mode)
                }
                Tests::Code(test) => sandbox.check_code(&program, test, limits, mode),
            };
            let report = check(&limits)?;
            if args.set_orders {
                let limits = Limits {
                    set_order: SetOrder::Reversed,
                    ..limits
                };
                reversed = Some(check(&limits)?);
            }
            report
        }
    };
    let hanging = reversed.map(|reversed| hanging(&report, &reversed));
    if args.json {
        let mut object = to_json(&report, &tests);
        if let Some(hanging) = hanging {
            let tests: Vec<usize> = hanging.into_iter().map(|(at, _)| at).collect();
            object["hang_on_set_order"] = json!(tests);
        }
        println!("{object}");
    } else {
        print(&report);
        for (at, outcome) in hanging.into_iter().flatten() {
            println!(
                "test {} hangs on the order of sets; walked from their end: {outcome}",
                at + 1
            );
        }
    }
    Ok(report.outcome.passed())
}

/// The tests that another order of sets passes or fails otherwise, by number from 0, and what becomes of them there.
fn hanging(report: &Report, reversed: &Report) -> Vec<(usize, Outcome)> {
    let pairs = report.tests.iter().zip(&reversed.tests).enumerate();
    pairs
        .filter(|(_, (one, other))| one.outcome.passed() != other.outcome.passed())
        .map(|(at, (_, other))| (at, other.outcome.clone()))
        .collect()
}

/// Reads the tests; what is wrong with them is told with the file and the field.
fn read_tests(path: &Path) -> Result<(String, Tests)> {
    let wrong = |what: String| usage(format!("{}: {what}", path.display()));
    let text = read_text(path)?;
    // Without this a list would do, with its elements for fields.
    if !text.trim_start().starts_with('{') {
        return Err(wrong(
            "no JSON object: {\"entry_point\": .., \"tests\": [..]} is wanted".into(),
        ));
    }
    let mut reader = serde_json::Deserializer::from_str(&text);
    let file: TestFile = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = error.path().to_string();
        match field.as_str() {
            "." | "?" => wrong(error.into_inner().to_string()),
            _ => wrong(format!("{field}: {}", error.into_inner())),
        }
    })?;
    reader.end().map_err(|error| wrong(error.to_string()))?;
    if file.entry_point.is_empty() {
        return Err(wrong(
            "entry_point: it is empty; name the function to test".into(),
        ));
    }
    let tests = match (file.tests, file.code) {
        (Some(_), Some(_)) => {
            return Err(wrong(
                "\"tests\" and \"code\" are two forms of tests: give one of them".into(),
            ));
        }
        (None, None) => {
            return Err(wrong(
                "\"tests\" is missing (or \"code\", for tests that are code)".into(),
            ));
        }
        (Some(tests), None) if tests.is_empty() => {
            return Err(wrong(
                "tests: the list is empty, so anything would pass".into(),
            ));
        }
        (Some(_), None) if file.setup.is_some() => {
            return Err(wrong(
                "setup: it goes with \"code\", not with \"tests\"".into(),
            ));
        }
        (Some(tests), None) => Tests::Values(tests, file.comparison.unwrap_or_default()),
        (None, Some(_)) if file.comparison.is_some() => {
            return Err(wrong(
                "comparison: it goes with \"tests\"; tests that are code compare for themselves"
                    .into(),
            ));
        }
        (None, Some(code)) => Tests::Code(CodeTest {
            code,
            setup: file.setup.unwrap_or_default(),
        }),
    };
    Ok((file.entry_point, tests))
}

/// The report on a program that no test could begin with.
fn unread(tests: &Tests, outcome: Outcome) -> Report {
    let count = match tests {
        Tests::Values(tests, _) => tests.len(),
        Tests::Code(_) => 1,
    };
    let test = TestReport {
        outcome: outcome.clone(),
        got: None,
        stdout: String::new(),
        fuel: Some(0),
    };
    Report {
        outcome,
        tests: vec![test; count],
        fuel: Some(0),
        wall_ms: 0.0,
    }
}

fn to_json(report: &Report, tests: &Tests) -> serde_json::Value {
    let test = |(at, report): (usize, &TestReport)| {
        let mut object = json!({ "outcome": report.outcome });
        if let Some(got) = &report.got {
            object["got"] = got.to_json();
        }
        let expected = match (tests, &report.outcome) {
            (Tests::Values(tests, _), _) => tests.get(at).map(|test| &test.expected),
            (Tests::Code(_), Outcome::WrongAnswer { expected, .. }) => Some(expected),
            (Tests::Code(_), _) => None,
        };
        if let Some(expected) = expected.map(Expected::to_json) {
            object["expected"] = expected;
        }
        if !report.stdout.is_empty() {
            object["stdout"] = json!(report.stdout);
        }
        object["fuel"] = json!(report.fuel);
        object
    };
    let tests: Vec<_> = report.tests.iter().enumerate().map(test).collect();
    json!({ "outcome": report.outcome, "tests": tests, "fuel": report.fuel, "wall_ms": report.wall_ms })
}

fn print(report: &Report) {
    let failed = report.tests.iter().enumerate();
    for (at, test) in failed.filter(|(_, test)| !test.outcome.passed()) {
        println!("test {}: {}", at + 1, test.outcome);
    }
    let passed = report.tests.iter().filter(|test| test.outcome.passed());
    println!("{} of {} tests passed", passed.count(), report.tests.len());
}
