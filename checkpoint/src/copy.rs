//! Copies of single checkpoints: imports from another store, and a run's own copy of its anchor.

use std::path::Path;
use std::sync::atomic::Ordering;

use super::CheckpointError;
use super::commit::Commit;
use super::names::{self, LATEST};
use super::opened::{Checkpoint, read_manifest};
use super::store::{Saved, Store};

/// Name of a resumed run's own copy of the checkpoint that its game is anchored to, beside `checkpoints`.
pub const ANCHOR_COPY: &str = "anchor";

/// Why a checkpoint was not copied.
#[derive(Debug)]
pub enum CopyError {
    /// It does not read as its manifest says.
    Original(CheckpointError),
    /// The copy cannot be written.
    Copy(CheckpointError),
}

impl From<CheckpointError> for CopyError {
    fn from(error: CheckpointError) -> Self {
        Self::Copy(error)
    }
}

impl From<CopyError> for CheckpointError {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Original(error) | CopyError::Copy(error) => error,
        }
    }
}

impl Store {
    /// Commits a copy of a checkpoint of another store under a name, every byte verified on the way.
    pub(super) fn import(&self, checkpoint: &Checkpoint, name: &str) -> Result<Saved, CopyError> {
        let manifest = checkpoint.manifest();
        names::check_new(name).map_err(CopyError::Original)?;
        self.prepare(name)?;
        let saved = self.copy_to(&self.dir, name, checkpoint, false)?;
        self.sequence
            .fetch_max(manifest.sequence + 1, Ordering::Relaxed);
        self.link(LATEST, name)?;
        Ok(saved)
    }

    /// Keeps a checkpoint as the run's own copy of what its game is anchored to, so that the run can be resumed, copied
    /// and backed up without the one it came from. On one file system the files get a second name and take up nothing.
    pub fn keep_anchor(&self, checkpoint: &Checkpoint) -> Result<Saved, CopyError> {
        let run = self.dir.parent().unwrap_or(Path::new("."));
        let place = run.join(ANCHOR_COPY);
        if let Ok((_, manifest_hash)) = read_manifest(self.storage.as_ref(), &place)
            && manifest_hash == checkpoint.manifest_hash()
        {
            let path = place;
            return Ok(Saved {
                path,
                manifest_hash,
            });
        }
        self.prepare(ANCHOR_COPY)?;
        self.copy_to(run, ANCHOR_COPY, checkpoint, true)
    }

    /// Commits a copy of a checkpoint as `dir/name`.
    fn copy_to(
        &self,
        dir: &Path,
        name: &str,
        checkpoint: &Checkpoint,
        may_share: bool,
    ) -> Result<Saved, CopyError> {
        let manifest = checkpoint.manifest();
        if !may_share {
            self.check_space(manifest.total_size() + (1 << 20))?;
        }
        let mut commit = Commit::begin(self.storage.as_ref(), dir, name)?;
        for record in &manifest.files {
            let bytes = checkpoint.mapped(&record.path);
            let bytes = bytes.map_err(CopyError::Original)?;
            match may_share {
                true => {
                    let from = checkpoint.path().join(&record.path);
                    commit.adopt(&record.path, &from, &bytes)?;
                }
                false => commit.write(&record.path, &bytes)?,
            }
        }
        let bytes = checkpoint.manifest_bytes().map_err(CopyError::Original)?;
        let manifest_hash = commit.finish_with(&bytes)?;
        Ok(Saved {
            path: dir.join(name),
            manifest_hash,
        })
    }
}
