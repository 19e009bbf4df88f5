//! `.pt` files: a zip archive that holds one protocol-2 pickle and the bytes of each tensor.
//!
//! Python's `torch.load(path, weights_only=True)` opens what [`write_pt`] writes. [`PtFile`] reads
//! what Python's `torch.save` wrote, as long as it is made of tensors and plain values: the
//! unpickler knows a closed list of opcodes and globals and runs nothing.
//!
//! - [`PtValue`]: what a file says. [`At`] walks through it with errors that say where.
//! - [`HostTensor`]: a tensor's bytes, copied out of libtorch, free to go to another thread.
//! - [`PtFile`]: an opened file; tensors are read from the memory map when asked for.

mod ahead;
mod dtype;
mod file;
mod host;
mod map;
mod pickle;
mod rebuild;
mod unpickle;
mod value;
mod zip_read;
mod zip_write;

pub use dtype::dtype_name;
pub use file::{Loader, PtFile};
pub use host::{HostTensor, Snapshotter};
pub use map::Mapped;
pub use pickle::write_pt;
pub use value::{At, LazyTensor, PtValue, StorageRef, Unexpected};
pub use zip_write::{EntryDigest, PtDigest};

/// Deepest nesting of containers, in writing and in reading.
const MAX_DEPTH: usize = 64;

/// Name of the folder inside the archive; torch takes any.
const ARCHIVE: &str = "archive";
