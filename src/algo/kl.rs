//! Estimators of KL(pi || ref) from sampled tokens (Schulman 2020, "Approximating KL divergence").
//!
//! ```text
//! k1 = log pi - log ref                 unbiased, may be negative: a penalty on the token's advantage
//! k3 = exp(d) - d - 1,  d = log ref - log pi    never negative, less variance: a term of the loss
//! ```
//!
//! As a penalty, `A_t - beta k1_t` without gradient through k1: the gradient of the KL divergence of each token's
//! distribution, a token paying for itself alone. Left out: the return of later tokens' penalties, adaptive beta.

use tch::Tensor;

/// k1 of each token `[m]`.
pub fn k1(logprobs: &Tensor, reference: &Tensor) -> Tensor {
    logprobs - reference
}

/// k3 of each token `[m]`.
pub fn k3(logprobs: &Tensor, reference: &Tensor) -> Tensor {
    let difference = reference - logprobs;
    difference.exp() - &difference - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let logprobs = Tensor::from_slice(&[-1.0f64, -2.0]);
        let reference = Tensor::from_slice(&[-1.0f64, -1.0]);
        let values = |t: Tensor| Vec::<f64>::try_from(t).unwrap();
        assert_eq!(values(k1(&logprobs, &reference)), [0.0, -1.0]);
        let k3 = values(k3(&logprobs, &reference));
        assert_eq!(k3[0], 0.0);
        assert!((k3[1] - (std::f64::consts::E - 2.0)).abs() < 1e-12);
    }
}
