//! What a run is made of before its first step: sandbox limits, problems, prompts, players, and the state of the checkpoint
//! it goes on from.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gauntlet_sandbox::Limits;
use serde_json::Value as Json;
use tch::Device;

use crate::checkpoint::{CHECKPOINTS, Checkpoint, CheckpointKind};
use crate::config::{Config, InitRole};
use crate::discriminator::Discriminator;
use crate::encoding::PromptEncoder;
use crate::generator::Generator;
use crate::judge::Judge;
use crate::model::{Tokenizer, Transformer};
use crate::problems::compose::Composer;
use crate::problems::validate::check_references;
use crate::problems::{Split, load_dir};
use crate::prompts::{Format, Prompts};
use crate::source::ProblemSource;

use super::TrainError;
use super::base::{Base, take_template};
use super::observer::Observer;
use super::players::{Players, model_config, warmup_options};
use super::saving::ANCHOR;
use super::state::{CheckpointRef, Phase, TrainerState};

/// Keys of a model that say how it began, not what shape it has: on resuming, weights, tokenizer and prompts are the
/// checkpoint's.
const BEGINNINGS: [&str; 4] = ["initializer_range", "tokenizer", "prompts", "path"];

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
        output_bytes: defaults.output_bytes,
        seed: defaults.seed,
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
    judge: &Judge,
    observer: &mut dyn Observer,
) -> Result<ProblemSource, TrainError> {
    let dir = problems_dir(config);
    let written = load_dir(&dir)?;
    observer.note(&format!(
        "checking the references of {} written problems",
        written.len()
    ));
    if let Err(findings) = check_references(judge.sandbox(), &written)
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
    let composer = config.problems.composed.then(|| Composer::new(0));
    Ok(ProblemSource::new(
        written,
        composer,
        config.problems.composed_share,
        config.run.seed,
    ))
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

/// Where players are made: the device, and the published model they stand on, if there is one.
pub(super) type Ground<'a> = (Device, Option<&'a Base>);

fn load_generator(
    config: &Config,
    checkpoint: &Checkpoint,
    encoder: &Arc<PromptEncoder>,
    (device, base): Ground,
) -> Result<Generator, TrainError> {
    let file = checkpoint.generator()?;
    let encoder = Arc::clone(encoder);
    if let Some(base) = base {
        base.check_same(&file)?;
        file.check_architecture(&base.trained_shapes())?;
        return Ok(Generator::new(
            base.player(file.model_state_dict()?),
            encoder,
        ));
    }
    let vocab = encoder.tokenizer().vocab_size();
    let shape = model_config(&config.generator_model(), vocab);
    file.check_architecture(&shape.weight_shapes())?;
    let model = Transformer::from_weights(&shape, file.model_state_dict()?, device);
    Ok(Generator::new(model, encoder))
}

fn load_discriminator(
    config: &Config,
    checkpoint: &Checkpoint,
    encoder: &Arc<PromptEncoder>,
    (device, base): Ground,
) -> Result<Discriminator, TrainError> {
    let file = checkpoint.discriminator()?;
    let encoder = Arc::clone(encoder);
    if let Some(base) = base {
        base.check_same(&file)?;
        let shapes = Discriminator::with_head(base.trained_shapes(), base.config());
        file.check_architecture(&shapes)?;
        let mut weights = file.model_state_dict()?;
        let head = weights.split_off(weights.len() - 2);
        return Ok(Discriminator::from_parts(
            base.player(weights),
            &head,
            encoder,
        ));
    }
    let vocab = encoder.tokenizer().vocab_size();
    let shape = model_config(&config.discriminator_model(), vocab);
    file.check_architecture(&Discriminator::weight_shapes(&shape))?;
    let weights = file.model_state_dict()?;
    Ok(Discriminator::from_weights(
        &shape, weights, device, encoder,
    ))
}

/// Both players with the weights of a checkpoint, which must have this configuration's architecture.
pub(super) fn load_players(
    config: &Config,
    checkpoint: &Checkpoint,
    encoder: &Arc<PromptEncoder>,
    ground: Ground,
) -> Result<Players, TrainError> {
    let generator = load_generator(config, checkpoint, encoder, ground)?;
    let discriminator = load_discriminator(config, checkpoint, encoder, ground)?;
    Ok(with_optimizers(config, generator, discriminator, ground.1))
}

fn with_optimizers(
    config: &Config,
    generator: Generator,
    discriminator: Discriminator,
    base: Option<&Base>,
) -> Players {
    let options = warmup_options(config);
    let players = Players::with_fresh_optimizers(generator, discriminator, options);
    match base {
        Some(base) => Players {
            lora_config: base.lora_json(),
            ..players
        }
        .decoding_as(config),
        None => players,
    }
}

/// The players that a run begins with: those of a checkpoint as far as `init_role` says, else `fresh`.
pub(super) fn init_players(
    config: &Config,
    checkpoint: &Checkpoint,
    fresh: Players,
    encoder: &Arc<PromptEncoder>,
    ground: Ground,
) -> Result<Players, TrainError> {
    let (generator, discriminator) = match config.checkpoint.init_role {
        InitRole::Both => return load_players(config, checkpoint, encoder, ground),
        InitRole::Generator => (
            load_generator(config, checkpoint, encoder, ground)?,
            fresh.discriminator,
        ),
        InitRole::Discriminator => (
            fresh.generator,
            load_discriminator(config, checkpoint, encoder, ground)?,
        ),
    };
    Ok(with_optimizers(config, generator, discriminator, ground.1))
}

/// Refuses a checkpoint that training cannot go on from with this configuration, every reason named.
pub(super) fn check_resumable(config: &Config, checkpoint: &Checkpoint) -> Result<(), TrainError> {
    let name = || checkpoint.path().display().to_string();
    if checkpoint.manifest().kind == CheckpointKind::Sampler {
        return Err(TrainError::Sampler(name()));
    }
    let file = checkpoint.path().join("training_config.json");
    let saved = checkpoint.training_config()?;
    // Keys that the checkpoint's version did not have stand at their defaults.
    let was = Config::parse(&saved.to_string(), &file, &[]).map_or(saved, |c| c.to_json());
    let now = config.to_json();
    let mut changes = Vec::new();
    let mut compare = |key: &str, was: Json, now: Json| {
        if was != now {
            changes.push(format!("{key} was {was} there and is {now} here"));
        }
    };
    compare(
        "run.seed",
        was["run"]["seed"].clone(),
        now["run"]["seed"].clone(),
    );
    for key in ["lora_rank", "lora_targets"] {
        let path = format!("training.{key}");
        compare(
            &path,
            was["training"][key].clone(),
            now["training"][key].clone(),
        );
    }
    for player in ["generator", "discriminator"] {
        for key in Config::keys().iter().filter(|key| key.section == player) {
            if BEGINNINGS.contains(&key.name) {
                continue;
            }
            // What a player does not override is the model's.
            let value = |json: &Json| match &json[player][key.name] {
                Json::Null => json["model"][key.name].clone(),
                own => own.clone(),
            };
            compare(&key.path(), value(&was), value(&now));
        }
    }
    if changes.is_empty() {
        return Ok(());
    }
    Err(TrainError::Incompatible {
        checkpoint: name(),
        changes: changes.join("; "),
    })
}

/// The state of a checkpoint; a finished run goes on where this configuration plans more.
pub(super) fn resumed_state(
    config: &Config,
    checkpoint: &Checkpoint,
) -> Result<TrainerState, TrainError> {
    let mut state: TrainerState = checkpoint.trainer_state()?;
    if state.phase == Phase::Done
        && let Some((stage, steps)) = config.planned_stages().last()
        && steps > state.phase_step
    {
        state.phase = Phase::Game(stage);
    }
    Ok(state)
}

/// The checkpoint with the warm models that `state` is anchored to: where it was written, else beside `checkpoint`.
pub(super) fn reference_checkpoint(
    checkpoint: &Checkpoint,
    state: &TrainerState,
) -> Result<(Checkpoint, CheckpointRef), TrainError> {
    let found = match &state.reference {
        // The state right after warm-up is its own anchor.
        None => checkpoint.clone(),
        Some(reference) => {
            let places = std::iter::once(reference.path.clone()).chain(anchors(checkpoint));
            let matching = places.filter_map(|path| Checkpoint::open(&path).ok());
            let mut matching = matching.filter(|found| found.manifest_hash() == reference.manifest);
            match matching.next() {
                Some(found) => found,
                None => Checkpoint::open(&reference.path)?,
            }
        }
    };
    let at = CheckpointRef {
        path: found.path().to_owned(),
        manifest: found.manifest_hash().to_owned(),
    };
    Ok((found, at))
}

/// Where `stage_0` lies in the run of a checkpoint and in those it was resumed from, as far as they are in one place.
fn anchors(checkpoint: &Checkpoint) -> impl Iterator<Item = PathBuf> {
    let outputs = checkpoint.path().ancestors().nth(4).map(Path::to_owned);
    let mut run = checkpoint.path().ancestors().nth(2).map(Path::to_owned);
    let mut parent = checkpoint.manifest().parent.clone();
    std::iter::from_fn(move || {
        let anchor = run.take()?.join(CHECKPOINTS).join(ANCHOR);
        if let Some(from) = parent.take() {
            let dir = outputs.as_ref()?.join(&from.run);
            let checkpoint = Checkpoint::open(&dir.join(CHECKPOINTS).join(&from.name));
            parent = checkpoint.ok().and_then(|c| c.manifest().parent.clone());
            run = Some(dir);
        }
        Some(anchor)
    })
}
