//! `train`: trains the generator and the discriminator against each other.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, anyhow};
use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use gauntlet::checkpoint::{Checkpoint, CheckpointError, Runs};
use gauntlet::cli::{self, Exit, Progress, UsageError};
use gauntlet::config::Config;
use gauntlet::monitor::{DEFAULT_ADDRESS, Server};
use gauntlet::run::{Ending, Session};

/// Trains a generator and a discriminator against each other, stage by stage, on code that is really executed.
#[derive(Parser)]
#[command(
    version,
    after_help = "Every key of the configuration can be set with --set; --help-config lists them.\n\
    Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted after a checkpoint was saved."
)]
struct Args {
    /// Configuration file; defaults hold for what it leaves out.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Override one key, as in `--set game.group_size=16`. May be given many times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Stages to train, as in `1-5` or `3`.
    #[arg(long, value_name = "FIRST-LAST")]
    stages: Option<String>,
    /// Go on from a checkpoint: auto (the newest valid), latest, best, a name, step:N, a path or a URL.
    #[arg(long, value_name = "CHECKPOINT")]
    resume: Option<String>,
    /// Begin with the weights of a checkpoint and a fresh optimizer.
    #[arg(long, value_name = "CHECKPOINT", conflicts_with = "resume")]
    init_from: Option<String>,
    /// Which players --init-from sets: both, generator or discriminator.
    #[arg(long, value_name = "ROLE", requires = "init_from")]
    init_role: Option<String>,
    /// A note of your own for every checkpoint, shown by `checkpoints list`. May be given many times.
    #[arg(long, value_name = "KEY=VALUE")]
    tag: Vec<String>,
    /// Where tensors live: cpu, cuda or cuda:N.
    #[arg(long)]
    device: Option<String>,
    /// Show the run at this address while it trains, and take requests for checkpoints there.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = DEFAULT_ADDRESS)]
    serve: Option<String>,
    /// Check the configuration and the problems, print what would be done, and stop.
    #[arg(long)]
    dry_run: bool,
    /// Print the final table as JSON.
    #[arg(long)]
    json: bool,
    /// Explain every key of the configuration and stop.
    #[arg(long)]
    help_config: bool,
    /// Print a completion script for a shell and stop.
    #[arg(long, value_name = "SHELL")]
    completions: Option<Shell>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    cli::main(|| run(args))
}

fn run(args: Args) -> Result<Exit> {
    if let Some(shell) = args.completions {
        clap_complete::generate(shell, &mut Args::command(), "train", &mut std::io::stdout());
        return Ok(Exit::Done);
    }
    if args.help_config {
        print!("{}", Config::help());
        return Ok(Exit::Done);
    }
    let config = configure(&args).map_err(UsageError::new)?;
    check_device(&config.run.device)?;
    let runs = Runs::new(&config.run.output_dir);
    let resume = args
        .resume
        .as_ref()
        .or(config.checkpoint.resume_from.as_ref());
    let resume = resume
        .map(|name| find(&runs, &config, name))
        .transpose()?
        .flatten();
    let init_from = args
        .init_from
        .as_ref()
        .or(config.checkpoint.init_from.as_ref());
    let init_from = init_from
        .map(|name| runs.find(name, None))
        .transpose()
        .map_err(UsageError::new)?;
    if args.dry_run {
        println!("{}", serde_json::to_string_pretty(&config.to_json())?);
        let steps: u64 = config.planned_stages().map(|(_, steps)| steps).sum();
        let (warmup, players) = (&config.warmup, &config.players);
        eprintln!(
            "would train {} + {} warm-up steps and {steps} steps of the game",
            warmup.generator_steps * players.generators as u64,
            warmup.discriminator_steps * players.discriminators as u64
        );
        return Ok(Exit::Done);
    }
    let interrupted = cli::interrupt_flag().context("cannot listen for signals")?;
    let server = serve(&config, &interrupted)?;
    let mut observer = (
        Progress::new(Some(interrupted.clone())),
        server.as_ref().map(Server::watch),
    );
    let mut session = Session::open(config, resume, init_from, interrupted, &mut observer)?;
    let ending = session.run().inspect_err(|error| {
        if let Some(checkpoint) = error.resume_from() {
            eprintln!("go on with: {}", go_on(checkpoint));
        }
    });
    match ending? {
        Ending::Interrupted { saved } => {
            eprintln!("interrupted; saved {}", saved.display());
            eprintln!("go on with: {}", go_on(&saved));
            Ok(Exit::Interrupted)
        }
        Ending::Finished { last, summary } => {
            let checkpoints = last.parent().unwrap_or(Path::new("."));
            if args.json {
                println!("{}", serde_json::to_string_pretty(&summary)?);
            } else {
                println!("\n{}\n{}", summary.table(), summary.final_table());
                println!(
                    "checkpoints: {} (best, final, stage_0 .. stage_5)",
                    checkpoints.display()
                );
                println!(
                    "try: cargo run --release --bin inference -- --checkpoint {}/best \\",
                    checkpoints.display()
                );
                println!(
                    "       --problem \"Implement a function that reverses a string\" --generate-tests"
                );
            }
            Ok(Exit::Done)
        }
    }
}

/// The page of the run, if one is wanted; an address that cannot be had is told before any work.
fn serve(config: &Config, interrupted: &Arc<AtomicBool>) -> Result<Option<Server>> {
    let Some(address) = &config.monitor.serve else {
        return Ok(None);
    };
    let server = Server::start(address, &config.run.name, Arc::clone(interrupted));
    let server = server.map_err(UsageError::new)?;
    let at = server.address();
    eprintln!("the run is shown at http://{at}/");
    if !at.ip().is_loopback() {
        eprintln!("whoever reaches {at} can see the run, have it saved and stop it");
    }
    Ok(Some(server))
}

/// The command that goes on from a checkpoint: the one that was given, with another `--resume`.
fn go_on(checkpoint: &Path) -> String {
    let mut words = std::env::args();
    let mut command = vec![quoted(&words.next().unwrap_or_else(|| "train".into()))];
    while let Some(word) = words.next() {
        let flag = ["--resume", "--init-from", "--init-role"]
            .into_iter()
            .find(|flag| word.starts_with(flag));
        match flag {
            // Its value is the next word, or part of this one.
            Some(flag) if word == flag => drop(words.next()),
            Some(flag) if word[flag.len()..].starts_with('=') => {}
            _ => command.push(quoted(&word)),
        }
    }
    command.push("--resume".into());
    command.push(quoted(&checkpoint.display().to_string()));
    command.join(" ")
}

/// A word as a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=+:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The configuration file with the flags' overrides.
fn configure(args: &Args) -> Result<Config, Box<dyn std::error::Error + Send + Sync>> {
    let mut sets = args.set.clone();
    if let Some(role) = &args.init_role {
        sets.push(format!("checkpoint.init_role={role}"));
    }
    if let Some(device) = &args.device {
        sets.push(format!("run.device={device}"));
    }
    if let Some(address) = &args.serve {
        sets.push(format!("monitor.serve={}", serde_json::json!(address)));
    }
    if let Some(stages) = &args.stages {
        let (first, last) = stages.split_once('-').unwrap_or((stages, stages));
        sets.push(format!("stages.first={first}"));
        sets.push(format!("stages.last={last}"));
    }
    let mut config = Config::load(args.config.as_deref(), &sets)?;
    for tag in &args.tag {
        let (key, value) = tag
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| {
                format!("--tag {tag:?}: expected KEY=VALUE, as in --tag note=baseline")
            })?;
        config.run.tags.insert(key.into(), value.into());
    }
    Ok(config)
}

fn check_device(device: &str) -> Result<()> {
    if device.starts_with("cuda") && !tch::Cuda::is_available() {
        let message = "run.device is cuda, but this libtorch finds no CUDA device; use --device cpu, or set LIBTORCH to a \
                       CUDA build (docs/setup.md)";
        return Err(UsageError::new(message).into());
    }
    Ok(())
}

/// The checkpoint to go on from; `auto` begins afresh where there is none.
fn find(runs: &Runs, config: &Config, name: &str) -> Result<Option<Checkpoint>> {
    // Where this machine has none, there may be copies that another one made.
    let copies = config.checkpoint.checkpoint_dir.as_ref().map(Runs::new);
    if name != "auto" {
        let found = match (runs.find(name, None), &copies) {
            (Err(CheckpointError::NotFound { .. }), Some(copies)) => copies.find(name, None),
            (found, _) => found,
        };
        return Ok(Some(found.map_err(UsageError::new)?));
    }
    let mut found = runs
        .newest_valid(&config.run.name)
        .map_err(|e| anyhow!(e))?;
    if let (None, Some(copies)) = (&found.checkpoint, &copies) {
        let copied = copies
            .newest_valid(&config.run.name)
            .map_err(|e| anyhow!(e))?;
        found.checkpoint = copied.checkpoint;
        found.skipped.extend(copied.skipped);
    }
    for skipped in &found.skipped {
        eprintln!("skipped {}: {}", skipped.path.display(), skipped.reason);
    }
    match &found.checkpoint {
        Some(checkpoint) => eprintln!("resuming {}", checkpoint.path().display()),
        None => eprintln!(
            "no checkpoint of run {:?} to resume; starting afresh",
            config.run.name
        ),
    }
    Ok(found.checkpoint)
}
