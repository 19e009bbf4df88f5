//! Finds a checkpoint by what a person calls it, across the runs below `outputs/`.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use super::CheckpointError;
use super::clock;
use super::manifest::{CheckpointKind, MANIFEST};
use super::names;
use super::object::is_url;
use super::opened::Checkpoint;
use super::storage::{EntryKind, storage_at};
use super::store::{CHECKPOINTS, LOCK, Listed, Store};

/// All runs: `outputs/<run name>/<timestamp>/`, below a local directory or a URL of an object store.
#[derive(Clone, Debug)]
pub struct Runs {
    outputs: PathBuf,
}

/// A checkpoint that automatic recovery passed over.
#[derive(Debug)]
pub struct Skipped {
    /// Its directory.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// What automatic recovery found.
#[derive(Debug)]
pub struct Resumable {
    /// The newest checkpoint that is whole, if there is one.
    pub checkpoint: Option<Checkpoint>,
    /// Newer ones that are not.
    pub skipped: Vec<Skipped>,
}

impl Runs {
    /// The runs below a directory, most often `outputs`.
    pub fn new(outputs: impl Into<PathBuf>) -> Self {
        Self {
            outputs: outputs.into(),
        }
    }

    /// Creates the directory of a run that starts at `now`: `outputs/<run name>/<timestamp>`. What
    /// crashed runs of this name left half written or half deleted is swept on the way.
    pub fn start(&self, run_name: &str, now: SystemTime) -> Result<PathBuf, CheckpointError> {
        names::check("a run", run_name)?;
        if is_url(&self.outputs) {
            return Err(CheckpointError::invalid(
                &self.outputs,
                "is no place for a run to write its logs: train in a local directory, and let                  checkpoint.checkpoint_dir name where its checkpoints are copied to",
            ));
        }
        let all = self.outputs.join(run_name);
        std::fs::create_dir_all(&all).map_err(CheckpointError::io("create", &all))?;
        let stamp = clock::stamp(now);
        let mut tries = 1;
        loop {
            let name = if tries == 1 {
                stamp.clone()
            } else {
                format!("{stamp}_{tries}")
            };
            let run = all.join(name);
            match std::fs::create_dir(&run) {
                Ok(()) => {
                    self.sweep(run_name);
                    return Ok(run);
                }
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && tries < 1000 => {
                    tries += 1;
                }
                Err(e) => return Err(CheckpointError::io("create", &run)(e)),
            }
        }
    }

    /// Sweeps the runs of one name, except those that another process is writing to.
    fn sweep(&self, run_name: &str) {
        for run in self.list(Some(run_name)).unwrap_or_default() {
            // A run without a lock file never had a writer. One that cannot be swept, because it
            // is read-only or in use, takes up space and harms nothing else.
            if run.join(CHECKPOINTS).join(LOCK).exists() {
                let _ = Store::create(&run);
            }
        }
    }

    /// Directories of all runs, or of those with one name, the newest first. A directory that is not there holds none,
    /// nor does one in a local directory of runs that cannot be read.
    pub fn list(&self, run_name: Option<&str>) -> Result<Vec<PathBuf>, CheckpointError> {
        let names = match run_name {
            Some(name) => vec![self.outputs.join(name)],
            None => subdirectories(&self.outputs)?,
        };
        let mut runs = Vec::new();
        for name in names {
            match subdirectories(&name) {
                Ok(found) => runs.extend(found),
                Err(error) if is_url(&name) => return Err(error),
                Err(_) => {}
            }
        }
        runs.retain(|run| is_dir(&run.join(CHECKPOINTS)));
        runs.sort_by(|a, b| b.file_name().cmp(&a.file_name()).then_with(|| b.cmp(a)));
        Ok(runs)
    }

    /// Opens the checkpoint that `reference` names:
    ///
    /// - a path to a checkpoint's directory, also `<run>/checkpoints/best` where the link is a parent's, or its URL in
    ///   an object store;
    /// - `best`, `latest`, `final`, `stage_3`, any name, also as `checkpoints/best`; what a name tells of the players
    ///   may be left out;
    /// - `step:120`, whatever the checkpoint of that step is called.
    ///
    /// Names are looked up in `run`, or in the newest run that has checkpoints, and then along the
    /// links from a run to the one it was resumed from.
    pub fn find(&self, reference: &str, run: Option<&Path>) -> Result<Checkpoint, CheckpointError> {
        let path = Path::new(reference);
        if (reference.contains('/') || path.is_absolute()) && exists(&path.join(MANIFEST)) {
            return Checkpoint::open(path);
        }
        // `<run>/checkpoints/best`, where a resumed run has no `best` of its own yet: its parent's.
        if let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str()))
            && dir.file_name().is_some_and(|dir| dir == CHECKPOINTS)
            && let Some(run) = dir.parent().filter(|run| !run.as_os_str().is_empty())
            && is_dir(dir)
            && (is_url(path) || std::fs::symlink_metadata(path).is_err())
        {
            return self.find(name, Some(run));
        }
        let prefix = format!("{CHECKPOINTS}/");
        let name = reference.strip_prefix(&prefix).unwrap_or(reference);
        if name.contains('/') {
            let reason = if exists(path) {
                "is not a committed checkpoint: it has no manifest.json"
            } else {
                "does not exist"
            };
            return Err(CheckpointError::invalid(path, reason));
        }
        let wanted = match name.strip_prefix("step:") {
            Some(digits) => Wanted::Step(digits.parse().map_err(|_| CheckpointError::Name {
                what: "a checkpoint",
                name: name.into(),
                reason: "step: is followed by a number, as in step:120",
            })?),
            None => {
                names::check("a checkpoint", name)?;
                Wanted::Name(name)
            }
        };

        let mut available = Vec::new();
        let mut seen = HashSet::new();
        let mut next = match run {
            Some(run) => Some(run.to_path_buf()),
            None => self.newest()?,
        };
        let place = next.as_ref().unwrap_or(&self.outputs).display().to_string();
        while let Some(run) = next.take().filter(|run| seen.insert(run.clone())) {
            let store = Store::open(&run)?;
            let listed = store.list()?;
            if let Some(item) = wanted.choose(&listed) {
                return Checkpoint::open(&item.path);
            }
            next = parent_run(&run, &listed);
            let first = seen.len() == 1;
            available.extend(listed.into_iter().map(|item| match first {
                true => item.name,
                false => item.path.display().to_string(),
            }));
        }
        Err(CheckpointError::NotFound {
            wanted: reference.into(),
            place,
            available,
        })
    }

    /// The newest run that has a checkpoint.
    pub fn newest(&self) -> Result<Option<PathBuf>, CheckpointError> {
        let has_any = |run: &PathBuf| {
            Store::open(run)
                .and_then(|store| store.list())
                .is_ok_and(|list| !list.is_empty())
        };
        Ok(self.list(None)?.into_iter().find(has_any))
    }

    /// The newest checkpoint of the runs with a name that training can go on from, every byte
    /// verified, with the newer ones that were passed over and why.
    pub fn newest_valid(&self, run_name: &str) -> Result<Resumable, CheckpointError> {
        names::check("a run", run_name)?;
        let mut skipped = Vec::new();
        for run in self.list(Some(run_name))? {
            let mut listed = Store::open(&run)?.list()?;
            // Broken ones are last: their place in the order is not known, so they come first now.
            listed.reverse();
            for item in listed {
                match resumable(&item) {
                    Ok(checkpoint) => {
                        return Ok(Resumable {
                            checkpoint: Some(checkpoint),
                            skipped,
                        });
                    }
                    Err(reason) => skipped.push(Skipped {
                        path: item.path,
                        reason,
                    }),
                }
            }
        }
        Ok(Resumable {
            checkpoint: None,
            skipped,
        })
    }
}

enum Wanted<'a> {
    Name(&'a str),
    Step(u64),
}

impl Wanted<'_> {
    fn choose<'l>(&self, listed: &'l [Listed]) -> Option<&'l Listed> {
        match self {
            Self::Name(names::LATEST) => listed.iter().find(|item| item.latest),
            Self::Name(names::BEST) => listed.iter().find(|item| item.best),
            Self::Name(name) => {
                let exact = listed.iter().find(|item| item.name == *name);
                let same = |item: &&Listed| names::is_called(&item.name, name);
                exact.or_else(|| listed.iter().rfind(same))
            }
            Self::Step(step) => {
                let same = |item: &&Listed| item.manifest.as_ref().is_ok_and(|m| m.step == *step);
                listed.iter().rfind(same)
            }
        }
    }
}

/// The checkpoint, verified, or why training cannot go on from it.
fn resumable(item: &Listed) -> Result<Checkpoint, String> {
    let manifest = item.manifest.as_ref().map_err(ToString::to_string)?;
    if manifest.kind == CheckpointKind::Sampler {
        return Err("is a sampler checkpoint, without optimizer state".into());
    }
    let checkpoint = Checkpoint::open(&item.path).map_err(|e| e.to_string())?;
    if is_url(&item.path) {
        // It is needed here anyhow, and it is verified on the way.
        checkpoint.fetch().map_err(|e| e.to_string())?;
        return Ok(checkpoint);
    }
    match checkpoint.verify().first() {
        None => Ok(checkpoint),
        Some(fault) => Err(fault.to_string()),
    }
}

/// The run that a run was resumed from: `<run name>/<timestamp>` below the same outputs.
fn parent_run(run: &Path, listed: &[Listed]) -> Option<PathBuf> {
    let parent = listed
        .iter()
        .find_map(|item| item.manifest.as_ref().ok()?.parent.as_ref())?;
    let relative = Path::new(&parent.run);
    let plain = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let run = storage_at(run).ok()?.resolve(run).ok()?;
    let found = run.parent()?.parent()?.join(relative);
    (plain && is_dir(&found)).then_some(found)
}

/// Directories in a directory, links not followed; none if it is not there.
fn subdirectories(dir: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let entries = match storage_at(dir)?.list(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(CheckpointError::io("list", dir)(error)),
    };
    let dirs = entries
        .into_iter()
        .filter(|(_, kind)| *kind == EntryKind::Dir);
    Ok(dirs.map(|(name, _)| dir.join(name)).collect())
}

/// Whether there is a directory at a path, links followed.
fn is_dir(path: &Path) -> bool {
    kind(path) == Some(EntryKind::Dir)
}

fn exists(path: &Path) -> bool {
    kind(path).is_some()
}

fn kind(path: &Path) -> Option<EntryKind> {
    let storage = storage_at(path).ok()?;
    storage.kind(&storage.resolve(path).ok()?).ok()
}
