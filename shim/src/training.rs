//! Fused kernels with a backward: one pass over memory where a composition of libtorch's own operators takes several.
//!
//! They take activations of `f32` or bf16 on the CPU whose last dimension is a multiple of [`LANES`], which [`fits`] tells;
//! for all others compose the same from libtorch's operators. Weights and tables are `f32`, and so is all that is computed.
//! Sums do not depend on the number of threads.

use tch::{Device, Kind, Tensor};

use crate::activation::Activation;
use crate::ffi;

/// Values that a kernel takes at a time.
pub const LANES: i64 = 16;

/// Whether the kernels take `x`, of which rows of `width` are normed or halves of `width` are turned.
pub fn fits(x: &Tensor, width: i64) -> bool {
    matches!(x.kind(), Kind::Float | Kind::BFloat16)
        && x.device() == Device::Cpu
        && width % LANES == 0
}

/// The same of a weight or a table.
fn fits_as_f32(x: &Tensor, width: i64) -> bool {
    x.kind() == Kind::Float && fits(x, width)
}

/// RMSNorm of `x` `[.., c]` by `weight` `[c]` in `f32` (Zhang and Sennrich 2019): `x / sqrt(mean(x^2) + eps) * weight`.
///
/// # Panics
///
/// If the operands do not go together, or the kernels do not take them.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Tensor {
    let width = weight.size1().expect("weight has one dimension");
    assert_eq!(
        x.size().last(),
        Some(&width),
        "x has rows as long as weight"
    );
    assert!(fits(x, width) && fits_as_f32(weight, width) && weight.is_contiguous());
    ffi::train_rms_norm(x, weight, eps)
}

/// `activation(gate) * up` (Shazeer 2020), of one shape and kind.
///
/// # Panics
///
/// If shapes or kinds differ, or the kernels do not take them.
pub fn glu(gate: &Tensor, up: &Tensor, activation: Activation) -> Tensor {
    let width = gate.size().last().copied().unwrap_or(1);
    assert_eq!(gate.size(), up.size(), "gate and up have one shape");
    assert_eq!(gate.kind(), up.kind(), "gate and up have one kind");
    assert!(fits(gate, width) && fits(up, width));
    ffi::train_glu(gate, up, activation as i32)
}

/// Rotary positions (Su et al. 2021) for `x` `[B, T, H, D]`: `x * cos + (-x2, x1) * sin`, with x1 and x2 the halves of a
/// head. The tables, in `f32`, are `[T, D]`, or `[B, T, D]` in any shape with as many values; they get no gradient.
///
/// # Panics
///
/// If the operands do not go together, or the kernels do not take half a head.
pub fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Tensor {
    let (b, t, _, d) = x.size4().expect("x has four dimensions");
    assert_eq!(cos.size(), sin.size(), "both tables have one shape");
    assert_eq!(
        cos.size().last(),
        Some(&d),
        "rows of the tables are as wide as a head"
    );
    let rows = cos.numel() as i64 / d.max(1);
    assert!(
        rows == t || rows == b * t,
        "{rows} rows for {b} x {t} tokens"
    );
    assert!(d % 2 == 0 && fits(x, d / 2) && fits_as_f32(cos, d) && fits_as_f32(sin, d));
    ffi::train_rotate(x, cos, sin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{self, Isa};

    fn random(shape: &[i64]) -> Tensor {
        Tensor::randn(shape, (Kind::Float, Device::Cpu)).set_requires_grad(true)
    }

    /// Values and gradients of `fused` are those of `composed`, which gets copies of the same inputs.
    fn agree(
        inputs: &[Tensor],
        fused: impl Fn(&[Tensor]) -> Tensor,
        composed: impl Fn(&[Tensor]) -> Tensor,
    ) {
        isa::on_each(|isa| agree_on(isa, inputs, &fused, &composed));
    }

    fn agree_on(
        isa: Isa,
        inputs: &[Tensor],
        fused: impl Fn(&[Tensor]) -> Tensor,
        composed: impl Fn(&[Tensor]) -> Tensor,
    ) {
        let copy = |t: &Tensor| t.detach().copy().set_requires_grad(t.requires_grad());
        let [ours, theirs] = [0, 1].map(|_| inputs.iter().map(copy).collect::<Vec<Tensor>>());
        let (a, b) = (fused(&ours), composed(&theirs));
        let weights = a.detach().randn_like();
        (&a * &weights).sum(Kind::Float).backward();
        (&b * &weights).sum(Kind::Float).backward();
        let close = |x: &Tensor, y: &Tensor, what: &str| {
            assert_eq!(x.size(), y.size());
            let worst = (x - y).abs().max().double_value(&[]);
            let scale = y.abs().max().double_value(&[]).max(1.0);
            assert!(worst < 2e-5 * scale, "{isa:?}, {what}: {worst} of {scale}");
        };
        close(&a, &b, "value");
        for (index, (x, y)) in ours.iter().zip(&theirs).enumerate() {
            if x.requires_grad() {
                close(&x.grad(), &y.grad(), &format!("gradient {index}"));
            }
        }
    }

    #[test]
    fn rms_norm_is_libtorchs() {
        for shape in [&[1, 16][..], &[3, 5, 48], &[2, 200, 128]] {
            let c = *shape.last().unwrap();
            agree(
                &[random(shape), random(&[c])],
                |t| rms_norm(&t[0], &t[1], 1e-5),
                |t| t[0].rms_norm([c], Some(&t[1]), 1e-5),
            );
        }
    }

    #[test]
    fn a_frozen_weight_gets_no_gradient() {
        let weight = Tensor::ones([32], (Kind::Float, Device::Cpu));
        let x = random(&[4, 32]);
        rms_norm(&x, &weight, 1e-5).sum(Kind::Float).backward();
        assert!(x.grad().defined() && !weight.grad().defined());
    }

    #[test]
    fn a_gated_layer_is_libtorchs_activation_times_up() {
        for (shape, activation) in [&[16][..], &[3, 4, 352]]
            .into_iter()
            .flat_map(|shape| Activation::ALL.map(|activation| (shape, activation)))
        {
            // Values at which the exponential over- and underflows, too, and values around zero.
            for size in [30.0, 1.0] {
                let gate = (random(shape) * size).detach().set_requires_grad(true);
                agree(
                    &[gate, random(shape)],
                    |t| glu(&t[0], &t[1], activation),
                    |t| activation.apply(&t[0]) * &t[1],
                );
            }
        }
    }

    #[test]
    fn rotate_turns_halves_by_the_table_of_its_token() {
        let composed = |t: &[Tensor], tables: [i64; 4]| {
            let x = &t[0];
            let half = x.size()[3] / 2;
            let halves = [x.narrow(3, half, half).neg(), x.narrow(3, 0, half)];
            let (cos, sin) = (t[1].view(tables), t[2].view(tables));
            x * cos + Tensor::cat(&halves, 3) * sin
        };
        let fixed = |shape: &[i64]| random(shape).detach();
        let x = || random(&[2, 5, 3, 64]);
        agree(
            &[x(), fixed(&[5, 64]), fixed(&[5, 64])],
            |t| rotate(&t[0], &t[1], &t[2]),
            |t| composed(t, [1, 5, 1, 64]),
        );
        agree(
            &[x(), fixed(&[2, 5, 64]), fixed(&[2, 5, 64])],
            |t| rotate(&t[0], &t[1], &t[2]),
            |t| composed(t, [2, 5, 1, 64]),
        );
    }

    /// In bf16 values and gradients are those of `f32` for the same inputs, rounded. `activations` of the inputs are bf16.
    fn rounds(inputs: &[Tensor], activations: usize, fused: impl Fn(&[Tensor]) -> Tensor) {
        isa::on_each(|isa| rounds_on(isa, inputs, activations, &fused));
    }

    fn rounds_on(
        isa: Isa,
        inputs: &[Tensor],
        activations: usize,
        fused: impl Fn(&[Tensor]) -> Tensor,
    ) {
        let tracked = |t: &Tensor, kind: Kind| {
            let t = t.detach().to_kind(Kind::BFloat16).to_kind(kind);
            t.set_requires_grad(true)
        };
        let run = |kind: Kind| {
            let kinds = |index| {
                if index < activations {
                    kind
                } else {
                    Kind::Float
                }
            };
            let inputs: Vec<Tensor> = (0..inputs.len())
                .map(|index| tracked(&inputs[index], kinds(index)))
                .collect();
            let y = fused(&inputs);
            assert_eq!(y.kind(), kind);
            let slope = Tensor::arange(y.numel() as i64, (Kind::Float, Device::Cpu)).sin();
            let slope = slope
                .to_kind(Kind::BFloat16)
                .to_kind(kind)
                .view(&y.size()[..]);
            (&y * slope).sum(Kind::Float).backward();
            let mut results = vec![y.detach()];
            results.extend(inputs.iter().map(Tensor::grad).filter(Tensor::defined));
            results
        };
        let (exact, halves) = (run(Kind::Float), run(Kind::BFloat16));
        assert_eq!(exact.len(), halves.len());
        for (exact, half) in exact.iter().zip(&halves) {
            let close = half.allclose(&exact.to_kind(half.kind()), 1.0 / 128.0, 1e-6, false);
            assert!(close, "{isa:?}: {half} of {exact}");
        }
    }

    #[test]
    fn in_bf16_only_what_is_stored_is_rounded() {
        rounds(&[random(&[7, 48]), random(&[48])], 1, |t| {
            rms_norm(&t[0], &t[1], 1e-5)
        });
        for activation in Activation::ALL {
            rounds(&[random(&[5, 32]), random(&[5, 32])], 2, |t| {
                glu(&t[0], &t[1], activation)
            });
        }
        let tables = [random(&[6, 32]), random(&[6, 32])];
        rounds(&[random(&[2, 6, 3, 32])], 1, |t| {
            rotate(&t[0], &tables[0].detach(), &tables[1].detach())
        });
    }

    #[test]
    fn what_is_not_a_number_stays_so_in_bf16() {
        let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0].repeat(8);
        let up = Tensor::from_slice(&values).to_kind(Kind::BFloat16);
        isa::on_each(|isa| {
            let y = glu(&up.ones_like(), &up, Activation::Silu).to_kind(Kind::Float);
            let y: Vec<f32> = Vec::try_from(&y).unwrap();
            let kept = y[0].is_nan() && y[1] == f32::INFINITY && y[2] == f32::NEG_INFINITY;
            assert!(kept && (y[3] - 0.731).abs() < 0.004, "{isa:?}: {y:?}");
        });
    }

    #[test]
    fn sums_do_not_depend_on_the_number_of_threads() {
        let (x, weight) = (random(&[1000, 64]), random(&[64]));
        let gradient = |threads: i32| {
            let before = tch::get_num_threads();
            tch::set_num_threads(threads);
            let mut weight = weight.detach().set_requires_grad(true);
            rms_norm(&x.detach(), &weight, 1e-5)
                .sum(Kind::Float)
                .backward();
            tch::set_num_threads(before);
            let gradient = weight.grad().copy();
            weight.zero_grad();
            gradient
        };
        isa::on_each(|isa| assert_eq!(gradient(1), gradient(2), "{isa:?}"));
    }

    #[test]
    fn views_and_other_strides_are_read_right() {
        let x = random(&[6, 2, 32]);
        agree(
            &[x, random(&[32])],
            |t| rms_norm(&t[0].transpose(0, 1), &t[1], 1e-6),
            |t| t[0].transpose(0, 1).rms_norm([32], Some(&t[1]), 1e-6),
        );
    }

    #[test]
    fn nothing_is_recorded_in_inference_mode() {
        let (x, weight) = (random(&[4, 32]), random(&[32]));
        let y = crate::inference_mode(|| rms_norm(&x, &weight, 1e-5));
        assert!(!y.requires_grad());
    }
}
