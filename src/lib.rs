//! Gauntlet trains a generator and a discriminator against each other, in five reasoning stages, on code that is really
//! executed.
//!
//! The modules below stand in the order in which they may import one another: each knows only what is above it.

// Crates of their own.
pub use gauntlet_checkpoint as checkpoint;
pub use gauntlet_extract as extract;
pub use gauntlet_problems as problems;

// Plain values, no tensors.
pub mod attacks;
pub mod batch;
pub mod config;
pub mod interrupt;
pub mod metrics;
pub mod mistake_book;
pub mod own_chains;
pub mod prompts;
pub mod results;
pub mod rewards;
pub mod rng;
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
pub mod players;

// Execution and measurement.
pub mod evaluation;
pub mod execution;
pub mod source;

// Training: gradients, a step, phases of steps, a run of phases.
pub mod error;
pub mod game;
pub mod phases;
pub mod run;
pub mod update;

// The edge.
pub mod cli;
pub mod monitor;
