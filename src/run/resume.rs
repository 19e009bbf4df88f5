//! Whether and how a run goes on from a checkpoint.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::checkpoint::{
    ANCHOR_COPY, CHECKPOINTS, Checkpoint, CheckpointError, CheckpointKind, DISCRIMINATOR,
    GENERATOR, Store, with_players,
};
use crate::config::Config;
use crate::error::TrainError;
use crate::phases::{CheckpointRef, TrainerState};

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

/// The state of a checkpoint, which goes on with what this configuration plans and was not played.
pub(super) fn resumed_state(
    config: &Config,
    checkpoint: &Checkpoint,
) -> Result<TrainerState, TrainError> {
    let mut state: TrainerState = checkpoint.trainer_state()?;
    let file = checkpoint.path().join("training_config.json");
    let saved = checkpoint.training_config()?.to_string();
    // One that does not read under this version plans nothing.
    if let Ok(was) = Config::parse(&saved, &file, &[]) {
        state.infer_played(&was);
    }
    state.plan_again(config);
    Ok(state)
}

/// The checkpoint with the warm models that the KL term holds players near: beside `checkpoint`, else where it was written.
pub(super) fn reference_checkpoint(
    checkpoint: &Checkpoint,
    state: &TrainerState,
) -> Result<(Checkpoint, CheckpointRef), TrainError> {
    let found = match &state.reference {
        // The state right after warm-up is its own anchor.
        None => checkpoint.clone(),
        Some(reference) => {
            let places = anchors(checkpoint).chain([reference.path.clone()]);
            let matching = places.filter_map(|path| Checkpoint::open(&path).ok());
            let mut matching = matching.filter(|found| found.manifest_hash() == reference.manifest);
            matching.next().ok_or_else(|| TrainError::NoAnchor {
                checkpoint: checkpoint.path().display().to_string(),
                anchor: reference.path.display().to_string(),
            })?
        }
    };
    let at = CheckpointRef {
        path: found.path().to_owned(),
        manifest: found.manifest_hash().to_owned(),
    };
    Ok((found, at))
}

/// Gives a resumed run its own copy of what its game is anchored to, unless its own warm-up makes that. Where it cannot
/// be written, the run depends on the one it came from, and says so.
pub(super) fn keep_anchor(store: &Store, state: &mut TrainerState) -> Result<(), TrainError> {
    let Some(reference) = &mut state.reference else {
        return Ok(());
    };
    let anchor = Checkpoint::open(&reference.path)?;
    reference.path = store
        .keep_anchor(&anchor)
        .map_err(CheckpointError::from)?
        .path;
    Ok(())
}

/// Where the anchor may lie in the run of a checkpoint, in those it was resumed from, and right beside the checkpoint, as
/// far as they are in one place.
fn anchors(checkpoint: &Checkpoint) -> impl Iterator<Item = PathBuf> {
    let outputs = checkpoint.path().ancestors().nth(4).map(Path::to_owned);
    let mut run = checkpoint.path().ancestors().nth(2).map(Path::to_owned);
    let beside = checkpoint.path().parent().map(|dir| dir.join(ANCHOR));
    let mut parent = checkpoint.manifest().parent.clone();
    let [generators, discriminators] =
        [GENERATOR, DISCRIMINATOR].map(|role| checkpoint.players_of(role).len());
    let names = [
        Path::new(CHECKPOINTS).join(ANCHOR),
        Path::new(CHECKPOINTS).join(with_players(ANCHOR, generators, discriminators)),
        ANCHOR_COPY.into(),
    ];
    let places = std::iter::from_fn(move || {
        let all = run.take()?;
        if let Some(from) = parent.take() {
            let dir = outputs.as_ref()?.join(&from.run);
            let checkpoint = Checkpoint::open(&dir.join(CHECKPOINTS).join(&from.name));
            parent = checkpoint.ok().and_then(|c| c.manifest().parent.clone());
            run = Some(dir);
        }
        Some(all)
    });
    let places = places.flat_map(move |all| names.clone().map(|name| all.join(name)));
    places.chain(beside)
}
