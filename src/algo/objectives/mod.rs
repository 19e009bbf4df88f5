//! Policy objectives: importance ratios and advantages in, one weight a token out.
//!
//! The gradient of every objective here is `sum_t w_t grad log pi(t)` with weights that carry no gradient themselves, so
//! an objective is the function that makes them, and the loss is the same for all. Ratios are the policy's probability of
//! a token over the one at sampling time: they hold both how far the policy has moved within the batch and how far the
//! numbers of decoding lie from those of training.

pub mod cispo;
pub mod gspo;
pub mod ppo_clip;
pub mod reinforce;

use tch::Tensor;

use crate::config::Objective;

/// How far from 1 a ratio counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Below: ratios under `1 - low` are out of bounds.
    pub low: f64,
    /// Above: ratios over `1 + high` are out of bounds.
    pub high: f64,
}

impl Bounds {
    /// An objective's own bounds. REINFORCE has those that its weights are truncated to.
    pub fn of(objective: Objective) -> Bounds {
        match objective {
            Objective::Reinforce => reinforce::BOUNDS,
            Objective::PpoClip => ppo_clip::BOUNDS,
            Objective::Gspo => gspo::BOUNDS,
            Objective::Cispo => cispo::BOUNDS,
        }
    }

    /// `ratios` moved to the nearest value within.
    fn clip(&self, ratios: &Tensor) -> Tensor {
        ratios.clamp(1.0 - self.low, 1.0 + self.high)
    }
}

/// What an objective makes of tokens `[m]`; none of it carries gradient.
pub struct Weighed {
    /// `w_t`: the gradient is the sum of `w_t grad log pi(t)`.
    pub weights: Tensor,
    /// What there is to report, where ratios mean more than rounding.
    pub seen: Option<Seen>,
}

/// What an objective with bounds saw of tokens `[m]`.
pub struct Seen {
    /// The ratios.
    pub ratios: Tensor,
    /// What the objective itself is worth at each token.
    pub values: Tensor,
    /// Where a bound changed something (bool).
    pub clipped: Tensor,
}

#[cfg(test)]
fn floats(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(tch::Kind::Double)).unwrap()
}
