//! What the binaries share: exit codes, the error chain, progress on a terminal or in a log.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::run::Observer;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// Wrong usage or configuration.
    Usage,
    /// The code under test failed its tests.
    CodeFailed,
    /// Interrupted after a checkpoint was saved.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::CodeFailed => 3,
            Exit::Interrupted => 130,
        })
    }
}

/// A mistake of the caller's: wrong usage or configuration, exit code 2.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct UsageError(pub Box<dyn std::error::Error + Send + Sync>);

impl UsageError {
    /// Wraps any error.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

/// Runs a program with an allocator that suits tensors: prints the chain of an error once, and maps it to an exit code in this one place.
pub fn main(run: impl FnOnce() -> anyhow::Result<Exit>) -> ExitCode {
    gauntlet_shim::keep_freed_memory();
    match run() {
        Ok(exit) => exit.into(),
        Err(error) => {
            let mut printed = String::new();
            for cause in error.chain().map(ToString::to_string) {
                // Transparent wrappers repeat what they wrap.
                if !printed.contains(&cause) {
                    printed += if printed.is_empty() { "" } else { ": " };
                    printed += &cause;
                }
            }
            eprintln!("error: {printed}");
            if error.downcast_ref::<UsageError>().is_some() {
                Exit::Usage.into()
            } else {
                Exit::Failed.into()
            }
        }
    }
}

/// A flag that SIGINT and SIGTERM set. A second signal ends the process at once.
pub fn interrupt_flag() -> std::io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the first signal finds the flag unset, so only the second one ends the process.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// Progress bars on a terminal, plain lines elsewhere.
pub struct Progress {
    bar: ProgressBar,
    label: String,
    steps: u64,
    terminal: bool,
    printed: Instant,
    interrupted: Option<Arc<AtomicBool>>,
    told: bool,
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
            told: false,
        }
    }
}

impl Observer for Progress {
    fn phase(&mut self, label: &str, steps: u64, done: u64) {
        self.bar.finish_and_clear();
        self.label = label.to_owned();
        self.steps = steps;
        if self.terminal {
            self.bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg} {eta}");
            self.bar
                .set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.bar.set_prefix(label.to_owned());
            self.bar.set_position(done);
        } else {
            eprintln!(
                "{label}: {steps} steps{}",
                if done > 0 {
                    format!(", {done} done")
                } else {
                    String::new()
                }
            );
            self.printed = Instant::now();
        }
    }

    fn step(&mut self, done: u64, message: &str) {
        if self.terminal {
            self.bar.set_position(done);
            self.bar.set_message(message.to_owned());
        } else if done == self.steps || self.printed.elapsed() >= Self::EVERY {
            eprintln!("{}: {done}/{} {message}", self.label, self.steps);
            self.printed = Instant::now();
        }
        let heard = self
            .interrupted
            .as_ref()
            .is_some_and(|flag| flag.load(Ordering::Relaxed));
        if heard && !std::mem::replace(&mut self.told, true) {
            self.note(
                "stopping after this step; a second interrupt ends at once, without a checkpoint",
            );
        }
    }

    fn note(&mut self, message: &str) {
        if self.terminal {
            self.bar.suspend(|| eprintln!("{message}"))
        } else {
            eprintln!("{message}")
        }
    }
}
