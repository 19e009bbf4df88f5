//! GRPO: a reward minus the mean of its group, divided by the group's standard deviation.
//!
//! ```text
//! A_i = (r_i - mean(r)) / (std(r) + 1e-6),   std(r)^2 = sum_i (r_i - mean(r))^2 / (n - 1)
//! ```
//!
//! "DeepSeekMath" (Shao et al., arXiv 2402.03300), section 4.1.2. The standard deviation is the sample's, as
//! `torch.std` computes it. Left out: process rewards (section 4.1.3).

/// Keeps the quotient finite where shaping makes values equal that execution told apart.
const EPSILON: f64 = 1e-6;

/// One advantage for each of `rewards`, of which there are at least two.
pub fn advantages(rewards: &[f64]) -> Vec<f64> {
    let mean = super::mean(rewards);
    let squares: f64 = rewards.iter().map(|reward| (reward - mean).powi(2)).sum();
    let deviation = (squares / (rewards.len().max(2) - 1) as f64).sqrt();
    let standard = |reward: &f64| (reward - mean) / (deviation + EPSILON);
    rewards.iter().map(standard).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // mean 2, squares 4 + 1 + 0 + 1 + 4 = 10, over 4: std sqrt(2.5)
        let deviation = 2.5f64.sqrt() + 1e-6;
        let expected = [-2.0, -1.0, 0.0, 1.0, 2.0].map(|d: f64| d / deviation);
        assert_eq!(advantages(&[0.0, 1.0, 2.0, 3.0, 4.0]), expected);
        // However close two rewards lie: 1 / sqrt(2) each.
        for pair in [[1.0, 0.0], [0.51, 0.5]] {
            let [high, low] = advantages(&pair)[..] else {
                panic!("two rewards");
            };
            assert!((high - 0.5f64.sqrt()).abs() < 1e-3 && high == -low);
        }
        assert_eq!(advantages(&[0.5, 0.5]), [0.0, 0.0]);
    }
}
