//! `checkpoints`: shows, compares, checks, copies and deletes what training saved.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use gauntlet::checkpoint::{
    Checkpoint, PruneOptions, Retention, Runs, Store, Strategy, is_requested, prune, report,
    request_save, transfer,
};
use gauntlet::cli::{self, Exit, UsageError};
use gauntlet::trainer::export::{self, ExportOptions, Form};
use tch::Kind;

/// Shows, compares, checks, copies and deletes what training saved.
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
        /// Show the settings in which another checkpoint differs
        #[arg(long, value_name = "CHECKPOINT")]
        against: Option<String>,
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
    /// Show checkpoints side by side: metrics with differences, settings, samples of the same problem
    Compare {
        /// Two or more names, steps or paths; the others are compared with the first
        #[arg(required = true, num_args = 2..)]
        checkpoints: Vec<String>,
        #[command(flatten)]
        place: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask a run that is training for a checkpoint now, under a name of your own
    Save {
        /// Its name: letters, digits, and . _ - +
        name: String,
        #[command(flatten)]
        place: Place,
        /// Seconds to wait until it is written; 0 returns at once
        #[arg(long, default_value_t = 600)]
        wait: u64,
    },
    /// Name the periodic checkpoints that can go, and delete them with --yes
    Prune {
        #[command(flatten)]
        place: Place,
        /// Prune every run below the outputs directory
        #[arg(long, conflicts_with = "run")]
        all: bool,
        /// Periodic checkpoints of each run that stay
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        keep_last: i64,
        /// Keep the newest (last_n) or those with the best validation score (top_k_val)
        #[arg(long, default_value = "last_n")]
        strategy: String,
        /// Emergency checkpoints go too, but for the newest of a run and what a run was resumed from
        #[arg(long)]
        emergency: bool,
        /// Directories that are no whole checkpoint go too
        #[arg(long)]
        broken: bool,
        /// Really delete
        #[arg(long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Copy checkpoints and logs to another directory, verified, in the same layout
    Backup {
        /// Directory to copy to
        to: PathBuf,
        /// Only the checkpoint of this name
        #[arg(long, value_name = "NAME")]
        checkpoint: Option<String>,
        #[command(flatten)]
        place: Place,
        /// Copy every run below the outputs directory
        #[arg(long, conflicts_with = "run")]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Copy checkpoints and logs back from a backup, verified
    Restore {
        /// Directory that a backup was made to
        from: PathBuf,
        /// Only the checkpoint of this name
        #[arg(long, value_name = "NAME")]
        checkpoint: Option<String>,
        /// Only this run of the backup, as NAME/TIMESTAMP
        #[arg(long, value_name = "RUN")]
        run: Option<PathBuf>,
        /// Directory that holds all runs
        #[arg(long, value_name = "DIR", default_value = "outputs")]
        outputs: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what runs take up on disk
    Du {
        #[command(flatten)]
        place: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a player as a Hugging Face folder, or its adapter in PEFT's layout
    Export {
        /// A name (best, latest, final, stage_3, ..), step:N, or a path
        #[arg(default_value = "best")]
        checkpoint: String,
        #[command(flatten)]
        place: Place,
        /// Folder to write; must not exist, or be empty
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// Which player
        #[arg(long, value_enum, default_value = "generator")]
        player: PlayerName,
        /// Write the adapter alone instead of merging it into its base
        #[arg(long)]
        adapter: bool,
        /// Element type of the weights
        #[arg(long, value_enum, default_value = "float32")]
        dtype: ExportDtype,
        /// Base model to merge into, where it is not where training read it
        #[arg(long, value_name = "MODEL")]
        base: Option<String>,
    },
}

/// One of the two players.
#[derive(Clone, Copy, clap::ValueEnum)]
enum PlayerName {
    Generator,
    Discriminator,
}

/// Element types of exported weights.
#[derive(Clone, Copy, clap::ValueEnum)]
enum ExportDtype {
    Float32,
    Bfloat16,
    Float16,
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
            against,
            json,
        }) => {
            let other = against.map(|name| place.find(&name)).transpose()?;
            let checkpoint = place.find(&checkpoint)?;
            let mut report = report::Inspection::of(&checkpoint, !info_only)?;
            if let Some(other) = other {
                report.compare_settings(&checkpoint, &other)?;
            }
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
        Some(Command::Compare {
            checkpoints,
            place,
            json,
        }) => {
            let found: Vec<Checkpoint> = checkpoints
                .iter()
                .map(|name| place.find(name))
                .collect::<Result<_>>()?;
            show(json, &report::Comparison::of(&found)?)
        }
        Some(Command::Save { name, place, wait }) => save(&place, &name, wait),
        Some(Command::Prune {
            place,
            all,
            keep_last,
            strategy,
            emergency,
            broken,
            yes,
            json,
        }) => {
            let strategy = match strategy.as_str() {
                "last_n" => Strategy::LastN,
                "top_k_val" => Strategy::TopKVal,
                other => {
                    let text = format!("--strategy {other}: expected last_n or top_k_val");
                    return Err(UsageError::new(text).into());
                }
            };
            let options = PruneOptions {
                retention: Retention::new(strategy, keep_last).map_err(UsageError::new)?,
                emergency,
                broken,
            };
            let runs = place.runs(all)?;
            let pruning = prune(&Runs::new(&place.outputs), &runs, &options, yes)?;
            show(json, &pruning)?;
            if !pruning.done && !json {
                eprintln!("nothing was deleted; add --yes to delete");
            }
            Ok(Exit::Done)
        }
        Some(Command::Backup {
            to,
            checkpoint,
            place,
            all,
            json,
        }) => copy(json, &place.runs(all)?, checkpoint, &to),
        Some(Command::Restore {
            from,
            checkpoint,
            run,
            outputs,
            json,
        }) => {
            let runs = match run {
                Some(run) => vec![from.join(run)],
                None => Runs::new(&from).list(None),
            };
            if runs.is_empty() {
                let text = format!(
                    "{} holds no runs; expected a directory that `checkpoints backup` wrote",
                    from.display()
                );
                return Err(UsageError::new(text).into());
            }
            copy(json, &runs, checkpoint, &outputs)
        }
        Some(Command::Du { place, json }) => {
            let runs = match &place.run {
                Some(run) => vec![run.clone()],
                None => Runs::new(&place.outputs).list(None),
            };
            show(json, &report::DiskUsage::of(&runs)?)
        }
        Some(Command::Export {
            checkpoint,
            place,
            to,
            player,
            adapter,
            dtype,
            base,
        }) => {
            let options = ExportOptions {
                form: if adapter { Form::Adapter } else { Form::Merged },
                kind: match dtype {
                    ExportDtype::Float32 => Kind::Float,
                    ExportDtype::Bfloat16 => Kind::BFloat16,
                    ExportDtype::Float16 => Kind::Half,
                },
                base,
            };
            export(&place.find(&checkpoint)?, &to, player, &options)
        }
    }
}

fn export(
    checkpoint: &Checkpoint,
    to: &Path,
    player: PlayerName,
    options: &ExportOptions,
) -> Result<Exit> {
    let file = match player {
        PlayerName::Generator => checkpoint.generator()?,
        PlayerName::Discriminator => checkpoint.discriminator()?,
    };
    let exported = export::export(checkpoint, &file, to, options)?;
    for note in exported.notes {
        eprintln!("{note}");
    }
    for file in exported.files {
        println!("{}", to.join(file).display());
    }
    Ok(Exit::Done)
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

/// Leaves a request for the run and waits until the checkpoint is there.
fn save(place: &Place, name: &str, wait: u64) -> Result<Exit> {
    let run = match &place.run {
        Some(run) => run.clone(),
        None => match Runs::new(&place.outputs).list(None).into_iter().next() {
            Some(newest) => newest,
            None => {
                let text = format!("no run in {}", place.outputs.display());
                return Err(UsageError::new(text).into());
            }
        },
    };
    let store = Store::open(&run).map_err(UsageError::new)?;
    request_save(&run, name).map_err(UsageError::new)?;
    if wait == 0 {
        eprintln!("{} will save {name} after its present step", run.display());
        return Ok(Exit::Done);
    }
    let deadline = Instant::now() + Duration::from_secs(wait);
    loop {
        if let Ok(saved) = store.load(name) {
            println!("{}", saved.path().display());
            return Ok(Exit::Done);
        }
        if Instant::now() >= deadline {
            let state = if is_requested(&run, name) {
                "has not seen the request: it may have ended, or be in a long step; the request stays"
            } else {
                "has taken the request but the checkpoint is not there; its output says why"
            };
            anyhow::bail!("after {wait} s the run {} {state}", run.display());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn copy(json: bool, runs: &[PathBuf], name: Option<String>, to: &std::path::Path) -> Result<Exit> {
    let done = transfer(runs, name.as_deref(), to)?;
    show(json, &report::Copied(&done))?;
    Ok(if done.skipped.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
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
