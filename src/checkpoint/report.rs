//! What a person, or a program that reads JSON, wants to know about checkpoints.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value as Json;

use super::CheckpointError;
use super::clock;
use super::format::{PlayerFile, TensorInfo};
use super::manifest::{Manifest, Parent};
use super::opened::Checkpoint;
use super::pt::dtype_name;
use super::store::{Listed, Store};

/// The checkpoints of several runs.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Listings(pub Vec<Listing>);

/// The checkpoints of one run, in the order of saving.
#[derive(Debug, Serialize)]
pub struct Listing {
    /// The run's directory.
    pub run: PathBuf,
    /// Its checkpoints.
    pub checkpoints: Vec<ListingRow>,
}

/// One checkpoint in a list.
#[derive(Debug, Serialize)]
pub struct ListingRow {
    /// Its name.
    pub name: String,
    /// Whether it is the newest.
    pub latest: bool,
    /// Whether `best` points to it.
    pub best: bool,
    /// What its manifest says in short, if that can be believed.
    #[serde(flatten)]
    pub summary: Option<Summary>,
    /// Why it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
}

/// A manifest in short.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// full, sampler or emergency.
    pub kind: String,
    /// The stage that was finished, or was in progress.
    pub stage: i64,
    /// Training steps made.
    pub step: u64,
    /// Validation score.
    pub score: Option<f64>,
    /// Bytes on disk.
    pub size: u64,
    /// When it was saved.
    pub created: String,
    /// Seconds since.
    pub age_seconds: u64,
    /// The checkpoint its run was resumed from.
    pub parent: Option<Parent>,
}

impl Summary {
    fn of(manifest: &Manifest) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let created = clock::parse_utc(&manifest.created).unwrap_or(now);
        Self {
            kind: manifest.kind.to_string(),
            stage: manifest.stage,
            step: manifest.step,
            score: manifest.score,
            size: manifest.total_size(),
            created: manifest.created.clone(),
            age_seconds: now.saturating_sub(created),
            parent: manifest.parent.clone(),
        }
    }
}

impl Listing {
    /// Lists a run.
    pub fn of(run: &Path, store: &Store) -> Result<Self, CheckpointError> {
        let row = |item: Listed| ListingRow {
            summary: item.manifest.as_ref().ok().map(Summary::of),
            broken: item.manifest.err().map(|error| error.to_string()),
            name: item.name,
            latest: item.latest,
            best: item.best,
        };
        Ok(Self {
            run: run.into(),
            checkpoints: store.list()?.into_iter().map(row).collect(),
        })
    }
}

impl fmt::Display for Listings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, listing) in self.0.iter().enumerate() {
            let gap = if i > 0 { "\n" } else { "" };
            write!(f, "{gap}{listing}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.run.display())?;
        if self.checkpoints.is_empty() {
            return writeln!(f, "  no checkpoints");
        }
        let longest = self
            .checkpoints
            .iter()
            .map(|row| row.name.len())
            .max()
            .unwrap_or(0);
        let width = longest.max("checkpoint".len());
        writeln!(
            f,
            "  {:width$}  {:9}  {:>5}  {:>7}  {:>6}  {:>9}  {:>8}",
            "checkpoint", "kind", "stage", "step", "score", "size", "age"
        )?;
        for row in &self.checkpoints {
            write!(f, "  {:width$}  ", row.name)?;
            let Some(summary) = &row.summary else {
                writeln!(f, "broken: {}", row.broken.as_deref().unwrap_or_default())?;
                continue;
            };
            let score = summary
                .score
                .map_or("-".to_string(), |score| format!("{score:.3}"));
            write!(
                f,
                "{:9}  {:>5}  {:>7}  {score:>6}  {:>9}  {:>8}",
                summary.kind,
                summary.stage,
                summary.step,
                human_size(summary.size),
                human_age(summary.age_seconds)
            )?;
            let marks = [(row.best, "best"), (row.latest, "latest")];
            let marks: Vec<&str> = marks
                .iter()
                .filter(|mark| mark.0)
                .map(|mark| mark.1)
                .collect();
            let gap = if marks.is_empty() { "" } else { "  " };
            writeln!(f, "{gap}{}", marks.join(", "))?;
        }
        Ok(())
    }
}

/// Everything worth knowing about one checkpoint.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// Its directory.
    pub path: PathBuf,
    /// Its name.
    pub name: String,
    /// BLAKE3 of its manifest.
    pub manifest: String,
    /// The manifest in short.
    #[serde(flatten)]
    pub summary: Summary,
    /// The players, where they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub players: Vec<PlayerReport>,
    /// Content of metrics.json.
    pub metrics: Json,
    /// Files and their sizes.
    pub files: Vec<(String, u64)>,
    /// Commands that use it.
    pub usage: Vec<String>,
}

/// One player of a checkpoint.
#[derive(Debug, Serialize)]
pub struct PlayerReport {
    /// Its name.
    pub name: String,
    /// The architecture.
    pub model_config: Json,
    /// Number of parameters.
    pub parameters: i64,
    /// Number of parameters of each part of the model, in the model's order.
    pub parts: Vec<Part>,
    /// Element types of the weights.
    pub dtypes: Vec<&'static str>,
    /// Whether the optimizer's state is there.
    pub optimizer: bool,
}

/// A part of a model: tensors that share the beginning of their names.
#[derive(Debug, Serialize)]
pub struct Part {
    /// The beginning; `layers.*` stands for all layers.
    pub name: String,
    /// Number of tensors.
    pub tensors: usize,
    /// Number of parameters.
    pub parameters: i64,
}

impl Inspection {
    /// Inspects a checkpoint; opens the players' files only if `players` is set.
    pub fn of(checkpoint: &Checkpoint, players: bool) -> Result<Self, CheckpointError> {
        let manifest = checkpoint.manifest();
        let names = if players {
            checkpoint.players()
        } else {
            Vec::new()
        };
        let player = |name: &str| PlayerReport::of(name, &checkpoint.player(name)?);
        Ok(Self {
            path: checkpoint.path().into(),
            name: manifest.name.clone(),
            manifest: checkpoint.manifest_hash().into(),
            summary: Summary::of(manifest),
            players: names.into_iter().map(player).collect::<Result<_, _>>()?,
            metrics: checkpoint.metrics()?,
            files: manifest
                .files
                .iter()
                .map(|file| (file.path.clone(), file.size))
                .collect(),
            usage: manifest.usage.clone(),
        })
    }
}

impl PlayerReport {
    fn of(name: &str, player: &PlayerFile) -> Result<Self, CheckpointError> {
        let tensors = player.tensors()?;
        let mut dtypes: Vec<&str> = tensors
            .iter()
            .map(|tensor| dtype_name(tensor.kind))
            .collect();
        dtypes.sort_unstable();
        dtypes.dedup();
        Ok(Self {
            name: name.into(),
            model_config: player.model_config()?,
            parameters: tensors.iter().map(TensorInfo::numel).sum(),
            parts: parts(&tensors),
            dtypes,
            optimizer: player.has_optimizer()?,
        })
    }
}

/// Groups tensors by their names up to the layer, all layers as one.
fn parts(tensors: &[TensorInfo]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for tensor in tensors {
        let inner = tensor.name.strip_prefix("model.").unwrap_or(&tensor.name);
        let mut words = inner.split('.');
        let first = words.next().unwrap_or_default();
        let layered = words.next().is_some_and(|word| word.parse::<u32>().is_ok());
        let name = if layered {
            format!("{first}.*")
        } else {
            first.to_string()
        };
        match parts.iter_mut().find(|part| part.name == name) {
            Some(part) => {
                part.tensors += 1;
                part.parameters += tensor.numel();
            }
            None => parts.push(Part {
                name,
                tensors: 1,
                parameters: tensor.numel(),
            }),
        }
    }
    parts
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let summary = &self.summary;
        writeln!(f, "{}", self.path.display())?;
        writeln!(
            f,
            "  {} checkpoint of stage {}, step {}; {}; saved {} ({})",
            summary.kind,
            summary.stage,
            summary.step,
            human_size(summary.size),
            summary.created,
            human_age(summary.age_seconds)
        )?;
        if let Some(score) = summary.score {
            writeln!(f, "  validation score {score:.4}")?;
        }
        writeln!(f, "  manifest {}", self.manifest)?;
        if let Some(parent) = &summary.parent {
            writeln!(f, "  resumed from {} of {}", parent.name, parent.run)?;
        }
        for player in &self.players {
            write!(f, "\n{player}")?;
        }
        writeln!(f, "\nmetrics")?;
        for line in format!("{:#}", self.metrics).lines() {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "\nfiles")?;
        for (path, size) in &self.files {
            writeln!(f, "  {:>9}  {path}", human_size(*size))?;
        }
        writeln!(f, "\nto use it")?;
        self.usage
            .iter()
            .try_for_each(|line| writeln!(f, "  {line}"))
    }
}

impl fmt::Display for PlayerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let optimizer = if self.optimizer { "with" } else { "without" };
        writeln!(
            f,
            "{}: {} parameters in {}, {optimizer} optimizer state",
            self.name,
            grouped(self.parameters),
            self.dtypes.join(", ")
        )?;
        if let Json::Object(config) = &self.model_config {
            let settings: Vec<String> = config.iter().map(|(k, v)| format!("{k} {v}")).collect();
            writeln!(f, "  {}", settings.join(", "))?;
        }
        for part in &self.parts {
            let (name, tensors) = (&part.name, counted(part.tensors, "tensor"));
            let parameters = grouped(part.parameters);
            writeln!(f, "  {name:20} {parameters:>14} parameters in {tensors}")?;
        }
        Ok(())
    }
}

/// The result of reading every byte of a checkpoint.
#[derive(Debug, Serialize)]
pub struct Verification {
    /// The checkpoint's directory.
    pub path: PathBuf,
    /// Number of files the manifest lists.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Everything that is not as the manifest says.
    pub faults: Vec<String>,
}

impl Verification {
    /// Verifies a checkpoint.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let manifest = checkpoint.manifest();
        Self {
            path: checkpoint.path().into(),
            files: manifest.files.len(),
            bytes: manifest.total_size(),
            faults: checkpoint
                .verify()
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        if self.faults.is_empty() {
            let size = human_size(self.bytes);
            return writeln!(f, "{path}: whole, {} files, {size}", self.files);
        }
        writeln!(f, "{path}: {}", counted(self.faults.len(), "fault"))?;
        self.faults
            .iter()
            .try_for_each(|fault| writeln!(f, "  {fault}"))
    }
}

/// 1234567 as `1.2 MB`.
fn human_size(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut unit = "B";
    for larger in ["KB", "MB", "GB", "TB"] {
        if size < 999.5 {
            break;
        }
        size /= 1000.0;
        unit = larger;
    }
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{size:.1} {unit}")
    }
}

/// Seconds as the largest unit that fits.
fn human_age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A number and its noun: `1 fault`, `2 faults`.
fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// 1234567 as `1,234,567`.
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(human_size),
            ["0 B", "999 B", "1.0 KB", "1.2 MB"]
        );
        assert_eq!(human_size(u64::MAX), "18446744.1 TB");
        assert_eq!(
            [59, 60, 3600, 90_000].map(human_age),
            ["59 s", "1 min", "1 h", "1 d"]
        );
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
    }

    #[test]
    fn layers_are_counted_together() {
        let tensors: Vec<TensorInfo> = [
            "model.embed_tokens.weight",
            "model.layers.0.mlp.up_proj.weight",
            "model.layers.1.mlp.up_proj.weight",
            "verdict_head.bias",
        ]
        .into_iter()
        .map(|name| TensorInfo {
            name: name.into(),
            kind: tch::Kind::Float,
            shape: vec![2, 3],
        })
        .collect();
        let parts: Vec<(String, usize, i64)> = parts(&tensors)
            .into_iter()
            .map(|p| (p.name, p.tensors, p.parameters))
            .collect();
        assert_eq!(
            parts,
            [
                ("embed_tokens".to_string(), 1, 6),
                ("layers.*".to_string(), 2, 12),
                ("verdict_head".to_string(), 1, 6)
            ]
        );
    }
}
