//! Gauntlet trains a generator and a discriminator against each other, in five reasoning stages, on code that is really
//! executed.
//!
//! The modules below stand in the order in which they may import one another: each knows only what is above it.

// Plain values, no tensors.
pub mod config;
pub mod problems;
pub mod stage;
pub mod rollout;
pub mod prompts;
pub mod metrics;
pub mod rewards;
pub mod advantage;
pub mod batch;
pub mod curriculum;
pub mod mistake_book;

// The models.
pub mod model;
pub mod loss;
pub mod optimizer;
pub mod encoding;
pub mod generator;
pub mod discriminator;

// Execution, measurement, memory.
pub mod judge;
pub mod evaluation;
pub mod checkpoint;

// The loops.
pub mod source;
pub mod update;
pub mod warmup;
pub mod trainer;


// The edge.
pub mod cli;
