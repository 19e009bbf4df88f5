//! What can end a run.

use std::path::PathBuf;

use gauntlet_sandbox::Fault;

use crate::checkpoint::CheckpointError;
use crate::encoding::EncodingError;
use crate::metrics::LogError;
use crate::mistake_book::MistakeBookError;
use crate::model::config::ModelConfigError;
use crate::optimizer::OptimizerError;
use crate::problems::ProblemError;
use crate::problems::ground::GroundError;
use crate::warmup::WarmupError;

/// Why training cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A checkpoint cannot be found, read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A prompt or tokenizer fails.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// A problem file is wrong.
    #[error(transparent)]
    Problem(#[from] ProblemError),
    /// A composed problem cannot be given its tests.
    #[error(transparent)]
    Ground(#[from] GroundError),
    /// Warm-up data cannot be made.
    #[error(transparent)]
    Warmup(#[from] WarmupError),
    /// The architecture is impossible.
    #[error(transparent)]
    Model(#[from] ModelConfigError),
    /// The optimizer refuses a step or a state.
    #[error(transparent)]
    Optimizer(#[from] OptimizerError),
    /// A log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The mistake book of a checkpoint does not read.
    #[error(transparent)]
    MistakeBook(#[from] MistakeBookError),
    /// The sandbox cannot be opened.
    #[error(transparent)]
    Sandbox(#[from] Fault),
    /// A problem's own reference fails its tests.
    #[error(
        "problem {id}: its reference fails its own tests: {outcome}; repair the problem or take it out"
    )]
    BadReference {
        /// The problem.
        id: String,
        /// The first outcome that is not a pass.
        outcome: String,
    },
    /// There is nothing to train on.
    #[error("no training problems: problems.composed is false and no written problem has split `train` in {}", .0.display())]
    NoProblems(PathBuf),
    /// A setting that may not change on resume did.
    #[error(
        "cannot resume {checkpoint}: {key} was {was} there and is {now} here; it decides the shape of the state"
    )]
    Incompatible {
        /// The checkpoint.
        checkpoint: String,
        /// The configuration key.
        key: String,
        /// Its value in the checkpoint.
        was: String,
        /// Its value in this run.
        now: String,
    },
    /// A file of the run cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Failed, after an emergency checkpoint was written.
    #[error("{cause}; the state before it is saved: go on with `train --resume {}`", saved.display())]
    Stopped {
        /// What went wrong.
        cause: Box<TrainError>,
        /// The emergency checkpoint.
        saved: PathBuf,
    },
}
