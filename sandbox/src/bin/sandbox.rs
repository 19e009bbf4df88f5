//! The `sandbox` command: runs and checks Python programs, and builds the runtime they run in.
//!
//! Exit codes: 0 passed, 3 the code failed, 1 host fault, 2 wrong usage.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use gauntlet_sandbox::{
    Comparison, Execution, Limits, Mode, Outcome, Program, Report, Sandbox, Test, TestReport, Value,
};
use serde::Deserialize;
use serde_json::json;

/// Runs generated Python in a sandbox.
#[derive(Parser)]
#[command(name = "sandbox", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a program, or call one of its functions
    Run(Run),
    /// Check a program against tests
    Check(Check),
    /// Build the interpreter that programs run in, unless it is there
    BuildRuntime,
}

#[derive(Args)]
struct Run {
    /// The program, or - for standard input
    code: PathBuf,
    /// The function to call; without it the program runs as a script
    #[arg(long, value_name = "NAME")]
    entry: Option<String>,
    /// The arguments of a call, a JSON array; may be given several times
    #[arg(long, value_name = "JSON", requires = "entry")]
    input: Vec<String>,
    #[command(flatten)]
    limits: LimitArgs,
    /// Print one JSON object a call
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Check {
    /// The program, or - for standard input
    code: PathBuf,
    /// The tests: {"entry_point": .., "tests": [{"args": [..], "expected": ..}, ..]}
    #[arg(long, value_name = "FILE")]
    tests: PathBuf,
    /// Try all tests in one interpreter first; what passes is repeated in fresh ones
    #[arg(long)]
    batch: bool,
    #[command(flatten)]
    limits: LimitArgs,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct LimitArgs {
    /// Instructions a call may take, as wasmtime counts them [default: about 2 s of a tight loop]
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,
    /// Seconds a call may take, in place of the limit on instructions
    #[arg(long, value_name = "S", conflicts_with = "fuel")]
    timeout: Option<f64>,
    /// Megabytes of memory a call may take [default: 256]
    #[arg(long, value_name = "MB")]
    memory: Option<usize>,
}

/// The file behind `--tests`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TestFile {
    entry_point: String,
    #[serde(default)]
    tests: Option<Vec<Test>>,
    #[serde(default)]
    comparison: Comparison,
    #[serde(default)]
    code: Option<String>,
    #[serde(default, rename = "setup")]
    _setup: Option<String>,
}

/// An error that the user's input caused: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

fn usage(message: impl Into<String>) -> anyhow::Error {
    Usage(message.into()).into()
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run(&args),
        Command::Check(args) => check(&args),
        Command::BuildRuntime => build_runtime(),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(error) => {
            eprintln!("sandbox: {error:#}");
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}

/// True if every call gave a value.
fn run(args: &Run) -> Result<bool> {
    let program = Program {
        code: read(&args.code)?,
        entry_point: args.entry.clone().unwrap_or_default(),
    };
    let mut inputs = args
        .input
        .iter()
        .map(|json| parse_input(json))
        .collect::<Result<Vec<_>>>()?;
    if inputs.is_empty() {
        inputs.push(Vec::new());
    }
    let limits = args.limits.resolve()?;
    let sandbox = Sandbox::open()?;
    let mut passed = true;
    for input in inputs {
        let started = Instant::now();
        let executions = sandbox.execute(&program, &[input], &limits, Mode::Pure)?;
        let wall_ms = started.elapsed().as_secs_f64() * 1e3;
        for execution in executions {
            passed &= execution.result.is_ok();
            if args.json {
                println!(
                    "{}",
                    execution_json(&execution, args.entry.is_some(), wall_ms)
                );
            } else {
                print_execution(&execution, args.entry.is_some());
            }
        }
    }
    Ok(passed)
}

fn execution_json(execution: &Execution, called: bool, wall_ms: f64) -> serde_json::Value {
    let outcome = execution.result.as_ref().err().unwrap_or(&Outcome::Passed);
    let mut object = json!({ "outcome": outcome, "stdout": execution.stdout });
    if let (Ok(value), true) = (&execution.result, called) {
        object["value"] = value.to_json();
    }
    object["fuel"] = json!(execution.fuel);
    object["wall_ms"] = json!(wall_ms);
    object
}

fn print_execution(execution: &Execution, called: bool) {
    print!("{}", execution.stdout);
    match &execution.result {
        Ok(value) if called => println!("{value}"),
        Ok(_) => {}
        Err(outcome) => eprintln!("{outcome}"),
    }
}

/// True if every test passed.
fn check(args: &Check) -> Result<bool> {
    let file: TestFile = serde_json::from_str(&read(&args.tests)?)
        .map_err(|error| usage(format!("{}: {error}", args.tests.display())))?;
    if file.code.is_some() {
        return Err(usage(format!(
            "{}: tests as code (\"code\") are not supported; write them as \"tests\": [{{\"args\", \"expected\"}}, ..]",
            args.tests.display()
        )));
    }
    let Some(tests) = file.tests else {
        return Err(usage(format!(
            "{}: \"tests\" is missing",
            args.tests.display()
        )));
    };
    let program = Program {
        code: read(&args.code)?,
        entry_point: file.entry_point,
    };
    let mode = if args.batch { Mode::Fast } else { Mode::Pure };
    let report = Sandbox::open()?.check(
        &program,
        &tests,
        &file.comparison,
        &args.limits.resolve()?,
        mode,
    )?;
    if args.json {
        println!("{}", report_json(&report, &tests));
    } else {
        print_report(&report);
    }
    Ok(report.outcome.passed())
}

fn report_json(report: &Report, tests: &[Test]) -> serde_json::Value {
    let test = |(report, test): (&TestReport, &Test)| {
        let mut object = json!({ "outcome": report.outcome });
        if let Some(got) = &report.got {
            object["got"] = got.to_json();
        }
        object["expected"] = test.expected.to_json();
        if !report.stdout.is_empty() {
            object["stdout"] = json!(report.stdout);
        }
        object["fuel"] = json!(report.fuel);
        object
    };
    let tests: Vec<_> = report.tests.iter().zip(tests).map(test).collect();
    json!({ "outcome": report.outcome, "tests": tests, "fuel": report.fuel, "wall_ms": report.wall_ms })
}

fn print_report(report: &Report) {
    for (at, test) in report
        .tests
        .iter()
        .enumerate()
        .filter(|(_, test)| !test.outcome.passed())
    {
        println!("test {}: {}", at + 1, test.outcome);
    }
    let passed = report
        .tests
        .iter()
        .filter(|test| test.outcome.passed())
        .count();
    println!("{passed} of {} tests passed", report.tests.len());
}

#[cfg(feature = "compile")]
fn build_runtime() -> Result<bool> {
    let dir = gauntlet_sandbox::build_runtime(&mut |line| println!("{line}"))?;
    println!("{}", dir.display());
    Ok(true)
}

#[cfg(not(feature = "compile"))]
fn build_runtime() -> Result<bool> {
    Err(usage(
        "this `sandbox` was built without its compiler: build it with `--features compile`",
    ))
}

impl LimitArgs {
    fn resolve(&self) -> Result<Limits> {
        let mut limits = Limits::default();
        if let Some(fuel) = self.fuel {
            limits.fuel = Some(fuel);
        }
        if let Some(seconds) = self.timeout {
            let wall = Duration::try_from_secs_f64(seconds)
                .ok()
                .filter(|wall| !wall.is_zero());
            limits.wall =
                wall.ok_or_else(|| usage(format!("--timeout {seconds} is no span of time")))?;
            limits.fuel = None;
        }
        if let Some(megabytes) = self.memory {
            let bytes = megabytes
                .checked_mul(1 << 20)
                .filter(|bytes| (1..=4 << 30).contains(bytes));
            limits.memory_bytes = bytes
                .ok_or_else(|| usage(format!("--memory {megabytes} is not within 1..4096")))?;
        }
        Ok(limits)
    }
}

fn parse_input(json: &str) -> Result<Vec<Value>> {
    let parsed =
        serde_json::from_str(json).map_err(|error| usage(format!("--input {json}: {error}")))?;
    match Value::from_json(&parsed).map_err(|error| usage(format!("--input {json}: {error}")))? {
        Value::List(args) | Value::Tuple(args) => Ok(args),
        _ => Err(usage(format!(
            "--input {json}: the arguments are a JSON array, such as [{json}]"
        ))),
    }
}

fn read(path: &Path) -> Result<String> {
    let read = || -> std::io::Result<String> {
        if path == Path::new("-") {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            return Ok(text);
        }
        fs::read_to_string(path)
    };
    read()
        .map_err(|error| usage(format!("cannot read {}: {error}", path.display())))
        .context("no program was run")
}
