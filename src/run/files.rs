//! The files of a run beside its checkpoints.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value as Json;

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::TrainError;
use crate::metrics::{EventLog, JsonlLog, LogError, LogLines, scalars};

/// The directory with the logs of the run that a checkpoint is of, or with local copies of them.
pub(super) fn logs_of(checkpoint: &Checkpoint) -> Result<Option<PathBuf>, TrainError> {
    let mut dir = None;
    for name in ["metrics.jsonl", "timings.jsonl", "samples.jsonl"] {
        if let Some(file) = checkpoint.run_file(name)? {
            dir = file.parent().map(Path::to_owned);
        }
    }
    // Without any, the error of whoever opens them names the directory.
    Ok(dir.or_else(|| Some(checkpoint.path().parent()?.parent()?.to_owned())))
}

/// metrics.jsonl, timings.jsonl, samples.jsonl, TensorBoard's events and config.json of one run directory.
pub struct RunFiles {
    dir: PathBuf,
    events: Option<EventLog>,
    metrics: JsonlLog,
    timings: JsonlLog,
    samples: JsonlLog,
    holes: Vec<String>,
}

impl RunFiles {
    /// Opens the logs in `dir` and writes config.json. With a `parent` run directory, the lines come first that its logs
    /// had when the checkpoint was made, so that a resumed run's logs equal those of a run that was never interrupted.
    pub fn open(
        dir: &Path,
        config: &Config,
        parent: Option<(&Path, LogLines)>,
    ) -> Result<Self, TrainError> {
        let log = |name: &str, lines: fn(LogLines) -> u64| match parent {
            Some((parent, kept)) => {
                JsonlLog::continue_after(&parent.join(name), &dir.join(name), lines(kept))
            }
            None => JsonlLog::open(&dir.join(name), None),
        };
        let mut files = Self {
            holes: Vec::new(),
            metrics: log("metrics.jsonl", |kept| kept.metrics)?,
            timings: log("timings.jsonl", |kept| kept.timings)?,
            samples: log("samples.jsonl", |kept| kept.samples)?,
            // TensorBoard merges the files of a run's parts by step, so that a resumed run writes only its own.
            events: match config.monitor.tensorboard {
                true => Some(EventLog::create(dir)?),
                false => None,
            },
            dir: dir.to_owned(),
        };
        files.write_json("config.json", &config.to_json())?;
        if let Some((parent, kept)) = parent {
            files.find_holes(parent, kept);
        }
        Ok(files)
    }

    /// What the logs of the run before have lost since the checkpoint was made.
    fn find_holes(&mut self, parent: &Path, kept: LogLines) {
        let found = self.lines();
        let logs = [
            ("metrics.jsonl", found.metrics, kept.metrics),
            ("timings.jsonl", found.timings, kept.timings),
            ("samples.jsonl", found.samples, kept.samples),
        ];
        let short = logs.iter().filter(|(_, found, kept)| found < kept);
        self.holes.extend(short.map(|(name, found, kept)| {
            format!(
                "{} has {found} of the {kept} lines it had when the checkpoint was made: those between are missing from \
                 this run's log too",
                parent.join(name).display()
            )
        }));
    }

    /// What the logs that this run's begin with have lost.
    pub fn holes(&self) -> &[String] {
        &self.holes
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

    /// How long the logs are.
    pub fn lines(&self) -> LogLines {
        LogLines {
            metrics: self.metrics.lines(),
            timings: self.timings.lines(),
            samples: self.samples.lines(),
        }
    }

    /// The logs that a checkpoint counts on, open, for the saver's thread to sync.
    pub fn handles(&self) -> Result<Vec<File>, TrainError> {
        Ok(vec![self.metrics.handle()?, self.samples.handle()?])
    }

    /// One line of values that repeat exactly, which is given back.
    pub fn metrics(&mut self, record: &impl Serialize) -> Result<Json, LogError> {
        self.metrics.append(record)?;
        Ok(serde_json::to_value(record).expect("plain data serialises"))
    }

    /// The numbers of such a line, for TensorBoard. After an error there are no more: charts are not worth a run.
    pub fn events(&mut self, line: &Json) -> Result<(), LogError> {
        let (Some(events), Some(step)) = (&mut self.events, line["step"].as_u64()) else {
            return Ok(());
        };
        let result = events.append(step, &scalars(line));
        if result.is_err() {
            self.events = None;
        }
        result
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_the_run_before_has_lost_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let [parent, child] = ["parent", "child"].map(|name| dir.path().join(name));
        let kept = LogLines {
            metrics: 3,
            timings: 1,
            samples: 0,
        };
        for (metrics, timings, lost) in [
            ("{}\n{}\n{}\n{}\n", "{}\n", &[][..]),
            ("{}\n{}\n{", "{}\n", &["metrics.jsonl has 2 of the 3 lines"]),
            (
                "",
                "",
                &[
                    "metrics.jsonl has 0 of the 3",
                    "timings.jsonl has 0 of the 1",
                ],
            ),
        ] {
            for dir in [&parent, &child] {
                let _ = std::fs::remove_dir_all(dir);
                std::fs::create_dir(dir).unwrap();
            }
            std::fs::write(parent.join("metrics.jsonl"), metrics).unwrap();
            std::fs::write(parent.join("timings.jsonl"), timings).unwrap();
            let config = Config::default();
            let files = RunFiles::open(&child, &config, Some((&parent, kept))).unwrap();
            assert_eq!(files.holes().len(), lost.len(), "{:?}", files.holes());
            for (hole, part) in files.holes().iter().zip(lost) {
                assert!(hole.contains(part), "{hole}");
            }
        }
    }
}
