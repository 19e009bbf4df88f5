//! Whether and how a run goes on from a checkpoint.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::checkpoint::{
    CHECKPOINTS, Checkpoint, CheckpointKind, DISCRIMINATOR, GENERATOR, with_players,
};
use crate::config::Config;
use crate::error::TrainError;
use crate::phases::{CheckpointRef, Phase, TrainerState};

use super::saving::ANCHOR;

/// Keys of a model that say how it began, not what shape it has: on resuming, weights, tokenizer and prompts are the
/// checkpoint's.
const BEGINNINGS: [&str; 4] = ["initializer_range", "tokenizer", "prompts", "path"];

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

/// The checkpoint with the warm models that the KL term holds players near: where it was written, else beside `checkpoint`.
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
