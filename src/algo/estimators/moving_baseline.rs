//! Moving baseline (REINFORCE): a reward minus an exponential moving average of what the player earned at this stage.
//!
//! ```text
//! A_i = r_i - b,   b = sum_k decay^k m_k / sum_k decay^k,   m_k the mean reward k batches ago
//! ```
//!
//! Williams 1992 ("Simple statistical gradient-following algorithms"), reinforcement comparison; one average a role, as
//! SPIRAL keeps it (Liu et al., arXiv 2506.24119). A group whose members all did alike still teaches: it did better or
//! worse than the past. Left out: a learned value function. The first batch has no past, and its groups are compared
//! with their own means.

use super::super::baseline::BaselineState;

/// One advantage for each of `rewards`.
pub fn advantages(rewards: &[f64], baseline: &BaselineState) -> Vec<f64> {
    let mean = baseline.mean().unwrap_or_else(|| super::mean(rewards));
    rewards.iter().map(|reward| reward - mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let none = BaselineState::default();
        assert_eq!(advantages(&[1.0, 0.0], &none), [0.5, -0.5]);
        // 0.5 * 0.5 * 0.25 + 0.5 * 1 over 0.25 + 0.5: 0.75
        let past = none.update(&[0.25], 0.5).update(&[1.0], 0.5);
        assert_eq!(past.mean(), Some(0.75));
        assert_eq!(advantages(&[1.0, 1.0, 0.0], &past), [0.25, 0.25, -0.75]);
    }
}
