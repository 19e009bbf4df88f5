//! REINFORCE for one on-policy pass, with truncated importance weights where rollouts are decoded with other numbers.
//!
//! ```text
//! w_t = A_t min(r_t, 2)       J = sum_t w_t log pi(t)
//! ```
//!
//! Williams 1992, equation 11; the truncation is that of Ionides 2008 ("Truncated importance sampling", section 2).
//! Where rollouts are decoded with the weights and numbers of training, the batch is on-policy, every ratio is 1, and
//! none is computed. Left out of PPO: the clip, for a policy that has not moved yet has nothing to be held to.

use tch::Tensor;

use super::{Bounds, Weighed};

/// The weights that correct for rollouts decoded with other numbers than those of training are at most 2.
pub const BOUNDS: Bounds = Bounds {
    low: 1.0,
    high: 1.0,
};

/// Weights for ratios, if there are any to correct for, and advantages, all `[m]`, without gradient.
pub fn weigh(ratios: Option<&Tensor>, advantages: &Tensor) -> Weighed {
    let weights = match ratios {
        Some(ratios) => advantages * ratios.clamp_max(1.0 + BOUNDS.high),
        None => advantages.shallow_clone(),
    };
    Weighed {
        weights,
        seen: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::floats;
    use super::*;

    #[test]
    fn by_hand() {
        let ratios = Tensor::from_slice(&[1.0f64, 0.5, 3.0, 3.0]);
        let advantages = Tensor::from_slice(&[1.0f64, 2.0, 1.0, -1.0]);
        let weighed = weigh(Some(&ratios), &advantages);
        assert_eq!(floats(&weighed.weights), [1.0, 1.0, 2.0, -2.0]);
        let on_policy = weigh(None, &advantages);
        assert_eq!(floats(&on_policy.weights), [1.0, 2.0, 1.0, -1.0]);
    }
}
