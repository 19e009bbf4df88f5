//! Who is told how training goes: progress bars, a page, nobody.

use std::fmt::Display;
use std::path::Path;

use serde_json::Value as Json;

/// Told how training goes, on the thread that trains; whoever takes long holds it up.
pub trait Observer {
    /// A part of the run begins: its name, its steps, and how many of them are done already.
    fn phase(&mut self, label: &str, steps: u64, done: u64);
    /// A step of that part is done.
    fn step(&mut self, done: u64, message: &str);
    /// Something a person should read.
    fn note(&mut self, message: &str);
    /// The run has its directory and its players.
    fn begun(&mut self, _begun: &Begun) {}
    /// A line was written to metrics.jsonl.
    fn metrics(&mut self, _line: &Json) {}
    /// A checkpoint is durable, or why it is not. Told between steps, later than it came about.
    fn saved(&mut self, _name: &str, _result: Result<&Path, &dyn Display>) {}
}

/// What a run begins with.
#[derive(Clone, Copy, Debug)]
pub struct Begun<'a> {
    /// The run's directory.
    pub directory: &'a Path,
    /// The directory of its checkpoints.
    pub checkpoints: &'a Path,
    /// The stage it begins in; 0 is warm-up.
    pub stage: u8,
    /// Steps made before, where it was resumed.
    pub step: u64,
    /// Steps there will have been at its end.
    pub steps_planned: u64,
}

/// An observer that looks away.
pub struct Silent;

impl Observer for Silent {
    fn phase(&mut self, _: &str, _: u64, _: u64) {}
    fn step(&mut self, _: u64, _: &str) {}
    fn note(&mut self, _: &str) {}
}

/// The first is told, then the second, if there is one.
impl<A: Observer, B: Observer> Observer for (A, Option<B>) {
    fn phase(&mut self, label: &str, steps: u64, done: u64) {
        self.0.phase(label, steps, done);
        if let Some(second) = &mut self.1 {
            second.phase(label, steps, done);
        }
    }

    fn step(&mut self, done: u64, message: &str) {
        self.0.step(done, message);
        if let Some(second) = &mut self.1 {
            second.step(done, message);
        }
    }

    fn note(&mut self, message: &str) {
        self.0.note(message);
        if let Some(second) = &mut self.1 {
            second.note(message);
        }
    }

    fn begun(&mut self, begun: &Begun) {
        self.0.begun(begun);
        if let Some(second) = &mut self.1 {
            second.begun(begun);
        }
    }

    fn metrics(&mut self, line: &Json) {
        self.0.metrics(line);
        if let Some(second) = &mut self.1 {
            second.metrics(line);
        }
    }

    fn saved(&mut self, name: &str, result: Result<&Path, &dyn Display>) {
        self.0.saved(name, result);
        if let Some(second) = &mut self.1 {
            second.saved(name, result);
        }
    }
}
