//! `checkpoints`: shows, compares, checks, draws, copies and deletes what training saved.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{CommandFactory, Parser};
use gauntlet::checkpoint::{
    Checkpoint, GENERATOR, PruneOptions, Retention, Runs, Store, Strategy, is_requested, prune,
    report, request_save, transfer, withdraw_request,
};
use gauntlet::cli::{self, Exit, UsageError, say};
use gauntlet::run::export::{self, ExportOptions, Form};
use tch::Kind;

mod args;

use args::{Cli, Command, ExportDtype, Place};

fn main() -> ExitCode {
    let args = Cli::parse();
    cli::main(|| run(args))
}

fn run(args: Cli) -> Result<Exit> {
    if let Some(shell) = args.completions {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "checkpoints", &mut script);
        return cli::print(&String::from_utf8_lossy(&script));
    }
    match args.command {
        None => Ok(Exit::Done),
        Some(Command::List { place, all, json }) => list(&place.runs(all)?, json),
        Some(Command::Inspect {
            checkpoint,
            place,
            players,
            info_only,
            against,
            json,
        }) => {
            let other = against.map(|name| place.find(&name)).transpose()?;
            let checkpoint = place.find(&checkpoint)?;
            let asked = players.names(&checkpoint)?;
            let mut report = report::Inspection::of(&checkpoint, !info_only)?;
            if !asked.is_empty() {
                report.players.retain(|player| asked.contains(&player.name));
            }
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
                say("nothing was deleted; add --yes to delete");
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
                None => Runs::new(&from).list(None)?,
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
                None => Runs::new(&place.outputs).list(None)?,
            };
            show(json, &report::DiskUsage::of(&runs)?)
        }
        Some(Command::Plot {
            runs,
            place,
            all,
            to,
            json,
        }) => plot(&place, &runs, all, to, json),
        Some(Command::Export {
            checkpoint,
            place,
            to,
            player,
            players,
            adapter,
            gguf,
            dtype,
            generate_script,
            base,
        }) => {
            let options = ExportOptions {
                form: match gguf {
                    Some(weights) => Form::Gguf(weights.into()),
                    None if adapter => Form::Adapter,
                    None => Form::Merged,
                },
                kind: match dtype {
                    ExportDtype::Float32 => Kind::Float,
                    ExportDtype::Bfloat16 => Kind::BFloat16,
                    ExportDtype::Float16 => Kind::Half,
                },
                base,
            };
            let checkpoint = place.find(&checkpoint)?;
            let asked = players.names(&checkpoint)?;
            let name = match &asked[..] {
                [] => checkpoint.choose(player.role(), None)?,
                [name] => name,
                _ => {
                    let text = "export writes one player: name --generator or --discriminator";
                    return Err(UsageError::new(text).into());
                }
            };
            export(&checkpoint, &to, name, &options, generate_script)
        }
    }
}

fn export(
    checkpoint: &Checkpoint,
    to: &Path,
    player: &str,
    options: &ExportOptions,
    script: bool,
) -> Result<Exit> {
    if script && !player.starts_with(GENERATOR) {
        let text = "--generate-script solves problems, which the discriminator does not: leave out one of the two";
        return Err(UsageError::new(text).into());
    }
    let file = checkpoint.player(player)?;
    let mut exported = export::export(checkpoint, &file, to, options)?;
    if script {
        exported.files.extend(export::add_script(checkpoint, to)?);
    }
    for note in exported.notes {
        say(note);
    }
    let files = exported.files.iter();
    print_paths(files.map(|file| to.join(file)))
}

/// Prints paths, one a line.
fn print_paths(paths: impl Iterator<Item = PathBuf>) -> Result<Exit> {
    let lines = paths.map(|path| format!("{}\n", path.display()));
    cli::print(&lines.collect::<String>())
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

fn plot(
    place: &Place,
    named: &[PathBuf],
    all: bool,
    mut to: Vec<PathBuf>,
    json: bool,
) -> Result<Exit> {
    for file in &to {
        report::ChartFormat::of(file).map_err(UsageError::new)?;
    }
    let runs = match named {
        [] => place.runs(all)?,
        named => named
            .iter()
            .map(|run| match run.is_dir() {
                true => run.clone(),
                false => place.outputs.join(run),
            })
            .collect(),
    };
    let progress = report::Progress::of(&runs).map_err(UsageError::new)?;
    if progress.is_empty() {
        let names: Vec<String> = runs.iter().map(|run| run.display().to_string()).collect();
        anyhow::bail!(
            "{}: nothing to draw: no step of the game and no validation yet",
            names.join(", ")
        );
    }
    if to.is_empty() && !json {
        to = ["progress.png", "progress.svg"].map(PathBuf::from).into();
    }
    for file in &to {
        progress.draw(file)?;
    }
    match json {
        true => cli::print(&(serde_json::to_string_pretty(&progress)? + "\n")),
        false => print_paths(to.into_iter()),
    }
}

/// Leaves a request for the run and waits until the checkpoint is there.
fn save(place: &Place, name: &str, wait: u64) -> Result<Exit> {
    let run = match &place.run {
        Some(run) => run.clone(),
        None => match Runs::new(&place.outputs).list(None)?.into_iter().next() {
            Some(newest) => newest,
            None => {
                let text = format!("no run in {}", place.outputs.display());
                return Err(UsageError::new(text).into());
            }
        },
    };
    let store = Store::open(&run).map_err(UsageError::new)?;
    let is_over = || store.has_writer().is_ok_and(|writer| writer == Some(false));
    if is_over() {
        let text = format!(
            "{} is not training: nothing writes to it, so that nothing would save {name}",
            run.display()
        );
        return Err(UsageError::new(text).into());
    }
    request_save(&run, name).map_err(UsageError::new)?;
    if wait == 0 {
        say(format_args!(
            "{} will save {name} after its present step",
            run.display()
        ));
        return Ok(Exit::Done);
    }
    let deadline = Instant::now() + Duration::from_secs(wait);
    loop {
        // Asked first: a run that ends may have saved it last of all.
        let over = is_over();
        if let Ok(saved) = store.load(name) {
            return print_paths([saved.path().to_owned()].into_iter());
        }
        if over {
            withdraw_request(&run, name);
            anyhow::bail!("the run {} has ended without saving {name}", run.display());
        }
        if Instant::now() >= deadline {
            let state = if is_requested(&run, name) {
                "has not seen the request: it may be in a long step; the request stays"
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
    cli::print(&text)
}
