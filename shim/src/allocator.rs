//! How the C library's allocator treats the memory that tensors free.

/// Lets freed memory stay with the process, so that the activations of the next step find
/// pages that are already mapped: a step of training else spends a tenth of its time on page faults. Call it first thing.
/// It does nothing where the C library is not glibc.
pub fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    crate::ffi::keep_freed_memory();
}
