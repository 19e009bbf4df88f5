//! Faults of the host.

use std::path::PathBuf;

/// Something went wrong on this side of the sandbox. What the guest does wrong is an [`Outcome`](crate::Outcome); a
/// fault says nothing about the program and is never scored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// No runtime file where one should be.
    #[error(
        "no sandbox runtime at {}: run `cargo xtask setup`, or set HOME, XDG_CACHE_HOME or GAUNTLET_CACHE to what they \
         were when it ran ({why})",
        path.display()
    )]
    NoRuntime {
        /// The folder looked into.
        path: PathBuf,
        /// What was missing.
        why: String,
    },
    /// A runtime file that is not the one its manifest, or this program, names.
    #[error("the sandbox runtime at {} is refused: {why}; remove it and run `cargo xtask setup`", path.display())]
    BadRuntime {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// The engine could not be set up.
    #[error("the sandbox engine could not start: {why}")]
    Engine {
        /// What wasmtime or the operating system said.
        why: String,
    },
    /// An interpreter could not be started or called.
    #[error("the sandbox could not run an instance: {why}")]
    Instance {
        /// What wasmtime said.
        why: String,
    },
    /// An input that cannot be sent into the guest.
    #[error("argument {argument} of input {input} cannot enter the sandbox: {value}")]
    Input {
        /// The input's place in the list.
        input: usize,
        /// The argument's place in the input.
        argument: usize,
        /// The argument.
        value: String,
    },
    /// A limit that no program could keep to.
    #[error("the limit on {limit} is {found}, it must be {wanted}")]
    Limit {
        /// What it limits.
        limit: &'static str,
        /// The limit given.
        found: String,
        /// What would be right.
        wanted: &'static str,
    },
    /// Tests written as code that cannot be run, or fail whatever the program does.
    #[error("the tests fail by themselves: {why}")]
    Tests {
        /// What is wrong with them, with the line.
        why: String,
    },
    /// A worker thread is gone.
    #[error("a sandbox worker died: {why}")]
    Worker {
        /// What it died of.
        why: String,
    },
}
