//! One step of the game: a chain of owned values, each made by consuming the one before.
//!
//! ```text
//! problems -> Sampled     the generator's groups of chains            (sample)
//!          -> Executed    what the gold tests say of each candidate   (execute)
//!          -> Attacked    the discriminator's attacks, and the matrix (attack)
//!          -> Scored      rewards of both players                     (score)
//!          -> Advantaged  compared within groups                      (advantage)
//!          -> gradients   left on the players' parameters             (step)
//! ```
//!
//! [`step`] changes nothing but gradients. Everything a run has to remember of a step is in its [`StepResult`]; the run
//! applies it: the optimizers' steps, statistics, the mistake book, logs.

mod advantage;
mod attack;
mod execute;
mod rules;
mod sample;
mod score;
mod step;
mod verdict_examples;

#[cfg(test)]
mod tests;

pub use advantage::{AdvantagedProblem, Baselines, PlayerBatch};
pub use attack::Attacked;
pub use execute::Executed;
pub use rules::Rules;
pub use sample::{Candidate, Sampled};
pub use score::ScoredProblem;
pub use step::{
    Batches, Gradients, LossFigures, Material, Played, StepError, StepPlayers, StepResult,
    StepStats, accumulate, play, step,
};

use crate::execution::Executor;
use crate::mistake_book::MistakeBook;
use crate::rng::DrawKey;
use crate::rollout::RolloutKey;
use crate::stage::Stage;

/// Where a step is played, beside who plays and by which rules.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// Executes.
    pub executor: &'a Executor,
    /// Past kills.
    pub mistakes: &'a MistakeBook,
    /// Root key of the draws.
    pub key: DrawKey,
    /// The stage in training.
    pub stage: Stage,
    /// The optimizer step.
    pub step: u64,
}

/// The key of the draws that make one piece of sampled work.
fn draw_key(root: DrawKey, key: &RolloutKey) -> DrawKey {
    root.with(key.role as u64)
        .with(u64::from(key.stage.number()))
        .with(key.step)
        .with_name(&key.problem)
        .with(u64::from(key.branch))
        .with(u64::from(key.sample))
}
