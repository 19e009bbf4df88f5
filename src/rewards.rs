//! From results to rewards: plain values in, a number with its breakdown out. Each player is paid by its own formula:
//! [`generator_reward`] and [`discriminator_reward`].
//!
//! What says nothing about the work is masked and never scored: a truncated completion, a fault of the host, a stop by
//! the wall clock.

mod discriminator;
mod generator;

pub use discriminator::{
    KILL, Opponent, alpha, discriminator_reward, kill_weight, wrong_candidates,
};
pub use generator::{MAX_SHAPING, SOLVED_PART, VERDICT_GATE, generator_reward, shape};
