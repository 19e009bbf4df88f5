//! Advantage estimators: rewards of one group in, one advantage each out.

pub mod group_mean;
pub mod grpo;
pub mod moving_baseline;
pub mod rloo;

/// The mean; 0 of nothing.
fn mean(rewards: &[f64]) -> f64 {
    rewards.iter().sum::<f64>() / rewards.len().max(1) as f64
}
