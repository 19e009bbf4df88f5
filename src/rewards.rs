//! From executed outcomes to rewards: plain values in, a number with its breakdown out.
//!
//! Everything is judged by execution. A [`Cell`] is one candidate on one test, a [`Trial`] one candidate's row of the
//! matrix. Attacks are checked against the reference ([`check_attacks`]) and pooled ([`pool_attacks`]) before any
//! candidate meets them. Then each player is paid: [`generator_reward`] and [`discriminator_reward`].
//!
//! What says nothing about the work is masked and never scored: a truncated completion, a fault of the host, a stop by
//! the wall clock (a slow machine is not wrong code).

mod attacks;
mod discriminator;
mod generator;
mod trial;

pub use attacks::{Evidence, PooledAttack, Source, check_attacks, novel_attacks, pool_attacks};
pub use discriminator::{Opponent, alpha, discriminator_reward, wrong_candidates};
pub use generator::{MAX_SHAPING, VERDICT_GATE, generator_reward, shape};
pub use trial::{Cell, Trial, verdict_target};
