//! A file seen as memory.

use std::fs::File;
use std::io;
use std::path::Path;

/// A file mapped read-only. The bytes are read from disk when they are touched.
///
/// Whoever changes or shortens the file meanwhile changes what is read; model files are written once.
#[derive(Debug)]
pub struct MappedFile(memmap2::Mmap);

impl MappedFile {
    /// Maps a file.
    ///
    /// # Errors
    ///
    /// What the system says when the file cannot be opened or mapped; an empty file cannot.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            let kind = io::ErrorKind::UnexpectedEof;
            return Err(io::Error::new(kind, "the file is empty"));
        }
        map(&file).map(Self)
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[expect(unsafe_code, reason = "mapping a file is a promise about the file")]
fn map(file: &File) -> io::Result<memmap2::Mmap> {
    // SAFETY: the map is private and read-only. Nothing of this workspace writes a file that it has mapped, and plain bytes
    // are all that is made of the map: parsers of model files check every length they take from it.
    unsafe { memmap2::Mmap::map(file) }
}
