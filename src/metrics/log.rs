//! JSONL files that grow by a line at a time and can be cut back to a step.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A log that cannot be written or read.
#[derive(Debug, Error)]
#[error("{}: {doing} failed", path.display())]
pub struct LogError {
    /// The file.
    pub path: PathBuf,
    /// What was tried.
    pub doing: &'static str,
    /// What the system said.
    pub source: io::Error,
}

/// A JSONL file open for appending. Each line is one object with a `step`, and steps never fall.
#[derive(Debug)]
pub struct JsonlLog {
    path: PathBuf,
    file: File,
    lines: u64,
}

#[derive(Deserialize)]
struct Stamp {
    step: u64,
}

impl JsonlLog {
    /// Opens a log, making it if need be, and cuts off what a resumed run will write again: lines of steps after
    /// `last_step`, and a last line that was torn by a crash. A fresh run passes `None` and begins with an empty file.
    pub fn open(path: &Path, last_step: Option<u64>) -> Result<JsonlLog, LogError> {
        let failed = |doing| {
            move |source| LogError {
                path: path.to_owned(),
                doing,
                source,
            }
        };
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map_err(failed("opening"))?;
        let mut kept = Vec::new();
        if let Some(step) = last_step {
            kept = std::fs::read(path).map_err(failed("reading"))?;
            kept.truncate(kept_bytes(&kept, step));
        }
        file.set_len(kept.len() as u64)
            .map_err(failed("cutting back"))?;
        Ok(JsonlLog {
            path: path.to_owned(),
            file,
            lines: newlines(&kept),
        })
    }

    /// Opens a log that goes on from another run's: it begins with a copy of the lines up to `last_step`. A parent
    /// that has no such file gives an empty log.
    pub fn continue_from(parent: &Path, path: &Path, last_step: u64) -> Result<JsonlLog, LogError> {
        Self::continue_with(parent, path, |bytes| kept_bytes(bytes, last_step))
    }

    /// As [`JsonlLog::continue_from`], with the first `lines` lines.
    pub fn continue_after(parent: &Path, path: &Path, lines: u64) -> Result<JsonlLog, LogError> {
        let lines = usize::try_from(lines).unwrap_or(usize::MAX);
        Self::continue_with(parent, path, |bytes| {
            bytes
                .split_inclusive(|&byte| byte == b'\n')
                .take_while(|line| line.ends_with(b"\n"))
                .take(lines)
                .map(<[u8]>::len)
                .sum()
        })
    }

    fn continue_with(
        parent: &Path,
        path: &Path,
        kept: impl FnOnce(&[u8]) -> usize,
    ) -> Result<JsonlLog, LogError> {
        let mut bytes = match std::fs::read(parent) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => {
                return Err(LogError {
                    path: parent.to_owned(),
                    doing: "reading",
                    source,
                });
            }
        };
        bytes.truncate(kept(&bytes));
        let mut log = JsonlLog::open(path, None)?;
        log.write(&bytes)?;
        log.lines = newlines(&bytes);
        Ok(log)
    }

    /// Adds a line, which other processes see at once.
    pub fn append(&mut self, record: &impl Serialize) -> Result<(), LogError> {
        let line = serde_json::to_vec(record).map_err(io::Error::from);
        let mut line = line.map_err(|source| LogError {
            path: self.path.clone(),
            doing: "encoding a line",
            source,
        })?;
        line.push(b'\n');
        // One write a line: a reader never meets half of one unless the disk is full.
        self.write(&line)?;
        self.lines += 1;
        Ok(())
    }

    /// Number of lines.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// The open file, for another thread to sync.
    pub fn handle(&self) -> Result<File, LogError> {
        self.file.try_clone().map_err(|source| LogError {
            path: self.path.clone(),
            doing: "sharing",
            source,
        })
    }

    /// Waits until every line is on the disk.
    pub fn sync(&self) -> Result<(), LogError> {
        self.file.sync_data().map_err(|source| LogError {
            path: self.path.clone(),
            doing: "syncing",
            source,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        self.file.write_all(bytes).map_err(|source| LogError {
            path: self.path.clone(),
            doing: "writing",
            source,
        })
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// Length of the leading whole lines whose step is at most `last_step`.
fn kept_bytes(bytes: &[u8], last_step: u64) -> usize {
    let kept = |line: &&[u8]| {
        line.ends_with(b"\n")
            && serde_json::from_slice::<Stamp>(line).is_ok_and(|stamp| stamp.step <= last_step)
    };
    bytes
        .split_inclusive(|&byte| byte == b'\n')
        .take_while(kept)
        .map(<[u8]>::len)
        .sum()
}

/// Lengths of the logs in lines, at the time of a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLines {
    /// Of metrics.jsonl.
    pub metrics: u64,
    /// Of timings.jsonl.
    pub timings: u64,
    /// Of samples.jsonl.
    pub samples: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const WHOLE: &str = "{\"step\":1}\n{\"step\":2}\n{\"step\":2,\"b\":1}\n{\"step\":3}\n";

    fn resumed(content: &str, last_step: u64) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        std::fs::write(&path, content).unwrap();
        JsonlLog::open(&path, Some(last_step)).unwrap();
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn resuming_cuts_back_to_the_step() {
        for (last_step, lines) in [(0, 0), (1, 1), (2, 3), (3, 4), (99, 4)] {
            assert_eq!(
                resumed(WHOLE, last_step).lines().count(),
                lines,
                "{last_step}"
            );
        }
    }

    #[test]
    fn a_torn_line_is_cut_off_wherever_it_was_torn() {
        for length in 0..=WHOLE.len() {
            let torn = &WHOLE[..length];
            let whole_lines = torn.rfind('\n').map_or(0, |at| at + 1);
            assert_eq!(resumed(torn, 99), torn[..whole_lines]);
        }
    }

    #[test]
    fn an_interrupted_log_ends_with_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let write = |log: &mut JsonlLog, steps: std::ops::Range<u64>| {
            steps.for_each(|step| {
                log.append(&json!({"step": step, "loss": step as f64 / 3.0}))
                    .unwrap()
            })
        };
        write(&mut JsonlLog::open(&path("straight"), None).unwrap(), 0..10);
        write(&mut JsonlLog::open(&path("in_place"), None).unwrap(), 0..7);
        write(
            &mut JsonlLog::open(&path("in_place"), Some(4)).unwrap(),
            5..10,
        );
        write(
            &mut JsonlLog::continue_from(&path("in_place"), &path("child"), 6).unwrap(),
            7..10,
        );
        let straight = std::fs::read(path("straight")).unwrap();
        assert_eq!(std::fs::read(path("in_place")).unwrap(), straight);
        assert_eq!(std::fs::read(path("child")).unwrap(), straight);
        let mut counted = JsonlLog::continue_after(&path("child"), &path("counted"), 3).unwrap();
        assert_eq!(counted.lines(), 3);
        write(&mut counted, 3..10);
        assert_eq!(counted.lines(), 10);
        assert_eq!(std::fs::read(path("counted")).unwrap(), straight);
    }

    #[test]
    fn a_fresh_log_is_empty_and_a_missing_parent_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, WHOLE).unwrap();
        JsonlLog::open(&path, None).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        JsonlLog::continue_from(&folder.path().join("absent"), &path, 5)
            .unwrap()
            .sync()
            .unwrap();
        let error = JsonlLog::open(folder.path(), None).unwrap_err().to_string();
        assert!(error.contains(folder.path().to_str().unwrap()), "{error}");
    }
}
