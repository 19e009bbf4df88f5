//! What an update measured.

use std::ops::AddAssign;

/// What an update measured, as sums over its tokens, so that microbatches add up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PolicyMetrics {
    /// Sum of the estimates of KL(pi || ref).
    pub kl: f64,
    /// Tokens.
    pub tokens: usize,
    /// Sum of |log pi(t) - log-probability at sampling time|, where rollouts may be decoded with other numbers.
    pub mismatch: f64,
    /// What an objective with ratios measured.
    pub ratios: Option<RatioMetrics>,
}

/// What an objective with importance ratios measured, as sums over tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RatioMetrics {
    /// The loss, divided as its gradient is.
    pub loss: f64,
    /// Tokens at which a bound changed something.
    pub clipped: f64,
    /// Sum of the ratios.
    pub sum: f64,
    /// The largest ratio.
    pub max: f64,
    /// Sum of -log pi(t): what a token tells of the policy's entropy.
    pub entropy: f64,
}

impl PolicyMetrics {
    /// What goes into the step's report beside KL and mismatch, by name: nothing for REINFORCE.
    pub fn figures(&self) -> Vec<(&'static str, f64)> {
        let tokens = self.tokens.max(1) as f64;
        let figures = self.ratios.map(|ratios| {
            [
                ("policy_loss", ratios.loss),
                ("clip_fraction", ratios.clipped / tokens),
                ("ratio_mean", ratios.sum / tokens),
                ("ratio_max", ratios.max),
                ("entropy", ratios.entropy / tokens),
            ]
        });
        figures.into_iter().flatten().collect()
    }
}

impl AddAssign for PolicyMetrics {
    fn add_assign(&mut self, other: PolicyMetrics) {
        self.kl += other.kl;
        self.tokens += other.tokens;
        self.mismatch += other.mismatch;
        if let Some(other) = other.ratios {
            let ratios = self.ratios.get_or_insert_default();
            ratios.loss += other.loss;
            ratios.clipped += other.clipped;
            ratios.sum += other.sum;
            ratios.max = ratios.max.max(other.max);
            ratios.entropy += other.entropy;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microbatches_add_up() {
        let part = |max| PolicyMetrics {
            kl: 0.5,
            tokens: 4,
            mismatch: 0.25,
            ratios: Some(RatioMetrics {
                loss: -0.5,
                clipped: 1.0,
                sum: 4.5,
                max,
                entropy: 6.0,
            }),
        };
        let mut total = PolicyMetrics::default();
        assert_eq!(total.figures(), []);
        total += part(1.5);
        total += part(1.25);
        assert_eq!((total.kl, total.tokens, total.mismatch), (1.0, 8, 0.5));
        assert_eq!(
            total.figures(),
            [
                ("policy_loss", -1.0),
                ("clip_fraction", 0.25),
                ("ratio_mean", 1.125),
                ("ratio_max", 1.5),
                ("entropy", 1.5),
            ]
        );
    }
}
