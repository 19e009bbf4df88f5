//! Muon (Jordan et al. 2024): the momentum of a matrix, orthogonalized, so that a step moves all its directions alike and
//! not just the few that the gradient is full of. Steps are scaled to the size AdamW's have (Liu et al. 2025,
//! arXiv 2502.16982), so that one schedule serves both.

use tch::{Kind, Tensor, no_grad};

/// Settings of Muon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Muon {
    /// Its learning rate over AdamW's.
    pub learning_rate_ratio: f64,
    /// Decay of the momentum.
    pub momentum: f64,
}

/// Newton-Schulz iterations: five bring all singular values near one.
const ITERATIONS: usize = 5;
/// Coefficients of the quintic that drives singular values towards one, chosen by its author for a steep slope at zero.
const QUINTIC: (f64, f64, f64) = (3.4445, -4.7750, 2.0315);

impl Muon {
    /// Moves `parameters` (matrices) against `grads`, and updates `momenta` in place.
    pub(super) fn step(
        &self,
        mut parameters: Vec<Tensor>,
        grads: &[Tensor],
        mut momenta: Vec<Tensor>,
        learning_rate: f64,
        weight_decay: f64,
    ) {
        let rate = learning_rate * self.learning_rate_ratio;
        no_grad(|| {
            let mut updates: Vec<Tensor> = Vec::with_capacity(grads.len());
            for (momentum, grad) in momenta.iter_mut().zip(grads) {
                let _ = momentum.g_mul_scalar_(self.momentum);
                let _ = momentum.g_add_(&(grad * (1.0 - self.momentum)));
                // Nesterov: look one step ahead.
                updates.push(grad * (1.0 - self.momentum) + &*momentum * self.momentum);
            }
            for (index, update) in orthogonalize_all(&updates) {
                let size = update.size();
                let scale = 0.2 * (size[0].max(size[1]) as f64).sqrt();
                let parameter = &mut parameters[index];
                let _ = parameter.g_mul_scalar_(1.0 - rate * weight_decay);
                let _ = parameter.g_add_(&(update * (-rate * scale)));
            }
        });
    }
}

/// Each matrix orthogonalized, with its place in the list; those of one shape (or its transpose) in one batch.
fn orthogonalize_all(matrices: &[Tensor]) -> Vec<(usize, Tensor)> {
    let wide = |t: &Tensor| t.size()[0] <= t.size()[1];
    let shape = |t: &Tensor| {
        let size = t.size();
        (size[0].min(size[1]), size[0].max(size[1]))
    };
    let mut shapes: Vec<(i64, i64)> = matrices.iter().map(shape).collect();
    shapes.sort_unstable();
    shapes.dedup();
    let mut result = Vec::with_capacity(matrices.len());
    for group in shapes {
        let members: Vec<usize> = (0..matrices.len())
            .filter(|&i| shape(&matrices[i]) == group)
            .collect();
        let stacked: Vec<Tensor> = members
            .iter()
            .map(|&i| match wide(&matrices[i]) {
                true => matrices[i].shallow_clone(),
                false => matrices[i].tr(),
            })
            .collect();
        let batch = orthogonalize(&Tensor::stack(&stacked, 0));
        for (row, index) in members.into_iter().enumerate() {
            let matrix = batch.get(row as i64);
            let matrix = if wide(&matrices[index]) {
                matrix
            } else {
                matrix.tr()
            };
            result.push((index, matrix));
        }
    }
    result
}

/// Matrices `[N, rows, columns]` (rows at most columns) with their singular values brought near one.
fn orthogonalize(matrices: &Tensor) -> Tensor {
    let (a, b, c) = QUINTIC;
    let norms = matrices.norm_scalaropt_dim(2.0, [1i64, 2].as_slice(), true);
    let mut x = matrices / (norms + 1e-7);
    for _ in 0..ITERATIONS {
        let square = x.bmm(&x.transpose(1, 2));
        let polynomial = &square * b + square.bmm(&square) * c;
        x = &x * a + polynomial.bmm(&x);
    }
    debug_assert_eq!(x.kind(), Kind::Float);
    x
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn singular_values_come_near_one_in_either_orientation() {
        tch::manual_seed(3);
        let wide = Tensor::randn([8, 24], (Kind::Float, Device::Cpu));
        let matrices = [wide.shallow_clone(), wide.tr() * 30.0, wide.narrow(1, 0, 8)];
        let result = orthogonalize_all(&matrices);
        assert_eq!(result.len(), 3);
        for (index, matrix) in &result {
            assert_eq!(matrix.size(), matrices[*index].size());
            let (_, values, _) = matrix.svd(true, false);
            let (low, high) = (
                values.min().double_value(&[]),
                values.max().double_value(&[]),
            );
            assert!(low > 0.3 && high < 1.4, "{index}: {low} to {high}");
        }
        // Scale does not matter, and a transpose gives the transpose.
        let of = |i: usize| &result.iter().find(|(index, _)| *index == i).unwrap().1;
        let difference = (of(0) - of(1).tr()).abs().max().double_value(&[]);
        assert!(difference < 1e-4, "{difference}");
    }

    #[test]
    fn a_step_has_the_size_of_adamws() {
        let before = Tensor::zeros([16, 64], (Kind::Float, Device::Cpu));
        let grad = Tensor::randn([16, 64], (Kind::Float, Device::Cpu));
        let parameter = before.copy();
        let muon = Muon {
            learning_rate_ratio: 1.0,
            momentum: 0.95,
        };
        let momentum = before.zeros_like();
        muon.step(
            vec![parameter.shallow_clone()],
            &[grad],
            vec![momentum],
            0.01,
            0.1,
        );
        let rms = parameter
            .square()
            .mean(Kind::Float)
            .sqrt()
            .double_value(&[]);
        // 0.2 sqrt(64) times an orthonormal row of 64: 0.2 of the learning rate.
        assert!((0.0012..0.0028).contains(&rms), "{rms}");
    }
}
