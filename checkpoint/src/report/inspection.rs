//! One checkpoint in detail, and whether it is whole.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value as Json;

use super::comparison::{SettingRow, flat, setting_rows};
use super::{Summary, counted, grouped, human_age, human_size};
use crate::pt::dtype_name;
use crate::{Checkpoint, CheckpointError, PlayerFile, TensorInfo};

/// Everything worth knowing about one checkpoint.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// Its directory.
    #[serde(serialize_with = "crate::as_text::path")]
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
    /// Settings in which another checkpoint differs, where that was asked for: its value second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<Vec<SettingRow>>,
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
            settings: None,
        })
    }

    /// Adds the settings in which `other` differs from `checkpoint`, which this is about.
    pub fn compare_settings(
        &mut self,
        checkpoint: &Checkpoint,
        other: &Checkpoint,
    ) -> Result<(), CheckpointError> {
        let settings = [checkpoint.training_config()?, other.training_config()?];
        self.settings = Some(setting_rows(&settings.each_ref().map(flat)));
        Ok(())
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
        for (key, value) in &summary.tags {
            writeln!(f, "  {key}: {value}")?;
        }
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
        if let Some(settings) = &self.settings {
            writeln!(f, "\nsettings, here and there")?;
            for row in settings {
                let values: Vec<String> = row.values.iter().map(Json::to_string).collect();
                writeln!(f, "  {}: {}", row.name, values.join(" | "))?;
            }
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
    #[serde(serialize_with = "crate::as_text::path")]
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

#[cfg(test)]
mod tests {
    use super::*;

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
