//! The training loop: warm-up, five stages of the game, evaluation and checkpoints.
//!
//! One step of the game, each line consuming the line above:
//! ```text
//! source.problems -> Table::play -> Round::score -> estimate_groups -> reinforce, judge -> optimizer.step
//! -> StepReport -> metrics, checkpoint if due
//! ```
//! Everything drawn is keyed by (seed, role, stage, step, problem, sample), so a run that resumes from any checkpoint
//! goes on as if it had never stopped.

mod base;
mod closing;
mod error;
pub mod export;
mod files;
mod game;
mod measure;
mod observer;
mod open;
mod play;
mod players;
mod saving;
mod scoring;
mod self_training;
mod session;
mod standing;
mod state;
mod summary;
mod verdicts;

pub use base::rollouts;
pub use error::TrainError;
pub use observer::{Begun, Observer, Silent};
pub use open::{checkpoint_encoder, device, limits, pool, problems_dir};
pub use players::{Pair, Player, Policy, Roster, game_options, model_config, warmup_options};
pub use session::{Ending, Session};
pub use standing::{PlayerTotals, Standing, Standings};
pub use state::{CheckpointRef, Phase, TrainerState};
pub use summary::{ClosingRow, Ranking, StageRow, Summary};
