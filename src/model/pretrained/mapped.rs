//! A model file seen as memory, and whether a model will fit into what the system has left.

use std::fs::File;
use std::path::Path;

use gauntlet_shim::MappedFile;

use super::error::LoadError;

/// A mapped file.
pub struct Mapped {
    map: MappedFile,
    file: File,
}

impl Mapped {
    /// Maps a file.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let opened = MappedFile::open(path).and_then(|map| {
            let file = File::open(path)?;
            Ok(Self { map, file })
        });
        opened.map_err(|source| LoadError::Read {
            path: path.to_owned(),
            source,
        })
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        self.map.bytes()
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// Refuses a model of `needed` bytes where the system tells that it has less to give. Says nothing where it does not
/// tell.
pub fn check_memory(path: &Path, needed: u64) -> Result<(), LoadError> {
    let Some(available) = available_memory() else {
        return Ok(());
    };
    if needed > available {
        return Err(LoadError::Memory {
            path: path.to_owned(),
            needed_mb: needed >> 20,
            available_mb: available >> 20,
        });
    }
    Ok(())
}

/// Bytes that Linux would give to a process without swapping.
pub fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find(|line| line.starts_with("MemAvailable:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_there_is_is_refused_with_both_figures() {
        let error = check_memory(Path::new("huge.gguf"), u64::MAX >> 1);
        if available_memory().is_some() {
            let text = error.unwrap_err().to_string();
            assert!(
                text.contains("huge.gguf") && text.contains("MB are needed"),
                "{text}"
            );
        }
        check_memory(Path::new("small.gguf"), 1).unwrap();
    }
}
