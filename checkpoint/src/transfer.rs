//! Copies checkpoints to another directory of runs, or to an object store, and back: backup and restore.
//!
//! A copy is laid out like the original, so that `--outputs` can name it. Each checkpoint is
//! verified while it is copied, and committed like a new one: a copy that was broken off leaves
//! nothing behind that looks whole. Manifests are copied byte for byte, so that whoever was resumed
//! from the original was resumed from the copy as well.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::CheckpointError;
use super::names::is_called;
use super::opened::Checkpoint;
use super::prune::run_name;
use super::resolve::Skipped;
use super::storage::{EntryKind, Storage, storage_at};
use super::store::{Listed, Store};

/// Names of TensorBoard's files begin with this.
pub const EVENTS_PREFIX: &str = "events.out.tfevents.";

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
        let (here, there) = (storage_at(run)?, storage_at(&target_run)?);
        if there
            .resolve(&target_run)
            .is_ok_and(|same| Some(same) == here.resolve(run).ok())
        {
            return Err(CheckpointError::invalid(
                to,
                "is where these runs are already",
            ));
        }
        let listed = source.list()?;
        let chosen: Vec<&Listed> = listed
            .iter()
            .filter(|item| name.is_none_or(|name| is_called(&item.name, name)))
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
        let events = events(here.as_ref(), run);
        for file in RUN_FILES.map(str::to_owned).into_iter().chain(events) {
            let (from, to) = (run.join(&file), target_run.join(&file));
            copy_file((here.as_ref(), &from), (there.as_ref(), &to))?;
        }
    }
    Ok(done)
}

/// Names of TensorBoard's files in a run.
fn events(storage: &dyn Storage, run: &Path) -> Vec<String> {
    let entries = storage.list(run).unwrap_or_default().into_iter();
    let names = entries.map(|(name, _)| name);
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
fn copy_file(
    (here, from): (&dyn Storage, &Path),
    (there, to): (&dyn Storage, &Path),
) -> Result<(), CheckpointError> {
    match here.kind(from) {
        Ok(EntryKind::File) => {}
        _ => return Ok(()),
    }
    let partial = match there.renames() {
        true => to.with_extension("partial"),
        false => to.to_owned(),
    };
    if there.renames() && there.kind(&partial).is_ok() {
        there
            .remove_file(&partial)
            .map_err(CheckpointError::io("remove", &partial))?;
    }
    let mut out = there
        .create_file(&partial)
        .map_err(CheckpointError::io("create", &partial))?;
    here.copy_out(from, &mut out)
        .and_then(|()| out.sync())
        .map_err(CheckpointError::io("copy", from))?;
    match there.renames() {
        true => there
            .replace_link(&partial, to)
            .map_err(CheckpointError::io("write", to)),
        false => Ok(()),
    }
}
