//! How far a run is: bars on a terminal, lines elsewhere.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::{say, set_bar};
use super::signals::say_stopping;
use crate::run::Observer;

/// Progress bars on a terminal, plain lines elsewhere.
pub struct Progress {
    bar: ProgressBar,
    label: String,
    steps: u64,
    terminal: bool,
    printed: Instant,
    interrupted: Option<Arc<AtomicBool>>,
}

impl Progress {
    /// Time between two plain lines of one phase.
    const EVERY: Duration = Duration::from_secs(15);

    /// Progress on standard error. `interrupted` lets it say that an interrupt was heard.
    pub fn new(interrupted: Option<Arc<AtomicBool>>) -> Self {
        Self {
            bar: ProgressBar::hidden(),
            label: String::new(),
            steps: 0,
            terminal: std::io::stderr().is_terminal(),
            printed: Instant::now(),
            interrupted,
        }
    }
}

impl Observer for Progress {
    fn phase(&mut self, label: &str, steps: u64, done: u64) {
        set_bar(None);
        self.label = label.to_owned();
        self.steps = steps;
        if self.terminal {
            self.bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg} {eta}");
            self.bar
                .set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.bar.set_prefix(label.to_owned());
            self.bar.set_position(done);
            set_bar(Some(self.bar.clone()));
        } else {
            say(format_args!(
                "{label}: {steps} steps{}",
                if done > 0 {
                    format!(", {done} done")
                } else {
                    String::new()
                }
            ));
            self.printed = Instant::now();
        }
    }

    fn step(&mut self, done: u64, message: &str) {
        if self.terminal {
            self.bar.set_position(done);
            self.bar.set_message(message.to_owned());
        } else if done == self.steps || self.printed.elapsed() >= Self::EVERY {
            say(format_args!(
                "{}: {done}/{} {message}",
                self.label, self.steps
            ));
            self.printed = Instant::now();
        }
        // A signal has been answered already; what came over HTTP has not.
        let heard = self.interrupted.as_ref();
        if heard.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
            say_stopping();
        }
    }

    fn note(&mut self, message: &str) {
        say(message);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        set_bar(None);
    }
}
