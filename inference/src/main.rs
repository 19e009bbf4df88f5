//! `inference`: loads a checkpoint, solves a problem in five stages, and has the discriminator test the code.

mod benchmark;
mod decoding;
mod live;
mod loaded;
mod progress;
mod results;
mod solve;

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use gauntlet::checkpoint::{Checkpoint, DISCRIMINATOR, GENERATOR, Runs, Within};
use gauntlet::cli::{self, Exit, UsageError};

use crate::decoding::DecodingArgs;
use crate::loaded::Loaded;
use crate::progress::Progress;
use crate::solve::Options;

/// What is solved when no problem is given.
const EXAMPLE: &str = "Implement a function that reverses a string";

/// Solves a programming problem in five stages with a trained checkpoint.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the code failed its tests (with --generate-tests)."
)]
struct Args {
    /// Checkpoint: best, latest, final, stage_3, step:N, any name, or a path.
    #[arg(long, default_value = "best")]
    checkpoint: OsString,
    /// Number of the generator, where the checkpoint has several; the best in validation otherwise.
    #[arg(long, value_name = "N", conflicts_with = "model")]
    generator: Option<usize>,
    /// Number of the discriminator, likewise.
    #[arg(long, value_name = "N", conflicts_with = "model")]
    discriminator: Option<usize>,
    /// A published model in place of a checkpoint: a folder, a GGUF file, a generator.pt, or a hub id `OWNER/NAME` or `OWNER/NAME@REVISION`.
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["checkpoint", "run"])]
    model: Option<String>,
    /// Run directory to look a name up in; the newest run otherwise.
    #[arg(long, value_name = "DIR", value_parser = cli::path_parser())]
    run: Option<PathBuf>,
    /// Folder that holds the outputs of all runs.
    #[arg(long, value_name = "DIR", default_value = "outputs", value_parser = cli::path_parser())]
    outputs: PathBuf,
    /// The problem; `-` reads standard input. An example is solved otherwise.
    #[arg(long)]
    problem: Option<String>,
    /// Header of the wanted function; taken from the problem, or chosen by the model, otherwise.
    #[arg(long)]
    signature: Option<String>,
    /// Have the discriminator write tests, run them in the sandbox and show each one's outcome.
    #[arg(long)]
    generate_tests: bool,
    /// Candidates to write; they are ranked by agreement of their answers on the inputs of blind tests, by those tests, and by
    /// verdict.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    samples: u16,
    /// Temperature of the stages; 0 takes the likeliest token. 0.8 with several samples.
    #[arg(long)]
    temperature: Option<f64>,
    /// Seed of the draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    decoding: DecodingArgs,
    /// Where tensors live: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Write everything to a JSON file.
    #[arg(long, value_name = "FILE", value_parser = cli::path_parser())]
    output: Option<PathBuf>,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
    /// Print the stages while they are written.
    #[arg(long, conflicts_with_all = ["json", "samples"])]
    stream: bool,
    /// Measure on known problems instead: a problem file, or a pool of the checkpoint's run (validation, validation_written,
    /// unseen_wordings, unseen_compositions, unseen_written). pass@k, what the discriminator's tests are worth, and with
    /// several samples what choosing among them is worth.
    #[arg(long, value_name = "FILE|POOL", conflicts_with_all = ["problem", "generate_tests", "stream"])]
    benchmark: Option<String>,
    /// Values of k for --benchmark.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    k: Vec<usize>,
    /// Problems for --benchmark; all of a file, and as many of a pool as in training, otherwise.
    #[arg(long, value_name = "N", requires = "benchmark", value_parser = clap::value_parser!(u32).range(1..))]
    problems: Option<u32>,
    /// Other checkpoints for --benchmark: every generator meets every discriminator.
    #[arg(
        long,
        value_name = "CHECKPOINT",
        value_delimiter = ',',
        requires = "benchmark",
        conflicts_with = "model"
    )]
    against: Vec<OsString>,
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
        clap_complete::generate(shell, &mut Args::command(), "inference", &mut script);
        return cli::print(&String::from_utf8_lossy(&script));
    }
    let problem = problem_text(&args)?;
    if args.temperature.is_some_and(|t| !(0.0..=10.0).contains(&t)) {
        return Err(UsageError::new("--temperature must be between 0 and 10").into());
    }
    args.decoding.begin()?;
    let progress = Progress::new();
    let loaded = load(&args, &args.checkpoint, &progress)?;
    if let Some(problems) = &args.benchmark {
        let name = |reference: &OsStr| reference.to_string_lossy().into_owned();
        let mut players = vec![(name(&args.checkpoint), loaded)];
        for other in &args.against {
            players.push((name(other), load(&args, other, &progress)?));
        }
        let options = benchmark::Options {
            problems,
            limit: args.problems.map(|n| n as usize),
            ks: &args.k,
            temperature: args.temperature,
            seed: args.seed,
        };
        let report = benchmark::run(&players, &options, &progress)?;
        let json = serde_json::to_string_pretty(&report)?;
        match args.json {
            true => cli::print(&format!("{json}\n"))?,
            false => cli::print(&report.table())?,
        };
        write_output(&args, &json)?;
        return Ok(Exit::Done);
    }
    let samples = usize::from(args.samples);
    let options = Options {
        signature: args
            .signature
            .clone()
            .or_else(|| solve::signature_in(&problem)),
        generate_tests: args.generate_tests || samples > 1,
        samples,
        temperature: args
            .temperature
            .unwrap_or(if samples > 1 { 0.8 } else { 0.0 }),
        seed: args.seed,
        stream: args.stream,
    };
    let results = solve::solve(&loaded, &problem, &options, &progress)?;
    let text = match args.json {
        true => serde_json::to_string_pretty(&results)? + "\n",
        false => results.text(!args.stream),
    };
    cli::print(&text)?;
    write_output(&args, &serde_json::to_string_pretty(&results)?)?;
    Ok(if args.generate_tests && results.failed() {
        Exit::CodeFailed
    } else {
        Exit::Done
    })
}

/// The model that was asked for, decoding as it was asked to.
fn load(args: &Args, checkpoint: &OsStr, progress: &Progress) -> Result<Loaded> {
    let mut loaded = open(args, checkpoint)?;
    args.decoding.apply(&mut loaded)?;
    if !args.stream {
        progress.watch(&loaded);
    }
    Ok(loaded)
}

/// The model that was asked for, else the checkpoint of that name.
fn open(args: &Args, checkpoint: &OsStr) -> Result<Loaded> {
    let runs = Runs::new(&args.outputs);
    let mut generator = args.generator;
    let found = match args.model.as_deref().map(Path::new) {
        // A player's file lies in a checkpoint, beside its tokenizer and prompts.
        Some(file) if file.extension().is_some_and(|ending| ending == "pt") => {
            let folder = file.parent().unwrap_or(Path::new("."));
            let name = file.file_stem().and_then(|name| name.to_str());
            let number = name.and_then(|name| name.strip_prefix("generator_"));
            generator = number.and_then(|number| number.parse().ok());
            Checkpoint::open(folder).map_err(UsageError::new)?
        }
        Some(model) => {
            let backend = args.decoding.backend();
            return Loaded::open_model(&model.to_string_lossy(), &args.device, backend);
        }
        None => {
            let within = args.run.as_deref().map_or(Within::Any, Within::Run);
            let found = runs.look_up(checkpoint, within).map_err(UsageError::new)?;
            if !checkpoint.as_encoded_bytes().contains(&b'/') {
                let (path, why) = (found.checkpoint.path().display(), &found.why);
                cli::say(format_args!("taking {path} ({why})"));
            }
            found.checkpoint
        }
    };
    let players = [(GENERATOR, generator), (DISCRIMINATOR, args.discriminator)];
    let mut names = Vec::new();
    for (role, number) in players {
        names.push(found.choose(role, number).map_err(UsageError::new)?);
    }
    Loaded::open(&found, [names[0], names[1]], &args.device)
}

/// The problem from the flag, from standard input, or the example.
fn problem_text(args: &Args) -> Result<String> {
    let text = match args.problem.as_deref() {
        None => EXAMPLE.to_owned(),
        Some("-") => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .read_to_end(&mut bytes)
                .context("cannot read the problem from standard input")?;
            String::from_utf8(bytes).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                UsageError::new(format!(
                    "the problem on standard input is not UTF-8 at byte {at}"
                ))
            })?
        }
        Some(text) => text.to_owned(),
    };
    if text.trim().is_empty() {
        return Err(
            UsageError::new("the problem is empty; say what the function should do").into(),
        );
    }
    Ok(text.trim().to_owned())
}

fn write_output(args: &Args, json: &str) -> Result<()> {
    match &args.output {
        Some(path) => std::fs::write(path, format!("{json}\n"))
            .with_context(|| format!("cannot write {}", path.display())),
        None => Ok(()),
    }
}
