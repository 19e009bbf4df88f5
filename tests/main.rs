//! The one integration-test binary.

mod checkpoint;
mod config;
mod model;
mod problems;
mod tidy;
mod train;
