//! How far a model is with what it writes.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use gauntlet::cli;
use gauntlet::run::Observer;

use crate::loaded::Loaded;

/// What ends sooner needs no progress.
const PATIENCE: Duration = Duration::from_secs(2);

/// Shows how far the present call of a decoder is: a bar on a terminal, lines elsewhere, both on standard error.
#[derive(Clone)]
pub struct Progress(Rc<RefCell<Shown>>);

struct Shown {
    observer: cli::Progress,
    begun: Instant,
    activity: String,
    /// Segments of the call that is shown; none before it is.
    shown: Option<usize>,
    /// What was heard last.
    last: (usize, usize),
}

impl Progress {
    /// Progress of a program that begins.
    pub fn new() -> Progress {
        Progress(Rc::new(RefCell::new(Shown {
            observer: cli::Progress::new(None),
            begun: Instant::now(),
            activity: String::new(),
            shown: None,
            last: (0, 0),
        })))
    }

    /// Says what is done next.
    pub fn begin(&self, activity: impl Into<String>) {
        let mut shown = self.0.borrow_mut();
        shown.activity = activity.into();
        shown.shown = None;
    }

    /// Watches both players of a checkpoint.
    pub fn watch(&self, loaded: &Loaded) {
        for rollouts in [&loaded.generator.rollouts, &loaded.discriminator.rollouts] {
            let shown = Rc::clone(&self.0);
            rollouts.listen(Box::new(move |done, total| {
                shown.borrow_mut().hear(done, total);
            }));
        }
    }
}

impl Shown {
    fn hear(&mut self, done: usize, total: usize) {
        if done == 0 {
            self.shown = self.shown.filter(|&shown| shown == total);
        }
        if self.begun.elapsed() < PATIENCE || total == 0 || self.last == (done, total) {
            return;
        }
        self.last = (done, total);
        if self.shown != Some(total) {
            self.shown = Some(total);
            let label = self.activity.clone();
            self.observer.phase(&label, total as u64, done as u64);
        }
        self.observer.step(done as u64, "");
    }
}
