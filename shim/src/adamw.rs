//! One AdamW step over many tensors in a single call.

use tch::{Device, Kind, Tensor};

use crate::kernels::{self, RawAdamWStep};
use crate::{ShimError, ffi};

/// What an AdamW step is taken with. [`Default`] is PyTorch's: `lr` 1e-3, betas 0.9 and 0.999, `eps` 1e-8, decay 1e-2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FusedAdamW {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment, in [0, 1).
    pub beta1: f64,
    /// Decay of the second moment, in [0, 1).
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Decoupled weight decay: parameters shrink by `lr * weight_decay` of themselves before the step.
    pub weight_decay: f64,
}

impl Default for FusedAdamW {
    fn default() -> Self {
        FusedAdamW {
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 1e-2,
        }
    }
}

/// Takes one AdamW step in place on `params`, `exp_avg`, `exp_avg_sq` and `steps`.
///
/// Loshchilov and Hutter, *Decoupled Weight Decay Regularization* (2019), algorithm 2 without a schedule; for step t,
/// counted from 1:
///
/// ```text
/// p = p (1 - lr weight_decay)
/// m = beta1 m + (1 - beta1) g          v = beta2 v + (1 - beta2) g^2
/// p = p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
/// ```
///
/// `steps[i]` is one `f32` that holds the number of steps already taken; it is increased by one here. At each index the
/// parameter and its two moments must be contiguous and of one shape, floating kind and device; the gradient too, but a
/// non-contiguous one is copied. Nothing is tracked by autograd. An empty list does nothing.
///
/// # Errors
///
/// [`ShimError::Length`] and [`ShimError::Operand`] name the first operand that does not fit; nothing was changed then.
/// [`ShimError::Torch`] if libtorch fails.
pub fn fused_adamw(
    params: &[Tensor],
    grads: &[Tensor],
    exp_avg: &[Tensor],
    exp_avg_sq: &[Tensor],
    steps: &[Tensor],
    options: FusedAdamW,
) -> Result<(), ShimError> {
    let lists = [
        ("grads", grads),
        ("exp_avg", exp_avg),
        ("exp_avg_sq", exp_avg_sq),
        ("steps", steps),
    ];
    for (what, list) in lists {
        if list.len() != params.len() {
            return Err(ShimError::Length {
                what,
                expected: params.len(),
                got: list.len(),
            });
        }
    }
    let Some(first) = params.first() else {
        return Ok(());
    };
    // One device and kind for the whole call: the CUDA kernel walks all tensors in one launch.
    let (kind, device) = floating(first)?;
    for (index, param) in params.iter().enumerate() {
        let wanted = Wanted {
            shape: &defined("params", index, param)?.size(),
            kind,
            device,
        };
        for (what, tensor) in [
            ("params", param),
            ("exp_avg", &exp_avg[index]),
            ("exp_avg_sq", &exp_avg_sq[index]),
        ] {
            wanted.check(what, index, tensor)?;
            if !tensor.is_contiguous() {
                return Err(operand(what, index, "contiguous", "not"));
            }
        }
        wanted.check("grads", index, &grads[index])?;
        let step = Wanted {
            shape: &[],
            kind: Kind::Float,
            device,
        };
        step.check("steps", index, &steps[index])?;
    }
    let grads: Vec<Tensor> = grads.iter().map(Tensor::contiguous).collect();
    let operands = ffi::Checked {
        params,
        grads: &grads,
        exp_avg,
        exp_avg_sq,
        steps,
    };
    step(&operands, options)
}

/// What else a step of [`adamw_bf16`] needs to know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rounding {
    /// The gradient is multiplied by this first.
    pub gradient_scale: f64,
    /// Decides, with the place of a value in its tensor, whether the value is rounded up or down. The same key repeats the
    /// same step; steps and tensors need keys of their own.
    pub key: u32,
}

/// Takes the AdamW step of [`fused_adamw`] on a weight that is bf16 alone, with moments in bf16, in place.
///
/// All is computed in `f32`. What is stored is rounded stochastically: up or down as likely as the value is near, so that
/// its mean is the value, and updates far smaller than a unit of the last place are not lost (Zamirai et al. 2020,
/// arXiv 2010.06192). `step` is as in [`fused_adamw`]. The four tensors are bf16 of one shape on the CPU, contiguous but for
/// the gradient.
///
/// # Errors
///
/// [`ShimError::Operand`] names the first operand that does not fit; nothing was changed then.
pub fn adamw_bf16(
    param: &Tensor,
    grad: &Tensor,
    [exp_avg, exp_avg_sq]: [&Tensor; 2],
    step: &mut Tensor,
    options: FusedAdamW,
    rounding: Rounding,
) -> Result<(), ShimError> {
    let wanted = Wanted {
        shape: &defined("params", 0, param)?.size(),
        kind: Kind::BFloat16,
        device: Device::Cpu,
    };
    for (what, tensor) in [
        ("params", param),
        ("exp_avg", exp_avg),
        ("exp_avg_sq", exp_avg_sq),
    ] {
        wanted.check(what, 0, tensor)?;
        if !tensor.is_contiguous() {
            return Err(operand(what, 0, "contiguous", "not"));
        }
    }
    wanted.check("grads", 0, grad)?;
    let count = Wanted {
        shape: &[],
        kind: Kind::Float,
        device: Device::Cpu,
    };
    count.check("steps", 0, step)?;
    tch::no_grad(|| *step += 1.0);
    let t = step.double_value(&[]);
    let raw = RawAdamWStep {
        scale: rounding.gradient_scale as f32,
        decay: (1.0 - options.lr * options.weight_decay) as f32,
        beta1: options.beta1 as f32,
        beta2: options.beta2 as f32,
        rate: (options.lr / (1.0 - options.beta1.powf(t))) as f32,
        root: (1.0 / (1.0 - options.beta2.powf(t)).sqrt()) as f32,
        eps: options.eps as f32,
        key: rounding.key,
    };
    kernels::adamw_bf16(param, &grad.contiguous(), [exp_avg, exp_avg_sq], &raw);
    Ok(())
}

#[expect(unsafe_code, reason = "the one call whose operands are checked above")]
fn step(operands: &ffi::Checked<'_>, options: FusedAdamW) -> Result<(), ShimError> {
    // SAFETY: `fused_adamw`, the only caller, has checked lengths, definedness, layout, shapes, kinds, devices and
    // contiguity of all operands; no other thread can change them, since `Tensor` is not Sync.
    unsafe { ffi::fused_adamw(operands, options) }
}

/// What a tensor must be.
struct Wanted<'a> {
    shape: &'a [i64],
    kind: Kind,
    device: Device,
}

impl Wanted<'_> {
    fn check(&self, what: &'static str, index: usize, tensor: &Tensor) -> Result<(), ShimError> {
        let tensor = defined(what, index, tensor)?;
        if tensor.is_sparse() || tensor.is_mkldnn() {
            return Err(operand(what, index, "dense", "sparse or opaque"));
        }
        let same = tensor.size() == self.shape
            && tensor.kind() == self.kind
            && tensor.device() == self.device;
        if same {
            return Ok(());
        }
        let expected = format!("{:?} {:?} on {:?}", self.kind, self.shape, self.device);
        let got = format!(
            "{:?} {:?} on {:?}",
            tensor.kind(),
            tensor.size(),
            tensor.device()
        );
        Err(operand(what, index, expected, got))
    }
}

fn floating(param: &Tensor) -> Result<(Kind, Device), ShimError> {
    let kind = defined("params", 0, param)?.kind();
    match kind {
        Kind::Float | Kind::Double | Kind::BFloat16 | Kind::Half => Ok((kind, param.device())),
        _ => Err(operand(
            "params",
            0,
            "of a floating kind",
            format!("{kind:?}"),
        )),
    }
}

fn defined<'a>(
    what: &'static str,
    index: usize,
    tensor: &'a Tensor,
) -> Result<&'a Tensor, ShimError> {
    if tensor.defined() {
        Ok(tensor)
    } else {
        Err(operand(what, index, "a defined tensor", "undefined"))
    }
}

fn operand(
    what: &'static str,
    index: usize,
    expected: impl Into<String>,
    got: impl Into<String>,
) -> ShimError {
    ShimError::Operand {
        what,
        index,
        expected: expected.into(),
        got: got.into(),
    }
}

#[cfg(test)]
mod tests {
    use tch::no_grad;

    use super::*;

    /// Parameters of odd sizes, so that the kernel's vector loop and its remainder both run.
    const SHAPES: [&[i64]; 4] = [&[], &[3], &[7, 13], &[2, 3, 129]];

    struct Run {
        params: Vec<Tensor>,
        grads: Vec<Tensor>,
        exp_avg: Vec<Tensor>,
        exp_avg_sq: Vec<Tensor>,
        steps: Vec<Tensor>,
    }

    impl Run {
        fn new(kind: Kind) -> Run {
            let options = (kind, Device::Cpu);
            let values = |shape: &[i64], phase: f64| {
                let n: i64 = shape.iter().product();
                (Tensor::arange(n, (Kind::Double, Device::Cpu)) * 0.37 + phase)
                    .sin()
                    .reshape(shape)
                    .to_kind(kind)
            };
            let zeros = || SHAPES.map(|shape| Tensor::zeros(shape, options)).into();
            Run {
                params: SHAPES
                    .map(|shape| values(shape, 1.0).set_requires_grad(true))
                    .into(),
                grads: SHAPES.map(|shape| values(shape, 2.0)).into(),
                exp_avg: zeros(),
                exp_avg_sq: zeros(),
                steps: SHAPES
                    .map(|_| Tensor::zeros([] as [i64; 0], (Kind::Float, Device::Cpu)))
                    .into(),
            }
        }

        fn fused(&self, options: FusedAdamW) -> Result<(), ShimError> {
            fused_adamw(
                &self.params,
                &self.grads,
                &self.exp_avg,
                &self.exp_avg_sq,
                &self.steps,
                options,
            )
        }

        /// The same step written with tensor operations, from the formula in the documentation.
        fn plain(&mut self, o: FusedAdamW) {
            no_grad(|| {
                for i in 0..self.params.len() {
                    let g = &self.grads[i];
                    let t = self.steps[i].double_value(&[]) + 1.0;
                    let m = &self.exp_avg[i] * o.beta1 + g * (1.0 - o.beta1);
                    let v = &self.exp_avg_sq[i] * o.beta2 + g * g * (1.0 - o.beta2);
                    let m_hat = &m / (1.0 - o.beta1.powf(t));
                    let v_hat = &v / (1.0 - o.beta2.powf(t));
                    let decayed = &self.params[i] * (1.0 - o.lr * o.weight_decay);
                    let stepped = decayed - m_hat * o.lr / (v_hat.sqrt() + o.eps);
                    self.params[i].copy_(&stepped);
                    self.exp_avg[i] = m;
                    self.exp_avg_sq[i] = v;
                    self.steps[i] += 1.0;
                }
            });
        }

        fn distance(&self, other: &Run) -> f64 {
            let lists = [
                (&self.params, &other.params),
                (&self.exp_avg, &other.exp_avg),
                (&self.steps, &other.steps),
            ];
            let pairs = lists
                .into_iter()
                .chain([(&self.exp_avg_sq, &other.exp_avg_sq)]);
            pairs
                .flat_map(|(a, b)| a.iter().zip(b.iter()))
                .map(|(a, b)| (a - b).abs().max().double_value(&[]))
                .fold(0.0, f64::max)
        }
    }

    fn options() -> FusedAdamW {
        FusedAdamW {
            lr: 0.05,
            weight_decay: 0.1,
            ..FusedAdamW::default()
        }
    }

    #[test]
    fn follows_the_formula_over_many_steps() {
        for (kind, tolerance) in [(Kind::Float, 5e-6), (Kind::Double, 1e-12)] {
            let (fused, mut plain) = (Run::new(kind), Run::new(kind));
            for _ in 0..20 {
                fused.fused(options()).expect("the operands fit");
                plain.plain(options());
            }
            assert_eq!(fused.steps[3].double_value(&[]), 20.0);
            let distance = fused.distance(&plain);
            assert!(distance < tolerance, "{kind:?}: {distance}");
            assert!(
                fused.distance(&Run::new(kind)) > 0.1,
                "parameters must have moved"
            );
        }
    }

    #[test]
    fn a_non_contiguous_gradient_is_read_by_its_strides() {
        let (mut fused, mut plain) = (Run::new(Kind::Float), Run::new(Kind::Float));
        fused.grads[2] = plain.grads[2].transpose(0, 1).contiguous().transpose(0, 1);
        assert!(!fused.grads[2].is_contiguous());
        fused.fused(options()).expect("the operands fit");
        plain.plain(options());
        assert!(fused.distance(&plain) < 1e-6);
    }

    #[test]
    fn parameters_still_track_after_a_step() {
        let run = Run::new(Kind::Float);
        run.fused(options()).expect("the operands fit");
        assert!(run.params[1].requires_grad() && run.params[1].is_leaf());
        run.params[1].square().sum(Kind::Float).backward();
        assert!(run.params[1].grad().defined());
    }

    #[test]
    fn an_empty_list_does_nothing() {
        fused_adamw(&[], &[], &[], &[], &[], options()).expect("nothing to do");
    }

    #[test]
    fn unfit_operands_are_named_and_nothing_is_changed() {
        type Break = fn(&mut Run);
        let cases: [(&str, Break); 9] = [
            ("grads has 3 tensors for 4 parameters", |r| {
                drop(r.grads.pop())
            }),
            ("steps has 3 tensors for 4 parameters", |r| {
                drop(r.steps.pop())
            }),
            ("grads[1] is Float [2] on Cpu", |r| {
                r.grads[1] = r.grads[1].narrow(0, 0, 2)
            }),
            ("grads[2] is undefined", |r| r.grads[2] = Tensor::new()),
            ("exp_avg[1] is Double [3]", |r| {
                r.exp_avg[1] = r.exp_avg[1].to_kind(Kind::Double)
            }),
            ("exp_avg_sq[2] is not, but must be contiguous", |r| {
                r.exp_avg_sq[2] =
                    Tensor::zeros([13, 7], (Kind::Float, Device::Cpu)).transpose(0, 1);
            }),
            ("steps[0] is Int64 []", |r| {
                r.steps[0] = r.steps[0].to_kind(Kind::Int64)
            }),
            ("grads[3] is sparse", |r| {
                r.grads[3] = r.grads[3].to_sparse_sparse_dim(3)
            }),
            ("params[0] is Int64", |r| r.params[0] = Tensor::from(3i64)),
        ];
        for (message, break_it) in cases {
            let mut run = Run::new(Kind::Float);
            let before = run.params[1].copy();
            break_it(&mut run);
            let err = run.fused(options()).expect_err(message);
            assert!(
                err.to_string().contains(message),
                "wanted {message:?}, got {err}"
            );
            assert_eq!(run.params[1], before);
        }
    }

    fn bf16(values: &Tensor) -> Tensor {
        values.to_kind(Kind::BFloat16)
    }

    const ROUNDING: Rounding = Rounding {
        gradient_scale: 1.0,
        key: 7,
    };

    /// 20 steps with a constant gradient in bf16 and in `f32`, and how far the means of the weights moved.
    fn moved(n: i64, lr: f64) -> (f64, f64) {
        let options = FusedAdamW {
            lr,
            ..FusedAdamW::default()
        };
        let scalar = || Tensor::zeros([] as [i64; 0], (Kind::Float, Device::Cpu));
        let start = Tensor::ones([n], (Kind::Float, Device::Cpu));
        let grad = start.randn_like();
        let (a, b) = (bf16(&start), start.copy());
        let ours = [bf16(&start.zeros_like()), bf16(&start.zeros_like())];
        let theirs = [start.zeros_like(), start.zeros_like()];
        let (mut count, other) = (scalar(), scalar());
        for key in 0..20 {
            let rounding = Rounding { key, ..ROUNDING };
            let moments = [&ours[0], &ours[1]];
            adamw_bf16(&a, &bf16(&grad), moments, &mut count, options, rounding).unwrap();
            let one = |t: &Tensor| [t.shallow_clone()];
            let (m, v) = (one(&theirs[0]), one(&theirs[1]));
            fused_adamw(&one(&b), &one(&grad), &m, &v, &one(&other), options).unwrap();
        }
        assert_eq!(count.double_value(&[]), 20.0);
        let towards = |t: &Tensor| {
            let along = (t.to_kind(Kind::Float) - &start) * grad.sign();
            along.mean(Kind::Double).double_value(&[])
        };
        (towards(&a), towards(&b))
    }

    #[test]
    fn rounded_steps_far_below_a_unit_of_the_last_place_add_up() {
        tch::manual_seed(11);
        // A unit of the last place of bf16 next to one is 2^-8 below and 2^-7 above; a step is a fortieth of the first.
        crate::isa::on_each(|isa| {
            let (rounded, exact) = moved(40_003, 1e-4);
            assert!(exact < -1.9e-3, "{exact}");
            assert!(
                (rounded / exact - 1.0).abs() < 0.1,
                "{isa:?}: {rounded} {exact}"
            );
        });
    }

    #[test]
    fn a_rounded_step_is_within_a_unit_of_the_last_place_and_repeats() {
        crate::isa::on_each(check_rounded_step);
    }

    fn check_rounded_step(isa: crate::Isa) {
        for shape in [&[][..], &[3], &[16], &[7, 13]] {
            let n: i64 = shape.iter().product();
            let values = |phase: f64| {
                let angles = Tensor::arange(n, (Kind::Double, Device::Cpu)) * 0.37 + phase;
                bf16(&angles.sin().reshape(shape))
            };
            let step = |key, gradient_scale| {
                let (weight, grad) = (values(1.0), values(2.0));
                let moments = [values(0.3) * 0.0, values(0.5) * 0.0];
                let mut count = Tensor::zeros([] as [i64; 0], (Kind::Float, Device::Cpu));
                let rounding = Rounding {
                    key,
                    gradient_scale,
                };
                let [m, v] = &moments;
                adamw_bf16(&weight, &grad, [m, v], &mut count, options(), rounding).unwrap();
                (weight, moments)
            };
            let (weight, [m, v]) = step(7, 0.5);
            let (again, [m_again, v_again]) = step(7, 0.5);
            assert!(weight == again && m == m_again && v == v_again);
            let g = values(2.0).to_kind(Kind::Double) * 0.5;
            let exact_m = &g * 0.1;
            let exact = values(1.0).to_kind(Kind::Double) * (1.0 - 0.05 * 0.1) - g.sign() * 0.05;
            let near = |a: &Tensor, b: &Tensor| {
                let bound = b.abs() / 128.0 + 1e-6;
                let far = (a.to_kind(Kind::Double) - b).abs().gt_tensor(&bound);
                assert_eq!(
                    far.sum(Kind::Int64).int64_value(&[]),
                    0,
                    "{isa:?} {shape:?}"
                );
            };
            near(&m, &exact_m);
            near(&v, &(&g * &g * 0.001));
            near(&weight, &exact);
        }
    }

    #[test]
    fn a_rounded_step_refuses_other_kinds() {
        let (weight, moment) = (bf16(&Tensor::from(1.0)), bf16(&Tensor::from(0.0)));
        let mut count = Tensor::from(0f32);
        let grad = Tensor::from(1f32);
        let both = [&moment, &moment];
        let error = adamw_bf16(&weight, &grad, both, &mut count, options(), ROUNDING).unwrap_err();
        assert!(
            error.to_string().starts_with("grads[0] is Float []"),
            "{error}"
        );
        assert_eq!(count.double_value(&[]), 0.0);
    }
}
