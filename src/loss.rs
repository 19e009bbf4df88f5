//! Losses: tensors in, `(loss, metrics)` out, every denominator written out.
//!
//! Shape legend: M scored tokens of a microbatch, V vocabulary, N prompts.

use tch::{Kind, Reduction, Tensor};

/// What one call of [`policy_gradient`] measured, as sums over its tokens, so that microbatches add up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PolicyMetrics {
    /// Sum of the k3 estimates.
    pub kl: f64,
    /// Tokens.
    pub tokens: usize,
    /// Sum of |log pi(t) - log-probability at sampling time|, where rollouts may be decoded with other numbers.
    pub mismatch: f64,
}

/// REINFORCE with a group baseline and a KL anchor, for on-policy batches (importance ratio 1, so no clip):
///
/// ```text
/// loss = -(1 / denominator) sum_t A_t log pi(t)  +  beta / denominator sum_t (exp(d_t) - d_t - 1),  d = log ref - log pi
/// ```
///
/// The second term is the k3 estimator of KL(pi || ref) (Schulman 2020). `denominator` is the number of sequences of the
/// whole batch times the longest completion allowed: constant, so that long completions are not favoured (Dr. GRPO,
/// arXiv 2503.20783). `logprobs`, `advantages` and `reference` are `[M]`; only `logprobs` carries gradient.
pub fn policy_gradient(
    logprobs: &Tensor,
    advantages: &Tensor,
    reference: Option<&Tensor>,
    beta: f64,
    denominator: f64,
) -> (Tensor, PolicyMetrics) {
    let reward = (logprobs * advantages).sum(Kind::Float) * (-1.0 / denominator);
    let tokens = logprobs.numel();
    let Some(reference) = reference else {
        let metrics = PolicyMetrics {
            tokens,
            ..PolicyMetrics::default()
        };
        return (reward, metrics);
    };
    let difference = reference - logprobs;
    let k3 = (difference.exp() - &difference - 1.0).sum(Kind::Float);
    let kl = k3.double_value(&[]);
    (
        reward + k3 * (beta / denominator),
        PolicyMetrics {
            kl,
            tokens,
            ..PolicyMetrics::default()
        },
    )
}

/// Cross-entropy of `logits` `[M, V]` against `targets` `[M]` (int64), summed and divided by `denominator`, the number of
/// trained tokens of the whole batch. Returns the loss and the sum in nats before division.
pub fn cross_entropy(logits: &Tensor, targets: &Tensor, denominator: f64) -> (Tensor, f64) {
    let sum = logits.cross_entropy_loss(targets, None::<Tensor>, Reduction::Sum, -100, 0.0);
    let nats = sum.double_value(&[]);
    (sum * (1.0 / denominator), nats)
}

/// Binary cross-entropy of verdict logits `[N]` against executed outcomes `[N]` in 0..=1, summed and divided by
/// `denominator`, the number of verdicts of the whole batch. Returns the loss and the sum in nats before division.
pub fn verdict(logits: &Tensor, outcomes: &Tensor, denominator: f64) -> (Tensor, f64) {
    let none = None::<Tensor>;
    let sum = logits.binary_cross_entropy_with_logits(
        outcomes,
        none.as_ref(),
        none.as_ref(),
        Reduction::Sum,
    );
    let nats = sum.double_value(&[]);
    (sum * (1.0 / denominator), nats)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[f32]) -> Tensor {
        Tensor::from_slice(values)
    }

    #[test]
    fn policy_gradient_is_the_formula() {
        let logprobs = row(&[-1.0, -2.0, -0.5]).set_requires_grad(true);
        let (loss, metrics) = policy_gradient(
            &logprobs,
            &row(&[1.0, -0.5, 0.0]),
            Some(&row(&[-1.0, -1.0, -0.5])),
            0.1,
            4.0,
        );
        // d = [0, 1, 0]; k3 = e - 2
        let k3 = std::f64::consts::E - 2.0;
        assert!((loss.double_value(&[]) - (-(-1.0 + 1.0) / 4.0 + 0.1 * k3 / 4.0)).abs() < 1e-6);
        assert!((metrics.kl - k3).abs() < 1e-6);
        loss.backward();
        let grad: Vec<f32> = Vec::try_from(logprobs.grad()).unwrap();
        // -A / 4 + beta (1 - e^d) / 4
        let expected = [-0.25, 0.125 + 0.1 * (1.0 - std::f32::consts::E) / 4.0, 0.0];
        for (g, e) in grad.iter().zip(expected) {
            assert!((g - e).abs() < 1e-6, "{grad:?}");
        }
    }

    #[test]
    fn sums_are_divided_by_the_denominator_given() {
        let logits = Tensor::zeros([2, 4], (Kind::Float, tch::Device::Cpu));
        let (loss, nats) = cross_entropy(&logits, &Tensor::from_slice(&[1i64, 3]), 8.0);
        assert!(
            (nats - 2.0 * 4f64.ln()).abs() < 1e-6
                && (loss.double_value(&[]) - nats / 8.0).abs() < 1e-6
        );
        let (loss, nats) = verdict(&row(&[0.0, 0.0]), &row(&[1.0, 0.25]), 4.0);
        assert!(
            (nats - 2.0 * 2f64.ln()).abs() < 1e-6
                && (loss.double_value(&[]) - nats / 4.0).abs() < 1e-6
        );
    }
}
