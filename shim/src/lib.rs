//! The few calls of libtorch that [`tch`] does not bind, and of the system around them, behind safe functions.
//!
//! - [`fused_adamw`]: libtorch's fused AdamW step over many tensors at once; [`adamw_bf16`]: the same on a weight in bf16
//!   alone, rounded stochastically.
//! - [`inference_mode`]: runs a closure with autograd's bookkeeping switched off altogether; [`normal_mode`] goes out of it.
//! - [`fused`]: products of packed weights and attention over a paged cache, for decoding.
//! - [`training`]: RMSNorm, gated activations and rotary positions in one pass each, with their gradients.
//! - [`Isa`]: the instruction sets that these kernels are compiled for, of which the processor's widest is taken.
//! - [`MappedFile`]: a file seen as memory; [`map_tensor`]: a part of one seen as a tensor; [`read_tensor`]: a tensor read
//!   from a file, and seen while it is read.
//! - [`begin_writeback`]: a file on its way to the disk while it is still being written.
//! - [`keep_freed_memory`]: an allocator that does not give back what the next step wants again.
//!
//! All `unsafe` of the workspace outside the sandbox is in this crate.

mod activation;
mod adamw;
mod allocator;
mod ffi;
mod filled;
pub mod fused;
mod inference;
mod isa;
mod kernels;
mod mapped;
pub mod training;
mod writeback;

pub use activation::Activation;
pub use adamw::{FusedAdamW, Rounding, adamw_bf16, fused_adamw};
pub use allocator::keep_freed_memory;
pub use filled::read_tensor;
pub use inference::{inference_mode, normal_mode};
pub use isa::Isa;
pub use mapped::{MappedFile, map_tensor};
pub use writeback::begin_writeback;

/// Why a call into libtorch was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// A list of tensors is not as long as the list of parameters.
    #[error("{what} has {got} tensors for {expected} parameters")]
    Length {
        /// The name of the list.
        what: &'static str,
        /// How many parameters there are.
        expected: usize,
        /// How many tensors the list has.
        got: usize,
    },
    /// A tensor is not what the fused kernel can read.
    #[error("{what}[{index}] is {got}, but must be {expected}")]
    Operand {
        /// The name of the list.
        what: &'static str,
        /// The place in the list.
        index: usize,
        /// What the kernel needs.
        expected: String,
        /// What the tensor is.
        got: String,
    },
    /// libtorch itself reported an error.
    #[error("libtorch: {0}")]
    Torch(String),
}
