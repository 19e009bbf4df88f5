//! AdamW over named parameters, with moments that can be saved; Muon for the matrices of the layers where asked.

mod muon;

use gauntlet_shim::{FusedAdamW, Rounding, ShimError, adamw_bf16, fused_adamw};
use tch::{Kind, Tensor, no_grad};

pub use muon::Muon;

use crate::rng::DrawKey;

/// Settings of an optimizer that hold for all its steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWOptions {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest norm of the whole gradient; a larger one is scaled down to it.
    pub max_grad_norm: f64,
    /// What steps the matrices of the layers, in place of AdamW.
    pub muon: Option<Muon>,
}

/// AdamW (Loshchilov and Hutter 2019) with gradient clipping by global norm (Pascanu et al. 2013). Parameters in bf16 have
/// moments in bf16, and both are rounded stochastically.
pub struct AdamW {
    options: AdamWOptions,
    names: Vec<String>,
    parameters: Vec<Tensor>,
    exp_avg: Vec<Tensor>,
    exp_avg_sq: Vec<Tensor>,
    steps: Vec<Tensor>,
}

/// Whether Muon is for this parameter: a matrix inside a layer, which maps activations to activations. Weights that are
/// bf16 alone are AdamW's: only there a step is rounded stochastically.
fn is_hidden_matrix(name: &str, parameter: &Tensor) -> bool {
    name.contains(".layers.") && parameter.dim() == 2 && !is_bf16(parameter)
}

fn is_bf16(tensor: &Tensor) -> bool {
    tensor.kind() == Kind::BFloat16
}

/// The norm, summed up in `f32` at least.
fn norm(gradient: &Tensor) -> Tensor {
    match is_bf16(gradient) {
        true => gradient.norm_scalaropt_dtype(2.0, Kind::Float),
        false => gradient.norm(),
    }
}

/// The state that a checkpoint keeps, one entry a parameter. Where Muon steps a parameter, `exp_avg` is its momentum and
/// `exp_avg_sq` stays zero.
#[derive(Debug)]
pub struct AdamWState {
    /// Parameter names, in the optimizer's order.
    pub names: Vec<String>,
    /// Steps taken.
    pub steps: Vec<Tensor>,
    /// First moments.
    pub exp_avg: Vec<Tensor>,
    /// Second moments.
    pub exp_avg_sq: Vec<Tensor>,
}

/// Why a saved state does not fit.
#[derive(Debug, thiserror::Error)]
pub enum OptimizerError {
    /// The saved state is of other parameters.
    #[error(
        "optimizer state: parameter {index} is {found:?} in the checkpoint, but {expected:?} in the model"
    )]
    OtherParameters {
        /// Place in the list.
        index: usize,
        /// Name (and shape) saved.
        found: String,
        /// Name (and shape) of the model's.
        expected: String,
    },
    /// The gradient is not a number, so a step would destroy the weights.
    #[error("the gradient of {parameter} is not finite (its norm is {norm}); no step was taken")]
    NotFinite {
        /// The first parameter with such a gradient.
        parameter: String,
        /// Its gradient's norm.
        norm: f64,
    },
    /// LibTorch refused the step.
    #[error(transparent)]
    Shim(#[from] ShimError),
}

impl AdamW {
    /// An optimizer over `parameters`, with moments at zero.
    pub fn new(parameters: &[(String, Tensor)], options: AdamWOptions) -> Self {
        let zeros = || {
            parameters
                .iter()
                .map(|(_, p)| p.detach().zeros_like())
                .collect()
        };
        let steps = parameters
            .iter()
            .map(|(_, p)| Tensor::zeros([] as [i64; 0], (Kind::Float, p.device())))
            .collect();
        Self {
            options,
            names: parameters.iter().map(|(name, _)| name.clone()).collect(),
            parameters: parameters.iter().map(|(_, p)| p.shallow_clone()).collect(),
            exp_avg: zeros(),
            exp_avg_sq: zeros(),
            steps,
        }
    }

    /// The settings.
    pub fn options(&self) -> &AdamWOptions {
        &self.options
    }

    /// Clips the accumulated gradients, takes one step at `learning_rate`, and clears them. Parameters without a
    /// gradient are left as they are. Returns the gradient's norm before clipping.
    pub fn step(&mut self, learning_rate: f64) -> Result<f64, OptimizerError> {
        let grads: Vec<Tensor> = self.parameters.iter().map(Tensor::grad).collect();
        let with_grad: Vec<usize> = (0..grads.len()).filter(|&i| grads[i].defined()).collect();
        let pick = |of: &[usize], list: &[Tensor]| {
            of.iter()
                .map(|&i| list[i].shallow_clone())
                .collect::<Vec<_>>()
        };
        let all = grads;
        let mut grads = pick(&with_grad, &all);
        let norms: Vec<Tensor> = grads.iter().map(norm).collect();
        let norm = if norms.is_empty() {
            0.0
        } else {
            Tensor::stack(&norms, 0).norm().double_value(&[])
        };
        if !norm.is_finite() {
            let norms = norms.iter().map(|n| n.double_value(&[]));
            let first = with_grad.iter().zip(norms).find(|(_, n)| !n.is_finite());
            self.zero_grad();
            // Finite norms can have an infinite one together.
            let (&index, norm) = first.unwrap_or((&with_grad[0], norm));
            return Err(OptimizerError::NotFinite {
                parameter: self.names[index].clone(),
                norm,
            });
        }
        let scale = match norm > self.options.max_grad_norm {
            true => self.options.max_grad_norm / (norm + 1e-6),
            false => 1.0,
        };
        if scale != 1.0 {
            // The step in bf16 scales by itself, before it rounds.
            let masters = grads.iter_mut().filter(|g| !is_bf16(g));
            no_grad(|| masters.for_each(|g| drop(g.g_mul_scalar_(scale))));
        }
        let AdamWOptions {
            beta1,
            beta2,
            eps,
            weight_decay,
            muon,
            ..
        } = self.options;
        let is_matrix = |&i: &usize| is_hidden_matrix(&self.names[i], &self.parameters[i]);
        let (matrices, rest): (Vec<usize>, Vec<usize>) = match muon {
            Some(_) => with_grad.into_iter().partition(is_matrix),
            None => (Vec::new(), with_grad),
        };
        if let Some(muon) = muon {
            let (parameters, grads) = (pick(&matrices, &self.parameters), pick(&matrices, &all));
            let momenta = pick(&matrices, &self.exp_avg);
            muon.step(parameters, &grads, momenta, learning_rate, weight_decay);
            for mut steps in pick(&matrices, &self.steps) {
                no_grad(|| drop(steps.g_add_scalar_(1.0)));
            }
        }
        let options = FusedAdamW {
            lr: learning_rate,
            beta1,
            beta2,
            eps,
            weight_decay,
        };
        let (rounded, rest): (Vec<usize>, Vec<usize>) = rest
            .into_iter()
            .partition(|&i| is_bf16(&self.parameters[i]));
        for i in rounded {
            let rounding = Rounding {
                gradient_scale: scale,
                key: self.rounding_key(i),
            };
            let moments = [&self.exp_avg[i], &self.exp_avg_sq[i]];
            let steps = &mut self.steps[i];
            adamw_bf16(
                &self.parameters[i],
                &all[i],
                moments,
                steps,
                options,
                rounding,
            )?;
        }
        fused_adamw(
            &pick(&rest, &self.parameters),
            &pick(&rest, &all),
            &pick(&rest, &self.exp_avg),
            &pick(&rest, &self.exp_avg_sq),
            &pick(&rest, &self.steps),
            options,
        )?;
        self.zero_grad();
        Ok(norm)
    }

    /// What the rounding of the next step of a parameter is drawn by: its name and the steps it has taken, which
    /// checkpoints keep, so that a resumed run rounds as it would have.
    fn rounding_key(&self, index: usize) -> u32 {
        let steps = self.steps[index].double_value(&[]) as u64;
        DrawKey::new(steps).with_name(&self.names[index]).value() as u32
    }

    /// Forgets accumulated gradients.
    pub fn zero_grad(&mut self) {
        for parameter in &mut self.parameters {
            parameter.zero_grad();
        }
    }

    /// The state for a checkpoint; tensors share storage with the optimizer.
    pub fn state(&self) -> AdamWState {
        let share = |list: &[Tensor]| list.iter().map(Tensor::shallow_clone).collect();
        AdamWState {
            names: self.names.clone(),
            steps: share(&self.steps),
            exp_avg: share(&self.exp_avg),
            exp_avg_sq: share(&self.exp_avg_sq),
        }
    }

    /// Takes over a saved state of the same parameters.
    pub fn load_state(&mut self, state: &AdamWState) -> Result<(), OptimizerError> {
        let describe = |name: &str, t: &Tensor| format!("{name} {:?}", t.size());
        for index in 0..self.names.len().max(state.names.len()) {
            let expected = self
                .names
                .get(index)
                .map(|n| describe(n, &self.exp_avg[index]));
            let found = state
                .names
                .get(index)
                .map(|n| describe(n, &state.exp_avg[index]));
            if expected != found {
                let text = |side: Option<String>| side.unwrap_or_else(|| "none".to_owned());
                return Err(OptimizerError::OtherParameters {
                    index,
                    found: text(found),
                    expected: text(expected),
                });
            }
        }
        no_grad(|| {
            for i in 0..self.names.len() {
                self.exp_avg[i].copy_(&state.exp_avg[i]);
                self.exp_avg_sq[i].copy_(&state.exp_avg_sq[i]);
                self.steps[i].copy_(&state.steps[i]);
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    const OPTIONS: AdamWOptions = AdamWOptions {
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        weight_decay: 0.0,
        max_grad_norm: 1.0,
        muon: None,
    };

    fn parameter() -> Vec<(String, Tensor)> {
        vec![(
            "w".into(),
            Tensor::from_slice(&[3f32, -2.0])
                .to_device(Device::Cpu)
                .set_requires_grad(true),
        )]
    }

    fn descend(optimizer: &mut AdamW, parameters: &[(String, Tensor)], steps: usize) {
        for _ in 0..steps {
            parameters[0].1.square().sum(Kind::Float).backward();
            optimizer.step(0.1).unwrap();
        }
    }

    #[test]
    fn a_restored_optimizer_continues_bit_for_bit() {
        let straight = parameter();
        let mut optimizer = AdamW::new(&straight, OPTIONS);
        descend(&mut optimizer, &straight, 9);
        let resumed = parameter();
        let mut first = AdamW::new(&resumed, OPTIONS);
        descend(&mut first, &resumed, 4);
        let mut second = AdamW::new(&resumed, OPTIONS);
        second.load_state(&first.state()).unwrap();
        descend(&mut second, &resumed, 5);
        assert_eq!(straight[0].1, resumed[0].1);
    }

    /// Two weights in bf16 and one in `f32`, as a model without masters has beside a head of its own.
    fn mixed() -> Vec<(String, Tensor)> {
        let tensor = |values: &[f32], kind| {
            Tensor::from_slice(values)
                .to_kind(kind)
                .set_requires_grad(true)
        };
        vec![
            ("a".into(), tensor(&[3.0, -2.0, 0.5], Kind::BFloat16)),
            ("b".into(), tensor(&[1.0], Kind::BFloat16)),
            ("head".into(), tensor(&[0.7, 4.0], Kind::Float)),
        ]
    }

    fn descend_mixed(optimizer: &mut AdamW, parameters: &[(String, Tensor)], steps: usize) -> f64 {
        let mut first = None;
        for _ in 0..steps {
            for (_, parameter) in parameters {
                parameter
                    .to_kind(Kind::Float)
                    .square()
                    .sum(Kind::Float)
                    .backward();
            }
            let norm = optimizer.step(2e-3).unwrap();
            first.get_or_insert(norm);
        }
        first.unwrap_or_default()
    }

    #[test]
    fn weights_in_bf16_alone_learn_and_continue_bit_for_bit() {
        let straight = mixed();
        let mut optimizer = AdamW::new(&straight, OPTIONS);
        let norm = descend_mixed(&mut optimizer, &straight, 400);
        // Twice the weights: 3, -2, 0.5, 1, 0.7, 4.
        assert!((norm - 2.0 * 30.74f64.sqrt()).abs() < 0.05, "{norm}");
        assert_eq!(optimizer.state().exp_avg[0].kind(), Kind::BFloat16);
        // A step of 0.002 is a quarter of the last place of 3, and 400 of them go 0.8 of the way.
        let left = straight[0].1.double_value(&[0]);
        assert!((2.0..2.4).contains(&left), "{left}");
        let left = straight[2].1.double_value(&[1]);
        assert!((3.1..3.4).contains(&left), "{left}");

        let resumed = mixed();
        let mut first = AdamW::new(&resumed, OPTIONS);
        descend_mixed(&mut first, &resumed, 150);
        let mut second = AdamW::new(&resumed, OPTIONS);
        second.load_state(&first.state()).unwrap();
        descend_mixed(&mut second, &resumed, 250);
        for ((_, a), (_, b)) in straight.iter().zip(&resumed) {
            assert_eq!(a, b);
        }
    }

    #[test]
    fn a_gradient_that_is_not_a_number_changes_nothing() {
        let parameters = parameter();
        let mut optimizer = AdamW::new(&parameters, OPTIONS);
        let before = parameters[0].1.copy();
        (&parameters[0].1 * f64::NAN).sum(Kind::Float).backward();
        assert!(matches!(
            optimizer.step(0.1),
            Err(OptimizerError::NotFinite { .. })
        ));
        assert_eq!(parameters[0].1, before);
    }

    #[test]
    fn another_models_state_is_refused_by_name() {
        let parameters = parameter();
        let mut optimizer = AdamW::new(&parameters, OPTIONS);
        let other = AdamW::new(
            &[("v".into(), Tensor::zeros([3], (Kind::Float, Device::Cpu)))],
            OPTIONS,
        );
        let error = optimizer
            .load_state(&other.state())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("v [3]") && error.contains("w [2]"),
            "{error}"
        );
    }
}
