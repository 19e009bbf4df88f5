//! The crate against its runtime.
