//! What can end a run.

use std::path::{Path, PathBuf};

use gauntlet_sandbox::Fault;

use crate::checkpoint::CheckpointError;
use crate::encoding::EncodingError;
use crate::evaluation::Stopped;
use crate::game::StepError;
use crate::metrics::LogError;
use crate::mistake_book::MistakeBookError;
use crate::model::config::ModelConfigError;
use crate::model::pretrained::LoadError;
use crate::optimizer::OptimizerError;
use crate::own_chains::OwnChainsError;
use crate::problems::ProblemError;
use crate::problems::ground::GroundError;
use crate::source::ProblemSource;

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
    /// A step of the game, or what it learns from, cannot be made.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The architecture is impossible.
    #[error(transparent)]
    Model(#[from] ModelConfigError),
    /// A published model cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A published model does not go with the run.
    #[error("{0}")]
    Base(String),
    /// A player cannot be exported.
    #[error("export: {0}")]
    Export(String),
    /// The optimizer refuses a step or a state.
    #[error(transparent)]
    Optimizer(#[from] OptimizerError),
    /// A log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The mistake book of a checkpoint does not read.
    #[error(transparent)]
    MistakeBook(#[from] MistakeBookError),
    /// The generators' own chains of a checkpoint do not read.
    #[error(transparent)]
    OwnChains(#[from] OwnChainsError),
    /// Self-training on own chains alone without any.
    #[error(
        "self-training: none of {chains} chains was right, so there is nothing to imitate; warm up longer, take easier \
         problems, or imitate reference traces beside (self_training.own_share below 1)"
    )]
    NothingToImitate {
        /// Chains sampled.
        chains: usize,
    },
    /// The sandbox cannot be opened.
    #[error(transparent)]
    Sandbox(#[from] Fault),
    /// A problem's own reference fails its tests.
    #[error(
        "problem {id}: its reference fails its own tests: {outcome}; repair the problem, take it out, or raise the limits \
         under `sandbox` if it met one"
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
    /// A pool was asked for by name that this configuration has not.
    #[error("there is no pool {0} of problems: there are {pools}, composed ones where problems.composed is true", pools = ProblemSource::POOLS.join(", "))]
    NoPool(String),
    /// A setting that may not change on resume did.
    #[error(
        "cannot resume {checkpoint}: {changes}; the state has the shape of the former. Set it back, or begin a run of its \
         own from these weights with --init-from"
    )]
    Incompatible {
        /// The checkpoint.
        checkpoint: String,
        /// Every key with its value there and here.
        changes: String,
    },
    /// Players cannot be taken over from a checkpoint that has another number of them.
    #[error(
        "{checkpoint} has {there} {role}s, and players.{role}s is {here}: set it to {there}, or begin with a checkpoint that \
         has one {role}, which all will begin as"
    )]
    OtherPlayers {
        /// The checkpoint.
        checkpoint: String,
        /// The role.
        role: String,
        /// How many it has.
        there: usize,
        /// How many the configuration asks for.
        here: usize,
    },
    /// A checkpoint for inference cannot be resumed.
    #[error(
        "cannot resume {0}: it is a sampler checkpoint, without optimizer state. Resume a full one (`checkpoints list` \
         shows the kinds), or begin a run of its own from these weights with --init-from"
    )]
    Sampler(String),
    /// The warm models that the game is anchored to are not there.
    #[error(
        "cannot resume {checkpoint}: its game is anchored to stage_0 of its run, which is neither beside it nor at {anchor}; \
         copy the run as a whole (`checkpoints backup`), or put that stage_0 beside it"
    )]
    NoAnchor {
        /// The checkpoint.
        checkpoint: String,
        /// Where the anchor was.
        anchor: String,
    },
    /// A file of the run cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It was asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A step panicked.
    #[error("a step panicked: {0}")]
    Panicked(String),
    /// The thread that writes checkpoints cannot be started.
    #[error("cannot start the thread that writes checkpoints: {0}")]
    Saver(std::io::Error),
    /// A checkpoint that others depend on could not be written, however often it was tried.
    #[error("checkpoint {0} could not be written, and without it a run cannot go on exactly")]
    Pending(String),
    /// Failed, and the state could not be saved either.
    #[error("{cause}; the state before it could not be saved: {reason}")]
    Unsaved {
        /// What went wrong.
        cause: Box<TrainError>,
        /// Why there is no emergency checkpoint.
        reason: Box<TrainError>,
        /// The newest checkpoint that there is.
        newest: Option<PathBuf>,
    },
    /// Failed, after an emergency checkpoint was written.
    #[error("{cause}; the state before it is saved in {}", saved.display())]
    Stopped {
        /// What went wrong.
        cause: Box<TrainError>,
        /// The emergency checkpoint.
        saved: PathBuf,
    },
}

impl From<Stopped> for TrainError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Encoding(error) => Self::Encoding(error),
            Stopped::Interrupted => Self::Interrupted,
        }
    }
}

impl TrainError {
    /// The checkpoint from which the run can go on, where there is one.
    pub fn resume_from(&self) -> Option<&Path> {
        match self {
            Self::Stopped { saved, .. } => Some(saved),
            Self::Unsaved { newest, .. } => newest.as_deref(),
            _ => None,
        }
    }
}
