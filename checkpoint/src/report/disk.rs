//! What runs take up on disk.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{counted, human_size};
use crate::storage::storage_at;
use crate::table::aligned_table;
use crate::{CheckpointError, EntryKind, Storage, Store};

/// Disk usage of several runs.
#[derive(Debug, Serialize)]
pub struct DiskUsage {
    /// The runs.
    pub runs: Vec<RunUsage>,
    /// Bytes of all of them.
    pub total: u64,
    /// Bytes that the volume of the first run has left.
    pub free: Option<u64>,
}

/// Disk usage of one run, in bytes.
#[derive(Debug, Serialize)]
pub struct RunUsage {
    /// The run's directory.
    #[serde(serialize_with = "crate::as_text::path")]
    pub run: PathBuf,
    /// Number of checkpoints, broken ones included.
    pub checkpoints: usize,
    /// Stages, final, named and emergency checkpoints.
    pub kept: u64,
    /// Periodic checkpoints, which retention and `prune` may delete.
    pub periodic: u64,
    /// Checkpoints that do not read.
    pub broken: u64,
    /// What a crashed writer left half written or half deleted.
    pub leftovers: u64,
    /// Logs and everything else beside the checkpoints.
    pub logs: u64,
    /// All of it.
    pub total: u64,
}

impl DiskUsage {
    /// Measures runs; links are not followed.
    pub fn of(runs: &[PathBuf]) -> Result<Self, CheckpointError> {
        let runs: Vec<RunUsage> = runs
            .iter()
            .map(|run| RunUsage::of(run))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            total: runs.iter().map(|run| run.total).sum(),
            free: runs
                .first()
                .and_then(|usage| storage_at(&usage.run).ok()?.free_space(&usage.run).ok())
                .filter(|free| *free < u64::MAX),
            runs,
        })
    }
}

impl RunUsage {
    fn of(run: &Path) -> Result<Self, CheckpointError> {
        let (store, storage) = (Store::open(run)?, storage_at(run)?);
        let listed = store.list()?;
        let mut usage = Self {
            run: run.into(),
            checkpoints: listed.len(),
            kept: 0,
            periodic: 0,
            broken: 0,
            leftovers: 0,
            logs: 0,
            total: size_of(storage.as_ref(), run)?,
        };
        for item in &listed {
            let size = size_of(storage.as_ref(), &item.path)?;
            match &item.manifest {
                Err(_) => usage.broken += size,
                Ok(_) if item.is_periodic() => usage.periodic += size,
                Ok(_) => usage.kept += size,
            }
        }
        for leftover in store.leftovers()? {
            usage.leftovers += size_of(storage.as_ref(), &leftover)?;
        }
        let counted = usage.kept + usage.periodic + usage.broken + usage.leftovers;
        usage.logs = usage.total.saturating_sub(counted);
        Ok(usage)
    }
}

/// Bytes of all files below a directory, links not followed.
fn size_of(storage: &dyn Storage, path: &Path) -> Result<u64, CheckpointError> {
    let measure = |cause| CheckpointError::io("measure", path)(cause);
    match storage.kind(path).map_err(measure)? {
        EntryKind::File => storage.size(path).map_err(measure),
        EntryKind::Dir => {
            let entries = storage.list(path).map_err(measure)?.into_iter();
            entries
                .map(|(name, _)| size_of(storage, &path.join(name)))
                .sum()
        }
        EntryKind::Link | EntryKind::Other => Ok(0),
    }
}

impl fmt::Display for DiskUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = [
            "run",
            "checkpoints",
            "kept",
            "periodic",
            "broken",
            "leftovers",
            "logs",
            "total",
        ];
        let mut lines = vec![header.map(str::to_owned).to_vec()];
        for run in &self.runs {
            let mut line = vec![run.run.display().to_string(), run.checkpoints.to_string()];
            let sizes = [
                run.kept,
                run.periodic,
                run.broken,
                run.leftovers,
                run.logs,
                run.total,
            ];
            line.extend(sizes.map(human_size));
            lines.push(line);
        }
        write!(f, "{}", aligned_table(&lines))?;
        write!(
            f,
            "{}: {}",
            counted(self.runs.len(), "run"),
            human_size(self.total)
        )?;
        match self.free {
            Some(free) => writeln!(f, "; {} free", human_size(free)),
            None => writeln!(f),
        }
    }
}
