//! Leave-one-out (RLOO): a reward minus the mean of the others of its group.
//!
//! ```text
//! A_i = r_i - sum_(j != i) r_j / (n - 1) = n / (n - 1) (r_i - mean(r))
//! ```
//!
//! "Back to Basics" (Ahmadian et al., arXiv 2402.14740), section 3, after Kool et al. 2019. The baseline does not depend
//! on the reward that it is subtracted from, so the gradient is unbiased at any group size. Left out: the KL penalty
//! within the reward, which `algorithm.kl` chooses apart.

/// One advantage for each of `rewards`, of which there are at least two.
pub fn advantages(rewards: &[f64]) -> Vec<f64> {
    let sum: f64 = rewards.iter().sum();
    let others = (rewards.len().max(2) - 1) as f64;
    let against = |reward: &f64| reward - (sum - reward) / others;
    rewards.iter().map(against).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // 1 - (0 + 0.5) / 2, 0 - (1 + 0.5) / 2, 0.5 - (1 + 0) / 2
        assert_eq!(advantages(&[1.0, 0.0, 0.5]), [0.75, -0.75, 0.0]);
        assert_eq!(advantages(&[1.0, 0.0]), [1.0, -1.0]);
    }

    #[test]
    fn it_is_the_group_mean_stretched() {
        let rewards = [0.125, 0.75, 1.0, 0.0, 0.25];
        let centred = super::super::group_mean::advantages(&rewards);
        for (ours, centred) in advantages(&rewards).iter().zip(centred) {
            assert!((ours - 5.0 / 4.0 * centred).abs() < 1e-12);
        }
    }
}
