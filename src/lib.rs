//! Gauntlet trains a generator and a discriminator against each other, in five reasoning stages, on code that is really
//! executed.
//!
//! The modules below stand in the order in which they may import one another: each knows only what is above it.

// Crates of their own.
pub use gauntlet_checkpoint as checkpoint;
pub use gauntlet_problems as problems;

// Plain values, no tensors.
pub mod batch;
pub mod config;
pub mod metrics;
pub mod mistake_book;
pub mod own_chains;
pub mod prompts;
pub mod rewards;
pub mod rollout;
pub mod stage;

// The models.
pub mod algo;
pub mod discriminator;
pub mod encoding;
pub mod generator;
pub mod loss;
pub mod model;
pub mod optimizer;

// Execution, measurement, memory.
pub mod evaluation;
pub mod judge;

// The loops.
pub mod source;
pub mod trainer;
pub mod update;
pub mod warmup;

// The edge.
pub mod cli;
pub mod monitor;
