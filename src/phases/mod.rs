//! The phases of a run: the generator's warm-up, the discriminator's, self-training, the stages of the game. Each is a
//! [`TrainingPhase`]; one loop, the run's, drives them all.
//!
//! A phase computes. It reads no clock, writes no file and shows nothing but through [`Watch`].

mod adversarial;
mod discriminator_data;
mod schedule;
mod self_training;
mod state;
mod traces;
mod warmup;

pub use adversarial::Game;
pub use schedule::{learning_rate, own_step};
pub use self_training::SelfTraining;
pub use state::{CheckpointRef, Phase, Progress, STATE_VERSION, TrainerState};
pub use warmup::{DiscriminatorWarmup, GeneratorWarmup};

use serde_json::Value as Json;

use crate::config::Config;
use crate::error::TrainError;
use crate::evaluation::{Pool, StageMeans, StageRow};
use crate::execution::Executor;
use crate::generator::Sampling;
use crate::metrics::{LogError, SampleRecord, StepReport};
use crate::mistake_book::MistakeBook;
use crate::own_chains::OwnChain;
use crate::players::Roster;
use crate::rng::DrawKey;
use crate::source::ProblemSource;
use crate::update::{Example, imitate};

/// What a run is made of and never changes.
pub struct Setup {
    /// Every key.
    pub config: Config,
    /// Executes.
    pub executor: Executor,
    /// Problems to train on.
    pub source: ProblemSource,
    /// Problems that choose `best`.
    pub validation: Vec<Pool>,
    /// Problems that are only reported.
    pub report: Vec<Pool>,
    /// Root key of the run's draws.
    pub key: DrawKey,
}

impl Setup {
    /// Limits of a chain, at a temperature.
    pub fn sampling(&self, temperature: f64) -> Sampling {
        Sampling {
            temperature,
            max_new_tokens: self.config.sampling.max_new_tokens,
            batch_size: self.config.evaluation.batch_size,
        }
    }
}

/// What training changes, and a checkpoint holds.
pub struct Learner {
    /// The players.
    pub roster: Roster,
    /// Past kills.
    pub mistakes: MistakeBook,
    /// Right chains of the generators' own.
    pub own_chains: Vec<OwnChain>,
    /// Where the run stands.
    pub state: TrainerState,
    /// Means over the stage in progress.
    pub means: StageMeans,
}

/// How a phase is watched and stopped, and how it marks time.
pub trait Watch {
    /// Whether the run is asked to stop.
    fn is_stopped(&self) -> bool;
    /// A part of the run begins: its name, its steps, and how many of them are done already.
    fn begin(&mut self, title: &str, steps: u64, done: u64);
    /// So many steps of that part are done.
    fn progress(&mut self, done: u64, message: &str);
    /// Something a person should read.
    fn note(&mut self, text: &str);
    /// A line for metrics.jsonl that is no step's.
    fn log(&mut self, record: &Json) -> Result<(), LogError>;
    /// The time since the last mark was spent on `part`.
    fn mark(&mut self, part: &'static str);
}

/// What one optimizer step leaves to be written down.
pub struct StepOutcome {
    /// For metrics.jsonl; the run fills in the step.
    pub report: StepReport,
    /// For samples.jsonl.
    pub samples: Vec<SampleRecord>,
    /// For a person who watches.
    pub message: String,
}

/// Steps of one kind.
pub trait TrainingPhase {
    /// What a person calls it.
    fn title(&self) -> String;
    /// Its steps, of all players together.
    fn steps(&self) -> u64;
    /// The stage in training; 0 outside the game.
    fn stage_id(&self) -> u8 {
        0
    }
    /// Whether its checkpoints are those of the game, which come after fewer steps than others.
    fn is_game(&self) -> bool {
        self.stage_id() > 0
    }
    /// Makes what the next step needs. False when it was stopped, which leaves everything as it was.
    fn prepare(
        &mut self,
        _setup: &Setup,
        _learner: &mut Learner,
        _watch: &mut dyn Watch,
    ) -> Result<bool, TrainError> {
        Ok(true)
    }
    /// Takes one step of an optimizer.
    fn step(
        &mut self,
        setup: &Setup,
        learner: &mut Learner,
        watch: &mut dyn Watch,
    ) -> Result<StepOutcome, TrainError>;
}

/// A step of supervised learning, written down.
fn supervised_outcome(values: &[(&str, f64)], message: String) -> StepOutcome {
    let mut report = StepReport::new(0, 0);
    let values = values
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value));
    report.values.extend(values);
    StepOutcome {
        report,
        samples: Vec::new(),
        message,
    }
}

/// What a step that fails is taken back to.
pub struct Before {
    state: TrainerState,
    mistakes: MistakeBook,
    means: StageMeans,
}

impl Learner {
    /// One generator's step of imitating `examples`.
    fn imitate(
        &mut self,
        number: usize,
        examples: &[Example],
        rate: f64,
        watch: &mut dyn Watch,
    ) -> Result<StepOutcome, TrainError> {
        let player = &mut self.roster.generators[number];
        let nats = imitate(&player.policy.model, examples, 1.0);
        let norm = player.step(rate)?;
        self.state.stats.generators[number].totals.updates += 1;
        watch.mark("update");
        let mut values = vec![
            ("generator_loss", nats),
            ("generator_grad_norm", norm),
            ("learning_rate", rate),
        ];
        let several = self.roster.generators.len() > 1;
        values.extend(several.then_some(("player", number as f64)));
        Ok(supervised_outcome(&values, format!("loss {nats:.3}")))
    }

    /// The state before a step, but for weights.
    pub fn remember(&self) -> Before {
        Before {
            state: self.state.clone(),
            mistakes: self.mistakes.clone(),
            means: self.means.clone(),
        }
    }

    /// Takes everything but weights back; true when a player's weights had been updated, which stays.
    pub fn take_back(&mut self, before: Before) -> bool {
        let updated = self.state.stats.updates() > before.state.stats.updates();
        self.state = before.state;
        self.mistakes = before.mistakes;
        self.means = before.means;
        updated
    }

    /// Takes note of a measurement of all pools, which ends a phase. True when validation is better than ever.
    pub fn on_measured(&mut self, row: &StageRow) -> bool {
        self.means = StageMeans::default();
        let kills = match &row.ranking {
            Some(ranking) => ranking.bank_kill_rate.clone(),
            None => vec![row.bank_kill_rate],
        };
        for (stats, rate) in self.state.stats.discriminators.iter_mut().zip(kills) {
            stats.bank_kill_rate = rate;
        }
        let best = self.state.best_score;
        let better = best.is_none_or(|(best, _)| row.validation > best);
        if better {
            self.state.best_score = Some((row.validation, self.state.step));
        }
        better
    }
}
