//! Inference mode as a scope.

use crate::ffi::InferenceGuard;

/// Runs `f` in libtorch's inference mode on this thread: no graph, no version counters, cheaper than `no_grad`.
///
/// The mode that held before is restored when `f` returns or panics; calls nest. Tensors made inside are *inference
/// tensors*: they can be read anywhere, but not be saved for a backward pass or changed in place outside.
///
/// ```
/// use gauntlet_shim::inference_mode;
/// use tch::{Device, Kind, Tensor};
///
/// let weight = Tensor::ones([2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
/// let logits = inference_mode(|| &weight * 2.0);
/// assert!(!logits.requires_grad());
/// ```
pub fn inference_mode<T>(f: impl FnOnce() -> T) -> T {
    let _guard = InferenceGuard::enter(true);
    f()
}

/// Runs `f` out of inference mode, also where that holds around it: for tensors that are kept beyond it and read in a
/// backward pass.
pub fn normal_mode<T>(f: impl FnOnce() -> T) -> T {
    let _guard = InferenceGuard::enter(false);
    f()
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use tch::{Device, Kind, Tensor};

    use super::*;

    fn leaf() -> Tensor {
        Tensor::ones([2], (Kind::Float, Device::Cpu)).set_requires_grad(true)
    }

    fn tracks(x: &Tensor) -> bool {
        (x * 2.0).requires_grad()
    }

    #[test]
    fn nothing_is_tracked_inside_and_tracking_is_back_after() {
        let x = leaf();
        assert!(tracks(&x));
        assert!(!inference_mode(|| tracks(&x)));
        assert!(tracks(&x));
    }

    #[test]
    fn a_panic_inside_restores_the_mode() {
        let x = leaf();
        let caught = catch_unwind(AssertUnwindSafe(|| inference_mode(|| panic!("on purpose"))));
        assert!(caught.is_err());
        assert!(tracks(&x));
    }

    #[test]
    fn an_inner_scope_does_not_end_the_outer() {
        let x = leaf();
        inference_mode(|| {
            inference_mode(|| assert!(!tracks(&x)));
            assert!(!tracks(&x));
        });
        assert!(tracks(&x));
    }

    #[test]
    fn other_threads_are_left_alone() {
        let tracked = inference_mode(|| {
            std::thread::spawn(|| tracks(&leaf()))
                .join()
                .expect("the thread ran")
        });
        assert!(tracked);
    }

    #[test]
    fn a_tensor_of_normal_mode_is_kept_for_backward() {
        let weight = leaf();
        let kept = inference_mode(|| {
            let kept = normal_mode(|| Tensor::ones([2], (Kind::Float, Device::Cpu)));
            assert!(!tracks(&weight));
            kept
        });
        let _ = weight.f_mul(&kept).expect("it is no inference tensor");
    }

    #[test]
    fn an_inference_tensor_is_refused_by_backward() {
        let weight = leaf();
        let activations = inference_mode(|| Tensor::ones([2], (Kind::Float, Device::Cpu)));
        let err = weight
            .f_mul(&activations)
            .expect_err("saving it for backward must fail");
        assert!(err.to_string().contains("Inference tensors"), "{err}");
    }
}
