//! The one integration-test binary.

mod checkpoint;
mod config;
mod tidy;
