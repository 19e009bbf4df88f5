//! Checkpoints side by side: metrics with differences, settings that differ, samples of the same problem.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value as Json;

use crate::{Checkpoint, CheckpointError};

/// Problems of which samples are shown.
const PROBLEMS: usize = 3;

/// Two or more checkpoints side by side; the first is what the others are compared with.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// The checkpoints, in the order they were given.
    pub checkpoints: Vec<Compared>,
    /// Every metric that at least one of them has, by its dotted name.
    pub metrics: Vec<MetricRow>,
    /// Settings in which they differ, by their dotted names; `null` where one has none.
    pub settings: Vec<SettingRow>,
    /// What their runs wrote last about the same problems, up to the checkpoint.
    pub samples: Vec<SampleRow>,
}

/// One of the checkpoints.
#[derive(Debug, Serialize)]
pub struct Compared {
    /// Its directory.
    #[serde(serialize_with = "crate::as_text::path")]
    pub path: PathBuf,
    /// `<run>/<name>`, short enough for a column.
    pub label: String,
    /// Training steps made.
    pub step: u64,
    /// BLAKE3 of its manifest.
    pub manifest: String,
}

/// One metric of all checkpoints.
#[derive(Debug, Serialize)]
pub struct MetricRow {
    /// Its dotted name, as in `generator.avg_reward`.
    pub name: String,
    /// Its value in each checkpoint.
    pub values: Vec<Option<f64>>,
    /// Each value less the first one's.
    pub differences: Vec<Option<f64>>,
}

/// One setting in which the checkpoints differ.
#[derive(Debug, Serialize)]
pub struct SettingRow {
    /// Its dotted name, as in `optimizer.learning_rate`.
    pub name: String,
    /// Its value in each checkpoint.
    pub values: Vec<Json>,
}

/// What was written about one problem.
#[derive(Debug, Serialize)]
pub struct SampleRow {
    /// The problem's id.
    pub problem: String,
    /// The newest sample of each checkpoint's run at its step.
    pub samples: Vec<Option<Sample>>,
}

/// One attempt, in short.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// The step it was sampled for.
    pub step: u64,
    /// Its reward; none where it was masked.
    pub reward: Option<f64>,
    /// The text of the last stage that was written.
    pub text: String,
}

impl Comparison {
    /// Compares checkpoints with the first of them.
    pub fn of(checkpoints: &[Checkpoint]) -> Result<Self, CheckpointError> {
        let compared = checkpoints.iter().map(Compared::of).collect();
        let metrics = checkpoints
            .iter()
            .map(|checkpoint| Ok(flat(&checkpoint.metrics()?)))
            .collect::<Result<Vec<_>, CheckpointError>>()?;
        let settings = checkpoints
            .iter()
            .map(|checkpoint| Ok(flat(&checkpoint.training_config()?)))
            .collect::<Result<Vec<_>, CheckpointError>>()?;
        Ok(Self {
            checkpoints: compared,
            metrics: metric_rows(&metrics),
            settings: setting_rows(&settings),
            samples: sample_rows(checkpoints),
        })
    }
}

impl Compared {
    fn of(checkpoint: &Checkpoint) -> Self {
        let parent = checkpoint.as_parent();
        let run = parent.run.rsplit('/').next().unwrap_or_default();
        Self {
            path: checkpoint.path().into(),
            label: format!("{run}/{}", parent.name),
            step: checkpoint.manifest().step,
            manifest: checkpoint.manifest_hash().into(),
        }
    }
}

/// The leaves of a JSON value by their dotted names, in order.
pub(super) fn flat(json: &Json) -> Vec<(String, Json)> {
    fn walk(name: &str, json: &Json, leaves: &mut Vec<(String, Json)>) {
        match json {
            Json::Object(map) => {
                for (key, value) in map {
                    let dot = if name.is_empty() { "" } else { "." };
                    walk(&format!("{name}{dot}{key}"), value, leaves);
                }
            }
            leaf => leaves.push((name.into(), leaf.clone())),
        }
    }
    let mut leaves = Vec::new();
    walk("", json, &mut leaves);
    leaves
}

/// Every name of any list, in the order of its first appearance, with its value in each.
fn aligned(lists: &[Vec<(String, Json)>]) -> Vec<(String, Vec<Json>)> {
    let mut rows: Vec<(String, Vec<Json>)> = Vec::new();
    for (place, list) in lists.iter().enumerate() {
        for (name, value) in list {
            let row = match rows.iter().position(|(known, _)| known == name) {
                Some(row) => row,
                None => {
                    rows.push((name.clone(), vec![Json::Null; lists.len()]));
                    rows.len() - 1
                }
            };
            rows[row].1[place] = value.clone();
        }
    }
    rows
}

fn metric_rows(metrics: &[Vec<(String, Json)>]) -> Vec<MetricRow> {
    let numbers = aligned(metrics).into_iter().map(|(name, values)| {
        let values: Vec<Option<f64>> = values.iter().map(Json::as_f64).collect();
        let first = values.first().copied().flatten();
        let differences = values
            .iter()
            .map(|value| Some((*value)? - first?))
            .collect();
        MetricRow {
            name,
            values,
            differences,
        }
    });
    numbers
        .filter(|row| row.values.iter().any(Option::is_some))
        .collect()
}

pub(super) fn setting_rows(settings: &[Vec<(String, Json)>]) -> Vec<SettingRow> {
    aligned(settings)
        .into_iter()
        .filter(|(_, values)| values.iter().any(|value| *value != values[0]))
        .map(|(name, values)| SettingRow { name, values })
        .collect()
}

/// The newest samples of the generator, by problem, that a checkpoint's run wrote up to its step.
/// Logs are not part of a checkpoint: a line that does not read is passed over.
fn samples_of(checkpoint: &Checkpoint) -> BTreeMap<String, Sample> {
    let mut newest = BTreeMap::new();
    let log = checkpoint.run_file("samples.jsonl");
    let Some(Ok(file)) = log.ok().flatten().map(std::fs::File::open) else {
        return newest;
    };
    for line in BufReader::new(file).split(b'\n').map_while(Result::ok) {
        let Ok(json) = serde_json::from_slice::<Json>(&line) else {
            continue;
        };
        let (Some(step), Some(problem)) = (json["step"].as_u64(), json["problem"].as_str()) else {
            continue;
        };
        if step >= checkpoint.manifest().step || json["role"] != "generator" {
            continue;
        }
        let texts = json["stages"].as_array().into_iter().flatten();
        let text = texts
            .filter_map(Json::as_str)
            .rfind(|text| !text.is_empty())
            .unwrap_or_default();
        newest.insert(
            problem.to_owned(),
            Sample {
                step,
                reward: json["reward"].as_f64(),
                text: text.to_owned(),
            },
        );
    }
    newest
}

fn sample_rows(checkpoints: &[Checkpoint]) -> Vec<SampleRow> {
    let found: Vec<_> = checkpoints.iter().map(samples_of).collect();
    let mut problems: Vec<&String> = found.iter().flat_map(BTreeMap::keys).collect();
    problems.sort();
    problems.dedup();
    let known = |problem: &str| found.iter().filter(|of| of.contains_key(problem)).count();
    // Those that most checkpoints have something to say on.
    problems.sort_by_key(|problem| std::cmp::Reverse(known(problem)));
    problems
        .into_iter()
        .filter(|problem| known(problem) > 1)
        .take(PROBLEMS)
        .map(|problem| SampleRow {
            problem: problem.clone(),
            samples: found.iter().map(|of| of.get(problem).cloned()).collect(),
        })
        .collect()
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = vec![vec!["metric".to_owned()]];
        let labels = self.checkpoints.iter().map(|one| one.label.clone());
        for (place, label) in labels.enumerate() {
            lines[0].push(label);
            if place > 0 {
                lines[0].push("difference".into());
            }
        }
        for row in &self.metrics {
            let mut line = vec![row.name.clone()];
            for (place, (value, difference)) in row.values.iter().zip(&row.differences).enumerate()
            {
                line.push(value.map_or("-".into(), number));
                if place > 0 {
                    let signed =
                        |d: f64| format!("{}{}", if d > 0.0 { "+" } else { "" }, number(d));
                    line.push(difference.map_or("-".into(), signed));
                }
            }
            lines.push(line);
        }
        write!(f, "{}", crate::table::aligned_table(&lines))?;
        writeln!(f, "\nsettings that differ")?;
        if self.settings.is_empty() {
            writeln!(f, "  none")?;
        }
        for row in &self.settings {
            let values: Vec<String> = row.values.iter().map(Json::to_string).collect();
            writeln!(f, "  {}: {}", row.name, values.join(" | "))?;
        }
        for row in &self.samples {
            writeln!(f, "\nsamples of {}", row.problem)?;
            for (one, sample) in self.checkpoints.iter().zip(&row.samples) {
                let Some(sample) = sample else {
                    writeln!(f, "  {}: none", one.label)?;
                    continue;
                };
                let reward = sample
                    .reward
                    .map_or("masked".into(), |r| format!("reward {r:.3}"));
                writeln!(f, "  {} (step {}, {reward}):", one.label, sample.step)?;
                for line in sample.text.lines() {
                    writeln!(f, "    {line}")?;
                }
            }
        }
        Ok(())
    }
}

/// Whole numbers as they are, others to four significant places.
fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return format!("{value:.0}");
    }
    match value.abs() {
        0.001..10_000.0 => format!("{value:.4}"),
        _ => format!("{value:.3e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metrics_are_aligned_by_name_and_compared_with_the_first() {
        let lists = [
            flat(&json!({"a": {"x": 1.0, "only": 2}, "text": "no number"})),
            flat(&json!({"a": {"x": 0.5}, "b": null, "late": 3})),
        ];
        let rows: Vec<_> = metric_rows(&lists)
            .into_iter()
            .map(|row| (row.name, row.values, row.differences))
            .collect();
        assert_eq!(
            rows,
            [
                (
                    "a.x".into(),
                    vec![Some(1.0), Some(0.5)],
                    vec![Some(0.0), Some(-0.5)]
                ),
                (
                    "a.only".into(),
                    vec![Some(2.0), None],
                    vec![Some(0.0), None]
                ),
                ("late".into(), vec![None, Some(3.0)], vec![None, None]),
            ]
        );
    }

    #[test]
    fn only_settings_that_differ_are_rows() {
        let lists = [
            flat(&json!({"same": 1, "lr": 0.1, "gone": true})),
            flat(&json!({"same": 1, "lr": 0.2})),
        ];
        let names: Vec<String> = setting_rows(&lists)
            .into_iter()
            .map(|row| row.name)
            .collect();
        assert_eq!(names, ["lr", "gone"]);
        assert_eq!(
            [1.0, 0.12345, 1e-7, -2.5].map(number),
            ["1", "0.1235", "1.000e-7", "-2.5000"]
        );
    }
}
