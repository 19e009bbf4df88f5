//! Files seen as memory.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use gauntlet_shim::MappedFile;

use super::ahead::{BLOCK, ReadAhead};

/// A regular file mapped for reading. The files of a committed checkpoint are never written again: the writer creates
/// them under a name of its own, and deletion by retention keeps the pages of an open map alive.
#[derive(Debug)]
pub struct Mapped {
    /// Absent of an empty file, which cannot be mapped.
    file: Option<Arc<MappedFile>>,
    /// The same file for what reads ahead, which begins when something is expected for the first time.
    plain: File,
    ahead: OnceLock<Option<ReadAhead>>,
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
            _ => Some(Arc::new(MappedFile::open(path)?)),
        };
        if let Some(map) = &file {
            // A directory and headers here and there come first.
            map.expect_order(false);
        }
        Ok(Self {
            file,
            ahead: OnceLock::new(),
            plain: File::open(path)?,
        })
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.plain
    }

    /// Says that the bytes of `range` are read next, so that a disk can begin before they are touched.
    fn expect(&self, range: &Range<usize>) {
        let begin = || {
            let map = self.file.as_ref()?;
            map.expect_order(true);
            ReadAhead::of(self.plain.try_clone().ok()?, Arc::clone(map))
        };
        if let Some(ahead) = self.ahead.get_or_init(begin) {
            ahead.expect(range);
        }
    }

    /// BLAKE3 of the bytes of `range`, which must lie in the file; the disk reads ahead.
    pub fn hash(&self, range: Range<usize>) -> blake3::Hash {
        self.expect(&range);
        let mut hash = blake3::Hasher::new();
        for start in range.clone().step_by(BLOCK) {
            let piece = start..range.end.min(start + BLOCK);
            if let Some(Some(ahead)) = self.ahead.get() {
                ahead.wait(piece.end);
            }
            hash.update(&self[piece]);
        }
        hash.finalize()
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.file.as_ref().map_or(&[], |file| file.bytes())
    }
}
