//! Group mean (Dr. GRPO): a reward minus the mean of its group.
//!
//! ```text
//! A_i = r_i - mean(r)
//! ```
//!
//! "Understanding R1-Zero-Like Training" (Liu et al., arXiv 2503.20783), section 3.2. Left out of GRPO: the division by
//! the standard deviation, which weighs easy and hard problems more than middling ones.

/// One advantage for each of `rewards`.
pub fn advantages(rewards: &[f64]) -> Vec<f64> {
    let mean = super::mean(rewards);
    rewards.iter().map(|reward| reward - mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // mean 0.5
        assert_eq!(advantages(&[1.0, 0.0, 0.5]), [0.5, -0.5, 0.0]);
        // mean 0.375: the spread stays as it is.
        assert_eq!(advantages(&[0.5, 0.25]), [0.125, -0.125]);
        assert!(advantages(&[]).is_empty());
    }

    #[test]
    fn they_sum_to_zero() {
        let rewards: Vec<f64> = (0..7).map(|i| f64::from(i * i) / 40.0).collect();
        assert!(advantages(&rewards).iter().sum::<f64>().abs() < 1e-12);
    }
}
