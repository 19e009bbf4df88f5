//! When and how a run saves itself.
//!
//! Checkpoints are copied here and written by the saver's thread, so that the steps go on meanwhile.
//! A checkpoint that cannot be written is reported and does not end the run. That of a stage stays
//! pending: it is kept in memory and tried again before the next one. Only where a run ends must
//! the last checkpoint be durable.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::checkpoint::{
    CheckpointError, CheckpointKind, Finished, Mirror, Mirrored, Parent, Retention, SaveJob,
    SaveRequest, Saved, Saver, Store, is_called, take_requests, with_players,
};
use crate::config;
use crate::error::TrainError;
use crate::own_chains;
use crate::phases::{CheckpointRef, Learner, Progress, Setup};

use super::base::kept_texts;
use super::output::Output;

/// The checkpoint right after warm-up, which the KL term holds players near.
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
    pending: Vec<SaveJob>,
    /// The newest checkpoint that training can go on from, and its step. At first the one the run was resumed from.
    pub(super) newest: Option<(PathBuf, u64)>,
}

/// What a checkpoint is made of, and what is told of it.
pub(super) struct Parts<'p, 'o> {
    pub(super) setup: &'p Setup,
    pub(super) learner: &'p mut Learner,
    pub(super) output: &'p mut Output<'o>,
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
            pending: Vec::new(),
            newest,
        })
    }

    /// Saves what this step of a phase of `phase_steps` is due: what was asked for by name, and a periodic checkpoint.
    pub(super) fn save_if_due(
        &mut self,
        parts: &mut Parts,
        phase_steps: u64,
        is_game: bool,
    ) -> Result<(), TrainError> {
        self.on_save_finished(parts, None)?;
        self.save_requested(parts)?;
        let checkpoint = &parts.setup.config.checkpoint;
        // Warm-up steps are many and cheap; the game's are what `save_every` counts.
        let every = match is_game {
            true => checkpoint.save_every,
            false => checkpoint.save_every.saturating_mul(100),
        };
        // The last step of a phase is follpending by that phase's own checkpoint.
        let due = every > 0
            && parts.learner.state.phase_step.is_multiple_of(every)
            && parts.learner.state.phase_step < phase_steps;
        if due { self.periodic(parts) } else { Ok(()) }
    }

    /// A periodic checkpoint, or one of each kind.
    fn periodic(&mut self, parts: &mut Parts) -> Result<(), TrainError> {
        let name = Self::named(parts, &format!("step_{:06}", parts.learner.state.step));
        let busy = parts.setup.config.checkpoint.when_busy == config::WhenBusy::Skip;
        if busy && self.saver.is_busy() {
            parts.output.observer.note(&format!(
                "checkpoint {name} is left out: the one before it is still being written"
            ));
            return Ok(());
        }
        let plan = Plan {
            name: &name,
            kind: CheckpointKind::Full,
            stage: parts.learner.state.phase.stage_id(),
            set_best: false,
            score: parts
                .learner
                .state
                .validated
                .filter(|(at, _)| *at == parts.learner.state.step)
                .map(|(_, score)| score),
            periodic: true,
        };
        let sampler_name = Self::named(
            parts,
            &format!("step_{:06}_sampler", parts.learner.state.step),
        );
        let sampler = Plan {
            name: &sampler_name,
            kind: CheckpointKind::Sampler,
            ..plan
        };
        match parts.setup.config.checkpoint.checkpoint_kind {
            config::CheckpointKind::Full => self.begin(parts, &plan),
            config::CheckpointKind::Sampler => self.begin(parts, &sampler),
            // The full one last: `latest` then names one that training can go on from.
            config::CheckpointKind::Both => {
                self.begin(parts, &sampler)?;
                self.begin(parts, &plan)
            }
        }
    }

    /// Saves what was asked for by name.
    pub(super) fn save_requested(&mut self, parts: &mut Parts) -> Result<(), TrainError> {
        for name in take_requests(parts.output.files.dir()) {
            self.save_on_demand(parts, &name)?;
        }
        Ok(())
    }

    /// A checkpoint that a person asked for while the run went on; their mistakes are told, and harm nothing.
    fn save_on_demand(&mut self, parts: &mut Parts, name: &str) -> Result<(), TrainError> {
        let plan = Plan {
            name,
            kind: CheckpointKind::Full,
            stage: parts.learner.state.phase.stage_id(),
            set_best: false,
            score: None,
            periodic: false,
        };
        self.begin(parts, &plan)
    }

    /// A checkpoint's name, with the numbers of players where that is asked for.
    fn named(parts: &Parts, name: &str) -> String {
        let players = &parts.setup.config.players;
        match parts.setup.config.checkpoint.name_players {
            true => with_players(name, players.generators, players.discriminators),
            false => name.to_owned(),
        }
    }

    /// The checkpoint of a finished stage. It is pending until it is written.
    pub(super) fn save_stage(
        &mut self,
        parts: &mut Parts,
        stage: u8,
        better: bool,
    ) -> Result<(), TrainError> {
        let name = Self::named(parts, &format!("stage_{stage}"));
        let plan = Plan {
            name: &name,
            kind: CheckpointKind::Full,
            stage,
            set_best: better,
            score: parts.output.summary.rows.last().map(|row| row.validation),
            periodic: false,
        };
        self.begin(parts, &plan)
    }

    /// The players as warm-up leaves them, where self-training comes before the game; `stage_0` is what the game begins
    /// with.
    pub(super) fn save_warm_up(
        &mut self,
        parts: &mut Parts,
        better: bool,
    ) -> Result<(), TrainError> {
        let name = Self::named(parts, "warm_up");
        let plan = Plan {
            name: &name,
            kind: CheckpointKind::Full,
            stage: 0,
            set_best: better,
            score: parts.output.summary.rows.last().map(|row| row.validation),
            periodic: false,
        };
        self.begin(parts, &plan)
    }

    /// The untrained models.
    pub(super) fn save_start(&mut self, parts: &mut Parts) -> Result<(), TrainError> {
        let name = Self::named(parts, "step_000000");
        let plan = Plan {
            name: &name,
            kind: CheckpointKind::Full,
            stage: 0,
            set_best: false,
            score: parts.output.summary.rows.last().map(|row| row.validation),
            periodic: false,
        };
        self.begin(parts, &plan)
    }

    /// The last checkpoint of a run. It must be durable, or the run has failed.
    pub(super) fn save_final(&mut self, parts: &mut Parts) -> Result<Saved, TrainError> {
        let plan = Plan {
            name: "final",
            kind: CheckpointKind::Full,
            stage: parts.learner.state.phase.stage_id(),
            set_best: parts.learner.state.best_score.is_none(),
            score: parts.output.summary.rows.last().map(|row| row.validation),
            periodic: false,
        };
        self.save_now(parts, &plan)
    }

    /// Saves the present state because training has to end. Where the newest checkpoint already holds it, that one counts.
    pub(super) fn emergency(&mut self, parts: &mut Parts) -> Result<PathBuf, TrainError> {
        self.settle(parts)?;
        if let Some((path, step)) = &self.newest
            && *step == parts.learner.state.step
            && self.pending.is_empty()
        {
            return Ok(path.clone());
        }
        let name = format!("emergency_step_{:06}", parts.learner.state.step);
        let plan = Plan {
            name: &name,
            kind: CheckpointKind::Emergency,
            stage: parts.learner.state.phase.stage_id(),
            set_best: false,
            score: None,
            periodic: false,
        };
        Ok(self.save_now(parts, &plan)?.path)
    }

    /// Copies the state and hands it to the saver's thread. What fails is told; only what makes every later step
    /// worthless is an error.
    fn begin(&mut self, parts: &mut Parts, plan: &Plan) -> Result<(), TrainError> {
        let started = Instant::now();
        self.settle(parts)?;
        if self.pending.iter().any(|job| is_called(job.name(), ANCHOR)) {
            let reason = format!("without {ANCHOR} a run could not go on from it");
            parts
                .output
                .observer
                .note(&format!("checkpoint {} is left out: {reason}", plan.name));
            parts.output.observer.saved(plan.name, Err(&reason));
            return Ok(());
        }
        let waited = started.elapsed();
        let started = Instant::now();
        let request = self.request(parts, plan);
        let job = match request.snapshot() {
            Ok(job) => job.after(parts.output.files.handles()?).only_if_finite(),
            Err(error) => {
                parts
                    .output
                    .observer
                    .note(&format!("checkpoint {} was not saved: {error}", plan.name));
                parts.output.observer.saved(plan.name, Err(&error));
                return Ok(());
            }
        };
        let copied = started.elapsed();
        let retention = plan.periodic.then(|| Self::retention(parts)).flatten();
        let finished = self.saver.begin(job, retention);
        self.on_save_finished(parts, finished)?;
        Self::log_times(parts, &[("save_wait", waited), ("save_snapshot", copied)])
    }

    /// Saves and waits until the checkpoint is durable.
    fn save_now(&mut self, parts: &mut Parts, plan: &Plan) -> Result<Saved, TrainError> {
        self.settle(parts)?;
        if let Some(job) = self.pending.first() {
            return Err(TrainError::Pending(job.name().to_owned()));
        }
        let job = self.request(parts, plan).snapshot()?;
        let job = job.after(parts.output.files.handles()?).only_if_finite();
        self.saver.begin(job, None);
        let Some(mut finished) = self.saver.wait() else {
            return Err(TrainError::Pending(plan.name.to_owned()));
        };
        Self::report_saved(parts, &finished);
        let result = std::mem::replace(
            &mut finished.result,
            Err(CheckpointError::Unsavable {
                what: plan.name.to_owned(),
                reason: "its result was taken".into(),
            }),
        );
        Self::report_warnings(parts, &finished);
        let saved = result?;
        self.newest = Some((saved.path.clone(), parts.learner.state.step));
        self.update_copies(parts, finished.deleted)?;
        Ok(saved)
    }

    fn retention(parts: &Parts) -> Option<Retention> {
        let checkpoint = &parts.setup.config.checkpoint;
        // The configuration's range has been checked: anything but -1 and 1.. was refused.
        Retention::new(checkpoint.strategy, checkpoint.keep_last).ok()
    }

    /// Waits for the save in flight, and tries again what is pending.
    fn settle(&mut self, parts: &mut Parts) -> Result<(), TrainError> {
        let finished = self.saver.wait();
        self.on_save_finished(parts, finished)?;
        for job in std::mem::take(&mut self.pending) {
            let finished = self.saver.begin(job, None);
            self.on_save_finished(parts, finished)?;
            let finished = self.saver.wait();
            self.on_save_finished(parts, finished)?;
        }
        Ok(())
    }

    /// Takes note of a save that is done: `finished`, or whichever the saver has.
    fn on_save_finished(
        &mut self,
        parts: &mut Parts,
        finished: Option<Finished>,
    ) -> Result<(), TrainError> {
        let Some(finished) = finished.or_else(|| self.saver.poll()) else {
            return Ok(());
        };
        Self::report_warnings(parts, &finished);
        Self::report_saved(parts, &finished);
        match finished.result {
            Ok(saved) => {
                self.update_copies(parts, finished.deleted)?;
                let manifest = self.store.load(&finished.name);
                if let Ok(checkpoint) = &manifest
                    && checkpoint.manifest().kind != CheckpointKind::Sampler
                {
                    let step = checkpoint.manifest().step;
                    self.newest = Some((saved.path.clone(), step));
                }
                if is_called(&finished.name, ANCHOR) {
                    parts.learner.state.reference = Some(CheckpointRef {
                        path: saved.path,
                        manifest: saved.manifest_hash,
                    });
                }
                Self::log_times(parts, &[("save_write", finished.elapsed)])
            }
            Err(error) => {
                let stage = finished.name.starts_with("stage_");
                let then = if stage {
                    "; it is tried again before the next one"
                } else {
                    ""
                };
                parts.output.observer.note(&format!(
                    "checkpoint {} was not saved: {error}{then}",
                    finished.name
                ));
                if let (true, Some(job)) = (stage, finished.job) {
                    // Each is a copy of the whole state: the anchor and the newest are enough.
                    self.pending.retain(|job| is_called(job.name(), ANCHOR));
                    self.pending.push(job);
                }
                Ok(())
            }
        }
    }

    /// Has the copies brought up to date, and tells what became of them so far.
    fn update_copies(&mut self, parts: &mut Parts, deleted: Vec<String>) -> Result<(), TrainError> {
        let Some(copies) = &self.copies else {
            return Ok(());
        };
        copies.update(deleted);
        for round in copies.poll() {
            self.on_copied(parts, &round, "it is tried again after the next checkpoint")?;
        }
        Ok(())
    }

    fn on_copied(
        &mut self,
        parts: &mut Parts,
        round: &Mirrored,
        then: &str,
    ) -> Result<(), TrainError> {
        match &round.result {
            Ok(done) => {
                for skipped in &done.skipped {
                    let (path, reason) = (skipped.path.display(), &skipped.reason);
                    let note = format!("{path} is left out of the copies: {reason}");
                    parts.output.observer.note(&note);
                }
                Self::log_times(parts, &[("save_copy", round.elapsed)])
            }
            Err(error) => {
                parts
                    .output
                    .observer
                    .note(&format!("checkpoints were not copied: {error}; {then}"));
                Ok(())
            }
        }
    }

    /// Waits until everything is copied, as far as it can be: the checkpoints themselves are safe.
    pub(super) fn finish_copies(&mut self, parts: &mut Parts) {
        let Some(copies) = self.copies.take() else {
            return;
        };
        parts
            .output
            .observer
            .note("waiting for the copies of checkpoints");
        let last = copies.finish();
        let to = parts.setup.config.checkpoint.checkpoint_dir.clone();
        let then = format!(
            "try `checkpoints backup {} --run {}`",
            to.unwrap_or_default(),
            parts.output.files.dir().display()
        );
        if let Err(error) = self.on_copied(parts, &last, &then) {
            parts.output.observer.note(&error.to_string());
        }
    }

    fn report_saved(parts: &mut Parts, finished: &Finished) {
        let result = match &finished.result {
            Ok(saved) => Ok(saved.path.as_path()),
            Err(error) => Err(error as &dyn std::fmt::Display),
        };
        parts.output.observer.saved(&finished.name, result);
    }

    fn report_warnings(parts: &mut Parts, finished: &Finished) {
        for warning in &finished.warnings {
            parts
                .output
                .observer
                .note(&format!("checkpoint {}: {warning}", finished.name));
        }
        if finished.tries > 1 && finished.result.is_ok() {
            parts.output.observer.note(&format!(
                "checkpoint {} was saved at the {}. try",
                finished.name, finished.tries
            ));
        }
    }

    fn log_times(parts: &mut Parts, times: &[(&str, Duration)]) -> Result<(), TrainError> {
        parts.output.files.timings(&crate::metrics::TimingReport {
            step: parts.learner.state.step,
            stage: parts.learner.state.phase.stage_id(),
            seconds: times
                .iter()
                .map(|(name, time)| ((*name).to_owned(), time.as_secs_f64()))
                .collect(),
            values: Default::default(),
        })
    }

    /// The present state as a checkpoint; tensors are shared with the players until they are copied.
    fn request(&mut self, parts: &mut Parts, plan: &Plan) -> SaveRequest {
        let metrics = Self::metrics_json(parts, plan.stage);
        let optimizer = &parts.setup.config.optimizer;
        let rates = (
            optimizer.learning_rate,
            optimizer.discriminator_learning_rate,
        );
        parts.learner.state.progress = Progress {
            rows: parts.output.summary.rows.clone(),
            means: parts.learner.means.clone(),
            validation: parts.output.last_validation.clone(),
            logs: parts.output.files.lines(),
            seconds: parts.output.begun.elapsed().as_secs_f64(),
        };
        let encoder = &parts.learner.roster.generators[0].policy.encoder;
        let lora = &parts.learner.roster.lora_config;
        let [ours, theirs] = parts.learner.roster.names();
        let ours = ours.into_iter().zip(&parts.learner.roster.generators);
        let ours =
            ours.map(|(name, player)| (name, player.state(plan.stage, rates.0, &metrics, lora)));
        let theirs = theirs.into_iter().zip(&parts.learner.roster.discriminators);
        let theirs =
            theirs.map(|(name, player)| (name, player.state(plan.stage, rates.1, &metrics, lora)));
        SaveRequest {
            name: plan.name.to_owned(),
            kind: plan.kind,
            stage: i64::from(plan.stage),
            step: parts.learner.state.step,
            score: plan.score,
            players: ours.chain(theirs).collect(),
            metrics,
            training_config: parts.setup.config.to_json(),
            trainer_state: serde_json::to_value(&parts.learner.state)
                .expect("the state is plain data"),
            mistake_book: parts.learner.mistakes.to_jsonl(),
            own_chains: own_chains::to_jsonl(&parts.learner.own_chains),
            tokenizer: encoder.tokenizer().json().to_owned(),
            prompts: kept_texts(encoder).into_iter().collect(),
            parent: self.parent.clone(),
            tags: parts.learner.state.tags.clone(),
            set_best: plan.set_best,
        }
    }

    fn metrics_json(parts: &Parts, stage: u8) -> serde_json::Value {
        let (generator, discriminator, players) = parts.learner.state.stats.metrics();
        let mut metrics = json!({
            "stage": stage, "step": parts.learner.state.step, "generator": generator,
            "discriminator": discriminator, "validation": parts.output.last_validation, "custom": parts.learner.state.tags,
        });
        if let Some(players) = players {
            metrics["players"] = players;
        }
        metrics
    }
}
