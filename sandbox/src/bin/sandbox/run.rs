//! `sandbox run`.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use gauntlet_sandbox::{Execution, Limits, Mode, Outcome, Program, Sandbox, ScriptJob, ScriptRun};
use serde_json::json;

use crate::input::{LimitArgs, parse_input, read, read_code};

/// `sandbox run CODE [--entry NAME --input JSON ..]`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The program, or - for standard input
    code: PathBuf,
    /// The function to call; without it the program runs as a script
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    entry: Option<String>,
    /// The arguments of a call, a JSON array; may be given several times
    #[arg(
        long,
        value_name = "JSON",
        requires = "entry",
        allow_hyphen_values = true
    )]
    input: Vec<String>,
    /// What a script reads as its standard input [default: this command's own, if the script reads]
    #[arg(long, value_name = "FILE", conflicts_with = "entry")]
    stdin: Option<PathBuf>,
    #[command(flatten)]
    limits: LimitArgs,
    /// Print one JSON object a call
    #[arg(long)]
    json: bool,
    /// The arguments of a script
    #[arg(last = true, value_name = "ARGS", conflicts_with = "entry")]
    args: Vec<String>,
}

/// True if every call gave a value, or the script ended well.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let inputs = args
        .input
        .iter()
        .map(|json| parse_input(json))
        .collect::<Result<Vec<_>>>()?;
    let inputs = if inputs.is_empty() {
        vec![Vec::new()]
    } else {
        inputs
    };
    let limits = args.limits.resolve()?;
    let code = read_code(&args.code)?;
    let Some(entry_point) = &args.entry else {
        return script(args, &code, &limits);
    };
    let sandbox = Sandbox::open()?;
    let mut passed = true;
    for input in inputs {
        let started = Instant::now();
        let execution = match &code {
            Ok(code) => {
                let program = Program {
                    code: code.clone(),
                    entry_point: entry_point.clone(),
                };
                sandbox
                    .execute(&program, &[input], &limits, Mode::Pure)?
                    .remove(0)
            }
            Err(outcome) => Execution {
                result: Err(outcome.clone()),
                stdout: String::new(),
                fuel: Some(0),
            },
        };
        let wall_ms = started.elapsed().as_secs_f64() * 1e3;
        passed &= execution.result.is_ok();
        if args.json {
            println!("{}", to_json(&execution, wall_ms));
        } else {
            print(&execution);
        }
    }
    Ok(passed)
}

/// Runs a script; true if its exit status is 0.
fn script(args: &Args, code: &Result<String, Outcome>, limits: &Limits) -> Result<bool> {
    let started = Instant::now();
    let run = match code {
        Ok(code) => run_script(args, code, limits)?,
        Err(outcome) => ScriptRun {
            result: Err(outcome.clone()),
            stdout: String::new(),
            stderr: String::new(),
            asked_for_input: false,
            fuel: Some(0),
        },
    };
    let outcome = match run.result {
        Ok(0) => Outcome::Passed,
        Ok(status) => Outcome::Raised {
            kind: "SystemExit".into(),
            message: status.to_string(),
            traceback: String::new(),
        },
        Err(outcome) => outcome,
    };
    if args.json {
        let wall_ms = started.elapsed().as_secs_f64() * 1e3;
        println!(
            "{}",
            json!({
                "outcome": outcome, "stdout": run.stdout, "stderr": run.stderr, "fuel": run.fuel, "wall_ms": wall_ms,
            })
        );
    } else {
        print!("{}", run.stdout);
        eprint!("{}", run.stderr);
        // A traceback has said it already.
        if !outcome.passed() && run.stderr.is_empty() {
            eprintln!("{outcome}");
        }
    }
    Ok(outcome.passed())
}

/// Standard input is read only for a script that reads it, as a process would: one that did so is run again, with it.
fn run_script(args: &Args, code: &str, limits: &Limits) -> Result<ScriptRun> {
    let sandbox = Sandbox::open()?;
    let run = |stdin: Vec<u8>| -> Result<ScriptRun> {
        let job = ScriptJob {
            code: code.into(),
            args: args.args.clone(),
            inputs: vec![stdin],
            limits: limits.clone(),
        };
        Ok(sandbox.run_script(job)?.remove(0))
    };
    if let Some(path) = &args.stdin {
        return run(read(path)?);
    }
    let alone = run(Vec::new())?;
    if !alone.asked_for_input || args.code == Path::new("-") || std::io::stdin().is_terminal() {
        return Ok(alone);
    }
    let mut stdin = Vec::new();
    std::io::stdin()
        .read_to_end(&mut stdin)
        .context("standard input")?;
    if stdin.is_empty() {
        return Ok(alone);
    }
    run(stdin)
}

fn to_json(execution: &Execution, wall_ms: f64) -> serde_json::Value {
    let outcome = execution.result.as_ref().err().unwrap_or(&Outcome::Passed);
    let mut object = json!({ "outcome": outcome, "stdout": execution.stdout });
    if let Ok(value) = &execution.result {
        object["value"] = value.to_json();
    }
    object["fuel"] = json!(execution.fuel);
    object["wall_ms"] = json!(wall_ms);
    object
}

fn print(execution: &Execution) {
    print!("{}", execution.stdout);
    match &execution.result {
        Ok(value) => println!("{value}"),
        Err(outcome) => eprintln!("{outcome}"),
    }
}
