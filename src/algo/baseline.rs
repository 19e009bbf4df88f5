//! The moving baseline's memory.

use serde::{Deserialize, Serialize};

/// An exponential moving average of rewards by execution, of one player at one stage.
///
/// ```
/// # use gauntlet::algo::BaselineState;
/// let first = BaselineState::default().update(&[1.0, 0.0], 0.75);
/// assert_eq!(first.mean(), Some(0.5));
/// // (0.75 * 0.25 * 0.5 + 0.25 * 1.0) / (0.75 * 0.25 + 0.25)
/// assert_eq!(first.update(&[1.0], 0.75).mean(), Some(0.34375 / 0.4375));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BaselineState {
    /// Decayed sum of the batches' mean rewards.
    sum: f64,
    /// Decayed sum of ones: the mean does not lean towards the zero that it starts from (Adam's bias correction).
    weight: f64,
}

impl BaselineState {
    /// The mean reward so far; none before the first.
    pub fn mean(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }

    /// The state behind a batch with these rewards, of which the past keeps the share `decay`. No reward changes
    /// nothing.
    #[must_use]
    pub fn update(&self, rewards: &[f64], decay: f64) -> BaselineState {
        if rewards.is_empty() {
            return *self;
        }
        let mean = rewards.iter().sum::<f64>() / rewards.len() as f64;
        BaselineState {
            sum: decay * self.sum + (1.0 - decay) * mean,
            weight: decay * self.weight + (1.0 - decay),
        }
    }

    /// Whether there was no reward yet, so that a run has nothing to save.
    pub fn is_empty(&self) -> bool {
        *self == BaselineState::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_survives_json_bit_for_bit() {
        let state = BaselineState::default()
            .update(&[0.1 + 0.2, 1.0 / 3.0], 0.95)
            .update(&[0.7], 0.95);
        let json = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<BaselineState>(&json).unwrap(), state);
        assert!(!state.is_empty());
    }

    #[test]
    fn a_batch_without_rewards_changes_nothing() {
        let none = BaselineState::default();
        assert_eq!(none.update(&[], 0.9), none);
        assert_eq!((none.mean(), none.is_empty()), (None, true));
    }

    #[test]
    fn a_steady_reward_is_its_own_baseline_at_once() {
        let mut state = BaselineState::default();
        for _ in 0..5 {
            state = state.update(&[0.75], 0.5);
            assert_eq!(state.mean(), Some(0.75));
        }
    }
}
