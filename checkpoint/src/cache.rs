//! Local copies of files that lie in an object store.
//!
//! A committed checkpoint never changes, so that its manifest's hash is the copy's address and no copy is ever out of
//! date. Copies lie in `$GAUNTLET_CHECKPOINT_CACHE`, else in `checkpoints/` in the user's cache folder
//! (`$GAUNTLET_CACHE`, else `$XDG_CACHE_HOME/gauntlet`, else `~/.cache/gauntlet`), and may be deleted at any time. Where
//! they take more than `$GAUNTLET_CHECKPOINT_CACHE_GB` (20), those that were not used for the longest time go.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

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
    let dir = folder().join(address);
    let copy = dir.join(&record.path);
    let whole = |map: Mapped| {
        map.len() as u64 == record.size && blake3::hash(&map).to_hex().as_str() == record.blake3
    };
    if Mapped::open(&copy).is_ok_and(whole) {
        mark_used(&dir);
        return Ok(copy);
    }
    make_room(&folder(), room().saturating_sub(record.size));
    fetch(storage, file, &copy, |size, hash| {
        record.check(file, size, hash)
    })?;
    mark_used(&dir);
    Ok(copy)
}

/// The file whose age says when the copies beside it were used last.
const USED: &str = ".used";

/// Copies used within this time may be in use now, by another process too, and stay.
const IN_USE: Duration = Duration::from_secs(60 * 60);

/// Bytes that copies may take.
fn room() -> u64 {
    const DEFAULT: f64 = 20.0;
    let set = std::env::var("GAUNTLET_CHECKPOINT_CACHE_GB").ok();
    let gigabytes = set.and_then(|text| text.parse().ok()).unwrap_or(DEFAULT);
    (gigabytes.max(0.0) * 1e9) as u64
}

fn mark_used(dir: &Path) {
    // Without the mark a copy only goes earlier.
    let _ = File::create(dir.join(USED));
}

/// Deletes copies, those not used for the longest time first, until the rest takes at most `room` bytes. What cannot be
/// deleted, or is in use, stays: a full disk is told by who writes to it.
fn make_room(folder: &Path, room: u64) {
    let mut copies: Vec<(SystemTime, u64, PathBuf)> = entries(folder)
        .map(|entry| {
            let dir = entry.path();
            let used = fs::metadata(dir.join(USED)).and_then(|m| m.modified());
            let used = used.or_else(|_| entry.metadata().and_then(|m| m.modified()));
            (used.unwrap_or(SystemTime::UNIX_EPOCH), size(&dir), dir)
        })
        .collect();
    copies.sort();
    let mut taken: u64 = copies.iter().map(|(_, size, _)| size).sum();
    for (used, size, dir) in copies {
        let in_use = used.elapsed().map_or(true, |age| age < IN_USE);
        if taken > room && !in_use && fs::remove_dir_all(&dir).is_ok() {
            taken -= size;
        }
    }
}

fn entries(dir: &Path) -> impl Iterator<Item = fs::DirEntry> {
    fs::read_dir(dir).into_iter().flatten().flatten()
}

/// Bytes of the files in `dir` and below; a link counts as itself.
fn size(dir: &Path) -> u64 {
    entries(dir)
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some(match metadata.is_dir() {
                true => size(&entry.path()),
                false => metadata.len(),
            })
        })
        .sum()
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

/// The user's home folder; where `HOME` is not set, the one that the system has for the user.
fn home() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| !home.as_os_str().is_empty())
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
        .or_else(|| home().map(|home| home.join(".cache/gauntlet")))
        .unwrap_or_else(|| std::env::temp_dir().join("gauntlet"));
    cache.join("checkpoints")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_that_were_not_used_for_the_longest_time_make_room_and_those_in_use_stay() {
        let folder = tempfile::tempdir().unwrap();
        let hour = IN_USE.as_secs();
        let copy = |name: &str, age: u64| {
            let dir = folder.path().join(name);
            fs::create_dir_all(dir.join("prompts")).unwrap();
            fs::write(dir.join("generator.pt"), [0; 600]).unwrap();
            fs::write(dir.join("prompts/a.j2"), [0; 400]).unwrap();
            mark_used(&dir);
            let used = File::open(dir.join(USED)).unwrap();
            used.set_modified(SystemTime::now() - Duration::from_secs(age))
                .unwrap();
        };
        copy("old", 3 * hour);
        copy("older", 4 * hour);
        copy("idle", 2 * hour);
        copy("in use", 60);
        let left = || {
            let mut names: Vec<_> = entries(folder.path()).map(|e| e.file_name()).collect();
            names.sort();
            names
        };
        make_room(folder.path(), 4000);
        assert_eq!(left(), ["idle", "in use", "old", "older"]);
        make_room(folder.path(), 2999);
        assert_eq!(left(), ["idle", "in use"]);
        make_room(folder.path(), 0);
        assert_eq!(left(), ["in use"]);
        make_room(&folder.path().join("absent"), 0);
    }
}
