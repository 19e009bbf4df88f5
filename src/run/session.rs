//! A run from its configuration to its last checkpoint.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use gauntlet_sandbox::Sandbox;
use serde_json::json;

use crate::checkpoint::{Checkpoint, LocalStorage, Mirror, Runs, Storage, Store};
use crate::config::Config;
use crate::error::TrainError;
use crate::evaluation::{Harness, Ranking, StageRow, Summary, final_eval, passes};
use crate::execution::Executor;
use crate::mistake_book::MistakeBook;
use crate::own_chains::read_jsonl;
use crate::phases::{
    DiscriminatorWarmup, Game, GeneratorWarmup, Learner, Phase, SelfTraining, Setup, TrainerState,
    TrainingPhase, Watch, own_step,
};
use crate::players::{Pair, game_options, model_config};
use crate::rng::DrawKey;

use super::base::{Base, PlayerInit, slow_dtype};
use super::create::{new_players, resumed_players};
use super::files::{RunFiles, logs_of};
use super::observer::{Begun, Observer};
use super::open::{device, limits, open_encoder, open_source};
use super::output::{Output, watched};
use super::resume::{check_resumable, keep_anchor, resumed_state};
use super::saving::{Parts, Saving};

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
    setup: Setup,
    learner: Learner,
    output: Output<'o>,
    saving: Saving,
}

/// Runs a part of the training; a panic in it becomes an error, so that the state can still be saved.
fn caught<R>(part: impl FnOnce() -> Result<R, TrainError>) -> Result<R, TrainError> {
    // What a panic leaves half done is the caller's to take back.
    catch_unwind(AssertUnwindSafe(part)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(TrainError::Panicked(
            text.unwrap_or("without a message").to_owned(),
        ))
    })
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
        let executor = Executor::new(sandbox, limits(&config));
        let source = open_source(&config, &executor, observer)?;
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
        let validation =
            source.validation(executor.sandbox(), config.problems.validation_problems)?;
        let report = source.report(executor.sandbox(), config.problems.report_problems)?;
        // There is nothing yet that would have to be saved.
        if interrupted.load(Ordering::Relaxed) {
            return Err(TrainError::Interrupted);
        }

        let (mut mistakes, mut own_chains) = (MistakeBook::default(), Vec::new());
        let (init, tags) = (PlayerInit { device, base }, config.run.tags.clone());
        let (mut state, roster) = match &resume {
            None => {
                let state = TrainerState::new(config.run.seed, &config.players, tags);
                let init_from = init_from.as_ref();
                (state, new_players(&config, init_from, &encoder, init)?)
            }
            Some(checkpoint) => {
                check_resumable(&config, checkpoint)?;
                let mut state = resumed_state(&config, checkpoint)?;
                state.tags.extend(tags);
                let roster = resumed_players(&config, checkpoint, &mut state, &encoder, init)?;
                mistakes.read_jsonl(&checkpoint.mistake_book()?)?;
                own_chains = read_jsonl(&checkpoint.own_chains()?)?;
                (state, roster)
            }
        };
        let dir = Runs::new(&config.run.output_dir).start(&config.run.name, SystemTime::now())?;
        let store = Store::create_on(storage, &dir)?;
        if let Err(error) = keep_anchor(&store, &mut state) {
            observer.note(&format!(
                "this run goes on only as long as the one it came from is there: {error}"
            ));
        }
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
        for hole in files.holes() {
            observer.note(hole);
        }
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
        let summary = Summary {
            rows: progress.rows,
            ..Summary::default()
        };
        let last_validation = match progress.validation {
            serde_json::Value::Null => json!({}),
            validation => validation,
        };
        let begun = begun.checked_sub(before).unwrap_or(begun);
        Ok(Self {
            setup: Setup {
                key: DrawKey::new(config.run.seed),
                config,
                executor,
                source,
                validation,
                report,
            },
            learner: Learner {
                roster,
                mistakes,
                own_chains,
                state,
                means: progress.means,
            },
            output: Output::new(
                files,
                observer,
                summary,
                last_validation,
                begun,
                interrupted,
            ),
            saving,
        })
    }

    /// The run's directory.
    pub fn dir(&self) -> &Path {
        self.output.files.dir()
    }

    /// Where the run stands.
    pub fn state(&self) -> &TrainerState {
        &self.learner.state
    }

    /// Trains until everything planned is done, or the interrupt flag is set. When a step fails or panics, the state
    /// before it is saved as an emergency checkpoint.
    pub fn run(&mut self) -> Result<Ending, TrainError> {
        let ending = self.run_and_save();
        self.save_with(|saving, parts| saving.finish_copies(parts));
        ending
    }

    fn run_and_save(&mut self) -> Result<Ending, TrainError> {
        let cause = match caught(|| self.train()) {
            Ok(ending) => return Ok(ending),
            Err(TrainError::Interrupted) => match self.save_with(Saving::emergency) {
                Ok(saved) => return Ok(Ending::Interrupted { saved }),
                Err(error) => error,
            },
            Err(cause) => cause,
        };
        let cause = Box::new(cause);
        if self.learner.state.step == 0 {
            return Err(*cause);
        }
        match caught(|| self.save_with(Saving::emergency)) {
            Ok(saved) => Err(TrainError::Stopped { cause, saved }),
            Err(reason) => Err(TrainError::Unsaved {
                cause,
                reason: Box::new(reason),
                newest: self.saving.newest.take().map(|(path, _)| path),
            }),
        }
    }

    /// Has the saver do something with the present state.
    fn save_with<R>(&mut self, save: impl FnOnce(&mut Saving, &mut Parts<'_, 'o>) -> R) -> R {
        let mut parts = Parts {
            setup: &self.setup,
            learner: &mut self.learner,
            output: &mut self.output,
        };
        save(&mut self.saving, &mut parts)
    }

    fn train(&mut self) -> Result<Ending, TrainError> {
        let checkpoint = &self.setup.config.checkpoint;
        let (validate, save) = (
            checkpoint.validation_at_start,
            checkpoint.checkpoint_on_start,
        );
        if self.learner.state.step == 0 && validate {
            self.evaluate("start")?;
        }
        if self.learner.state.step == 0 && save {
            self.save_with(Saving::save_start)?;
        }
        loop {
            let config = &self.setup.config;
            let mut phase: Box<dyn TrainingPhase> = match self.learner.state.phase {
                Phase::GeneratorWarmup => Box::new(GeneratorWarmup::new(config)),
                Phase::DiscriminatorWarmup => Box::new(DiscriminatorWarmup::new(config)),
                Phase::SelfTraining => Box::new(SelfTraining::new(config)),
                Phase::Game(stage) => Box::new(Game::new(config, stage)),
                Phase::Done => return self.finish(),
            };
            self.drive(&mut *phase)?;
            self.next_phase()?;
        }
    }

    /// Takes what is left of a phase's steps.
    fn drive(&mut self, phase: &mut dyn TrainingPhase) -> Result<(), TrainError> {
        let steps = phase.steps();
        if self.output.is_stopped() {
            return Err(TrainError::Interrupted);
        }
        let done = self.learner.state.phase_step;
        if done < steps || phase.is_game() {
            self.output.begin(&phase.title(), steps, done);
        }
        if phase.is_game() {
            // Where a validation failed, the run that goes on from there makes up for it.
            self.validate_if_due(steps)?;
        }
        while self.learner.state.phase_step < steps {
            if self.output.is_stopped() {
                return Err(TrainError::Interrupted);
            }
            self.output.restart_clock();
            let flag = self.output.interrupted();
            let (setup, learner) = (&self.setup, &mut self.learner);
            if !watched(&flag, || phase.prepare(setup, learner, &mut self.output))? {
                return Err(TrainError::Interrupted);
            }
            self.step(phase)?;
            if phase.is_game() {
                self.validate_if_due(steps)?;
            }
            // After the validation, whose score the checkpoint carries.
            let is_game = phase.is_game();
            self.save_with(|saving, parts| saving.save_if_due(parts, steps, is_game))?;
        }
        Ok(())
    }

    /// Takes a step and writes it down. Of one that fails, nothing remains but what its updates did to weights, so that
    /// what is saved then is the state before it.
    fn step(&mut self, phase: &mut dyn TrainingPhase) -> Result<(), TrainError> {
        // A step of warm-up fails before it changes anything.
        let before = phase.is_game().then(|| self.learner.remember());
        let step = self.learner.state.step;
        let result = caught(|| {
            let outcome = phase.step(&self.setup, &mut self.learner, &mut self.output)?;
            let message = outcome.message.clone();
            self.learner.state.step += 1;
            self.learner.state.phase_step += 1;
            let state = &self.learner.state;
            let result = self.output.step(outcome, state.step, phase.stage_id());
            result?;
            self.output
                .progress(self.learner.state.phase_step, &message);
            Ok(())
        });
        if let (Err(_), Some(before)) = (&result, before)
            && self.learner.state.step == step
            && self.learner.take_back(before)
        {
            self.output
                .note("the step failed after a player's update, which the saved weights keep");
        }
        result
    }

    /// Measures a part of the validation pools after every `eval_every` steps; the last step is followed by all of them.
    fn validate_if_due(&mut self, steps: u64) -> Result<(), TrainError> {
        let state = &self.learner.state;
        let (every, done) = (self.setup.config.checkpoint.eval_every, state.phase_step);
        let due = every > 0 && done > 0 && done.is_multiple_of(every) && done < steps;
        let validated = state.validated.map(|(step, _)| step);
        if !due || validated == Some(state.step) {
            return Ok(());
        }
        let (step, stage) = (state.step, state.phase.stage_id());
        let is_stopped = || false;
        let (harness, roster) = (self.harness(&is_stopped), &self.learner.roster);
        let quick = self.output.watched(|| harness.quick(roster))?;
        // Not under `evaluation`, whose figures are of whole pools.
        self.output.metrics(&json!({
            "step": step, "stage": stage, "validation": quick.figures, "passed": quick.passed,
        }))?;
        self.learner.state.validated = Some((step, quick.pass_at_1));
        self.output.note(&format!(
            "step {step}: validation pass@1 {:.1} %",
            100.0 * quick.pass_at_1
        ));
        Ok(())
    }

    fn harness<'a>(&'a self, is_stopped: &'a dyn Fn() -> bool) -> Harness<'a> {
        Harness {
            config: &self.setup.config,
            executor: &self.setup.executor,
            validation: &self.setup.validation,
            report: &self.setup.report,
            key: self.setup.key,
            is_stopped,
        }
    }

    /// The players that did best when all were measured last.
    fn best(&self) -> Pair {
        let last = self.output.summary.rows.last();
        let ranking = last.and_then(|row| row.ranking.as_ref());
        ranking.map(Ranking::best).unwrap_or_default()
    }

    /// Measures both players on all pools and adds a row to the summary. True when validation is better than ever.
    fn evaluate(&mut self, label: &str) -> Result<bool, TrainError> {
        let (step, stage) = (self.learner.state.step, self.learner.state.phase.stage_id());
        let is_stopped = || self.output.is_stopped();
        let harness = self.harness(&is_stopped);
        // A stage without steps changes nothing that would have to be measured again.
        let same = self
            .output
            .summary
            .rows
            .last()
            .filter(|last| last.step == step);
        let row = match same {
            Some(last) => StageRow {
                label: label.to_owned(),
                generator_reward: None,
                discriminator_reward: None,
                attack_validity: None,
                ..last.clone()
            },
            None => {
                let learner = &self.learner;
                let measure = || harness.measure(&learner.roster, label, step, &learner.means);
                let row = self.output.watched(measure)?;
                StageRow {
                    seconds: self.output.begun.elapsed().as_secs_f64(),
                    ..row
                }
            }
        };
        let figures = harness.figures(&row);
        let mut line = json!({"step": step, "stage": stage, "after": label});
        line["evaluation"] = figures.clone();
        line["evaluation"]["bank_kill_rate"] = json!(row.bank_kill_rate);
        line["evaluation"]["verdict_auc"] = json!(row.verdict_auc);
        if let Some(attacks) = &row.unseen_attacks {
            line["evaluation"]["attacks_valid"] = json!(attacks.valid);
            line["evaluation"]["attacks_playable"] = json!(attacks.playable);
            line["evaluation"]["attacks_repeated"] = json!(attacks.duplicate);
        }
        line["passed"] = passes(&row.pools);
        self.output.last_validation = figures;
        self.output.metrics(&line)?;
        let texts: Vec<String> = row
            .pools
            .iter()
            .map(|p| format!("{} {:.1} %", p.name.replace('_', " "), 100.0 * p.pass_at_1))
            .collect();
        self.output
            .note(&format!("after {label}: pass@1 {}", texts.join(", ")));
        let better = self.learner.on_measured(&row);
        self.output.summary.rows.push(row);
        Ok(better)
    }

    /// What comes after the present phase: evaluation, the next phase, the checkpoint of what is finished.
    fn next_phase(&mut self) -> Result<(), TrainError> {
        match self.learner.state.phase {
            Phase::GeneratorWarmup => self.enter(Phase::DiscriminatorWarmup),
            Phase::DiscriminatorWarmup if self.setup.config.self_training.all_steps() > 0 => {
                let better = self.evaluate("warm-up")?;
                self.enter(Phase::SelfTraining);
                self.save_with(|saving, parts| saving.save_warm_up(parts, better))?;
            }
            Phase::DiscriminatorWarmup | Phase::SelfTraining => {
                let better = self.evaluate(match self.learner.state.phase {
                    Phase::SelfTraining => "self-training",
                    _ => "warm-up",
                })?;
                // Nothing reads them again.
                self.learner.own_chains.clear();
                let options = game_options(&self.setup.config);
                self.learner.roster.enter_game(options, None);
                self.learner.state.enter_due(&self.setup.config);
                self.save_with(|saving, parts| saving.save_stage(parts, 0, better))?;
            }
            Phase::Game(stage) => {
                let better = self.evaluate(&format!("{} {}", stage.number(), stage.name()))?;
                self.learner.state.finish_stage(&self.setup.config);
                let number = stage.number();
                self.save_with(|saving, parts| saving.save_stage(parts, number, better))?;
            }
            Phase::Done => {}
        }
        Ok(())
    }

    fn enter(&mut self, phase: Phase) {
        self.learner.state.phase = phase;
        self.learner.state.phase_step = 0;
    }

    /// What is left once all phases are done.
    fn finish(&mut self) -> Result<Ending, TrainError> {
        if self.setup.config.evaluation.closing {
            self.output.note("final measurements");
            let best = self.best();
            let first = own_step(best.generator, 0) * self.setup.config.warmup.batch_size as u64;
            let is_stopped = || false;
            let (harness, roster) = (self.harness(&is_stopped), &self.learner.roster);
            let measure = || final_eval(&harness, roster, best, &self.setup.source, first);
            let rows = self.output.watched(measure)?;
            let step = self.learner.state.step;
            let line = json!({"step": step, "after": "everything", "closing": rows});
            self.output.metrics(&line)?;
            self.output.summary.closing = rows;
        }
        self.save_with(Saving::save_requested)?;
        let last = self.save_with(Saving::save_final)?.path;
        let summary = &self.output.summary;
        self.output.files.write_json("summary.json", summary)?;
        Ok(Ending::Finished {
            last,
            summary: summary.clone(),
        })
    }
}
