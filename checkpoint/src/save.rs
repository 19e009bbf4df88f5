//! What the trainer hands over to be saved, and the form in which it can go to another thread.

use std::collections::BTreeMap;
use std::fs::File;

use serde_json::Value as Json;

use super::CheckpointError;
use super::format::PlayerState;
use super::manifest::{CheckpointKind, Parent};
use super::names;
use super::pt::{HostTensor, PtValue};

/// Name of the generator among the players; its file is `generator.pt`.
pub const GENERATOR: &str = "generator";

/// Name of the discriminator among the players; its file is `discriminator.pt`.
pub const DISCRIMINATOR: &str = "discriminator";

/// Names of the players of a role: `generator`, or `generator_0`, `generator_1`, .. where there are several.
pub fn player_names(role: &str, count: usize) -> Vec<String> {
    match count {
        1 => vec![role.to_owned()],
        _ => (0..count)
            .map(|number| format!("{role}_{number}"))
            .collect(),
    }
}

/// Everything a checkpoint is made of, tensors still in libtorch.
#[derive(Debug)]
pub struct SaveRequest {
    /// The directory's name, as in `stage_3`, `final` or `step_000120`.
    pub name: String,
    /// What the checkpoint is for. Of a sampler checkpoint the optimizers are left out.
    pub kind: CheckpointKind,
    /// The stage that is finished, or in progress; 0 is warm-up.
    pub stage: i64,
    /// Training steps made.
    pub step: u64,
    /// The validation score, if this state was validated.
    pub score: Option<f64>,
    /// Every player by name, each with a file of its own.
    pub players: Vec<(String, PlayerState)>,
    /// Content of metrics.json.
    pub metrics: Json,
    /// Content of training_config.json: the resolved configuration.
    pub training_config: Json,
    /// Content of trainer_state.json. Its form is the trainer's; see
    /// [`super::Checkpoint::trainer_state`]. A float that is not finite would read back as null.
    pub trainer_state: Json,
    /// Content of mistake_book.jsonl.
    pub mistake_book: String,
    /// Content of own_chains.jsonl, which a checkpoint without any does not have.
    pub own_chains: String,
    /// Content of tokenizer.json.
    pub tokenizer: String,
    /// File name and content of every prompt template.
    pub prompts: Vec<(String, String)>,
    /// The checkpoint the run was resumed from.
    pub parent: Option<Parent>,
    /// Notes of the user's own, shown in listings.
    pub tags: BTreeMap<String, String>,
    /// Whether `best` shall point here.
    pub set_best: bool,
}

/// A checkpoint as plain bytes: [`Send`], and independent of the tensors it was taken from.
#[derive(Debug)]
pub struct SaveJob {
    pub(super) name: String,
    pub(super) kind: CheckpointKind,
    pub(super) stage: i64,
    pub(super) step: u64,
    pub(super) score: Option<f64>,
    pub(super) parent: Option<Parent>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) set_best: bool,
    pub(super) players: Vec<(String, PtValue<HostTensor>)>,
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// Logs that must be as durable as the checkpoint that counts on their lines.
    pub(super) logs: Vec<File>,
    /// Whether weights and moments that are not finite are refused.
    finite_only: bool,
}

impl SaveRequest {
    /// Copies everything that may change under training. This is all the trainer has to wait for.
    pub fn snapshot(mut self) -> Result<SaveJob, CheckpointError> {
        names::check_new(&self.name)?;
        let mut players = Vec::with_capacity(self.players.len());
        for (name, player) in &mut self.players {
            names::check("a player", name)?;
            if self.kind == CheckpointKind::Sampler {
                player.optimizer = None;
            }
            players.push((format!("{name}.pt"), player.snapshot()?));
        }
        let mut files = vec![
            ("tokenizer.json".to_string(), self.tokenizer.into_bytes()),
            ("metrics.json".to_string(), json_text(&self.metrics)),
            (
                "training_config.json".to_string(),
                json_text(&self.training_config),
            ),
            (
                "trainer_state.json".to_string(),
                json_text(&self.trainer_state),
            ),
            (
                "mistake_book.jsonl".to_string(),
                self.mistake_book.into_bytes(),
            ),
        ];
        if !self.own_chains.is_empty() {
            files.push(("own_chains.jsonl".to_string(), self.own_chains.into_bytes()));
        }
        for (name, text) in self.prompts {
            if !names::is_plain_path(&name) {
                let reason =
                    "a prompt's path is made of letters, digits and . _ - + between its slashes";
                return Err(CheckpointError::Name {
                    what: "a prompt",
                    name,
                    reason,
                });
            }
            files.push((format!("prompts/{name}"), text.into_bytes()));
        }
        let mut paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
        paths.extend(players.iter().map(|(path, _)| path.as_str()));
        paths.sort_unstable();
        if let Some(pair) = paths.windows(2).find(|pair| pair[0] == pair[1]) {
            let reason = "two files of the checkpoint have this name".into();
            return Err(CheckpointError::Unsavable {
                what: pair[0].into(),
                reason,
            });
        }
        Ok(SaveJob {
            name: self.name,
            kind: self.kind,
            stage: self.stage,
            step: self.step,
            score: self.score,
            parent: self.parent,
            tags: self.tags,
            set_best: self.set_best,
            players,
            files,
            logs: Vec::new(),
            finite_only: false,
        })
    }
}

impl SaveJob {
    /// Has these files synced before the checkpoint is committed: a checkpoint that survives a
    /// crash finds the lines that were in them.
    pub fn after(mut self, logs: Vec<File>) -> Self {
        self.logs = logs;
        self
    }

    /// Has the write refuse weights and moments that are infinite or not a number: training could only fail again from
    /// there, and an older checkpoint must not give way to it.
    pub fn only_if_finite(mut self) -> Self {
        self.finite_only = true;
        self
    }

    /// Refuses what [`SaveJob::only_if_finite`] asked to refuse, by name.
    pub(super) fn check_finite(&self) -> Result<(), CheckpointError> {
        if !self.finite_only {
            return Ok(());
        }
        for (path, value) in &self.players {
            if let Some(inner) = not_finite(value) {
                return Err(CheckpointError::Unsavable {
                    what: self.name.clone(),
                    reason: format!("{path}: {inner} has values that are infinite or not a number"),
                });
            }
        }
        Ok(())
    }

    /// The checkpoint's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Training steps made.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Whether `best` shall point to the checkpoint.
    pub(super) fn set_best(&self) -> bool {
        self.set_best
    }

    /// Bytes that the checkpoint will take on disk, rounded up generously.
    pub fn size(&self) -> u64 {
        let players = self.players.iter().map(|(_, value)| value_size(value));
        let files = self
            .files
            .iter()
            .map(|(_, bytes)| bytes.len() as u64 + 4096);
        players.chain(files).sum::<u64>() + (64 << 10)
    }
}

/// A value's share of a `.pt` file, with the entry's headers and its lines in the manifest.
fn value_size(value: &PtValue<HostTensor>) -> u64 {
    match value {
        PtValue::Tensor(tensor) => tensor.bytes().len() as u64 + 1024,
        PtValue::List(items) | PtValue::Tuple(items) => items.iter().map(value_size).sum(),
        PtValue::Dict(items) => items
            .iter()
            .map(|(k, v)| value_size(k) + value_size(v))
            .sum(),
        PtValue::Str(text) => text.len() as u64 + 8,
        _ => 24,
    }
}

/// The way to the first tensor that has an infinite value or one that is not a number.
fn not_finite(value: &PtValue<HostTensor>) -> Option<String> {
    let within = |name: String, inner: &PtValue<HostTensor>| {
        not_finite(inner).map(|rest| match rest.as_str() {
            "" => name,
            rest => format!("{name}: {rest}"),
        })
    };
    match value {
        PtValue::Tensor(tensor) => (!tensor.is_finite()).then(String::new),
        PtValue::List(items) | PtValue::Tuple(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(i, item)| within(i.to_string(), item))
        }
        PtValue::Dict(items) => items.iter().find_map(|(key, item)| {
            let name = match key {
                PtValue::Str(name) => name.clone(),
                PtValue::Int(index) => index.to_string(),
                other => other.type_name().to_owned(),
            };
            within(name, item)
        }),
        _ => None,
    }
}

fn json_text(json: &Json) -> Vec<u8> {
    format!("{json:#}\n").into_bytes()
}
