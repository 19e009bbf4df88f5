//! How training went: reward, pass@1 and kill rate over steps, across runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value as Json;

use crate::cache::local_log;
use crate::{CheckpointError, Store};

/// Runs with their series, for a chart ([`Progress::draw`]) or as JSON.
#[derive(Debug, Serialize)]
pub struct Progress {
    /// In the order they were given.
    pub runs: Vec<RunProgress>,
}

/// One run.
#[derive(Debug, Serialize)]
pub struct RunProgress {
    /// Its directory.
    #[serde(serialize_with = "crate::as_text::path")]
    pub run: PathBuf,
    /// `<run name>/<timestamp>`.
    pub label: String,
    /// Series that have points, by [`Panel`].
    pub series: Vec<Series>,
}

/// One quantity over the steps of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Series {
    /// What it is, as in `generator.reward`.
    pub name: &'static str,
    /// The part of the chart it belongs to.
    pub panel: Panel,
    /// Step and value, by step.
    pub points: Vec<(u64, f64)>,
}

/// A part of the chart, with a scale of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Panel {
    /// Mean reward of a step's episodes.
    Reward,
    /// Share of validation problems solved at the first attempt.
    PassAt1,
    /// Share of candidates that an attack set kills.
    KillRate,
}

impl Panel {
    /// All of them, from the top of the chart.
    pub const ALL: [Self; 3] = [Self::Reward, Self::PassAt1, Self::KillRate];
}

/// Where a line of metrics.jsonl has the values of the series.
const SOURCES: [(&str, Panel, &[&str]); 5] = [
    ("generator.reward", Panel::Reward, &["/generator/reward"]),
    (
        "discriminator.reward",
        Panel::Reward,
        &["/discriminator/reward"],
    ),
    (
        PASS_AT_1,
        Panel::PassAt1,
        &["/validation/pass_at_1", "/evaluation/pass_at_1"],
    ),
    ("kill_rate", Panel::KillRate, &["/discriminator/kill_rate"]),
    (
        "bank_kill_rate",
        Panel::KillRate,
        &["/evaluation/bank_kill_rate"],
    ),
];

const PASS_AT_1: &str = "pass_at_1";

impl Progress {
    /// Reads the logs and the checkpoints of runs. A line that does not read, as the last one of a killed run, is
    /// passed over.
    pub fn of(runs: &[PathBuf]) -> Result<Self, CheckpointError> {
        let runs = runs.iter().map(|run| RunProgress::of(run));
        Ok(Self {
            runs: runs.collect::<Result<_, _>>()?,
        })
    }

    /// Whether no run has anything to show.
    pub fn is_empty(&self) -> bool {
        self.runs.iter().all(|run| run.series.is_empty())
    }
}

impl RunProgress {
    fn of(run: &Path) -> Result<Self, CheckpointError> {
        let mut points: [BTreeMap<u64, f64>; SOURCES.len()] = Default::default();
        // Where there is no log, the checkpoints still know their scores.
        for item in Store::open(run)?.list()? {
            if let Ok(manifest) = item.manifest
                && let Some(score) = manifest.score
            {
                for (of, source) in points.iter_mut().zip(SOURCES) {
                    if source.0 == PASS_AT_1 {
                        of.insert(manifest.step, score);
                    }
                }
            }
        }
        let log = run.join("metrics.jsonl");
        let log = local_log(&log)?.unwrap_or(log);
        let lines = match File::open(&log) {
            Ok(file) => Some(BufReader::new(file).split(b'\n')),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(CheckpointError::io("open", &log)(error)),
        };
        // Lines of bytes: one that is no text is passed over as well.
        for line in lines.into_iter().flatten() {
            let line = line.map_err(CheckpointError::io("read", &log))?;
            let Ok(json) = serde_json::from_slice::<Json>(&line) else {
                continue;
            };
            let Some(step) = json["step"].as_u64() else {
                continue;
            };
            for (of, source) in points.iter_mut().zip(SOURCES) {
                let values = source.2.iter().filter_map(|way| json.pointer(way));
                of.extend(values.filter_map(Json::as_f64).map(|value| (step, value)));
            }
        }
        let series = SOURCES.into_iter().zip(points);
        let series = series.filter(|(_, points)| !points.is_empty());
        Ok(Self {
            run: run.into(),
            label: label(run),
            series: series
                .map(|((name, panel, _), points)| Series {
                    name,
                    panel,
                    points: points.into_iter().collect(),
                })
                .collect(),
        })
    }
}

/// The last two names of a run's path.
fn label(run: &Path) -> String {
    let names: Vec<_> = run.iter().map(|name| name.to_string_lossy()).collect();
    names[names.len().saturating_sub(2)..].join("/")
}
