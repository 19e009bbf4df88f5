//! The one integration-test binary.

mod checkpoint;
mod config;
mod problems;
mod tidy;
mod train;
