//! Losses of supervised training: tensors in, `(loss, metrics)` out, every denominator written out. Those of a policy are
//! in [`crate::algo`].
//!
//! Shape legend: M scored tokens of a microbatch, V vocabulary, N prompts.

use tch::{Reduction, Tensor};

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
    use tch::Kind;

    use super::*;

    fn row(values: &[f32]) -> Tensor {
        Tensor::from_slice(values)
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
