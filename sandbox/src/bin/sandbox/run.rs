//! `sandbox run`.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use gauntlet_sandbox::{Execution, Mode, Outcome, Program, Sandbox};
use serde_json::json;

use crate::input::{LimitArgs, parse_input, read_code};

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
    #[command(flatten)]
    limits: LimitArgs,
    /// Print one JSON object a call
    #[arg(long)]
    json: bool,
}

/// True if every call gave a value.
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
    let sandbox = Sandbox::open()?;
    let mut passed = true;
    for input in inputs {
        let started = Instant::now();
        let execution = match &code {
            Ok(code) => {
                let program = Program {
                    code: code.clone(),
                    entry_point: args.entry.clone().unwrap_or_default(),
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
            println!("{}", to_json(&execution, args.entry.is_some(), wall_ms));
        } else {
            print(&execution, args.entry.is_some());
        }
    }
    Ok(passed)
}

fn to_json(execution: &Execution, called: bool, wall_ms: f64) -> serde_json::Value {
    let outcome = execution.result.as_ref().err().unwrap_or(&Outcome::Passed);
    let mut object = json!({ "outcome": outcome, "stdout": execution.stdout });
    if let (Ok(value), true) = (&execution.result, called) {
        object["value"] = value.to_json();
    }
    object["fuel"] = json!(execution.fuel);
    object["wall_ms"] = json!(wall_ms);
    object
}

fn print(execution: &Execution, called: bool) {
    print!("{}", execution.stdout);
    match &execution.result {
        Ok(value) if called => println!("{value}"),
        Ok(_) => {}
        Err(outcome) => eprintln!("{outcome}"),
    }
}
