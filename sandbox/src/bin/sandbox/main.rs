//! The `sandbox` command: runs and checks Python programs, and builds the runtime they run in.
//!
//! Exit codes: 0 passed, 3 the code failed, 1 host fault, 2 wrong usage.

mod bench;
mod check;
mod input;
mod run;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use input::is_usage;

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
    Run(run::Args),
    /// Check a program against tests
    Check(check::Args),
    /// Measure what an execution costs on this machine, in about half a minute
    Bench(bench::Bench),
    /// Build the interpreter that programs run in, unless it is there
    BuildRuntime,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::check(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::BuildRuntime => build_runtime(),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(error) => {
            eprintln!("sandbox: {error:#}");
            ExitCode::from(if is_usage(&error) { 2 } else { 1 })
        }
    }
}

#[cfg(feature = "compile")]
fn build_runtime() -> Result<bool> {
    let dir = gauntlet_sandbox::build_runtime(&mut |line| println!("{line}"))?;
    println!("{}", dir.display());
    Ok(true)
}

#[cfg(not(feature = "compile"))]
fn build_runtime() -> Result<bool> {
    Err(input::usage(
        "this `sandbox` was built without its compiler: build it with `--features compile`",
    ))
}
