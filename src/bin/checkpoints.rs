//! `checkpoints`: lists, inspects and verifies what training saved.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use gauntlet::checkpoint::{Checkpoint, Runs, Store, report};
use gauntlet::cli::{self, Exit, UsageError};

/// Lists, inspects and verifies what training saved.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print a completion script for a shell and exit
    #[arg(long, value_name = "SHELL")]
    completions: Option<Shell>,
}

#[derive(Subcommand)]
enum Command {
    /// List the checkpoints of a run, in the order of saving
    List {
        #[command(flatten)]
        place: Place,
        /// List every run below the outputs directory
        #[arg(long, conflicts_with = "run")]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what a checkpoint holds: architecture, parameters, metrics, files, commands that use it
    Inspect {
        /// A name (best, latest, final, stage_3, ..), step:N, or a path
        #[arg(default_value = "latest")]
        checkpoint: String,
        #[command(flatten)]
        place: Place,
        /// Show only what the manifest says, without opening the models
        #[arg(long)]
        info_only: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Read every byte of a checkpoint and compare it with the manifest
    Verify {
        /// A name (best, latest, final, stage_3, ..), step:N, or a path
        #[arg(default_value = "latest")]
        checkpoint: String,
        #[command(flatten)]
        place: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Where to look.
#[derive(clap::Args)]
struct Place {
    /// Directory that holds all runs
    #[arg(long, value_name = "DIR", default_value = "outputs")]
    outputs: PathBuf,
    /// A run's directory, instead of the newest run
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
}

impl Place {
    fn find(&self, reference: &str) -> Result<Checkpoint> {
        let found = Runs::new(&self.outputs).find(reference, self.run.as_deref());
        Ok(found.map_err(UsageError::new)?)
    }

    fn runs(&self, all: bool) -> Result<Vec<PathBuf>> {
        let runs = Runs::new(&self.outputs);
        match &self.run {
            Some(run) => Ok(vec![run.clone()]),
            None if all => Ok(runs.list(None)),
            None => Ok(vec![runs.newest().ok_or_else(|| {
                UsageError::new(format!(
                    "no run in {} has checkpoints; name another directory with --outputs, or a run with --run",
                    self.outputs.display()
                ))
            })?]),
        }
    }
}

fn main() -> ExitCode {
    let args = Cli::parse();
    cli::main(|| run(args))
}

fn run(args: Cli) -> Result<Exit> {
    if let Some(shell) = args.completions {
        clap_complete::generate(
            shell,
            &mut Cli::command(),
            "checkpoints",
            &mut std::io::stdout(),
        );
        return Ok(Exit::Done);
    }
    match args.command {
        None => Ok(Exit::Done),
        Some(Command::List { place, all, json }) => list(&place.runs(all)?, json),
        Some(Command::Inspect {
            checkpoint,
            place,
            info_only,
            json,
        }) => {
            let report = report::Inspection::of(&place.find(&checkpoint)?, !info_only)?;
            show(json, &report)
        }
        Some(Command::Verify {
            checkpoint,
            place,
            json,
        }) => {
            let report = report::Verification::of(&place.find(&checkpoint)?);
            show(json, &report)?;
            Ok(if report.faults.is_empty() {
                Exit::Done
            } else {
                Exit::Failed
            })
        }
    }
}

fn list(runs: &[PathBuf], json: bool) -> Result<Exit> {
    let listings = runs
        .iter()
        .map(|run| {
            let store = Store::open(run).map_err(UsageError::new)?;
            Ok(report::Listing::of(run, &store)?)
        })
        .collect::<Result<Vec<_>>>()?;
    show(json, &report::Listings(listings))
}

fn show(json: bool, report: &(impl serde::Serialize + std::fmt::Display)) -> Result<Exit> {
    let text = match json {
        true => serde_json::to_string_pretty(report)? + "\n",
        false => report.to_string(),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // Whoever reads has read enough, as in `checkpoints list | head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::Done),
        result => Ok(result.map(|()| Exit::Done)?),
    }
}
