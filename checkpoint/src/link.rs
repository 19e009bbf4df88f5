//! `best` and `latest`: links to one of the checkpoints beside them, or what stands for links where there are none.
//!
//! A directory of the local file system has symbolic links. An object store has objects `best.json` and `latest.json`
//! with a name, and so has a directory on a file system without links (exFAT, some network shares).

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::CheckpointError;
use super::commit::unique;
use super::manifest::{MANIFEST, MAX_MANIFEST};
use super::names::TEMPORARY;
use super::storage::{Storage, has_no_links, storage_at};

/// Longest file that stands for a link.
const LONGEST: u64 = 1 << 16;

/// Content of the file that stands for a link.
#[derive(Serialize, Deserialize)]
pub(super) struct Pointer {
    /// The checkpoint's name.
    pub(super) name: String,
    /// BLAKE3 of the checkpoint's manifest.json.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
}

impl Pointer {
    /// What stands at `link` for one to its sibling `target`.
    pub(super) fn to(storage: &dyn Storage, target: &Path, link: &Path) -> Self {
        let manifest = storage.read(&link.with_file_name(target).join(MANIFEST), MAX_MANIFEST);
        let manifest = manifest.map(|bytes| blake3::hash(&bytes).to_hex().to_string());
        Self {
            name: target.to_string_lossy().into_owned(),
            // A link to what is not there is none of ours, and may be made all the same.
            manifest: manifest.ok(),
        }
    }
}

/// The file that stands for a link.
pub(super) fn pointer(link: &Path) -> PathBuf {
    link.with_added_extension("json")
}

/// What the file that stands for a link names.
pub(super) fn read_pointer(storage: &dyn Storage, link: &Path) -> io::Result<PathBuf> {
    let bytes = storage.read(&pointer(link), LONGEST)?;
    let pointer: Pointer = serde_json::from_slice(&bytes)?;
    Ok(pointer.name.into())
}

/// Where a link leads, or what stands for it.
pub(super) fn read_link(storage: &dyn Storage, link: &Path) -> io::Result<PathBuf> {
    match storage.read_link(link) {
        Err(error) if storage.renames() => read_pointer(storage, link).map_err(|_| error),
        read => read,
    }
}

/// The name that `best` or `latest` stands for in a directory of checkpoints.
pub fn link_target(checkpoints: &Path, link: &str) -> Option<String> {
    let storage = storage_at(checkpoints).ok()?;
    let target = read_link(storage.as_ref(), &checkpoints.join(link)).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

/// What a link was made as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Linked {
    /// As a link, or an object of a store.
    Link,
    /// As a file, because the directory takes no links.
    Pointer,
}

/// Points the link `name` in `dir` at `target`, a sibling; readers see the old or the new one.
pub(super) fn swap_link(
    storage: &dyn Storage,
    dir: &Path,
    name: &str,
    target: &str,
) -> Result<Linked, CheckpointError> {
    let link = dir.join(name);
    let target = Path::new(target);
    if storage.read_link(&link).is_ok_and(|now| now == target) {
        return Ok(Linked::Link);
    }
    if !storage.renames() {
        // An object is replaced in one step.
        return storage
            .symlink(target, &link)
            .map(|()| Linked::Link)
            .map_err(CheckpointError::io("replace", &link));
    }
    let temporary = unique(dir, TEMPORARY, name);
    let (linked, link) = match storage.symlink(target, &temporary) {
        Ok(()) => (Linked::Link, link),
        Err(error) if has_no_links(&error) => {
            let file = pointer(&link);
            if read_pointer(storage, &link).is_ok_and(|now| now == target) {
                return Ok(Linked::Pointer);
            }
            write_pointer(storage, &Pointer::to(storage, target, &link), &temporary)
                .map_err(CheckpointError::io("create", &temporary))?;
            (Linked::Pointer, file)
        }
        Err(error) => return Err(CheckpointError::io("create", &temporary)(error)),
    };
    let moved = storage.replace_link(&temporary, &link);
    if moved.is_err() {
        let _ = storage.remove_file(&temporary);
    }
    moved.map_err(CheckpointError::io("replace", &link))?;
    storage
        .sync_dir(dir)
        .map_err(CheckpointError::io("sync", dir))?;
    Ok(linked)
}

fn write_pointer(storage: &dyn Storage, pointer: &Pointer, file: &Path) -> io::Result<()> {
    let mut out = storage.create_file(file)?;
    out.write_all(&serde_json::to_vec(pointer)?)?;
    out.sync()
}
