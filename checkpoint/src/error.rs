//! What can go wrong with a checkpoint, each with the place it went wrong at.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::architecture::ArchitectureMismatch;

/// Why a checkpoint could not be written, found, read or trusted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system refused an operation.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// The operation, as in "cannot *create* ..".
        action: &'static str,
        /// What it was applied to.
        path: PathBuf,
        /// The operating system's answer.
        cause: io::Error,
    },
    /// The target volume is too full for the checkpoint; nothing was written.
    #[error(
        "{}: a checkpoint of {needed} bytes does not fit, {free} bytes are free; free some space, \
         lower `keep_last`, or choose another volume",
        path.display()
    )]
    NoSpace {
        /// The directory the checkpoint was meant for.
        path: PathBuf,
        /// Bytes the checkpoint takes.
        needed: u64,
        /// Bytes the volume has.
        free: u64,
    },
    /// A checkpoint of this name is there already, and committed checkpoints are never overwritten.
    #[error("{} exists already; a committed checkpoint is never overwritten", path.display())]
    Exists {
        /// The checkpoint in the way.
        path: PathBuf,
    },
    /// Another process writes checkpoints to the same directory.
    #[error("{} is in use by another training ({holder})", path.display())]
    Busy {
        /// The directory of checkpoints.
        path: PathBuf,
        /// What the holder said about itself.
        holder: String,
    },
    /// The file system has no locks; whether another process writes there is seen by a name in a file alone.
    #[error(
        "{} lies on a file system without locks; see to it that no other training writes there",
        path.display()
    )]
    NoLocks {
        /// The directory of checkpoints.
        path: PathBuf,
    },
    /// The file system has no symbolic links; files stand for them.
    #[error(
        "{} takes no links; best.json and latest.json stand for best and latest",
        path.display()
    )]
    NoLinks {
        /// The directory of checkpoints.
        path: PathBuf,
    },
    /// No run of a name has checkpoints; says where what was asked for is instead.
    #[error("no run called {name:?} in {} has checkpoints{}", outputs.display(), Elsewhere { wanted, elsewhere })]
    NoRun {
        /// The name.
        name: String,
        /// The directory of all runs.
        outputs: PathBuf,
        /// The checkpoint that was asked for.
        wanted: String,
        /// Checkpoints of other runs that the same words would find.
        elsewhere: Vec<PathBuf>,
    },
    /// A name that could lead out of its directory, or that a file system may not take.
    #[error("{name:?} is not a name for {what}: {reason}")]
    Name {
        /// What the name was to name.
        what: &'static str,
        /// The name as given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No such checkpoint; says which there are.
    #[error("no checkpoint {wanted:?} in {place}{}", Available(available))]
    NotFound {
        /// What was asked for.
        wanted: String,
        /// Where it was looked for.
        place: String,
        /// What there is instead.
        available: Vec<String>,
    },
    /// No player of this number; says which there are.
    #[error("{} has no {role} {number}; it has {}", path.display(), Numbered(players))]
    NoPlayer {
        /// The checkpoint.
        path: PathBuf,
        /// The role.
        role: String,
        /// The number that was asked for.
        number: usize,
        /// Names of the role's players, in the order of their numbers.
        players: Vec<String>,
    },
    /// Bytes are not those that were written.
    #[error("{}: damaged: expected {expected}, found {found}", Place { file, entry: entry.as_deref() })]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The archive entry inside it, where the damage is inside one.
        entry: Option<String>,
        /// What the manifest says.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A `.pt` file that is not one, or that asks for something outside the closed list.
    #[error("{}: {reason}", Place { file, entry: Some(entry) })]
    Pt {
        /// The file.
        file: PathBuf,
        /// The archive entry at fault, or the part of the archive.
        entry: String,
        /// What was refused and where.
        reason: String,
    },
    /// A file that is whole but does not say what it should.
    #[error("{}: {reason}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// The weights belong to another architecture.
    #[error(transparent)]
    Architecture(#[from] ArchitectureMismatch),
    /// What was given to be saved cannot be saved.
    #[error("cannot save {what}: {reason}")]
    Unsavable {
        /// The value.
        what: String,
        /// What stands in the way.
        reason: String,
    },
    /// The checkpoint is committed and durable, but `latest` or `best` still names its predecessor.
    #[error("{} is saved, but the link {link:?} could not be moved to it: {cause}", checkpoint.display())]
    Link {
        /// The committed checkpoint.
        checkpoint: PathBuf,
        /// The link.
        link: &'static str,
        /// Why it did not move.
        cause: Box<CheckpointError>,
    },
}

impl CheckpointError {
    /// Wraps an error of the operating system, for use in `map_err`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Io {
            action,
            path: path.into(),
            cause,
        }
    }

    /// Whether the same operation may succeed a moment later: a hiccup of the storage, as against
    /// a full disk, missing permissions or a value that cannot be saved.
    pub fn may_pass(&self) -> bool {
        use io::ErrorKind;
        match self {
            Self::Io { cause, .. } => !matches!(
                cause.kind(),
                ErrorKind::StorageFull
                    | ErrorKind::QuotaExceeded
                    | ErrorKind::FileTooLarge
                    | ErrorKind::PermissionDenied
                    | ErrorKind::ReadOnlyFilesystem
                    | ErrorKind::NotADirectory
                    | ErrorKind::InvalidInput
            ),
            _ => false,
        }
    }

    /// A whole file with the wrong content.
    pub(super) fn invalid(file: &Path, reason: impl Into<String>) -> Self {
        Self::Invalid {
            file: file.into(),
            reason: reason.into(),
        }
    }
}

/// A file and the entry inside it.
struct Place<'a> {
    file: &'a Path,
    entry: Option<&'a str>,
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file.display())?;
        self.entry.map_or(Ok(()), |entry| write!(f, ": {entry}"))
    }
}

/// The end of "no such checkpoint": what there is.
struct Available<'a>(&'a [String]);

impl std::fmt::Display for Available<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            [] => write!(f, "; there are no checkpoints"),
            names => write!(f, "; there are: {}", names.join(", ")),
        }
    }
}

/// Of "no such run": where else to look.
struct Elsewhere<'a> {
    wanted: &'a str,
    elsewhere: &'a [PathBuf],
}

impl std::fmt::Display for Elsewhere<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.elsewhere.is_empty() {
            return Ok(());
        }
        let paths: Vec<String> = self
            .elsewhere
            .iter()
            .map(|p| p.display().to_string())
            .collect();
        write!(
            f,
            "; of other runs, {} is {}: name it by its path, or set run.name",
            self.wanted,
            paths.join(" or ")
        )
    }
}

/// Players by number, each with its file.
struct Numbered<'a>(&'a [String]);

impl std::fmt::Display for Numbered<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let each = self.0.iter().enumerate();
        let each: Vec<String> = each.map(|(i, name)| format!("{i} ({name}.pt)")).collect();
        write!(f, "{}", each.join(", "))
    }
}
