//! What a run writes beside its checkpoints, and shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value as Json;

use crate::error::TrainError;
use crate::evaluation::Summary;
use crate::interrupt;
use crate::metrics::{LogError, TimingReport};
use crate::phases::{StepOutcome, Watch};

use super::files::RunFiles;
use super::observer::Observer;

/// The logs and the observer of a run, and what they were told so far.
pub(super) struct Output<'o> {
    pub(super) files: RunFiles,
    pub(super) observer: &'o mut dyn Observer,
    /// The table.
    pub(super) summary: Summary,
    /// The newest validation of whole pools, as metrics.json has it.
    pub(super) last_validation: Json,
    /// When the run began; of a resumed one, so long ago as it has been trained.
    pub(super) begun: Instant,
    interrupted: Arc<AtomicBool>,
    marked: Instant,
    marks: Vec<(&'static str, Duration)>,
}

impl<'o> Output<'o> {
    pub(super) fn new(
        files: RunFiles,
        observer: &'o mut dyn Observer,
        summary: Summary,
        last_validation: Json,
        begun: Instant,
        interrupted: Arc<AtomicBool>,
    ) -> Self {
        Self {
            files,
            observer,
            summary,
            last_validation,
            begun,
            interrupted,
            marked: Instant::now(),
            marks: Vec::new(),
        }
    }

    /// Does what may stop at any moment, because nothing of it is kept until it is done. Where it stops, that is told as
    /// the interrupt it was.
    pub(super) fn watched<R, E: Into<TrainError>>(
        &self,
        work: impl FnOnce() -> Result<R, E>,
    ) -> Result<R, TrainError> {
        watched(&self.interrupted, work)
    }

    /// The flag that signals set.
    pub(super) fn interrupted(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.interrupted)
    }

    /// Forgets the time that no step took.
    pub(super) fn restart_clock(&mut self) {
        self.marked = Instant::now();
        self.marks.clear();
    }

    /// Writes down a step, which is number `step` of the run.
    pub(super) fn step(
        &mut self,
        outcome: StepOutcome,
        step: u64,
        stage: u8,
    ) -> Result<(), TrainError> {
        for sample in &outcome.samples {
            self.files.sample(sample)?;
        }
        let mut report = outcome.report;
        (report.step, report.stage) = (step, stage);
        self.metrics(&report)?;
        let marks = std::mem::take(&mut self.marks);
        self.timings(step, stage, &marks)
    }

    /// Writes a line of metrics.jsonl, for all who watch.
    pub(super) fn metrics(&mut self, record: &impl Serialize) -> Result<(), LogError> {
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

    /// Writes a line of timings.jsonl; times of the same part add up.
    pub(super) fn timings(
        &mut self,
        step: u64,
        stage: u8,
        times: &[(&'static str, Duration)],
    ) -> Result<(), TrainError> {
        let mut report = TimingReport {
            step,
            stage,
            ..TimingReport::default()
        };
        for (part, time) in times {
            *report.seconds.entry((*part).to_owned()).or_default() += time.as_secs_f64();
        }
        self.files.timings(&report)
    }
}

/// As [`Output::watched`], for work that writes to the output itself.
pub(super) fn watched<R, E: Into<TrainError>>(
    flag: &Arc<AtomicBool>,
    work: impl FnOnce() -> Result<R, E>,
) -> Result<R, TrainError> {
    match interrupt::watching(flag, work) {
        (Err(_), true) => Err(TrainError::Interrupted),
        (result, _) => result.map_err(Into::into),
    }
}

impl Watch for Output<'_> {
    fn is_stopped(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn begin(&mut self, title: &str, steps: u64, done: u64) {
        self.observer.phase(title, steps, done);
    }

    fn progress(&mut self, done: u64, message: &str) {
        self.observer.step(done, message);
    }

    fn note(&mut self, text: &str) {
        self.observer.note(text);
    }

    fn log(&mut self, record: &Json) -> Result<(), LogError> {
        self.metrics(record)
    }

    fn mark(&mut self, part: &'static str) {
        let now = Instant::now();
        self.marks.push((part, now - self.marked));
        self.marked = now;
    }
}
