//! Writes a directory so that a reader sees all of it or nothing, and a crash changes nothing.
//!
//! Everything goes to a temporary sibling; each file is hashed while it is written and synced; the
//! manifest comes last; the directory is synced, renamed to its name, and the rename is synced.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::CheckpointError;
use super::manifest::{FileRecord, MANIFEST, Manifest};
use super::names::{self, TEMPORARY, TRASH};
use super::pt::{HostTensor, PtValue, write_pt};
use super::storage::{EntryKind, Storage, StorageFile};

/// A directory being written. Dropped before [`Commit::finish`], it takes its files with it.
pub(super) struct Commit<'a> {
    storage: &'a dyn Storage,
    target: PathBuf,
    temporary: PathBuf,
    files: Vec<FileRecord>,
    dirs: Vec<PathBuf>,
    committed: bool,
}

impl<'a> Commit<'a> {
    /// Starts a directory that will be `parent/name`.
    pub(super) fn begin(
        storage: &'a dyn Storage,
        parent: &Path,
        name: &str,
    ) -> Result<Self, CheckpointError> {
        let target = parent.join(name);
        let committed = match storage.renames() {
            true => storage.kind(&target),
            // What an interrupted writer left there is written again.
            false => storage.kind(&target.join(MANIFEST)),
        };
        if committed.is_ok() {
            return Err(CheckpointError::Exists { path: target });
        }
        let temporary = match storage.renames() {
            true => unique(parent, TEMPORARY, name),
            false => target.clone(),
        };
        storage
            .create_dir(&temporary)
            .map_err(CheckpointError::io("create", &temporary))?;
        let (files, dirs) = (Vec::new(), Vec::new());
        Ok(Self {
            storage,
            target,
            temporary,
            files,
            dirs,
            committed: false,
        })
    }

    /// Writes a file, `path` being relative with `/`.
    pub(super) fn write(&mut self, path: &str, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.write_with(path, |out| out.write_all(bytes))
    }

    /// Takes over a file whose bytes are known to be `bytes`: as a second name of `from` where the file system can, as a
    /// copy elsewhere.
    pub(super) fn adopt(
        &mut self,
        path: &str,
        from: &Path,
        bytes: &[u8],
    ) -> Result<(), CheckpointError> {
        self.create_dirs(path)?;
        match self.storage.hard_link(from, &self.temporary.join(path)) {
            Ok(()) => Ok(()),
            Err(_) => self.write(path, bytes),
        }
    }

    /// Writes a `.pt` file.
    pub(super) fn write_pt(
        &mut self,
        path: &str,
        value: &PtValue<HostTensor>,
    ) -> Result<(), CheckpointError> {
        let digest = self.write_with(path, |out| write_pt(value, out))?;
        if let Some(record) = self.files.last_mut() {
            record.layout = Some(digest.layout);
            record.entries = digest.entries;
        }
        Ok(())
    }

    fn write_with<R>(
        &mut self,
        path: &str,
        content: impl FnOnce(&mut dyn Write) -> io::Result<R>,
    ) -> Result<R, CheckpointError> {
        let file = self.temporary.join(path);
        self.create_dirs(path)?;
        let out = self
            .storage
            .create_file(&file)
            .map_err(CheckpointError::io("create", &file))?;
        let mut out = HashingWriter {
            out,
            hash: blake3::Hasher::new(),
            size: 0,
        };
        let result = content(&mut out).map_err(CheckpointError::io("write", &file))?;
        out.out.sync().map_err(CheckpointError::io("sync", &file))?;
        self.files.push(FileRecord {
            path: path.into(),
            size: out.size,
            blake3: out.hash.finalize().to_hex().to_string(),
            layout: None,
            entries: Vec::new(),
        });
        Ok(result)
    }

    /// Creates the directories on the way to a file, from the outermost.
    fn create_dirs(&mut self, path: &str) -> Result<(), CheckpointError> {
        for (slash, _) in path.match_indices('/') {
            let dir = self.temporary.join(&path[..slash]);
            if !self.dirs.contains(&dir) {
                self.storage
                    .create_dir(&dir)
                    .map_err(CheckpointError::io("create", &dir))?;
                self.dirs.push(dir);
            }
        }
        Ok(())
    }

    /// Writes the manifest, to which the files' records are added, and commits. Gives the BLAKE3
    /// of the manifest's bytes.
    pub(super) fn finish(mut self, manifest: Manifest) -> Result<String, CheckpointError> {
        let manifest = Manifest {
            files: std::mem::take(&mut self.files),
            ..manifest
        };
        let text = manifest.to_text()?;
        self.finish_with(text.as_bytes())
    }

    /// As [`Commit::finish`], with a manifest that is known to be that of the files.
    pub(super) fn finish_with(mut self, manifest: &[u8]) -> Result<String, CheckpointError> {
        self.write(MANIFEST, manifest)?;
        let hash = self
            .files
            .last()
            .map(|record| record.blake3.clone())
            .unwrap_or_default();
        for dir in self.dirs.iter().rev().chain([&self.temporary]) {
            self.storage
                .sync_dir(dir)
                .map_err(CheckpointError::io("sync", dir))?;
        }
        if !self.storage.renames() {
            self.committed = true;
            return Ok(hash);
        }
        self.storage
            .rename_dir(&self.temporary, &self.target)
            .map_err(|cause| match cause.kind() {
                io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => {
                    CheckpointError::Exists {
                        path: self.target.clone(),
                    }
                }
                _ => CheckpointError::Io {
                    action: "commit",
                    path: self.target.clone(),
                    cause,
                },
            })?;
        let parent = self.target.parent().unwrap_or(Path::new("."));
        if let Err(cause) = self.storage.sync_dir(parent) {
            // It may or may not survive a crash, so it must not count as saved: take it back.
            let _ = self.storage.rename_dir(&self.target, &self.temporary);
            return Err(CheckpointError::Io {
                action: "sync",
                path: parent.into(),
                cause,
            });
        }
        self.committed = true;
        Ok(hash)
    }
}

impl Drop for Commit<'_> {
    fn drop(&mut self) {
        // Without a rename, what is left stands in the place of the checkpoint, where another writer may have committed
        // it by now. It has no manifest, and the next writer replaces it.
        if !self.committed && self.storage.renames() {
            // What cannot be removed is swept when the directory is next opened for writing.
            let _ = remove_tree(self.storage, &self.temporary);
        }
    }
}

/// More is hashed on a thread of its own while it is written.
const LARGE: usize = 4 << 20;

/// Hashes what passes through.
struct HashingWriter {
    out: Box<dyn StorageFile>,
    hash: blake3::Hasher,
    size: u64,
}

impl Write for HashingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(&bytes[..bytes.len().min(1 << 20)])?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self { out, hash, size } = self;
        std::thread::scope(|scope| {
            if bytes.len() < LARGE {
                hash.update(bytes);
            } else {
                scope.spawn(|| hash.update(bytes));
            }
            out.write_all(bytes)
        })?;
        *size += bytes.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Deletes a committed directory: it disappears as a whole, then its files go.
pub(super) fn delete(storage: &dyn Storage, dir: &Path, name: &str) -> Result<(), CheckpointError> {
    if !storage.renames() {
        let path = dir.join(name);
        let manifest = path.join(MANIFEST);
        match storage.remove_file(&manifest) {
            // What was never committed goes as well.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(CheckpointError::io("delete", &manifest))?,
        }
        return remove_tree(storage, &path).map_err(CheckpointError::io("delete", &path));
    }
    let (path, trash) = (dir.join(name), unique(dir, TRASH, name));
    storage
        .rename_dir(&path, &trash)
        .map_err(CheckpointError::io("delete", &path))?;
    storage
        .sync_dir(dir)
        .map_err(CheckpointError::io("sync", dir))?;
    remove_tree(storage, &trash).map_err(CheckpointError::io("delete", &trash))
}

/// Removes what crashed writers and deletions left in `dir`; gives the names.
pub(super) fn sweep(storage: &dyn Storage, dir: &Path) -> Result<Vec<String>, CheckpointError> {
    let mut swept = Vec::new();
    for (name, kind) in storage
        .list(dir)
        .map_err(CheckpointError::io("list", dir))?
    {
        if !names::is_leftover(&name) {
            continue;
        }
        let path = dir.join(&name);
        let removed = match kind {
            EntryKind::Dir => remove_tree(storage, &path),
            _ => storage.remove_file(&path),
        };
        removed.map_err(CheckpointError::io("remove", &path))?;
        swept.push(name);
    }
    Ok(swept)
}

/// Removes a directory and what is in it; links are removed, not followed.
fn remove_tree(storage: &dyn Storage, dir: &Path) -> io::Result<()> {
    for (name, kind) in storage.list(dir)? {
        let path = dir.join(name);
        match kind {
            EntryKind::Dir => remove_tree(storage, &path)?,
            _ => storage.remove_file(&path)?,
        }
    }
    storage.remove_dir(dir)
}

/// A hidden name of this process's own.
pub(super) fn unique(dir: &Path, prefix: &str, name: &str) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    dir.join(format!("{prefix}{name}-{}-{count}", std::process::id()))
}
