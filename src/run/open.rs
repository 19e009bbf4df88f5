//! What a run needs before it has players: device, sandbox limits, problems, prompts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gauntlet_sandbox::Limits;
use tch::Device;

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::encoding::PromptEncoder;
use crate::error::TrainError;
use crate::execution::Executor;
use crate::model::Tokenizer;
use crate::problems::validate::check_references;
use crate::problems::{Problem, Split, load_dir};
use crate::prompts::{Format, Prompts};
use crate::source::{Pool, ProblemSource};

use super::base::take_template;
use super::observer::Observer;

/// The device that a checked configuration names.
pub fn device(name: &str) -> Device {
    match name.strip_prefix("cuda") {
        Some(index) => Device::Cuda(index.trim_start_matches(':').parse().unwrap_or(0)),
        None => Device::Cpu,
    }
}

/// The sandbox limits of a configuration.
pub fn limits(config: &Config) -> Limits {
    let defaults = Limits::default();
    Limits {
        fuel: config.sandbox.fuel.or(defaults.fuel),
        wall: Duration::from_secs_f64(config.sandbox.wall_seconds),
        memory_bytes: config.sandbox.memory_mb << 20,
        ..defaults
    }
}

/// The folder of written problems: the configured one, else `problems` here, else beside the sources.
pub fn problems_dir(config: &Config) -> PathBuf {
    config.problems.dir.clone().unwrap_or_else(|| {
        let here = PathBuf::from("problems");
        if here.is_dir() {
            here
        } else {
            Path::new(env!("CARGO_MANIFEST_DIR")).join("problems")
        }
    })
}

pub(super) fn open_source(
    config: &Config,
    executor: &Executor,
    observer: &mut dyn Observer,
) -> Result<ProblemSource, TrainError> {
    let dir = problems_dir(config);
    let written = load_dir(&dir)?;
    observer.note(&format!(
        "checking the references of {} written problems",
        written.len()
    ));
    // Under the fuel and memory that candidates get; the clock of a busy machine says nothing of a problem.
    let limits = Limits {
        wall: Duration::from_secs(600),
        ..executor.limits().clone()
    };
    if let Err(findings) = check_references(executor.sandbox(), &written, &limits)
        && let Some(finding) = findings.first()
    {
        return Err(TrainError::BadReference {
            id: finding.problem.clone(),
            outcome: finding.detail.clone(),
        });
    }
    if !config.problems.composed && !written.iter().any(|problem| problem.split == Split::Train) {
        return Err(TrainError::NoProblems(dir));
    }
    Ok(source(config, written))
}

fn source(config: &Config, written: Vec<Problem>) -> ProblemSource {
    ProblemSource::new(
        written,
        config.problems.composed,
        config.problems.composed_share,
        config.warmup.composed_traces,
        config.run.seed,
    )
}

/// One of the pools that a run with this configuration is measured on ([`ProblemSource::POOLS`]), without training.
pub fn pool(
    config: &Config,
    executor: &Executor,
    name: &str,
    count: usize,
) -> Result<Pool, TrainError> {
    let written = load_dir(problems_dir(config))?;
    let found = source(config, written).pool(executor.sandbox(), name, count)?;
    found.ok_or_else(|| TrainError::NoPool(name.to_owned()))
}

/// Prompts and tokenizer: those of the checkpoint that is gone on from, else the configured ones.
pub(super) fn open_encoder(
    config: &Config,
    checkpoint: Option<&Checkpoint>,
) -> Result<PromptEncoder, TrainError> {
    if let Some(checkpoint) = checkpoint {
        return checkpoint_encoder(checkpoint);
    }
    let tokenizer = Tokenizer::open(Path::new(&config.model.tokenizer))
        .map_err(crate::encoding::EncodingError::from)?;
    let prompts = match &config.model.prompts {
        Some(dir) => {
            Prompts::load(Format::Plain, dir).map_err(crate::encoding::EncodingError::from)?
        }
        None => Prompts::plain(),
    };
    Ok(PromptEncoder::new(tokenizer, prompts)?)
}

/// Prompts and tokenizer as they were when the checkpoint was written.
pub fn checkpoint_encoder(checkpoint: &Checkpoint) -> Result<PromptEncoder, TrainError> {
    let tokenizer = Tokenizer::from_json(&checkpoint.tokenizer()?)
        .map_err(crate::encoding::EncodingError::from)?;
    let mut texts = checkpoint.prompts()?.into_iter().collect();
    let template = take_template(&mut texts)?;
    let format = match template {
        Some(_) => Format::Chat,
        None => Format::Plain,
    };
    let prompts = Prompts::new(format, texts).map_err(crate::encoding::EncodingError::from)?;
    Ok(match template {
        Some(template) => PromptEncoder::chat(tokenizer, prompts, &template)?,
        None => PromptEncoder::new(tokenizer, prompts)?,
    })
}
