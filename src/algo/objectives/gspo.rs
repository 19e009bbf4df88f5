//! GSPO: PPO's clip on the ratio of the whole sequence.
//!
//! ```text
//! s_i = exp(1 / |y_i| sum_t log r_(i,t))      J = sum_i sum_t min(s_i A_(i,t), clip(s_i, 1 - low, 1 + high) A_(i,t))
//! w_t = 0 where the sequence is out of bounds on the side of A_t; else s_i A_t
//! ```
//!
//! "Group Sequence Policy Optimization" (Zheng et al., arXiv 2507.18071), equations 5 and 7; per-token advantages, which a
//! KL penalty in the reward makes, are its GSPO-token (section 4.3). With `denominator: sequence` the loss is the paper's.
//! A sequence is used whole or not at all, so one unlikely token neither drops out nor weighs much.

use tch::{Kind, Tensor};

use super::{Bounds, Weighed, ppo_clip};

/// The paper's bounds (section 5.1): a mean over tokens moves far less than one of them.
pub const BOUNDS: Bounds = Bounds {
    low: 3e-4,
    high: 4e-4,
};

/// The ratio of its sequence for each token `[M]`, from the log-ratios `[M]` of whole sequences of these lengths.
pub fn sequence_ratios(log_ratios: &Tensor, lengths: &[usize]) -> Tensor {
    let sizes: Vec<i64> = lengths.iter().map(|&length| length as i64).collect();
    let means = log_ratios
        .split_with_sizes(&sizes[..], 0)
        .into_iter()
        .zip(&sizes)
        .map(|(sequence, &size)| sequence.mean(Kind::Float).exp().expand([size], false));
    Tensor::cat(&means.collect::<Vec<_>>(), 0)
}

/// Weights for the ratios of sequences, spread over their tokens, and advantages, all `[m]`, without gradient.
pub fn weigh(sequence_ratios: &Tensor, advantages: &Tensor, bounds: Bounds) -> Weighed {
    ppo_clip::weigh(sequence_ratios, advantages, bounds)
}

#[cfg(test)]
mod tests {
    use super::super::floats;
    use super::*;

    #[test]
    fn by_hand() {
        // Geometric means: sqrt(4 * 1) = 2, and 0.5.
        let ratios = Tensor::from_slice(&[4.0f32, 1.0, 0.5]);
        let ratios = sequence_ratios(&ratios.log(), &[2, 1]);
        for (ratio, by_hand) in floats(&ratios).iter().zip([2.0, 2.0, 0.5]) {
            assert!((ratio - by_hand).abs() < 1e-6);
        }
        // The first sequence is above its bound, and stays out with both of its tokens; the second is within.
        let advantages = Tensor::from_slice(&[1.0f32, 1.0, 1.0]);
        let weighed = weigh(&ratios, &advantages, BOUNDS);
        let seen = weighed.seen.unwrap();
        assert_eq!(floats(&seen.clipped), [1.0, 1.0, 0.0]);
        for (weight, by_hand) in floats(&weighed.weights).iter().zip([0.0, 0.0, 0.5]) {
            assert!((weight - by_hand).abs() < 1e-6);
        }
    }
}
