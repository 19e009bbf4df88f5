//! Checkpoints that are whole or absent, verified before use, and readable by Python's torch.
//!
//! - [`Store`]: the checkpoints of one run. [`Store::save`] commits a directory atomically.
//! - [`Saver`]: writes beside training; the trainer waits only for a copy of its state. A condition of your own says
//!   what is saved, as in "only on improvement".
//! - [`Checkpoint`]: one of them, opened. Files are verified and read when asked for.
//! - [`PlayerState`]: a player's weights and optimizer; [`PlayerFile`] is its file, opened.
//! - [`Runs`]: all runs below `outputs/`, to find a checkpoint by what a person calls it.
//! - [`report`]: listings and inspections, as tables and as JSON.
//! - [`pt`]: the `.pt` format itself.
//!
//! ```no_run
//! # use gauntlet_checkpoint::*;
//! # fn example(request: SaveRequest) -> Result<(), CheckpointError> {
//! let store = Store::create("outputs/tiny/20251122_095803".as_ref())?;
//! let saved = store.save(request)?;
//! println!("saved {}", saved.path.display());
//!
//! let checkpoint = Runs::new("outputs").find("best", None)?;
//! let weights = checkpoint.generator()?.model_state_dict()?;
//! # Ok(())
//! # }
//! ```

mod architecture;
mod as_text;
mod cache;
mod clock;
mod commit;
mod copy;
mod demand;
mod error;
mod format;
mod link;
mod manifest;
mod mirror;
mod names;
mod object;
mod opened;
mod order;
mod player_file;
mod prune;
pub mod pt;
pub mod report;
mod resolve;
mod retention;
mod runs;
mod save;
mod saver;
mod storage;
mod store;
pub mod table;
mod transfer;

pub use architecture::{ArchitectureMismatch, Difference, NamedShape, check_architecture};
pub use clock::{parse_utc, stamp, utc};
pub use copy::{ANCHOR_COPY, CopyError};
pub use demand::{check_request, is_requested, request_save, take_requests, withdraw_request};
pub use error::CheckpointError;
pub use format::{BASE_HASH, FORMAT_VERSION, Moments, OptimizerState, ParamGroup, PlayerState};
pub use link::link_target;
pub use manifest::{CheckpointKind, FileRecord, MANIFEST, Manifest, Parent};
pub use mirror::{Mirror, Mirrored, check_apart};
pub use names::{BEST, LATEST, check_run, is_called, with_players};
pub use object::ObjectStorage;
pub use opened::Checkpoint;
pub use player_file::{PlayerFile, TensorInfo};
pub use prune::{PruneOptions, Pruning, prune, resumed_from};
pub use resolve::{Found, Resumable, Skipped, Within};
pub use retention::{Candidate, Retention, RetentionError, Strategy};
pub use runs::Runs;
pub use save::{DISCRIMINATOR, GENERATOR, SaveJob, SaveRequest, player_names};
pub use saver::{Condition, Finished, Offered, OnImprovement, Saver, on_improvement};
pub use storage::{EntryKind, LocalStorage, Lock, Storage, StorageFile};
pub use store::{CHECKPOINTS, Listed, Saved, Store};
pub use transfer::{EVENTS_PREFIX, Transfer, transfer};
