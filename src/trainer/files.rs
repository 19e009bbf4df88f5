//! The files of a run beside its checkpoints.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::Config;
use crate::metrics::JsonlLog;

use super::TrainError;

/// metrics.jsonl, timings.jsonl, samples.jsonl and config.json of one run directory.
pub struct RunFiles {
    dir: PathBuf,
    metrics: JsonlLog,
    timings: JsonlLog,
    samples: JsonlLog,
}

impl RunFiles {
    /// Opens the logs in `dir` and writes config.json. With a `parent` run directory, its lines up to and including
    /// `step` come first, so that a resumed run's metrics.jsonl equals that of a run that was never interrupted.
    pub fn open(
        dir: &Path,
        config: &Config,
        parent: Option<(&Path, u64)>,
    ) -> Result<Self, TrainError> {
        let log = |name: &str| match parent {
            Some((parent, step)) if parent.join(name).is_file() => {
                JsonlLog::continue_from(&parent.join(name), &dir.join(name), step)
            }
            _ => JsonlLog::open(&dir.join(name), None),
        };
        let files = Self {
            metrics: log("metrics.jsonl")?,
            timings: log("timings.jsonl")?,
            samples: log("samples.jsonl")?,
            dir: dir.to_owned(),
        };
        files.write_json("config.json", &config.to_json())?;
        Ok(files)
    }

    /// The run's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a whole JSON file.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), TrainError> {
        let path = self.dir.join(name);
        let text = serde_json::to_string_pretty(value).expect("plain data serialises") + "\n";
        std::fs::write(&path, text).map_err(|source| TrainError::Write { path, source })
    }

    /// One line of values that repeat exactly.
    pub fn metrics(&mut self, record: &impl Serialize) -> Result<(), TrainError> {
        Ok(self.metrics.append(record)?)
    }

    /// One line of what the clock said.
    pub fn timings(&mut self, record: &impl Serialize) -> Result<(), TrainError> {
        Ok(self.timings.append(record)?)
    }

    /// One rollout kept for reading.
    pub fn sample(&mut self, record: &impl Serialize) -> Result<(), TrainError> {
        Ok(self.samples.append(record)?)
    }
}
