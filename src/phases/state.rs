//! Where a run stands: what `trainer_state.json` keeps beside the weights, so that a resumed run goes on exactly.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
    /// Directory of the checkpoint; what is no text in it is replaced when it is written down.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
    /// BLAKE3 of its manifest, in hex.
    pub manifest: String,
}

fn as_text<S: serde::Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
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
    /// Steps that were played of every stage that was played, measured and saved, by its number.
    #[serde(default)]
    pub played: BTreeMap<u8, u64>,
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
    /// Steps of a stage that were played.
    pub fn played_steps(&self, stage: Stage) -> u64 {
        match self.phase {
            Phase::Game(present) if present == stage => self.phase_step,
            _ => self.played.get(&stage.number()).copied().unwrap_or(0),
        }
    }

    /// The first planned stage that was not played, or of which this configuration plans more steps than were played.
    fn due(&self, config: &Config) -> Option<Stage> {
        let played = |stage: Stage| self.played.get(&stage.number());
        let mut planned = config.planned_stages();
        planned
            .find(|(stage, steps)| played(*stage).is_none_or(|played| played < steps))
            .map(|(stage, _)| stage)
    }

    /// Goes on to what is due in the game, where its stage left off; to the end where nothing is.
    pub fn enter_due(&mut self, config: &Config) {
        self.phase_step = match self.phase {
            // What was played of the last stage stays known.
            Phase::Game(_) | Phase::Done => self.phase_step,
            _ => 0,
        };
        match self.due(config) {
            Some(stage) => {
                self.phase_step = self.played.get(&stage.number()).copied().unwrap_or(0);
                self.phase = Phase::Game(stage);
            }
            None => self.phase = Phase::Done,
        }
    }

    /// Takes note that the present stage was played, measured and saved, and goes on to what is due.
    pub fn finish_stage(&mut self, config: &Config) {
        if let Phase::Game(stage) = self.phase {
            self.played.insert(stage.number(), self.phase_step);
        }
        self.enter_due(config);
    }

    /// What a state that was saved under another configuration goes on with under this one: the stage in progress to its
    /// end, then whatever is due.
    pub fn plan_again(&mut self, config: &Config) {
        match self.phase {
            Phase::Game(_) if self.phase_step > 0 => {}
            Phase::Game(_) | Phase::Done => self.enter_due(config),
            _ => {}
        }
    }

    /// What was played, for a state whose version did not write it down: `was` planned it.
    pub fn infer_played(&mut self, was: &Config) {
        let before = match self.phase {
            _ if !self.played.is_empty() => return,
            Phase::Game(stage) => stage.number(),
            Phase::Done => u8::MAX,
            _ => return,
        };
        let planned = was.planned_stages();
        let past = planned.filter(|(stage, _)| stage.number() < before);
        self.played = past.map(|(stage, steps)| (stage.number(), steps)).collect();
        if self.phase == Phase::Done
            && let Some((_, steps)) = self.played.iter_mut().next_back()
        {
            *steps = self.phase_step;
        }
    }

    /// Steps that this configuration plans from here to the end.
    pub fn steps_left(&self, config: &Config) -> u64 {
        let generator = config.warmup.generator_steps * config.players.generators as u64;
        let discriminator = match config.game.adversary {
            true => config.warmup.discriminator_steps * config.players.discriminators as u64,
            false => 0,
        };
        let own = config.self_training.all_steps() * config.players.generators as u64;
        let planned = config.planned_stages();
        let game: u64 = planned
            .map(|(stage, steps)| steps.saturating_sub(self.played_steps(stage)))
            .sum();
        let before_game = match self.phase {
            Phase::GeneratorWarmup => generator + discriminator + own,
            Phase::DiscriminatorWarmup => discriminator + own,
            Phase::SelfTraining => own,
            Phase::Game(_) | Phase::Done => return game,
        };
        before_game.saturating_sub(self.phase_step) + game
    }

    /// The state before the first step.
    pub fn new(seed: u64, players: &Players, tags: BTreeMap<String, String>) -> Self {
        Self {
            format_version: STATE_VERSION,
            phase: Phase::GeneratorWarmup,
            phase_step: 0,
            played: BTreeMap::new(),
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

    /// The steps of stages 1 to 5, of those from `first` to `last`.
    fn planned(first: u8, last: u8, steps: [u64; 5]) -> Config {
        let text = format!("stages: {{first: {first}, last: {last}, steps: {steps:?}}}");
        Config::parse(&text, Path::new("x"), &[]).unwrap()
    }

    fn fresh() -> TrainerState {
        TrainerState::new(0, &Players::default(), BTreeMap::new())
    }

    /// Plays everything that is due, up to `limit` steps; gives stage and steps of what was played.
    fn play(state: &mut TrainerState, config: &Config, mut limit: u64) -> Vec<(u8, u64)> {
        if !matches!(state.phase, Phase::Game(_) | Phase::Done) {
            state.enter_due(config);
        }
        let mut log = Vec::new();
        while let Phase::Game(stage) = state.phase {
            let steps = config.planned_stages().find(|(s, _)| *s == stage);
            let steps = steps.map_or(0, |(_, steps)| steps);
            let more = steps.saturating_sub(state.phase_step);
            let taken = more.min(limit);
            (limit, state.phase_step) = (limit - taken, state.phase_step + taken);
            log.push((stage.number(), taken));
            if taken < more {
                break;
            }
            state.finish_stage(config);
        }
        log
    }

    #[test]
    fn what_is_missing_is_played_whatever_was_planned_before() {
        const ALL: u64 = u64::MAX;
        type Plan = (u8, u8, [u64; 5]);
        type Played = &'static [(u8, u64)];
        let cases: [(Plan, u64, Plan, Played); 12] = [
            // Nothing more.
            ((1, 5, [1, 1, 1, 1, 3]), ALL, (1, 5, [1, 1, 1, 1, 3]), &[]),
            // More steps of the last stage.
            (
                (1, 5, [1, 1, 1, 1, 3]),
                ALL,
                (1, 5, [1, 1, 1, 1, 6]),
                &[(5, 3)],
            ),
            // More stages, of fewer steps than the first had.
            (
                (1, 1, [4, 1, 1, 1, 3]),
                ALL,
                (1, 5, [4, 1, 1, 1, 3]),
                &[(2, 1), (3, 1), (4, 1), (5, 3)],
            ),
            (
                (1, 2, [1, 1, 1, 1, 1]),
                ALL,
                (1, 5, [1; 5]),
                &[(3, 1), (4, 1), (5, 1)],
            ),
            // Stages that had no steps have some.
            (
                (1, 5, [1, 1, 0, 0, 1]),
                ALL,
                (1, 5, [1, 1, 1, 1, 3]),
                &[(3, 1), (4, 1), (5, 2)],
            ),
            // Earlier stages than the first.
            ((3, 5, [1; 5]), ALL, (1, 5, [1; 5]), &[(1, 1), (2, 1)]),
            // More of an earlier stage.
            ((1, 5, [1; 5]), ALL, (1, 5, [3, 1, 1, 1, 1]), &[(1, 2)]),
            // From the middle: the stage in progress comes to its end first.
            (
                (1, 5, [2; 5]),
                3,
                (1, 5, [2; 5]),
                &[(2, 1), (3, 2), (4, 2), (5, 2)],
            ),
            (
                (1, 5, [2; 5]),
                3,
                (1, 5, [3, 2, 0, 0, 0]),
                &[(2, 1), (1, 1), (3, 0), (4, 0), (5, 0)],
            ),
            // Fewer than were played.
            (
                (1, 5, [2; 5]),
                9,
                (1, 5, [9, 2, 2, 2, 0]),
                &[(5, 0), (1, 7)],
            ),
            // It is not planned any more.
            ((1, 5, [2; 5]), 9, (1, 3, [2; 5]), &[(5, 0)]),
            // At the very beginning of a stage that is not planned any more.
            ((1, 5, [2; 5]), 4, (1, 2, [2; 5]), &[]),
        ];
        for (before, limit, after, expected) in cases {
            let [was, now] =
                [before, after].map(|(first, last, steps)| planned(first, last, steps));
            let mut state = fresh();
            play(&mut state, &was, limit);
            let json = serde_json::to_string(&state).unwrap();
            let mut state: TrainerState = serde_json::from_str(&json).unwrap();
            state.plan_again(&now);
            let left = state.steps_left(&now);
            let log = play(&mut state, &now, ALL);
            assert_eq!(log, expected, "{before:?} {limit} {after:?}");
            let played: u64 = log.iter().map(|(_, steps)| steps).sum();
            assert_eq!(left, played, "{before:?} {limit} {after:?}");
            assert_eq!(state.phase, Phase::Done);
        }
    }

    #[test]
    fn a_state_that_does_not_say_what_was_played_is_taken_at_its_configuration() {
        for (limit, steps) in [(u64::MAX, vec![1, 1, 1, 1, 3]), (2, vec![1]), (0, vec![])] {
            let was = planned(1, 5, [1, 2, 1, 1, 3]);
            let mut state = fresh();
            play(&mut state, &was, limit);
            let mut old: TrainerState = {
                let mut json = serde_json::to_value(&state).unwrap();
                json.as_object_mut().unwrap().remove("played");
                serde_json::from_value(json).unwrap()
            };
            old.infer_played(&was);
            assert_eq!(old, state);
            assert_eq!(old.played.len(), steps.len());
        }
    }

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
