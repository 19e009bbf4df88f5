//! Local copies of files that lie in an object store.
//!
//! A committed checkpoint never changes, so that its manifest's hash is the copy's address and no copy is ever out of
//! date. Copies lie in `$GAUNTLET_CHECKPOINT_CACHE`, else in `checkpoints/` in the user's cache folder
//! (`$GAUNTLET_CACHE`, else `$XDG_CACHE_HOME/gauntlet`, else `~/.cache/gauntlet`), and may be deleted at any time.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::CheckpointError;
use super::manifest::FileRecord;
use super::object::is_url;
use super::pt::Mapped;
use super::storage::{Storage, storage_at};

/// A local copy of `file`, which `record` describes; fetched unless it is there already and whole.
///
/// # Errors
///
/// [`CheckpointError::Damaged`] if the store holds other bytes than the manifest says.
pub(super) fn local_copy(
    storage: &dyn Storage,
    address: &str,
    file: &Path,
    record: &FileRecord,
) -> Result<PathBuf, CheckpointError> {
    let copy = folder().join(address).join(&record.path);
    let whole = |map: Mapped| {
        map.len() as u64 == record.size && blake3::hash(&map).to_hex().as_str() == record.blake3
    };
    if Mapped::open(&copy).is_ok_and(whole) {
        return Ok(copy);
    }
    fetch(storage, file, &copy, |size, hash| {
        record.check(file, size, hash)
    })?;
    Ok(copy)
}

/// Where a file can be read that is in no manifest, as a log of a run: itself, or a fresh local copy. None where there
/// is no such file. The copies of what is in one directory are in one directory.
pub(super) fn local_log(file: &Path) -> Result<Option<PathBuf>, CheckpointError> {
    if !is_url(file) {
        return Ok(file.is_file().then(|| file.to_owned()));
    }
    let storage = storage_at(file)?;
    let dir = file.parent().unwrap_or(file).to_string_lossy();
    let address = blake3::hash(dir.as_bytes()).to_hex();
    let name = file.file_name().unwrap_or_default();
    let copy = folder().join(address.as_str()).join(name);
    match fetch(storage.as_ref(), file, &copy, |_, _| Ok(())) {
        Ok(()) => Ok(Some(copy)),
        Err(CheckpointError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Copies a file. `copy` has its name only once it is complete and `check` has passed its size and BLAKE3.
fn fetch(
    storage: &dyn Storage,
    file: &Path,
    copy: &Path,
    check: impl FnOnce(u64, &str) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let dir = copy.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(CheckpointError::io("create", dir))?;
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let partial = copy.with_added_extension(format!("partial-{}-{count}", std::process::id()));
    let guard = Partial(&partial);
    let out = File::create(&partial).map_err(CheckpointError::io("create", &partial))?;
    let mut out = Hashed {
        out,
        hash: blake3::Hasher::new(),
        size: 0,
    };
    storage
        .copy_out(file, &mut out)
        .map_err(CheckpointError::io("fetch", file))?;
    check(out.size, &out.hash.finalize().to_hex())?;
    fs::rename(&partial, copy).map_err(CheckpointError::io("write", copy))?;
    std::mem::forget(guard);
    Ok(())
}

/// Removes what was fetched by half.
struct Partial<'a>(&'a Path);

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        // It may not have been created.
        let _ = fs::remove_file(self.0);
    }
}

struct Hashed {
    out: File,
    hash: blake3::Hasher,
    size: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn folder() -> PathBuf {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(folder) = set("GAUNTLET_CHECKPOINT_CACHE") {
        return folder;
    }
    let cache = set("GAUNTLET_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("gauntlet")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/gauntlet")))
        .unwrap_or_else(|| std::env::temp_dir().join("gauntlet"));
    cache.join("checkpoints")
}
