//! PPO's clipped objective with bounds of its own for either side.
//!
//! ```text
//! J = sum_t min(r_t A_t, clip(r_t, 1 - low, 1 + high) A_t)
//! w_t = 0 where A_t > 0 and r_t > 1 + high, or A_t < 0 and r_t < 1 - low; else r_t A_t
//! ```
//!
//! "Proximal Policy Optimization" (Schulman et al., arXiv 1707.06347), equation 7; the higher upper bound is DAPO's (Yu et
//! al., arXiv 2503.14476, section 3.1): it lets unlikely tokens grow. Left out: the value function, the entropy bonus, a
//! third bound for negative advantages (dual clip). The ratio is to the probability at sampling time, so no third set of
//! log-probabilities is computed at the beginning of a batch.

use tch::Tensor;

use super::{Bounds, Seen, Weighed};

/// DAPO's bounds.
pub const BOUNDS: Bounds = Bounds {
    low: 0.2,
    high: 0.28,
};

/// Weights for ratios and advantages `[m]`, without gradient.
pub fn weigh(ratios: &Tensor, advantages: &Tensor, bounds: Bounds) -> Weighed {
    let free = ratios * advantages;
    let values = free.minimum(&(bounds.clip(ratios) * advantages));
    let above = advantages
        .gt(0.0)
        .logical_and(&ratios.gt(1.0 + bounds.high));
    let below = advantages.lt(0.0).logical_and(&ratios.lt(1.0 - bounds.low));
    let clipped = above.logical_or(&below);
    Weighed {
        weights: free.masked_fill(&clipped, 0.0),
        seen: Some(Seen {
            ratios: ratios.shallow_clone(),
            values,
            clipped,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::floats;
    use super::*;

    #[test]
    fn by_hand() {
        // Either sign within the bounds, above them, and below them.
        let ratios = Tensor::from_slice(&[1.25f64, 1.25, 1.5, 1.5, 0.5, 0.5]);
        let advantages = Tensor::from_slice(&[2.0f64, -2.0, 2.0, -2.0, 2.0, -2.0]);
        let bounds = Bounds {
            low: 0.25,
            high: 0.375,
        };
        let weighed = weigh(&ratios, &advantages, bounds);
        assert_eq!(floats(&weighed.weights), [2.5, -2.5, 0.0, -3.0, 1.0, 0.0]);
        let seen = weighed.seen.unwrap();
        assert_eq!(floats(&seen.values), [2.5, -2.5, 2.75, -3.0, 1.0, -1.5]);
        assert_eq!(floats(&seen.clipped), [0.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
    }
}
