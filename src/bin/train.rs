//! `train`: trains the generator and the discriminator against each other.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, anyhow};
use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use gauntlet::checkpoint::{Checkpoint, CheckpointError, Found, Runs, Within, check_apart};
use gauntlet::cli::{self, Exit, Progress, UsageError, quoted, say};
use gauntlet::config::{Config, expand_home};
use gauntlet::error::TrainError;
use gauntlet::evaluation::Summary;
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
    #[arg(long, value_name = "FILE", value_parser = cli::path_parser())]
    config: Option<PathBuf>,
    /// Override one key, as in `--set game.group_size=16`. May be given many times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Stages to train, as in `1-5` or `3`.
    #[arg(long, value_name = "FIRST-LAST")]
    stages: Option<String>,
    /// Go on from a checkpoint: auto (the newest valid), latest, best, a name, step:N, a path or a URL. Names are those of
    /// the newest run that is called as run.name says.
    #[arg(long, value_name = "CHECKPOINT")]
    resume: Option<OsString>,
    /// Begin with the weights of a checkpoint and a fresh optimizer.
    #[arg(long, value_name = "CHECKPOINT", conflicts_with = "resume")]
    init_from: Option<OsString>,
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
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Args::command(), "train", &mut script);
        return cli::print(&String::from_utf8_lossy(&script));
    }
    if args.help_config {
        return cli::print(&Config::help());
    }
    let config = configure(&args).map_err(UsageError::new)?;
    check_device(&config.run.device)?;
    let runs = Runs::new(&config.run.output_dir);
    let given = |flag: &Option<OsString>, key: &Option<String>| {
        let key = key.as_ref().map(OsString::from);
        let reference = flag.clone().or(key);
        let reference = reference.map(|text| expand_home(Path::new(&text)));
        reference.transpose().map_err(UsageError::new)
    };
    let resume = given(&args.resume, &config.checkpoint.resume_from)?;
    let resume = resume
        .map(|name| find(&runs, &config, name.as_os_str()))
        .transpose()?
        .flatten();
    let init_from = given(&args.init_from, &config.checkpoint.init_from)?;
    let init_from = init_from
        .map(|name| beginning(&runs, &config, name.as_os_str()))
        .transpose()?;
    if args.dry_run {
        let steps: u64 = config.planned_stages().map(|(_, steps)| steps).sum();
        let (warmup, players) = (&config.warmup, &config.players);
        say(format_args!(
            "would train {} + {} warm-up steps and {steps} steps of the game",
            warmup.generator_steps * players.generators as u64,
            warmup.discriminator_steps * players.discriminators as u64
        ));
        return cli::print(&(serde_json::to_string_pretty(&config.to_json())? + "\n"));
    }
    if let Some(copies) = &config.checkpoint.checkpoint_dir {
        check_apart(&config.run.output_dir, Path::new(copies))?;
    }
    let interrupted = cli::interrupt_flag().context("cannot listen for signals")?;
    let server = serve(&config, &interrupted)?;
    let mut observer = (
        Progress::new(Some(interrupted.clone())),
        server.as_ref().map(Server::watch),
    );
    let opened = Session::open(config, resume, init_from, interrupted, &mut observer);
    if let Err(TrainError::Interrupted) = opened {
        say("interrupted before the first step: there is nothing to save");
        return Ok(Exit::Interrupted);
    }
    let mut session = opened?;
    let ending = session.run().inspect_err(|error| {
        if let Some(checkpoint) = error.resume_from() {
            say(format_args!("go on with: {}", go_on(checkpoint)));
        }
    });
    match ending? {
        Ending::Interrupted { saved } => {
            say(format_args!("interrupted; saved {}", saved.display()));
            say(format_args!("go on with: {}", go_on(&saved)));
            Ok(Exit::Interrupted)
        }
        Ending::Finished { last, summary } => {
            let checkpoints = last.parent().unwrap_or(Path::new("."));
            let text = match args.json {
                true => serde_json::to_string_pretty(&summary)? + "\n",
                false => told(&summary, checkpoints),
            };
            // Everything is done and saved: that nobody can read of it here is no failure.
            if let Err(error) = cli::print(&text) {
                say(format_args!(
                    "{error}; the table is in summary.json of the run"
                ));
            }
            Ok(Exit::Done)
        }
    }
}

/// What a person reads at the end.
fn told(summary: &Summary, checkpoints: &Path) -> String {
    let tables = format!("\n{}\n{}", summary.table(), summary.final_table());
    let checkpoints = checkpoints.display();
    format!(
        "{tables}\ncheckpoints: {checkpoints} (best, final, stage_0 .. stage_5)\n\
         try: cargo run --release --bin inference -- --checkpoint {checkpoints}/best \\\n       \
         --problem \"Implement a function that reverses a string\" --generate-tests\n"
    )
}

/// The page of the run, if one is wanted; an address that cannot be had is told before any work.
fn serve(config: &Config, interrupted: &Arc<AtomicBool>) -> Result<Option<Server>> {
    let Some(address) = &config.monitor.serve else {
        return Ok(None);
    };
    let server = Server::start(address, &config.run.name, Arc::clone(interrupted));
    let server = server.map_err(UsageError::new)?;
    let at = server.address();
    say(format_args!("the run is shown at http://{at}/"));
    if !at.ip().is_loopback() {
        say(format_args!(
            "whoever reaches {at} can see the run, have it saved and stop it"
        ));
    }
    Ok(Some(server))
}

/// The command that goes on from a checkpoint: the one that was given, with another `--resume`.
fn go_on(checkpoint: &Path) -> String {
    let mut words = std::env::args_os();
    let mut command = vec![quoted(&words.next().unwrap_or_else(|| "train".into()))];
    while let Some(word) = words.next() {
        let flags = ["--resume", "--init-from", "--init-role"];
        let rest = |flag: &&str| word.as_bytes().strip_prefix(flag.as_bytes());
        match flags.iter().find_map(rest) {
            // Its value is the next word, or part of this one.
            Some(b"") => drop(words.next()),
            Some([b'=', ..]) => {}
            _ => command.push(quoted(&word)),
        }
    }
    command.push("--resume".into());
    command.push(quoted(checkpoint.as_os_str()));
    command.join(" ")
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
fn find(runs: &Runs, config: &Config, name: &OsStr) -> Result<Option<Checkpoint>> {
    // Where this machine has none, there may be copies that another one made.
    let copies = config.checkpoint.checkpoint_dir.as_ref().map(Runs::new);
    let within = Within::Called(&config.run.name);
    if name != "auto" {
        let found = match (runs.look_up(name, within), &copies) {
            (
                Err(CheckpointError::NotFound { .. } | CheckpointError::NoRun { .. }),
                Some(copies),
            ) => copies.look_up(name, within),
            (found, _) => found,
        };
        let Found { checkpoint, why } = found.map_err(UsageError::new)?;
        say(format_args!(
            "resuming {} ({why})",
            checkpoint.path().display()
        ));
        return Ok(Some(checkpoint));
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
        say(format_args!(
            "skipped {}: {}",
            skipped.path.display(),
            skipped.reason
        ));
    }
    match &found.checkpoint {
        Some(checkpoint) => say(format_args!(
            "resuming {} (the newest whole checkpoint of the runs called {})",
            checkpoint.path().display(),
            config.run.name
        )),
        None => say(format_args!(
            "no checkpoint of run {:?} to resume; starting afresh",
            config.run.name
        )),
    }
    Ok(found.checkpoint)
}

/// The checkpoint whose weights to begin with. A name is one of this run's name, or else of the newest run.
fn beginning(runs: &Runs, config: &Config, name: &OsStr) -> Result<Checkpoint> {
    let found = match runs.look_up(name, Within::Called(&config.run.name)) {
        Err(CheckpointError::NoRun { .. }) => runs.look_up(name, Within::Any),
        found => found,
    };
    let Found { checkpoint, why } = found.map_err(UsageError::new)?;
    say(format_args!(
        "beginning with the weights of {} ({why})",
        checkpoint.path().display()
    ));
    Ok(checkpoint)
}
