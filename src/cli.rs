//! What the binaries share: exit codes, the error chain, progress on a terminal or in a log.

mod arguments;
mod output;
mod progress;
mod signals;
mod waiting;

use std::process::ExitCode;

pub use arguments::{path_parser, quoted};
pub use output::{print, say};
pub use progress::Progress;
pub use signals::interrupt_flag;

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
    waiting::bound_spinning();
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
            say(format_args!("error: {printed}"));
            if error.downcast_ref::<UsageError>().is_some() {
                Exit::Usage.into()
            } else {
                Exit::Failed.into()
            }
        }
    }
}
