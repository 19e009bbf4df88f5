//! What a run is made of before its first step: sandbox limits, problems, prompts, players, and the state of the checkpoint
//! it goes on from.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gauntlet_sandbox::Limits;
use serde_json::Value as Json;
use tch::Device;

use crate::checkpoint::{
    CHECKPOINTS, Checkpoint, CheckpointKind, DISCRIMINATOR, GENERATOR, PlayerFile, with_players,
};
use crate::config::{Config, InitRole};
use crate::discriminator::Discriminator;
use crate::encoding::PromptEncoder;
use crate::evaluation::Pool;
use crate::generator::Generator;
use crate::judge::Judge;
use crate::model::{Tokenizer, Transformer};
use crate::problems::validate::check_references;
use crate::problems::{Problem, Split, load_dir};
use crate::prompts::{Format, Prompts};
use crate::source::ProblemSource;

use super::TrainError;
use super::base::{Ground, take_template};
use super::observer::Observer;
use super::players::{
    Player, Policy, Roster, fresh_discriminators, fresh_generators, game_options, model_config,
};
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
    // Under the fuel and memory that candidates get; the clock of a busy machine says nothing of a problem.
    let limits = Limits {
        wall: Duration::from_secs(600),
        ..judge.limits().clone()
    };
    if let Err(findings) = check_references(judge.sandbox(), &written, &limits)
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
pub fn pool(config: &Config, judge: &Judge, name: &str, count: usize) -> Result<Pool, TrainError> {
    let written = load_dir(problems_dir(config))?;
    let found = source(config, written).pool(judge.sandbox(), name, count)?;
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

/// The files of a role's `count` players: one each, or for all of them that of the only one in the checkpoint.
fn files(checkpoint: &Checkpoint, role: &str, count: usize) -> Result<Vec<PlayerFile>, TrainError> {
    let names = checkpoint.players_of(role);
    let names = match names[..] {
        [only] => vec![only; count],
        [] => vec![role],
        _ if names.len() == count => names,
        _ => {
            return Err(TrainError::OtherPlayers {
                checkpoint: checkpoint.path().display().to_string(),
                role: role.to_owned(),
                there: names.len(),
                here: count,
            });
        }
    };
    let files = names.into_iter().map(|name| checkpoint.player(name));
    Ok(files.collect::<Result<_, _>>()?)
}

fn load_generators(
    config: &Config,
    checkpoint: &Checkpoint,
    encoder: &Arc<PromptEncoder>,
    (device, base): Ground,
) -> Result<Vec<Generator>, TrainError> {
    let load = |file: &PlayerFile| {
        let encoder = Arc::clone(encoder);
        if let Some(base) = base {
            base.check_same(file)?;
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
    };
    let files = files(checkpoint, GENERATOR, config.players.generators)?;
    files.iter().map(load).collect()
}

fn load_discriminators(
    config: &Config,
    checkpoint: &Checkpoint,
    encoder: &Arc<PromptEncoder>,
    (device, base): Ground,
) -> Result<Vec<Discriminator>, TrainError> {
    let load = |file: &PlayerFile| {
        let encoder = Arc::clone(encoder);
        if let Some(base) = base {
            base.check_same(file)?;
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
    };
    let files = files(checkpoint, DISCRIMINATOR, config.players.discriminators)?;
    files.iter().map(load).collect()
}

/// All players with the weights of a checkpoint, which must have this configuration's architecture.
fn load_players(
    config: &Config,
    checkpoint: &Checkpoint,
    encoder: &Arc<PromptEncoder>,
    ground: Ground,
) -> Result<Roster, TrainError> {
    let generators = load_generators(config, checkpoint, encoder, ground)?;
    let discriminators = load_discriminators(config, checkpoint, encoder, ground)?;
    Ok(Roster::new(config, generators, discriminators, ground.1))
}

/// The players that a run begins with: those of `init_from` as far as `init_role` says, the others freshly drawn.
pub(super) fn new_players(
    config: &Config,
    init_from: Option<&Checkpoint>,
    encoder: &Arc<PromptEncoder>,
    ground: Ground,
) -> Result<Roster, TrainError> {
    let except = |role: InitRole| init_from.filter(|_| config.checkpoint.init_role != role);
    let generators = match except(InitRole::Discriminator) {
        Some(checkpoint) => load_generators(config, checkpoint, encoder, ground)?,
        None => fresh_generators(config, encoder, ground),
    };
    let discriminators = match except(InitRole::Generator) {
        Some(checkpoint) => load_discriminators(config, checkpoint, encoder, ground)?,
        None => fresh_discriminators(config, encoder, ground),
    };
    Ok(Roster::new(config, generators, discriminators, ground.1))
}

/// The players of a checkpoint as training left them: weights, moments and, in the game, what they are anchored to, of
/// which `state` learns where it lies.
pub(super) fn resumed_players(
    config: &Config,
    checkpoint: &Checkpoint,
    state: &mut TrainerState,
    encoder: &Arc<PromptEncoder>,
    ground: Ground,
) -> Result<Roster, TrainError> {
    let mut roster = load_players(config, checkpoint, encoder, ground)?;
    if matches!(state.phase, Phase::Game(_) | Phase::Done) {
        let (reference, at) = reference_checkpoint(checkpoint, state)?;
        let warm = load_players(config, &reference, encoder, ground)?;
        roster.enter_game(game_options(config), Some(&warm));
        state.reference = Some(at);
    }
    load_moments(&mut roster.generators, checkpoint, GENERATOR)?;
    load_moments(&mut roster.discriminators, checkpoint, DISCRIMINATOR)?;
    Ok(roster)
}

fn load_moments<P: Policy>(
    players: &mut [Player<P>],
    checkpoint: &Checkpoint,
    role: &str,
) -> Result<(), TrainError> {
    let files = files(checkpoint, role, players.len())?;
    for (player, file) in players.iter_mut().zip(files) {
        if let Some(state) = file.optimizer()? {
            player.load_optimizer(state)?;
        }
    }
    Ok(())
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
    for (section, key) in [
        ("training", "lora_rank"),
        ("training", "lora_targets"),
        ("training", "master_weights"),
        ("players", "generators"),
        ("players", "discriminators"),
    ] {
        let path = format!("{section}.{key}");
        compare(&path, was[section][key].clone(), now[section][key].clone());
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
fn reference_checkpoint(
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

/// Where `stage_0` may lie in the run of a checkpoint and in those it was resumed from, as far as they are in one place.
fn anchors(checkpoint: &Checkpoint) -> impl Iterator<Item = PathBuf> {
    let outputs = checkpoint.path().ancestors().nth(4).map(Path::to_owned);
    let mut run = checkpoint.path().ancestors().nth(2).map(Path::to_owned);
    let mut parent = checkpoint.manifest().parent.clone();
    let [generators, discriminators] =
        [GENERATOR, DISCRIMINATOR].map(|role| checkpoint.players_of(role).len());
    let names = [
        ANCHOR.to_owned(),
        with_players(ANCHOR, generators, discriminators),
    ];
    let places = std::iter::from_fn(move || {
        let all = run.take()?.join(CHECKPOINTS);
        if let Some(from) = parent.take() {
            let dir = outputs.as_ref()?.join(&from.run);
            let checkpoint = Checkpoint::open(&dir.join(CHECKPOINTS).join(&from.name));
            parent = checkpoint.ok().and_then(|c| c.manifest().parent.clone());
            run = Some(dir);
        }
        Some(all)
    });
    places.flat_map(move |all| names.clone().map(|name| all.join(name)))
}
