//! CISPO: importance weights that are clipped, and carry no gradient.
//!
//! ```text
//! w_t = clip(r_t, 1 - low, 1 + high) A_t       J = sum_t sg(w_t) log pi(t)
//! ```
//!
//! "MiniMax-M1" (arXiv 2506.13585), equation 4. No token drops out: beyond the bounds it counts as at them, where PPO's
//! clip would silence it. As in the paper there is no lower bound unless `clip_low` sets one. With an upper bound of 1,
//! the default, the first pass is [`super::reinforce`]'s. Left out: the paper's unified form with a mask by token.

use tch::Tensor;

use super::{Bounds, Seen, Weighed};

/// No lower bound, and weights of at most 2.
pub const BOUNDS: Bounds = Bounds {
    low: 1.0,
    high: 1.0,
};

/// Weights for ratios, advantages and log-probabilities `[m]`, without gradient.
pub fn weigh(ratios: &Tensor, advantages: &Tensor, logprobs: &Tensor, bounds: Bounds) -> Weighed {
    let kept = bounds.clip(ratios);
    let weights = &kept * advantages;
    let seen = Seen {
        ratios: ratios.shallow_clone(),
        values: &weights * logprobs,
        clipped: kept.ne_tensor(ratios),
    };
    Weighed {
        weights,
        seen: Some(seen),
    }
}

#[cfg(test)]
mod tests {
    use super::super::floats;
    use super::*;

    #[test]
    fn by_hand() {
        let ratios = Tensor::from_slice(&[1.0f64, 0.25, 3.0, 3.0]);
        let advantages = Tensor::from_slice(&[1.0f64, 2.0, 1.0, -1.0]);
        let logprobs = Tensor::from_slice(&[-1.0f64, -0.5, -2.0, -2.0]);
        let weighed = weigh(&ratios, &advantages, &logprobs, BOUNDS);
        assert_eq!(floats(&weighed.weights), [1.0, 0.5, 2.0, -2.0]);
        let seen = weighed.seen.unwrap();
        assert_eq!(floats(&seen.values), [-1.0, -0.25, -4.0, 4.0]);
        assert_eq!(floats(&seen.clipped), [0.0, 0.0, 1.0, 1.0]);
        let bounds = Bounds {
            low: 0.5,
            high: 1.0,
        };
        let weighed = weigh(&ratios, &advantages, &logprobs, bounds);
        assert_eq!(floats(&weighed.weights), [1.0, 1.0, 2.0, -2.0]);
        assert_eq!(floats(&weighed.seen.unwrap().clipped), [0.0, 1.0, 1.0, 1.0]);
    }
}
