//! Where checkpoints lie, behind one trait: the local file system, object stores, and faults in tests.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use gauntlet_shim::begin_writeback;

use super::CheckpointError;
use super::link;
use super::object::{ObjectStorage, is_url};
use super::pt::Mapped;

/// What an entry of a directory is, links not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Link,
    /// A device, a socket, a pipe.
    Other,
}

/// A file being written.
pub trait StorageFile: Write + Send {
    /// Returns once the bytes written so far would survive a crash.
    fn sync(&mut self) -> io::Result<()>;
}

/// Every operation on the file system that saving, finding and deleting checkpoints needs.
///
/// Each method is one step that can fail, or be the last one before a crash.
pub trait Storage: Send + Sync {
    /// Whether a directory can be renamed in one step. Where it cannot, files are written to their place at once, and
    /// a checkpoint is committed by its manifest, the last of them.
    fn renames(&self) -> bool {
        true
    }
    /// A path with what it may have of links resolved; it must be there.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;
    /// Creates a directory and those above it.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Creates a directory that must not exist yet.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Creates a file that must not exist yet.
    fn create_file(&self, file: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// Returns once the directory's entries would survive a crash.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Renames a directory to a name that must be free.
    fn rename_dir(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames a link or a file, replacing the one that is there, in one step.
    fn replace_link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name, in one step; not everywhere there is such a thing.
    fn hard_link(&self, _file: &Path, _link: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Creates a symbolic link.
    fn symlink(&self, target: &Path, link: &Path) -> io::Result<()>;
    /// Where a symbolic link points.
    fn read_link(&self, link: &Path) -> io::Result<PathBuf>;
    /// What is at a path, links not followed.
    fn kind(&self, path: &Path) -> io::Result<EntryKind>;
    /// The names in a directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<(String, EntryKind)>>;
    /// A file's bytes; `Err` of kind `FileTooLarge` past `limit`.
    fn read(&self, file: &Path, limit: u64) -> io::Result<Vec<u8>>;
    /// Copies a file's bytes.
    fn copy_out(&self, file: &Path, out: &mut dyn Write) -> io::Result<()>;
    /// A file's length in bytes.
    fn size(&self, file: &Path) -> io::Result<u64>;
    /// Removes a file or a link.
    fn remove_file(&self, file: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes that can still be written to the volume; `u64::MAX` where there is no limit.
    fn free_space(&self, dir: &Path) -> io::Result<u64>;
    /// Takes a lock that lasts until the guard is dropped or the process ends. `Err` holds what
    /// the present owner wrote, when there is one.
    fn lock(&self, file: &Path, holder: &str) -> io::Result<Result<Lock, String>>;
    /// Whether somebody holds the lock; none where that cannot be known.
    fn is_locked(&self, _file: &Path) -> io::Result<Option<bool>> {
        Ok(None)
    }
}

/// Held as long as it lives.
pub struct Lock {
    /// The lock ends when the file is closed.
    file: Option<File>,
    /// Whether nothing but the file's text keeps others out.
    by_name: bool,
}

impl Lock {
    /// A lock of a store that has none.
    pub(super) fn none() -> Self {
        Self {
            file: None,
            by_name: false,
        }
    }

    /// Whether the file system has no locks, so that only the holder's name in the file keeps others out.
    pub fn is_by_name(&self) -> bool {
        self.by_name
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let (Some(file), true) = (&self.file, self.by_name) {
            // A name that stays behind is found to be that of a process that is over.
            let _ = file.set_len(0);
        }
    }
}

/// The storage that a path lies in: an object store if it is a URL, the local file system if not.
pub(super) fn storage_at(path: &Path) -> Result<Arc<dyn Storage>, CheckpointError> {
    type Opened = Mutex<HashMap<PathBuf, Arc<ObjectStorage>>>;
    static OPENED: OnceLock<Opened> = OnceLock::new();
    if !is_url(path) {
        return Ok(Arc::new(LocalStorage));
    }
    let failed = |cause| CheckpointError::io("open", path)(cause);
    let root = PathBuf::from(ObjectStorage::root_of(path).map_err(failed)?);
    // Connections and certificates are worth keeping.
    let mut opened = OPENED
        .get_or_init(Default::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(storage) = opened.get(&root) {
        return Ok(Arc::clone(storage) as _);
    }
    let storage = Arc::new(ObjectStorage::at(path).map_err(failed)?);
    opened.insert(root, Arc::clone(&storage));
    Ok(storage)
}

/// The local file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalStorage;

/// Bytes written before the disk is told to begin with them.
const BATCH: u64 = 8 << 20;

/// A file whose bytes go to the disk while it is still being written, so that there is little to wait for at its end.
struct LocalFile {
    file: File,
    written: u64,
    /// Up to here the disk has been told to begin.
    begun: u64,
}

impl Write for LocalFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = bytes.len().min(BATCH as usize);
        let written = self.file.write(&bytes[..most])?;
        self.written += written as u64;
        if self.written - self.begun >= BATCH {
            begin_writeback(&self.file, self.begun..self.written);
            self.begun = self.written;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl StorageFile for LocalFile {
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }
}

impl From<fs::FileType> for EntryKind {
    fn from(file_type: fs::FileType) -> Self {
        if file_type.is_symlink() {
            Self::Link
        } else if file_type.is_dir() {
            Self::Dir
        } else if file_type.is_file() {
            Self::File
        } else {
            Self::Other
        }
    }
}

impl Storage for LocalStorage {
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        match (fs::canonicalize(path), path.parent()) {
            // Where a directory has no links, a file names what they would lead to.
            (Err(error), Some(dir)) if error.kind() == io::ErrorKind::NotFound => {
                match link::read_pointer(self, path) {
                    Ok(target) => fs::canonicalize(dir.join(target)),
                    Err(_) => Err(error),
                }
            }
            (resolved, _) => resolved,
        }
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir)
    }

    fn create_file(&self, file: &Path) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(LocalFile {
            file: File::create_new(file)?,
            written: 0,
            begun: 0,
        }))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        match File::open(dir)?.sync_all() {
            // Some file systems know no such thing: their entries are as safe as they get.
            Err(error) if error.raw_os_error() == Some(EINVAL) || is_missing(&error) => Ok(()),
            synced => synced,
        }
    }

    fn rename_dir(&self, from: &Path, to: &Path) -> io::Result<()> {
        // rename(2) by itself replaces an empty directory; a full one it refuses. Ours are full,
        // so that this check is for a clear error, not for safety.
        if fs::symlink_metadata(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::rename(from, to)
    }

    fn replace_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, file: &Path, link: &Path) -> io::Result<()> {
        fs::hard_link(file, link)
    }

    fn symlink(&self, target: &Path, link: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(target, link)
    }

    fn read_link(&self, link: &Path) -> io::Result<PathBuf> {
        fs::read_link(link)
    }

    fn kind(&self, path: &Path) -> io::Result<EntryKind> {
        Ok(fs::symlink_metadata(path)?.file_type().into())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, EntryKind)>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry.file_name().into_string() {
                entries.push((name, entry.file_type()?.into()));
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn read(&self, file: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let map = Mapped::open(file)?;
        if map.len() as u64 > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(map.to_vec())
    }

    fn copy_out(&self, file: &Path, out: &mut dyn Write) -> io::Result<()> {
        io::copy(&mut File::open(file)?, out).map(drop)
    }

    fn size(&self, file: &Path) -> io::Result<u64> {
        Ok(fs::symlink_metadata(file)?.len())
    }

    fn remove_file(&self, file: &Path) -> io::Result<()> {
        fs::remove_file(file)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        let volume = rustix::fs::statvfs(dir)?;
        Ok(volume.f_bavail.saturating_mul(volume.f_frsize))
    }

    fn lock(&self, file: &Path, holder: &str) -> io::Result<Result<Lock, String>> {
        let mut options = OpenOptions::new();
        let lock = options
            .create(true)
            .truncate(false)
            .write(true)
            .read(true)
            .open(file)?;
        let take = |mut lock: File, holder: &str, by_name: bool| {
            lock.set_len(0)?;
            lock.write_all(holder.as_bytes())?;
            Ok(Ok(Lock {
                file: Some(lock),
                by_name,
            }))
        };
        let text = || fs::read_to_string(file).unwrap_or_default();
        match lock.try_lock() {
            Ok(()) => take(lock, holder, false),
            Err(fs::TryLockError::WouldBlock) => Ok(Err(text())),
            Err(fs::TryLockError::Error(error)) if is_missing(&error) => {
                let named = text();
                match is_over(&named) {
                    true => take(lock, &format!("{holder} on {}", host()), true),
                    false => Ok(Err(named)),
                }
            }
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn is_locked(&self, file: &Path) -> io::Result<Option<bool>> {
        let lock = match File::open(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(false)),
            lock => lock?,
        };
        // Shared, and for a moment: a writer that begins just now tries again.
        match lock.try_lock_shared() {
            Ok(()) => Ok(Some(false)),
            Err(fs::TryLockError::WouldBlock) => Ok(Some(true)),
            Err(fs::TryLockError::Error(error)) if is_missing(&error) => {
                let named = fs::read_to_string(file).unwrap_or_default();
                Ok(Some(!is_over(&named)))
            }
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

const EPERM: i32 = 1;
const EINVAL: i32 = 22;
const ENOLCK: i32 = 37;

/// Whether an error says that a file system has no such operation, as against that it failed.
pub(super) fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported || error.raw_os_error() == Some(ENOLCK)
}

/// Whether an error says that a directory takes no symbolic links: exFAT and some shares call that not permitted.
pub(super) fn has_no_links(error: &io::Error) -> bool {
    is_missing(error) || error.raw_os_error() == Some(EPERM)
}

/// The name of this machine.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// Whether the holder that a lock's file names is over. Of another machine nothing is known.
fn is_over(named: &str) -> bool {
    let parsed = || {
        let (process, host) = named.strip_prefix("process ")?.split_once(" on ")?;
        Some((process.parse::<u32>().ok()?, host))
    };
    match parsed() {
        None => true,
        Some((process, at)) => {
            at == host() && !Path::new("/proc").join(process.to_string()).exists()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_over_when_its_process_is_and_nothing_is_known_of_other_machines() {
        let host = host();
        let process = std::process::id();
        for (named, over) in [
            (format!("process {process} on {host}"), false),
            (format!("process 4294967295 on {host}"), true),
            ("process 1 on another-machine".into(), false),
            ("".into(), true),
            ("half a li".into(), true),
        ] {
            assert_eq!(is_over(&named), over, "{named:?}");
        }
    }
}
