//! Copies checkpoints to another directory of runs, or to an object store, and back: backup and restore.
//!
//! A copy is laid out like the original, so that `--outputs` can name it. Each checkpoint is
//! verified while it is copied, and committed like a new one: a copy that was broken off leaves
//! nothing behind that looks whole. Manifests are copied byte for byte, so that whoever was resumed
//! from the original was resumed from the copy as well.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::CheckpointError;
use super::as_text;
use super::copy::{ANCHOR_COPY, CopyError};
use super::manifest::MANIFEST;
use super::names::{BEST, LATEST, is_called};
use super::opened::Checkpoint;
use super::order::ORDER;
use super::prune::run_name;
use super::resolve::Skipped;
use super::storage::{EntryKind, Storage, StorageFile, storage_at};
use super::store::{Listed, Store};

/// Names of TensorBoard's files begin with this.
pub const EVENTS_PREFIX: &str = "events.out.tfevents.";

/// Files of a run beside its checkpoints.
const RUN_FILES: [&str; 6] = [
    ORDER,
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
    #[serde(serialize_with = "as_text::paths")]
    pub copied: Vec<PathBuf>,
    /// Checkpoints that were there already, with the same manifest.
    #[serde(serialize_with = "as_text::paths")]
    pub present: Vec<PathBuf>,
    /// Checkpoints, logs and runs that do not read, or that something else stands in the way of, and were left out.
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

/// Copies the checkpoints of runs, or the one that is called `name`, to the directory of runs `to`. What does not read,
/// what another process writes to, and what is there already with another content is left out and told.
///
/// # Errors
///
/// What cannot be written ends the copy; what was copied by then is whole.
pub fn transfer(
    runs: &[PathBuf],
    name: Option<&str>,
    to: &Path,
) -> Result<Transfer, CheckpointError> {
    let mut done = Transfer::default();
    let mut missing = None;
    for run in runs {
        match Store::open(run).and_then(|source| Ok((source.list()?, source))) {
            Err(error) => done.skip(run, &error),
            Ok((listed, source)) => {
                let chosen = chosen(&listed, name);
                match name.filter(|_| chosen.is_empty()) {
                    Some(name) => missing = source.path_of(name).err().or(missing),
                    None => transfer_run(run, &listed, &chosen, to, &mut done)?,
                }
            }
        }
    }
    match missing {
        Some(error) if done.copied.is_empty() && done.present.is_empty() => Err(error),
        _ => Ok(done),
    }
}

/// The checkpoints that are called `name`, or all.
fn chosen<'a>(listed: &'a [Listed], name: Option<&str>) -> Vec<&'a Listed> {
    let wanted = |item: &&Listed| name.is_none_or(|name| is_called(&item.name, name));
    listed.iter().filter(wanted).collect()
}

fn transfer_run(
    run: &Path,
    listed: &[Listed],
    chosen: &[&Listed],
    to: &Path,
    done: &mut Transfer,
) -> Result<(), CheckpointError> {
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
    let target = match Store::create(&target_run) {
        Err(error @ CheckpointError::Busy { .. }) => {
            done.skip(run, &error);
            return Ok(());
        }
        target => target?,
    };
    for item in chosen {
        copy_one(here.as_ref(), item, &target, done)?;
    }
    let anchor = run.join(ANCHOR_COPY);
    if here.kind(&anchor.join(MANIFEST)).is_ok() {
        match Checkpoint::open(&anchor) {
            Ok(checkpoint) => {
                let kept = target.keep_anchor(&checkpoint);
                done.take(here.as_ref(), &anchor, kept.map(drop))?;
            }
            Err(error) => done.skip(&anchor, &error),
        }
    }
    if let Some(best) = listed.iter().find(|item| item.best)
        && target.path_of(name_of(best)).is_ok()
    {
        target.set_best(name_of(best))?;
    }
    let events = events(here.as_ref(), run);
    for file in RUN_FILES.map(str::to_owned).into_iter().chain(events) {
        let (from, to) = (run.join(&file), target_run.join(&file));
        let copied = copy_file((here.as_ref(), &from), (there.as_ref(), &to));
        done.take(here.as_ref(), &from, copied)?;
    }
    Ok(())
}

impl Transfer {
    fn skip(&mut self, path: &Path, error: &CheckpointError) {
        self.skipped.push(Skipped {
            path: path.into(),
            reason: error.to_string(),
        });
    }

    /// Takes note of what became of one copy; `Err` is what ends the others too.
    fn take(
        &mut self,
        here: &dyn Storage,
        from: &Path,
        copied: Result<(), CopyError>,
    ) -> Result<(), CheckpointError> {
        match copied {
            Ok(()) => Ok(()),
            Err(CopyError::Original(error)) => {
                // Retention may have deleted it meanwhile: then nothing is left out.
                let gone = here.kind(from);
                if !gone.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                    self.skip(from, &error);
                }
                Ok(())
            }
            Err(CopyError::Copy(error @ CheckpointError::Exists { .. })) => {
                self.skip(from, &error);
                Ok(())
            }
            Err(CopyError::Copy(error)) => Err(error),
        }
    }
}

/// Names of TensorBoard's files in a run.
fn events(storage: &dyn Storage, run: &Path) -> Vec<String> {
    let entries = storage.list(run).unwrap_or_default().into_iter();
    let names = entries.map(|(name, _)| name);
    names
        .filter(|name| name.starts_with(EVENTS_PREFIX))
        .collect()
}

/// The name that a checkpoint has in a copy. A directory in the place of a link has that of what it is a copy of.
fn name_of(item: &Listed) -> &str {
    match (&item.manifest, item.name.as_str()) {
        (Ok(manifest), BEST | LATEST) => &manifest.name,
        (_, name) => name,
    }
}

fn copy_one(
    here: &dyn Storage,
    item: &Listed,
    target: &Store,
    done: &mut Transfer,
) -> Result<(), CheckpointError> {
    if let Err(error) = &item.manifest {
        done.skip(&item.path, error);
        return Ok(());
    }
    let checkpoint = match Checkpoint::open(&item.path) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return done.take(here, &item.path, Err(CopyError::Original(error))),
    };
    let name = name_of(item);
    let place = target.dir().join(name);
    if let Ok(there) = Checkpoint::open(&place)
        && there.manifest_hash() == checkpoint.manifest_hash()
    {
        done.present.push(place);
        return Ok(());
    }
    let copied = target.import(&checkpoint, name).map(|saved| {
        done.bytes += checkpoint.manifest().total_size();
        done.copied.push(saved.path);
    });
    done.take(here, &item.path, copied)
}

/// Copies a log; one that is not there is no error. The copy has its name only when it is whole.
fn copy_file(
    (here, from): (&dyn Storage, &Path),
    (there, to): (&dyn Storage, &Path),
) -> Result<(), CopyError> {
    match here.kind(from) {
        Ok(EntryKind::File) => {}
        _ => return Ok(()),
    }
    let partial = match there.renames() {
        true => to.with_added_extension("partial"),
        false => to.to_owned(),
    };
    if there.renames() && there.kind(&partial).is_ok() {
        there
            .remove_file(&partial)
            .map_err(CheckpointError::io("remove", &partial))?;
    }
    let out = there.create_file(&partial);
    let mut out = Written {
        out: out.map_err(CheckpointError::io("create", &partial))?,
        failed: false,
    };
    if let Err(error) = here.copy_out(from, &mut out) {
        let failed = out.failed;
        drop(out);
        if there.renames() {
            let _ = there.remove_file(&partial);
        }
        return Err(match failed {
            true => CopyError::Copy(CheckpointError::io("write", &partial)(error)),
            false => CopyError::Original(CheckpointError::io("read", from)(error)),
        });
    }
    out.out
        .sync()
        .map_err(CheckpointError::io("write", &partial))?;
    match there.renames() {
        true => Ok(there
            .replace_link(&partial, to)
            .map_err(CheckpointError::io("write", to))?),
        false => Ok(()),
    }
}

/// Remembers whether it was the writing that failed.
struct Written {
    out: Box<dyn StorageFile>,
    failed: bool,
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes);
        self.failed |= written.is_err();
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
