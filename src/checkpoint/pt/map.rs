//! Files seen as memory.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

/// A regular file mapped for reading.
#[derive(Debug)]
pub struct Mapped(memmap2::Mmap);

impl Mapped {
    /// Maps a file. A link, a folder or a device is refused: a checkpoint is made of regular files.
    pub fn open(path: &Path) -> io::Result<Self> {
        if !std::fs::symlink_metadata(path)?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        let file = File::open(path)?;
        map(&file).map(Self)
    }
}

#[expect(
    unsafe_code,
    reason = "mapping is the one way to read single tensors without a copy of the file"
)]
fn map(file: &File) -> io::Result<memmap2::Mmap> {
    // SAFETY: the map must not change while it is read. It is private and read-only, and the files
    // of a committed checkpoint are never written again: the writer creates them under a name of
    // its own, and deletion by retention keeps the pages of an open map alive.
    unsafe { memmap2::Mmap::map(file) }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
