//! Where a run stands: what `trainer_state.json` keeps beside the weights, so that a resumed run goes on exactly.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::files::LogLines;
use super::game::StageMeans;
use super::summary::StageRow;
use crate::config::Config;
use crate::metrics::auc;
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
    /// A stage of the game.
    Game(Stage),
    /// Everything planned is done.
    Done,
}

impl Phase {
    /// The number in checkpoint names and metrics: 0 for warm-up, then the stage.
    pub fn stage_id(self) -> u8 {
        match self {
            Phase::GeneratorWarmup | Phase::DiscriminatorWarmup => 0,
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

/// An exponential moving average that starts at its first value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MovingAverage {
    value: Option<f64>,
}

impl MovingAverage {
    /// Share of the newest value.
    const WEIGHT: f64 = 0.1;

    /// Takes a value in.
    pub fn update(&mut self, value: f64) {
        self.value = Some(
            self.value
                .map_or(value, |old| old + Self::WEIGHT * (value - old)),
        );
    }

    /// The average, once there is one.
    pub fn get(&self) -> Option<f64> {
        self.value
    }
}

/// Verdicts on fresh samples with what execution said, the newest few hundred, for the gate on the verdict's AUC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VerdictWindow {
    /// (probability, right) pairs, oldest first.
    pub pairs: Vec<(f32, bool)>,
}

impl VerdictWindow {
    const SIZE: usize = 512;

    /// Takes pairs in and forgets the oldest.
    pub fn extend(&mut self, pairs: impl IntoIterator<Item = (f32, bool)>) {
        self.pairs.extend(pairs);
        let surplus = self.pairs.len().saturating_sub(Self::SIZE);
        self.pairs.drain(..surplus);
    }
}

/// Counters of one player over the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlayerTotals {
    /// Scored rollouts or attack sets.
    pub episodes: u64,
    /// Those that won: code that passed everything, or a set that killed a candidate.
    pub wins: u64,
    /// Optimizer steps.
    pub updates: u64,
    /// Sum of rewards.
    pub reward_sum: f64,
}

impl PlayerTotals {
    /// Mean reward of an episode.
    pub fn avg_reward(&self) -> f64 {
        self.reward_sum / self.episodes.max(1) as f64
    }

    /// Share of episodes won.
    pub fn win_rate(&self) -> f64 {
        self.wins as f64 / self.episodes.max(1) as f64
    }
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
    /// Problems drawn for the game so far; the next batch begins there.
    pub problems_seen: u64,
    /// Share of attacks that are valid, which moves alpha.
    pub validity: MovingAverage,
    /// Kill rate on the frozen bank of validation problems, once measured.
    pub bank_kill_rate: Option<f64>,
    /// Recent verdicts, for the gate.
    pub verdicts: VerdictWindow,
    /// The generator's counters.
    pub generator: PlayerTotals,
    /// The discriminator's counters.
    pub discriminator: PlayerTotals,
    /// Best validation pass@1 so far and the step it was reached at.
    pub best_score: Option<(f64, u64)>,
    /// The warm models, which anchor the KL term.
    pub reference: Option<CheckpointRef>,
    /// The newest validation within a stage: its step, and the mean pass@1.
    #[serde(default)]
    pub validated: Option<(u64, f64)>,
    /// What the table and the metrics of later checkpoints are made of.
    #[serde(default)]
    pub(super) progress: Progress,
    /// The user's own notes.
    pub tags: BTreeMap<String, String>,
}

/// What a run has measured so far, so that a resumed one ends with the same table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Rows of the table.
    pub(super) rows: Vec<StageRow>,
    /// Of the stage in progress.
    pub(super) means: StageMeans,
    /// The newest validation of whole pools, as metrics.json has it.
    pub(super) validation: serde_json::Value,
    /// Lengths of the logs.
    pub(super) logs: LogLines,
    /// Seconds that were trained.
    pub(super) seconds: f64,
}

impl TrainerState {
    /// AUC of the verdict head over the window, once both outcomes are in it often enough to mean anything.
    pub fn verdict_auc(&self) -> Option<f64> {
        const LEAST: usize = 16;
        let scores: Vec<(f64, bool)> = self
            .verdicts
            .pairs
            .iter()
            .map(|(p, right)| (f64::from(*p), *right))
            .collect();
        let right = scores.iter().filter(|(_, right)| *right).count();
        if right < LEAST || scores.len() - right < LEAST {
            None
        } else {
            auc(&scores)
        }
    }

    /// Steps that this configuration plans from here to the end.
    pub fn steps_left(&self, config: &Config) -> u64 {
        let warmup = &config.warmup;
        let discriminator = match config.game.adversary {
            true => warmup.discriminator_steps,
            false => 0,
        };
        let game = |from: Option<Stage>| -> u64 {
            let left = config.planned_stages();
            left.filter(|(stage, _)| from.is_none_or(|from| *stage >= from))
                .map(|(_, steps)| steps)
                .sum()
        };
        let ahead = match self.phase {
            Phase::GeneratorWarmup => warmup.generator_steps + discriminator + game(None),
            Phase::DiscriminatorWarmup => discriminator + game(None),
            Phase::Game(stage) => game(Some(stage)),
            Phase::Done => 0,
        };
        ahead.saturating_sub(self.phase_step)
    }

    /// The state before the first step.
    pub fn new(seed: u64, tags: BTreeMap<String, String>) -> Self {
        Self {
            format_version: STATE_VERSION,
            phase: Phase::GeneratorWarmup,
            phase_step: 0,
            step: 0,
            seed,
            problems_seen: 0,
            validity: MovingAverage::default(),
            bank_kill_rate: None,
            verdicts: VerdictWindow::default(),
            generator: PlayerTotals::default(),
            discriminator: PlayerTotals::default(),
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
        let mut state = TrainerState::new(7, BTreeMap::from([("note".into(), "x".into())]));
        state.phase = Phase::Game(Stage::Pseudocode);
        state.validity.update(0.1);
        state.validity.update(0.7);
        state.verdicts.extend([(0.123_456_78, true), (1e-7, false)]);
        state.best_score = Some((1.0 / 3.0, 12));
        let json = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<TrainerState>(&json).unwrap(), state);
    }

    #[test]
    fn the_window_keeps_the_newest() {
        let mut window = VerdictWindow::default();
        window.extend((0..600).map(|i| (i as f32, true)));
        assert_eq!((window.pairs.len(), window.pairs[0].0), (512, 88.0));
    }
}
