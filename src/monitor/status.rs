//! What the page knows of a run, kept by the thread that trains.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value as Json;

use crate::metrics::scalars;
use crate::run::{Begun, Observer};

/// Notes that are kept, the newest ones.
const NOTES: usize = 12;

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Status {
    /// Its name.
    pub run: String,
    /// Its directory; none while it is being prepared.
    #[serde(serialize_with = "as_text")]
    pub directory: Option<PathBuf>,
    /// What it is doing.
    pub phase: String,
    /// Steps of that phase that are done.
    pub phase_step: u64,
    /// Steps of that phase.
    pub phase_steps: u64,
    /// The stage in training; 0 is warm-up.
    pub stage: u8,
    /// Steps made in all.
    pub step: u64,
    /// Steps there will have been at the end.
    pub steps_planned: u64,
    /// When the newest step ended, in seconds since 1970.
    pub step_ended: Option<f64>,
    /// The newest value of each quantity of this phase and of each measurement, by its tag in TensorBoard.
    pub metrics: BTreeMap<String, f64>,
    /// What a person was told, the newest last.
    pub notes: VecDeque<String>,
    /// Whether training is over.
    pub ended: bool,
    /// The directory of its checkpoints.
    #[serde(skip)]
    pub(super) checkpoints: Option<PathBuf>,
    /// Checkpoints asked for here that are neither durable nor given up.
    #[serde(skip)]
    pub(super) asked: BTreeSet<String>,
    /// Of those that were given up, why.
    #[serde(skip)]
    pub(super) failed: BTreeMap<String, String>,
}

/// A path as JSON has it: what is no text in it is replaced.
fn as_text<S: serde::Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.as_ref()
        .map(|path| path.to_string_lossy())
        .serialize(to)
}

/// A [`Status`] that two threads share. Each holds it only to copy.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Arc<Mutex<Status>>);

impl Shared {
    pub(super) fn of(run: &str) -> Self {
        let status = Status {
            run: run.to_owned(),
            phase: "preparing".to_owned(),
            ..Status::default()
        };
        Self(Arc::new(Mutex::new(status)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Status> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the status of a run that it observes.
#[derive(Debug)]
pub struct Watch(pub(super) Shared);

impl Observer for Watch {
    fn phase(&mut self, label: &str, steps: u64, done: u64) {
        let mut status = self.0.lock();
        status.phase = label.to_owned();
        status.phase_steps = steps;
        status.phase_step = done;
        // "stage 3: Pseudocode"; warm-up has no number.
        let number = label.strip_prefix("stage ").and_then(|rest| rest.get(..1));
        status.stage = number.and_then(|digit| digit.parse().ok()).unwrap_or(0);
        let measured = |tag: &str| tag.starts_with("evaluation/") || tag.starts_with("validation/");
        status.metrics.retain(|tag, _| measured(tag));
    }

    fn step(&mut self, done: u64, _: &str) {
        let mut status = self.0.lock();
        status.phase_step = done;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        status.step_ended = now.ok().map(|now| now.as_secs_f64());
    }

    fn note(&mut self, message: &str) {
        let mut status = self.0.lock();
        status.notes.push_back(message.to_owned());
        if status.notes.len() > NOTES {
            status.notes.pop_front();
        }
    }

    fn begun(&mut self, begun: &Begun) {
        let mut status = self.0.lock();
        status.directory = Some(begun.directory.to_owned());
        status.checkpoints = Some(begun.checkpoints.to_owned());
        status.stage = begun.stage;
        status.step = begun.step;
        status.steps_planned = begun.steps_planned;
    }

    fn metrics(&mut self, line: &Json) {
        let found = scalars(line);
        let mut status = self.0.lock();
        status.metrics.extend(found);
        if let Some(step) = line["step"].as_u64() {
            status.step = step;
        }
    }

    fn saved(&mut self, name: &str, result: Result<&Path, &dyn Display>) {
        let mut status = self.0.lock();
        if status.asked.remove(name)
            && let Err(error) = result
        {
            status.failed.insert(name.to_owned(), error.to_string());
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut status = self.0.lock();
        status.ended = true;
        status.phase = "ended".to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_follows_the_run() {
        let shared = Shared::of("tiny");
        let mut watch = Watch(shared.clone());
        assert_eq!(shared.lock().phase, "preparing");
        watch.begun(&Begun {
            directory: Path::new("out/run"),
            checkpoints: Path::new("out/run/checkpoints"),
            stage: 2,
            step: 40,
            steps_planned: 90,
        });
        let status = shared.lock().clone();
        assert_eq!((status.stage, status.step), (2, 40));
        watch.phase("warm-up of the generator", 50, 40);
        watch.metrics(&json!({"step": 41, "generator_loss": 2.0}));
        watch.metrics(&json!({"step": 41, "evaluation": {"pass_at_1": 0.5}}));
        watch.step(41, "loss 2.0");
        watch.phase("stage 3: Pseudocode", 5, 0);
        let status = shared.lock().clone();
        assert_eq!((status.stage, status.step, status.phase_steps), (3, 41, 5));
        let metrics: Vec<(&str, f64)> = status
            .metrics
            .iter()
            .map(|(tag, value)| (tag.as_str(), *value))
            .collect();
        assert_eq!(metrics, [("evaluation/pass_at_1", 0.5)]);
        for number in 0..20 {
            watch.note(&number.to_string());
        }
        assert_eq!(shared.lock().notes.len(), NOTES);
        assert_eq!(shared.lock().notes[0], "8");
        drop(watch);
        assert!(shared.lock().ended);
    }

    #[test]
    fn what_became_of_a_checkpoint_that_was_asked_for_is_kept() {
        let shared = Shared::of("tiny");
        let mut watch = Watch(shared.clone());
        shared.lock().asked.extend(["a".into(), "b".into()]);
        watch.saved("a", Ok(Path::new("a")));
        watch.saved("b", Err(&"no space"));
        watch.saved("stage_1", Err(&"no space"));
        let status = shared.lock();
        assert!(status.asked.is_empty());
        assert_eq!(status.failed, [("b".into(), "no space".into())].into());
    }
}
