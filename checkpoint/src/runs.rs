//! All runs below a directory, and their order.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::CheckpointError;
use super::clock;
use super::names;
use super::object::is_url;
use super::order::{Places, record};
use super::storage::{EntryKind, storage_at};
use super::store::{CHECKPOINTS, LOCK, Store};

/// All runs: `outputs/<run name>/<timestamp>/`, below a local directory or a URL of an object store.
#[derive(Clone, Debug)]
pub struct Runs {
    pub(super) outputs: PathBuf,
}

impl Runs {
    /// The runs below a directory, most often `outputs`.
    pub fn new(outputs: impl Into<PathBuf>) -> Self {
        Self {
            outputs: outputs.into(),
        }
    }

    /// Creates the directory of a run that starts at `now`: `outputs/<run name>/<timestamp>`. It is newer than every run
    /// that is there, whatever the clock says. What crashed runs of this name left half written or half deleted is swept
    /// on the way.
    pub fn start(&self, run_name: &str, now: SystemTime) -> Result<PathBuf, CheckpointError> {
        names::check_run(run_name)?;
        if is_url(&self.outputs) {
            return Err(CheckpointError::invalid(
                &self.outputs,
                "is no place for a run to write its logs: train in a local directory, and let \
                 checkpoint.checkpoint_dir name where its checkpoints are copied to",
            ));
        }
        let all = self.outputs.join(run_name);
        std::fs::create_dir_all(&all).map_err(CheckpointError::io("create", &all))?;
        let mut places = Places::default();
        let runs = self.list(None).unwrap_or_default();
        let newest = runs.first().map(|run| places.of(run));
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
                    record(&run, newest.as_ref())?;
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
        if runs.len() > 1 {
            let mut places = Places::default();
            runs.sort_by_cached_key(|run| {
                (
                    std::cmp::Reverse(places.of(run)),
                    std::cmp::Reverse(run.clone()),
                )
            });
        }
        Ok(runs)
    }

    /// The newest run that has a checkpoint.
    pub fn newest(&self) -> Result<Option<PathBuf>, CheckpointError> {
        self.newest_called(None)
    }

    /// The newest run of a name, or of any, that has a checkpoint.
    pub(super) fn newest_called(
        &self,
        run_name: Option<&str>,
    ) -> Result<Option<PathBuf>, CheckpointError> {
        let has_any = |run: &PathBuf| {
            Store::open(run)
                .and_then(|store| store.list())
                .is_ok_and(|list| !list.is_empty())
        };
        Ok(self.list(run_name)?.into_iter().find(has_any))
    }
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
pub(super) fn is_dir(path: &Path) -> bool {
    kind(path) == Some(EntryKind::Dir)
}

pub(super) fn exists(path: &Path) -> bool {
    kind(path).is_some()
}

fn kind(path: &Path) -> Option<EntryKind> {
    let storage = storage_at(path).ok()?;
    storage.kind(&storage.resolve(path).ok()?).ok()
}
