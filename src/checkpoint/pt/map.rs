//! Files seen as memory.

use std::io;
use std::ops::Deref;
use std::path::Path;

use gauntlet_shim::MappedFile;

/// A regular file mapped for reading. The files of a committed checkpoint are never written again: the writer creates
/// them under a name of its own, and deletion by retention keeps the pages of an open map alive.
#[derive(Debug)]
pub struct Mapped {
    /// Absent of an empty file, which cannot be mapped.
    file: Option<MappedFile>,
}

impl Mapped {
    /// Maps a file. A link, a folder or a device is refused: a checkpoint is made of regular files.
    pub fn open(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::symlink_metadata(path)?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        let file = match metadata.len() {
            0 => None,
            _ => Some(MappedFile::open(path)?),
        };
        Ok(Self { file })
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.file.as_ref().map_or(&[], MappedFile::bytes)
    }
}
