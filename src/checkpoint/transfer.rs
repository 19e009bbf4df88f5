//! Copies checkpoints to another directory of runs and back: backup and restore.
//!
//! A copy is laid out like the original, so that `--outputs` can name it. Each checkpoint is
//! verified while it is copied, and committed like a new one: a copy that was broken off leaves
//! nothing behind that looks whole. Manifests are copied byte for byte, so that whoever was resumed
//! from the original was resumed from the copy as well.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::CheckpointError;
use super::opened::Checkpoint;
use super::prune::run_name;
use super::resolve::Skipped;
use super::store::{Listed, Store};
use crate::metrics::EVENTS_PREFIX;

/// Files of a run beside its checkpoints.
const RUN_FILES: [&str; 5] = [
    "config.json",
    "metrics.jsonl",
    "samples.jsonl",
    "timings.jsonl",
    "summary.json",
];

/// What was copied.
#[derive(Debug, Default, Serialize)]
pub struct Transfer {
    /// Checkpoints that were copied, where they lie now.
    pub copied: Vec<PathBuf>,
    /// Checkpoints that were there already, with the same manifest.
    pub present: Vec<PathBuf>,
    /// Checkpoints that are not whole and were left out.
    #[serde(serialize_with = "as_lines")]
    pub skipped: Vec<Skipped>,
    /// Bytes that were copied.
    pub bytes: u64,
}

fn as_lines<S: serde::Serializer>(skipped: &[Skipped], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(
        skipped
            .iter()
            .map(|one| format!("{}: {}", one.path.display(), one.reason)),
    )
}

/// Copies the checkpoints of runs, or the one that is called `name`, to the directory of runs `to`.
///
/// # Errors
///
/// A checkpoint of the same name with another content is never overwritten; a file that cannot be
/// read or written ends the copy, and what was copied by then is whole.
pub fn transfer(
    runs: &[PathBuf],
    name: Option<&str>,
    to: &Path,
) -> Result<Transfer, CheckpointError> {
    let mut done = Transfer::default();
    for run in runs {
        let source = Store::open(run)?;
        let target_run = to.join(run_name(run));
        if std::fs::canonicalize(&target_run)
            .is_ok_and(|same| Some(same) == std::fs::canonicalize(run).ok())
        {
            return Err(CheckpointError::invalid(
                to,
                "is where these runs are already",
            ));
        }
        let listed = source.list()?;
        let chosen: Vec<&Listed> = listed
            .iter()
            .filter(|item| name.is_none_or(|name| item.name == name))
            .collect();
        if let (Some(name), []) = (name, chosen.as_slice()) {
            source.path_of(name)?;
        }
        let target = Store::create(&target_run)?;
        for item in chosen {
            copy_one(item, &target, &mut done)?;
        }
        if let Some(best) = listed.iter().find(|item| item.best)
            && target.path_of(&best.name).is_ok()
        {
            target.set_best(&best.name)?;
        }
        for file in RUN_FILES.map(str::to_owned).into_iter().chain(events(run)) {
            copy_file(&run.join(&file), &target_run.join(&file))?;
        }
    }
    Ok(done)
}

/// Names of TensorBoard's files in a run.
fn events(run: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(run).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| name.starts_with(EVENTS_PREFIX))
        .collect()
}

fn copy_one(item: &Listed, target: &Store, done: &mut Transfer) -> Result<(), CheckpointError> {
    let skip = |error: &CheckpointError| Skipped {
        path: item.path.clone(),
        reason: error.to_string(),
    };
    if let Err(error) = &item.manifest {
        done.skipped.push(skip(error));
        return Ok(());
    }
    let checkpoint = Checkpoint::open(&item.path)?;
    let place = target.dir().join(&item.name);
    if let Ok(there) = Checkpoint::open(&place)
        && there.manifest_hash() == checkpoint.manifest_hash()
    {
        done.present.push(place);
        return Ok(());
    }
    match target.import(&checkpoint) {
        Ok(saved) => {
            done.bytes += checkpoint.manifest().total_size();
            done.copied.push(saved.path);
        }
        Err(error @ CheckpointError::Damaged { .. }) => done.skipped.push(skip(&error)),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Copies a log; one that is not there is no error. The copy has its name only when it is whole.
fn copy_file(from: &Path, to: &Path) -> Result<(), CheckpointError> {
    if !from.is_file() {
        return Ok(());
    }
    let partial = to.with_extension("partial");
    std::fs::copy(from, &partial).map_err(CheckpointError::io("copy", from))?;
    std::fs::rename(&partial, to).map_err(CheckpointError::io("write", to))
}
