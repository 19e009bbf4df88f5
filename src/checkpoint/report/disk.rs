//! What runs take up on disk.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{aligned_table, counted, human_size};
use crate::checkpoint::{CheckpointError, EntryKind, LocalStorage, Storage, Store};

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
                .and_then(|usage| LocalStorage.free_space(&usage.run).ok()),
            runs,
        })
    }
}

impl RunUsage {
    fn of(run: &Path) -> Result<Self, CheckpointError> {
        let store = Store::open(run)?;
        let listed = store.list()?;
        let mut usage = Self {
            run: run.into(),
            checkpoints: listed.len(),
            kept: 0,
            periodic: 0,
            broken: 0,
            leftovers: 0,
            logs: 0,
            total: size_of(run)?,
        };
        for item in &listed {
            let size = size_of(&item.path)?;
            match &item.manifest {
                Err(_) => usage.broken += size,
                Ok(_) if item.is_periodic() => usage.periodic += size,
                Ok(_) => usage.kept += size,
            }
        }
        for leftover in store.leftovers()? {
            usage.leftovers += size_of(&leftover)?;
        }
        let counted = usage.kept + usage.periodic + usage.broken + usage.leftovers;
        usage.logs = usage.total.saturating_sub(counted);
        Ok(usage)
    }
}

/// Bytes of all files below a directory, links not followed.
fn size_of(path: &Path) -> Result<u64, CheckpointError> {
    let measure = CheckpointError::io("measure", path);
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return Err(measure(error)),
    };
    if !metadata.is_dir() {
        return Ok(if metadata.is_file() {
            metadata.len()
        } else {
            0
        });
    }
    let entries = LocalStorage.list(path).map_err(measure)?;
    entries
        .into_iter()
        .filter(|(_, kind)| matches!(kind, EntryKind::File | EntryKind::Dir))
        .map(|(name, _)| size_of(&path.join(name)))
        .sum()
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
