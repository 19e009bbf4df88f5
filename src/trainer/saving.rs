//! When and how a run saves itself.
//!
//! Checkpoints are copied here and written by the saver's thread, so that the steps go on meanwhile.
//! A checkpoint that cannot be written is reported and does not end the run. Those of a stage are
//! owed: they are kept in memory and tried again before the next one. Only where a run ends must
//! the last checkpoint be durable.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::checkpoint::{
    CheckpointError, CheckpointKind, Finished, Mirror, Mirrored, Parent, Retention, SaveJob,
    SaveRequest, Saved, Saver, Store, is_called, take_requests, with_players,
};
use crate::config;
use crate::own_chains;

use super::TrainError;
use super::base::kept_texts;
use super::session::Session;
use super::state::{CheckpointRef, Progress};

/// The checkpoint right after warm-up, which the KL term is anchored to.
pub(super) const ANCHOR: &str = "stage_0";

/// What is needed to save a run, and what is known of its saves.
pub(super) struct Saving {
    pub(super) store: Arc<Store>,
    saver: Saver,
    /// Copies of the checkpoints in another place.
    copies: Option<Mirror>,
    /// The checkpoint the run was resumed from.
    pub(super) parent: Option<Parent>,
    /// Checkpoints of stages that could not be written yet.
    owed: Vec<SaveJob>,
    /// The newest checkpoint that training can go on from, and its step. At first the one the run was resumed from.
    pub(super) newest: Option<(PathBuf, u64)>,
}

/// A checkpoint to be made of the present state.
struct Plan<'a> {
    name: &'a str,
    kind: CheckpointKind,
    /// The stage that is finished, or in progress.
    stage: u8,
    set_best: bool,
    /// Score of this very state, if it was validated.
    score: Option<f64>,
    /// Whether it is one of those that retention counts.
    periodic: bool,
}

/// Runs a part of the training; a panic in it becomes an error, so that the state can still be saved.
pub(super) fn caught<R>(part: impl FnOnce() -> Result<R, TrainError>) -> Result<R, TrainError> {
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

impl Saving {
    pub(super) fn new(
        store: Store,
        copies: Option<Mirror>,
        parent: Option<Parent>,
        newest: Option<(PathBuf, u64)>,
    ) -> Result<Self, TrainError> {
        let store = Arc::new(store);
        Ok(Self {
            saver: Saver::start(Arc::clone(&store)).map_err(TrainError::Saver)?,
            store,
            copies,
            parent,
            owed: Vec::new(),
            newest,
        })
    }
}

impl Session<'_> {
    /// Saves what this step is due: what was asked for by name, and a periodic checkpoint.
    pub(super) fn save_if_due(&mut self, stage: u8) -> Result<(), TrainError> {
        self.heed(None)?;
        self.save_requested()?;
        let checkpoint = &self.config.checkpoint;
        // Warm-up steps are many and cheap; the game's are what `save_every` counts.
        let every = if stage == 0 {
            checkpoint.save_every.saturating_mul(100)
        } else {
            checkpoint.save_every
        };
        // The last step of a phase is followed by that phase's own checkpoint.
        let due = every > 0
            && self.state.phase_step.is_multiple_of(every)
            && self.state.phase_step < self.phase_steps;
        if due { self.periodic() } else { Ok(()) }
    }

    /// A periodic checkpoint, or one of each kind.
    fn periodic(&mut self) -> Result<(), TrainError> {
        let name = self.named(&format!("step_{:06}", self.state.step));
        let busy = self.config.checkpoint.when_busy == config::WhenBusy::Skip;
        if busy && self.saving.saver.is_busy() {
            self.observer.note(&format!(
                "checkpoint {name} is left out: the one before it is still being written"
            ));
            return Ok(());
        }
        let plan = Plan {
            name: &name,
            kind: CheckpointKind::Full,
            stage: self.state.phase.stage_id(),
            set_best: false,
            score: self
                .state
                .validated
                .filter(|(at, _)| *at == self.state.step)
                .map(|(_, score)| score),
            periodic: true,
        };
        let sampler_name = self.named(&format!("step_{:06}_sampler", self.state.step));
        let sampler = Plan {
            name: &sampler_name,
            kind: CheckpointKind::Sampler,
            ..plan
        };
        match self.config.checkpoint.checkpoint_kind {
            config::CheckpointKind::Full => self.begin(&plan),
            config::CheckpointKind::Sampler => self.begin(&sampler),
            // The full one last: `latest` then names one that training can go on from.
            config::CheckpointKind::Both => {
                self.begin(&sampler)?;
                self.begin(&plan)
            }
        }
    }

    /// Saves what was asked for by name.
    pub(super) fn save_requested(&mut self) -> Result<(), TrainError> {
        for name in take_requests(self.files.dir()) {
            self.save_on_demand(&name)?;
        }
        Ok(())
    }

    /// A checkpoint that a person asked for while the run went on; their mistakes are told, and harm nothing.
    fn save_on_demand(&mut self, name: &str) -> Result<(), TrainError> {
        let plan = Plan {
            name,
            kind: CheckpointKind::Full,
            stage: self.state.phase.stage_id(),
            set_best: false,
            score: None,
            periodic: false,
        };
        self.begin(&plan)
    }

    /// A checkpoint's name, with the numbers of players where that is asked for.
    fn named(&self, name: &str) -> String {
        let players = &self.config.players;
        match self.config.checkpoint.name_players {
            true => with_players(name, players.generators, players.discriminators),
            false => name.to_owned(),
        }
    }

    /// The checkpoint of a finished stage. It is owed until it is written.
    pub(super) fn save_stage(&mut self, stage: u8, better: bool) -> Result<(), TrainError> {
        let name = self.named(&format!("stage_{stage}"));
        let plan = Plan {
            name: &name,
            kind: CheckpointKind::Full,
            stage,
            set_best: better,
            score: self.summary.rows.last().map(|row| row.validation),
            periodic: false,
        };
        self.begin(&plan)
    }

    /// The players as warm-up leaves them, where self-training comes before the game; `stage_0` is what the game begins
    /// with.
    pub(super) fn save_warm(&mut self, better: bool) -> Result<(), TrainError> {
        let name = self.named("warm_up");
        let plan = Plan {
            name: &name,
            kind: CheckpointKind::Full,
            stage: 0,
            set_best: better,
            score: self.summary.rows.last().map(|row| row.validation),
            periodic: false,
        };
        self.begin(&plan)
    }

    /// The untrained models.
    pub(super) fn save_start(&mut self) -> Result<(), TrainError> {
        let name = self.named("step_000000");
        let plan = Plan {
            name: &name,
            kind: CheckpointKind::Full,
            stage: 0,
            set_best: false,
            score: self.summary.rows.last().map(|row| row.validation),
            periodic: false,
        };
        self.begin(&plan)
    }

    /// The last checkpoint of a run. It must be durable, or the run has failed.
    pub(super) fn save_final(&mut self) -> Result<Saved, TrainError> {
        let plan = Plan {
            name: "final",
            kind: CheckpointKind::Full,
            stage: self.state.phase.stage_id(),
            set_best: self.state.best_score.is_none(),
            score: self.summary.rows.last().map(|row| row.validation),
            periodic: false,
        };
        self.save_now(&plan)
    }

    /// Saves the present state because training has to end. Where the newest checkpoint already holds it, that one counts.
    pub(super) fn emergency(&mut self) -> Result<PathBuf, TrainError> {
        self.settle()?;
        if let Some((path, step)) = &self.saving.newest
            && *step == self.state.step
            && self.saving.owed.is_empty()
        {
            return Ok(path.clone());
        }
        let name = format!("emergency_step_{:06}", self.state.step);
        let plan = Plan {
            name: &name,
            kind: CheckpointKind::Emergency,
            stage: self.state.phase.stage_id(),
            set_best: false,
            score: None,
            periodic: false,
        };
        Ok(self.save_now(&plan)?.path)
    }

    /// Takes a step. Of one that fails, nothing remains but what its updates did to weights, so that what is saved then
    /// is the state before it.
    pub(super) fn carefully(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let before = (
            self.state.clone(),
            self.mistakes.clone(),
            self.means.clone(),
        );
        let result = caught(|| step(self));
        if result.is_err() && self.state.step == before.0.step {
            if self.state.standings.updates() > before.0.standings.updates() {
                self.observer
                    .note("the step failed after a player's update, which the saved weights keep");
            }
            (self.state, self.mistakes, self.means) = before;
        }
        result
    }

    /// Copies the state and hands it to the saver's thread. What fails is told; only what makes every later step
    /// worthless is an error.
    fn begin(&mut self, plan: &Plan) -> Result<(), TrainError> {
        let started = Instant::now();
        self.settle()?;
        if self
            .saving
            .owed
            .iter()
            .any(|job| is_called(job.name(), ANCHOR))
        {
            let reason = format!("without {ANCHOR} a run could not go on from it");
            self.observer
                .note(&format!("checkpoint {} is left out: {reason}", plan.name));
            self.observer.saved(plan.name, Err(&reason));
            return Ok(());
        }
        let waited = started.elapsed();
        let started = Instant::now();
        let request = self.request(plan);
        let job = match request.snapshot() {
            Ok(job) => job.after(self.files.handles()?).only_if_finite(),
            Err(error) => {
                self.observer
                    .note(&format!("checkpoint {} was not saved: {error}", plan.name));
                self.observer.saved(plan.name, Err(&error));
                return Ok(());
            }
        };
        let copied = started.elapsed();
        let retention = plan.periodic.then(|| self.retention()).flatten();
        let finished = self.saving.saver.begin(job, retention);
        self.heed(finished)?;
        self.log_times(&[("save_wait", waited), ("save_snapshot", copied)])
    }

    /// Saves and waits until the checkpoint is durable.
    fn save_now(&mut self, plan: &Plan) -> Result<Saved, TrainError> {
        self.settle()?;
        if let Some(job) = self.saving.owed.first() {
            return Err(TrainError::Owed(job.name().to_owned()));
        }
        let job = self.request(plan).snapshot()?;
        let job = job.after(self.files.handles()?).only_if_finite();
        self.saving.saver.begin(job, None);
        let Some(mut finished) = self.saving.saver.wait() else {
            return Err(TrainError::Owed(plan.name.to_owned()));
        };
        self.tell(&finished);
        let result = std::mem::replace(
            &mut finished.result,
            Err(CheckpointError::Unsavable {
                what: plan.name.to_owned(),
                reason: "its result was taken".into(),
            }),
        );
        self.warn(&finished);
        let saved = result?;
        self.saving.newest = Some((saved.path.clone(), self.state.step));
        self.copy(finished.deleted)?;
        Ok(saved)
    }

    fn retention(&self) -> Option<Retention> {
        let checkpoint = &self.config.checkpoint;
        // The configuration's range has been checked: anything but -1 and 1.. was refused.
        Retention::new(checkpoint.strategy, checkpoint.keep_last).ok()
    }

    /// Waits for the save in flight, and tries again what is owed.
    fn settle(&mut self) -> Result<(), TrainError> {
        let finished = self.saving.saver.wait();
        self.heed(finished)?;
        for job in std::mem::take(&mut self.saving.owed) {
            let finished = self.saving.saver.begin(job, None);
            self.heed(finished)?;
            let finished = self.saving.saver.wait();
            self.heed(finished)?;
        }
        Ok(())
    }

    /// Takes note of a save that is done: `finished`, or whichever the saver has.
    fn heed(&mut self, finished: Option<Finished>) -> Result<(), TrainError> {
        let Some(finished) = finished.or_else(|| self.saving.saver.poll()) else {
            return Ok(());
        };
        self.warn(&finished);
        self.tell(&finished);
        match finished.result {
            Ok(saved) => {
                self.copy(finished.deleted)?;
                let manifest = self.saving.store.load(&finished.name);
                if let Ok(checkpoint) = &manifest
                    && checkpoint.manifest().kind != CheckpointKind::Sampler
                {
                    let step = checkpoint.manifest().step;
                    self.saving.newest = Some((saved.path.clone(), step));
                }
                if is_called(&finished.name, ANCHOR) {
                    self.state.reference = Some(CheckpointRef {
                        path: saved.path,
                        manifest: saved.manifest_hash,
                    });
                }
                self.log_times(&[("save_write", finished.elapsed)])
            }
            Err(error) => {
                let stage = finished.name.starts_with("stage_");
                let then = if stage {
                    "; it is tried again before the next one"
                } else {
                    ""
                };
                self.observer.note(&format!(
                    "checkpoint {} was not saved: {error}{then}",
                    finished.name
                ));
                if let (true, Some(job)) = (stage, finished.job) {
                    // Each is a copy of the whole state: the anchor and the newest are enough.
                    self.saving.owed.retain(|job| is_called(job.name(), ANCHOR));
                    self.saving.owed.push(job);
                }
                Ok(())
            }
        }
    }

    /// Has the copies brought up to date, and tells what became of them so far.
    fn copy(&mut self, deleted: Vec<String>) -> Result<(), TrainError> {
        let Some(copies) = &self.saving.copies else {
            return Ok(());
        };
        copies.update(deleted);
        for round in copies.poll() {
            self.heed_copies(&round, "it is tried again after the next checkpoint")?;
        }
        Ok(())
    }

    fn heed_copies(&mut self, round: &Mirrored, then: &str) -> Result<(), TrainError> {
        match &round.result {
            Ok(_) => self.log_times(&[("save_copy", round.elapsed)]),
            Err(error) => {
                self.observer
                    .note(&format!("checkpoints were not copied: {error}; {then}"));
                Ok(())
            }
        }
    }

    /// Waits until everything is copied, as far as it can be: the checkpoints themselves are safe.
    pub(super) fn finish_copies(&mut self) {
        let Some(copies) = self.saving.copies.take() else {
            return;
        };
        self.observer.note("waiting for the copies of checkpoints");
        let last = copies.finish();
        let to = self.config.checkpoint.checkpoint_dir.clone();
        let then = format!(
            "try `checkpoints backup {} --run {}`",
            to.unwrap_or_default(),
            self.files.dir().display()
        );
        if let Err(error) = self.heed_copies(&last, &then) {
            self.observer.note(&error.to_string());
        }
    }

    fn tell(&mut self, finished: &Finished) {
        let result = match &finished.result {
            Ok(saved) => Ok(saved.path.as_path()),
            Err(error) => Err(error as &dyn std::fmt::Display),
        };
        self.observer.saved(&finished.name, result);
    }

    fn warn(&mut self, finished: &Finished) {
        for warning in &finished.warnings {
            self.observer
                .note(&format!("checkpoint {}: {warning}", finished.name));
        }
        if finished.tries > 1 && finished.result.is_ok() {
            self.observer.note(&format!(
                "checkpoint {} was saved at the {}. try",
                finished.name, finished.tries
            ));
        }
    }

    fn log_times(&mut self, times: &[(&str, Duration)]) -> Result<(), TrainError> {
        self.files.timings(&crate::metrics::TimingReport {
            step: self.state.step,
            stage: self.state.phase.stage_id(),
            seconds: times
                .iter()
                .map(|(name, time)| ((*name).to_owned(), time.as_secs_f64()))
                .collect(),
            values: Default::default(),
        })
    }

    /// The present state as a checkpoint; tensors are shared with the players until they are copied.
    fn request(&mut self, plan: &Plan) -> SaveRequest {
        let metrics = self.metrics_json(plan.stage);
        let optimizer = &self.config.optimizer;
        let rates = (
            optimizer.learning_rate,
            optimizer.discriminator_learning_rate,
        );
        self.state.progress = Progress {
            rows: self.summary.rows.clone(),
            means: self.means.clone(),
            validation: self.last_validation.clone(),
            logs: self.files.lines(),
            seconds: self.begun.elapsed().as_secs_f64(),
        };
        let encoder = &self.roster.generators[0].policy.encoder;
        let lora = &self.roster.lora_config;
        let [ours, theirs] = self.roster.names();
        let ours = ours.into_iter().zip(&self.roster.generators);
        let ours =
            ours.map(|(name, player)| (name, player.state(plan.stage, rates.0, &metrics, lora)));
        let theirs = theirs.into_iter().zip(&self.roster.discriminators);
        let theirs =
            theirs.map(|(name, player)| (name, player.state(plan.stage, rates.1, &metrics, lora)));
        SaveRequest {
            name: plan.name.to_owned(),
            kind: plan.kind,
            stage: i64::from(plan.stage),
            step: self.state.step,
            score: plan.score,
            players: ours.chain(theirs).collect(),
            metrics,
            training_config: self.config.to_json(),
            trainer_state: serde_json::to_value(&self.state).expect("the state is plain data"),
            mistake_book: self.mistakes.to_jsonl(),
            own_chains: own_chains::to_jsonl(&self.own_chains),
            tokenizer: encoder.tokenizer().json().to_owned(),
            prompts: kept_texts(encoder).into_iter().collect(),
            parent: self.saving.parent.clone(),
            tags: self.state.tags.clone(),
            set_best: plan.set_best,
        }
    }

    fn metrics_json(&self, stage: u8) -> serde_json::Value {
        let (generator, discriminator, players) = self.state.standings.metrics();
        let mut metrics = json!({
            "stage": stage, "step": self.state.step, "generator": generator,
            "discriminator": discriminator, "validation": self.last_validation, "custom": self.state.tags,
        });
        if let Some(players) = players {
            metrics["players"] = players;
        }
        metrics
    }
}
