//! Where a run stands: what `trainer_state.json` keeps beside the weights, so that a resumed run goes on exactly.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{Config, Players};
use crate::evaluation::{StageMeans, StageRow};
use crate::metrics::LogLines;
use crate::players::AllPlayerStats;
use crate::stage::Stage;

/// Version of `trainer_state.json`.
pub const STATE_VERSION: u32 = 1;

/// What is being trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "name", content = "stage")]
pub enum Phase {
    /// The generator imitates reference traces.
    GeneratorWarmup,
    /// The discriminator learns from executed samples.
    DiscriminatorWarmup,
    /// The generators imitate right chains of their own.
    SelfTraining,
    /// A stage of the game.
    Game(Stage),
    /// Everything planned is done.
    Done,
}

impl Phase {
    /// The number in checkpoint names and metrics: 0 for warm-up, then the stage.
    pub fn stage_id(self) -> u8 {
        match self {
            Phase::GeneratorWarmup | Phase::DiscriminatorWarmup | Phase::SelfTraining => 0,
            Phase::Game(stage) => stage.number(),
            Phase::Done => Stage::Code.number(),
        }
    }
}

/// A checkpoint by run directory and name, with the hash of its manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointRef {
    /// Directory of the checkpoint.
    pub path: PathBuf,
    /// BLAKE3 of its manifest, in hex.
    pub manifest: String,
}

/// Everything a run knows beside weights, moments and mistake book.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainerState {
    /// Version of the layout.
    pub format_version: u32,
    /// What is being trained.
    pub phase: Phase,
    /// Steps done in this phase.
    pub phase_step: u64,
    /// Optimizer steps done in all.
    pub step: u64,
    /// Seed of all draws.
    pub seed: u64,
    /// Problems drawn for self-training and the game so far; the next batch begins there.
    pub problems_seen: u64,
    /// Rounds of self-training whose chains have been sampled.
    #[serde(default)]
    pub sampled_rounds: u64,
    /// What is known of each player.
    #[serde(flatten)]
    pub stats: AllPlayerStats,
    /// Best validation pass@1 so far and the step it was reached at.
    pub best_score: Option<(f64, u64)>,
    /// The warm models, which anchor the KL term.
    pub reference: Option<CheckpointRef>,
    /// The newest validation within a stage: its step, and the mean pass@1.
    #[serde(default)]
    pub validated: Option<(u64, f64)>,
    /// What the table and the metrics of later checkpoints are made of.
    #[serde(default)]
    pub progress: Progress,
    /// The user's own notes.
    pub tags: BTreeMap<String, String>,
}

/// What a run has measured so far, so that a resumed one ends with the same table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Rows of the table.
    pub rows: Vec<StageRow>,
    /// Of the stage in progress.
    pub means: StageMeans,
    /// The newest validation of whole pools, as metrics.json has it.
    pub validation: serde_json::Value,
    /// Lengths of the logs.
    pub logs: LogLines,
    /// Seconds that were trained.
    pub seconds: f64,
}

impl TrainerState {
    /// Steps that this configuration plans from here to the end.
    pub fn steps_left(&self, config: &Config) -> u64 {
        let generator = config.warmup.generator_steps * config.players.generators as u64;
        let discriminator = match config.game.adversary {
            true => config.warmup.discriminator_steps * config.players.discriminators as u64,
            false => 0,
        };
        let own = config.self_training.all_steps() * config.players.generators as u64;
        let game = |from: Option<Stage>| -> u64 {
            let left = config.planned_stages();
            left.filter(|(stage, _)| from.is_none_or(|from| *stage >= from))
                .map(|(_, steps)| steps)
                .sum()
        };
        let ahead = match self.phase {
            Phase::GeneratorWarmup => generator + discriminator + own + game(None),
            Phase::DiscriminatorWarmup => discriminator + own + game(None),
            Phase::SelfTraining => own + game(None),
            Phase::Game(stage) => game(Some(stage)),
            Phase::Done => 0,
        };
        ahead.saturating_sub(self.phase_step)
    }

    /// The state before the first step.
    pub fn new(seed: u64, players: &Players, tags: BTreeMap<String, String>) -> Self {
        Self {
            format_version: STATE_VERSION,
            phase: Phase::GeneratorWarmup,
            phase_step: 0,
            step: 0,
            seed,
            problems_seen: 0,
            sampled_rounds: 0,
            stats: AllPlayerStats::new(players),
            best_score: None,
            reference: None,
            validated: None,
            progress: Progress::default(),
            tags,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_survives_json_bit_for_bit() {
        for players in [(1, 1), (2, 1), (3, 8)] {
            let players = Players {
                generators: players.0,
                discriminators: players.1,
            };
            let tags = BTreeMap::from([("note".into(), "x".into())]);
            let mut state = TrainerState::new(7, &players, tags);
            state.phase = Phase::Game(Stage::Pseudocode);
            let stats = &mut state.stats;
            for (i, theirs) in stats.discriminators.iter_mut().enumerate() {
                theirs.validity.update(0.1);
                theirs.validity.update(0.7 / (i + 1) as f64);
                theirs
                    .verdicts
                    .push(vec![(0.123_456_78, true), (1e-7, false)]);
            }
            stats.generators[players.generators - 1].totals.reward_sum = 0.1 + 0.2;
            state.best_score = Some((1.0 / 3.0, 12));
            let json = serde_json::to_value(&state).unwrap();
            let read = serde_json::from_str::<TrainerState>(&json.to_string()).unwrap();
            assert_eq!(read, state);
            // The totals of the role stand where those of its one player stand.
            assert_eq!(json["generator"]["reward_sum"], 0.1 + 0.2);
            let several = players.generators + players.discriminators > 2;
            assert_eq!(json.get("players").is_some(), several, "{json}");
        }
    }
}
