//! A run from its configuration to its last checkpoint.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use gauntlet_sandbox::Sandbox;
use serde::Serialize;
use serde_json::json;

use crate::checkpoint::{Checkpoint, LocalStorage, Mirror, Runs, Storage, Store};
use crate::config::{Config, Warmup};
use crate::evaluation::Pool;
use crate::generator::Sampling;
use crate::judge::Judge;
use crate::metrics::StepReport;
use crate::mistake_book::MistakeBook;
use crate::model::sampling::DrawKey;
use crate::own_chains::{OwnChain, read_jsonl};
use crate::source::ProblemSource;
use crate::stage::Stage;
use crate::update::imitate;
use crate::warmup::{DiscriminatorData, generator_batch, learning_rate, own_step};

use super::TrainError;
use super::base::{Base, slow_dtype};
use super::files::{RunFiles, logs_of};
use super::game::StageMeans;
use super::observer::{Begun, Observer};
use super::open::{
    check_resumable, device, limits, new_players, open_encoder, open_source, resumed_players,
    resumed_state,
};
use super::players::{Roster, game_options, model_config};
use super::saving::{Saving, caught};
use super::state::{Phase, TrainerState};
use super::summary::Summary;

/// How a run ended.
#[derive(Debug)]
pub enum Ending {
    /// Everything planned is done.
    Finished {
        /// The final checkpoint.
        last: PathBuf,
        /// The table of results.
        summary: Summary,
    },
    /// It was asked to stop and saved itself.
    Interrupted {
        /// The emergency checkpoint.
        saved: PathBuf,
    },
}

/// A run in progress. One thread owns it, with all its tensors.
pub struct Session<'o> {
    pub(super) config: Config,
    pub(super) judge: Judge,
    pub(super) source: ProblemSource,
    pub(super) roster: Roster,
    pub(super) mistakes: MistakeBook,
    pub(super) own_chains: Vec<OwnChain>,
    pub(super) state: TrainerState,
    pub(super) files: RunFiles,
    pub(super) key: DrawKey,
    pub(super) validation: Vec<Pool>,
    pub(super) report: Vec<Pool>,
    pub(super) summary: Summary,
    pub(super) means: StageMeans,
    pub(super) last_validation: serde_json::Value,
    pub(super) begun: Instant,
    pub(super) observer: &'o mut dyn Observer,
    /// Steps planned for the present phase.
    pub(super) phase_steps: u64,
    pub(super) saving: Saving,
    interrupted: Arc<AtomicBool>,
}

impl<'o> Session<'o> {
    /// Prepares a run in a fresh directory below `run.output_dir`: opens the sandbox, loads and proves problems, makes or
    /// loads the players. `resume` goes on exactly where the checkpoint stands; `init_from` takes only its weights.
    pub fn open(
        config: Config,
        resume: Option<Checkpoint>,
        init_from: Option<Checkpoint>,
        interrupted: Arc<AtomicBool>,
        observer: &'o mut dyn Observer,
    ) -> Result<Self, TrainError> {
        let storage = Arc::new(LocalStorage);
        Self::open_on(storage, config, resume, init_from, interrupted, observer)
    }

    /// As [`Session::open`]; checkpoints are written over a file system of the caller's.
    pub fn open_on(
        storage: Arc<dyn Storage>,
        config: Config,
        resume: Option<Checkpoint>,
        init_from: Option<Checkpoint>,
        interrupted: Arc<AtomicBool>,
        observer: &'o mut dyn Observer,
    ) -> Result<Self, TrainError> {
        let device = device(&config.run.device);
        if config.run.threads > 0 {
            tch::set_num_threads(config.run.threads as i32);
        }
        let begun = Instant::now();
        // First of all: a model that cannot be had is told before any work.
        if let Some(warning) = slow_dtype(&config, device) {
            observer.note(&warning);
        }
        let (base, published) = Base::open(&config, device)?.unzip();
        let sandbox = Sandbox::open()?;
        let judge = Judge::new(sandbox, limits(&config));
        let source = open_source(&config, &judge, observer)?;
        let base = base.as_ref();
        let encoder = Arc::new(match (resume.as_ref().or(init_from.as_ref()), published) {
            (None, Some(encoder)) => encoder,
            (checkpoint, _) => open_encoder(&config, checkpoint)?,
        });
        let vocab = encoder.tokenizer().vocab_size();
        for model in [config.generator_model(), config.discriminator_model()] {
            if base.is_none() {
                model_config(&model, vocab).validate()?;
            }
        }
        observer.note("preparing problems");
        let validation = source.validation(judge.sandbox(), config.problems.validation_problems)?;
        let report = source.report(judge.sandbox(), config.problems.report_problems)?;

        let (mut mistakes, mut own_chains) = (MistakeBook::default(), Vec::new());
        let (ground, tags) = ((device, base), config.run.tags.clone());
        let (mut state, roster) = match &resume {
            None => {
                let state = TrainerState::new(config.run.seed, &config.players, tags);
                let init_from = init_from.as_ref();
                (state, new_players(&config, init_from, &encoder, ground)?)
            }
            Some(checkpoint) => {
                check_resumable(&config, checkpoint)?;
                let mut state = resumed_state(&config, checkpoint)?;
                state.tags.extend(tags);
                let roster = resumed_players(&config, checkpoint, &mut state, &encoder, ground)?;
                mistakes.read_jsonl(&checkpoint.mistake_book()?)?;
                own_chains = read_jsonl(&checkpoint.own_chains()?)?;
                (state, roster)
            }
        };
        let dir = Runs::new(&config.run.output_dir).start(&config.run.name, SystemTime::now())?;
        let store = Store::create_on(storage, &dir)?;
        let copies = config.checkpoint.checkpoint_dir.as_ref();
        let copies = copies
            .map(|to| Mirror::start(&dir, to.as_ref()))
            .transpose()?;
        let parent_dir = resume.as_ref().map(logs_of).transpose()?.flatten();
        let files = RunFiles::open(
            &dir,
            &config,
            parent_dir
                .as_deref()
                .map(|parent| (parent, state.progress.logs)),
        )?;
        let saving = Saving::new(
            store,
            copies,
            resume.as_ref().map(Checkpoint::as_parent),
            resume.map(|checkpoint| (checkpoint.path().to_owned(), state.step)),
        )?;
        let progress = std::mem::take(&mut state.progress);
        let before = Duration::try_from_secs_f64(progress.seconds).unwrap_or_default();
        observer.note(&format!("run directory {}", dir.display()));
        observer.begun(&Begun {
            directory: &dir,
            checkpoints: saving.store.dir(),
            stage: state.phase.stage_id(),
            step: state.step,
            steps_planned: state.step + state.steps_left(&config),
        });
        Ok(Self {
            key: DrawKey::new(config.run.seed),
            last_validation: match progress.validation {
                serde_json::Value::Null => json!({}),
                validation => validation,
            },
            summary: Summary {
                rows: progress.rows,
                ..Summary::default()
            },
            means: progress.means,
            config,
            judge,
            source,
            roster,
            mistakes,
            own_chains,
            state,
            files,
            validation,
            report,
            begun: begun.checked_sub(before).unwrap_or(begun),
            observer,
            phase_steps: 0,
            saving,
            interrupted,
        })
    }

    /// The run's directory.
    pub fn dir(&self) -> &Path {
        self.files.dir()
    }

    /// Where the run stands.
    pub fn state(&self) -> &TrainerState {
        &self.state
    }

    /// Trains until everything planned is done, or the interrupt flag is set. When a step fails or panics, the state
    /// before it is saved as an emergency checkpoint.
    pub fn run(&mut self) -> Result<Ending, TrainError> {
        let ending = self.run_and_save();
        self.finish_copies();
        ending
    }

    fn run_and_save(&mut self) -> Result<Ending, TrainError> {
        let cause = match caught(|| self.train()) {
            Ok(ending) => return Ok(ending),
            Err(TrainError::Interrupted) => match self.emergency() {
                Ok(saved) => return Ok(Ending::Interrupted { saved }),
                Err(error) => error,
            },
            Err(cause) => cause,
        };
        let cause = Box::new(cause);
        if self.state.step == 0 {
            return Err(*cause);
        }
        match caught(|| self.emergency()) {
            Ok(saved) => Err(TrainError::Stopped { cause, saved }),
            Err(reason) => Err(TrainError::Unsaved {
                cause,
                reason: Box::new(reason),
                newest: self.saving.newest.take().map(|(path, _)| path),
            }),
        }
    }

    fn train(&mut self) -> Result<Ending, TrainError> {
        if self.state.step == 0 && self.config.checkpoint.validation_at_start {
            self.evaluate("start")?;
        }
        if self.state.step == 0 && self.config.checkpoint.checkpoint_on_start {
            self.save_start()?;
        }
        loop {
            if !matches!(self.state.phase, Phase::Done) && self.interrupted.load(Ordering::Relaxed)
            {
                return Err(TrainError::Interrupted);
            }
            let finished = match self.state.phase {
                Phase::GeneratorWarmup => self.generator_warmup()?,
                Phase::DiscriminatorWarmup => self.discriminator_warmup()?,
                Phase::SelfTraining => self.self_training()?,
                Phase::Game(stage) => self.game(stage)?,
                Phase::Done => {
                    self.close()?;
                    self.save_requested()?;
                    let last = self.save_final()?.path;
                    self.files.write_json("summary.json", &self.summary)?;
                    return Ok(Ending::Finished {
                        last,
                        summary: self.summary.clone(),
                    });
                }
            };
            if finished {
                self.next_phase()?;
            }
        }
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// The generators imitate traces, each for all the steps, in turn and on examples of its own; true when that is done.
    fn generator_warmup(&mut self) -> Result<bool, TrainError> {
        let warmup = self.config.warmup.clone();
        let players = self.roster.generators.len() as u64;
        self.phase_steps = warmup.generator_steps * players;
        let done = self.state.phase_step;
        self.observer
            .phase("warm-up of the generator", self.phase_steps, done);
        let stages = self.config.written_stages();
        while self.state.phase_step < self.phase_steps {
            if self.is_interrupted() {
                return Ok(false);
            }
            let started = Instant::now();
            let (number, step) = turn(self.state.phase_step, players);
            let player = &mut self.roster.generators[number];
            let (encoder, own) = (&player.policy.encoder, own_step(number, step));
            let examples = generator_batch(&self.source, encoder, stages, own, warmup.batch_size)?;
            let nats = imitate(&player.policy.model, &examples, 1.0);
            let rate = warmup_rate(&warmup, step, warmup.generator_steps);
            let norm = player.step(rate)?;
            self.state.standings.generators[number].totals.updates += 1;
            let mut values = vec![
                ("generator_loss", nats),
                ("generator_grad_norm", norm),
                ("learning_rate", rate),
            ];
            values.extend((players > 1).then_some(("player", number as f64)));
            self.finish_warmup_step(&values, started, &format!("loss {nats:.3}"))?;
        }
        Ok(true)
    }

    /// The discriminators learn from executed samples, as the generators from traces; true when that is done.
    fn discriminator_warmup(&mut self) -> Result<bool, TrainError> {
        let warmup = self.config.warmup.clone();
        let players = self.roster.discriminators.len() as u64;
        let steps = if self.config.game.adversary {
            warmup.discriminator_steps
        } else {
            0
        };
        self.phase_steps = steps * players;
        let done = self.state.phase_step;
        if done >= self.phase_steps {
            return Ok(true);
        }
        self.observer
            .phase("warm-up of the discriminator", self.phase_steps, done);
        let sampling = self.sampling(self.config.sampling.temperature);
        let key = self.key.with_name("discriminator warm-up");
        let data = DiscriminatorData::collect(
            &self.config,
            &self.source,
            &self.roster.generators(),
            &self.judge,
            &sampling,
            key,
        )?;
        let (attacks, verdicts) = data.sizes();
        self.observer.note(&format!(
            "discriminator data: {attacks} attack sets, {verdicts} verdicts ({:.0} % right)",
            100.0 * data.pass_rate()
        ));
        while self.state.phase_step < self.phase_steps {
            if self.is_interrupted() {
                return Ok(false);
            }
            let started = Instant::now();
            let (number, step) = turn(self.state.phase_step, players);
            let player = &mut self.roster.discriminators[number];
            let own = own_step(number, step);
            let (examples, verdicts) = data.batch(own, warmup.batch_size);
            let nats = imitate(&player.policy.model, &examples, 1.0);
            // From scratch the trunk has to learn what verdicts need, so here it takes their whole gradient.
            let verdict_nats = crate::update::judge(&player.policy, &verdicts, 1.0);
            let rate = warmup_rate(&warmup, step, steps);
            let norm = player.step(rate)?;
            self.state.standings.discriminators[number].totals.updates += 1;
            let mut values = vec![
                ("discriminator_loss", nats),
                ("verdict_loss", verdict_nats),
                ("discriminator_grad_norm", norm),
                ("learning_rate", rate),
            ];
            values.extend((players > 1).then_some(("player", number as f64)));
            let progress = format!("loss {nats:.3}, verdict {verdict_nats:.3}");
            self.finish_warmup_step(&values, started, &progress)?;
        }
        Ok(true)
    }

    /// Logs a step of warm-up, shows its progress, and saves where that is due.
    pub(super) fn finish_warmup_step(
        &mut self,
        values: &[(&str, f64)],
        started: Instant,
        progress: &str,
    ) -> Result<(), TrainError> {
        let report = StepReport::new(0, 0);
        self.finish_step(0, report, values, &[("update", started.elapsed())])?;
        self.observer.step(self.state.phase_step, progress);
        self.save_if_due(0)
    }

    /// Counts a step and writes its lines.
    pub(super) fn finish_step(
        &mut self,
        stage: u8,
        report: StepReport,
        values: &[(&str, f64)],
        timings: &[(&str, Duration)],
    ) -> Result<(), TrainError> {
        self.state.step += 1;
        self.state.phase_step += 1;
        let mut report = StepReport {
            step: self.state.step,
            stage,
            ..report
        };
        report.values.extend(
            values
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value)),
        );
        self.log_metrics(&report)?;
        self.files.timings(&crate::metrics::TimingReport {
            step: self.state.step,
            stage,
            seconds: timings
                .iter()
                .map(|(name, time)| ((*name).to_owned(), time.as_secs_f64()))
                .collect(),
            values: Default::default(),
        })?;
        Ok(())
    }

    /// Writes a line of metrics.jsonl, for all who watch.
    pub(super) fn log_metrics(&mut self, record: &impl Serialize) -> Result<(), TrainError> {
        let line = self.files.metrics(record)?;
        if let Err(error) = self.files.events(&line) {
            self.observer.note(&format!(
                "TensorBoard gets nothing more: {error}: {}",
                error.source
            ));
        }
        self.observer.metrics(&line);
        Ok(())
    }

    fn next_phase(&mut self) -> Result<(), TrainError> {
        let after = |stage: Option<Stage>, config: &Config| {
            let next = config
                .planned_stages()
                .map(|(s, _)| s)
                .find(|s| stage.is_none_or(|done| *s > done));
            next.map_or(Phase::Done, Phase::Game)
        };
        match self.state.phase {
            Phase::GeneratorWarmup => {
                self.state.phase = Phase::DiscriminatorWarmup;
                self.state.phase_step = 0;
            }
            Phase::DiscriminatorWarmup if self.config.self_training.all_steps() > 0 => {
                let better = self.evaluate("warm-up")?;
                self.state.phase = Phase::SelfTraining;
                self.state.phase_step = 0;
                self.save_warm(better)?;
            }
            Phase::DiscriminatorWarmup | Phase::SelfTraining => {
                let better = self.evaluate(match self.state.phase {
                    Phase::SelfTraining => "self-training",
                    _ => "warm-up",
                })?;
                // Nothing reads them again.
                self.own_chains.clear();
                self.roster.enter_game(game_options(&self.config), None);
                self.state.phase = after(None, &self.config);
                self.state.phase_step = 0;
                self.save_stage(0, better)?;
            }
            Phase::Game(stage) => {
                let better = self.evaluate(&format!("{} {}", stage.number(), stage.name()))?;
                self.state.phase = after(Some(stage), &self.config);
                if self.state.phase != Phase::Done {
                    self.state.phase_step = 0;
                }
                self.save_stage(stage.number(), better)?;
            }
            Phase::Done => {}
        }
        Ok(())
    }

    pub(super) fn sampling(&self, temperature: f64) -> Sampling {
        Sampling {
            temperature,
            max_new_tokens: self.config.sampling.max_new_tokens,
            batch_size: self.config.evaluation.batch_size,
        }
    }
}

/// Whose turn a step of warm-up is, and which of its own steps it is.
pub(super) fn turn(step: u64, players: u64) -> (usize, u64) {
    ((step % players) as usize, step / players)
}

/// The learning rate of one of a player's own warm-up steps.
fn warmup_rate(warmup: &Warmup, step: u64, steps: u64) -> f64 {
    let rise = warmup.lr_warmup_steps;
    learning_rate(warmup.learning_rate, warmup.min_lr_ratio, rise, step, steps)
}
