//! A run from its configuration to its last checkpoint. It is the only place that reads and writes files, signals and
//! clocks; it holds no mathematics.
//!
//! ```text
//! Session::open   problems, players, run directory, or all of them out of a checkpoint
//! Session::run    phase after phase: step -> logs -> checkpoint if due; after each phase evaluation and checkpoint
//! ```
//! Everything drawn is keyed by (seed, role, stage, step, problem, sample), so a run that resumes from any checkpoint
//! goes on as if it had never stopped.

mod base;
mod create;
pub mod export;
mod files;
mod observer;
mod open;
mod output;
mod resume;
mod saving;
mod session;

pub use base::rollouts;
pub use observer::{Begun, Observer, Silent};
pub use open::{checkpoint_encoder, device, limits, pool, problems_dir};
pub use session::{Ending, Session};
