//! The foreign functions of `csrc/ops.cpp`, each behind a function that is safe to call.
#![expect(unsafe_code, reason = "this module is the workspace's boundary to C++")]

use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;

use tch::Tensor;
use torch_sys::C_tensor;

use crate::{FusedAdamW, ShimError};

/// An opaque `c10::InferenceMode`.
#[repr(C)]
struct RawInferenceMode {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn gauntlet_fused_adamw(
        n: usize,
        params: *const *const C_tensor,
        grads: *const *const C_tensor,
        exp_avg: *const *const C_tensor,
        exp_avg_sq: *const *const C_tensor,
        steps: *const *const C_tensor,
        lr: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        eps: f64,
    ) -> *const c_char;
    fn gauntlet_tensor_over(
        data: *mut c_void,
        length: i64,
        owner: *mut c_void,
        release: extern "C" fn(*mut c_void),
        out: *mut *mut C_tensor,
    ) -> *const c_char;
    fn gauntlet_inference_mode_enter(on: i32) -> *mut RawInferenceMode;
    fn gauntlet_inference_mode_exit(guard: *mut RawInferenceMode);
}

/// The operands of one fused step, which [`crate::fused_adamw`] has checked.
pub(crate) struct Checked<'a> {
    pub params: &'a [Tensor],
    pub grads: &'a [Tensor],
    pub exp_avg: &'a [Tensor],
    pub exp_avg_sq: &'a [Tensor],
    pub steps: &'a [Tensor],
}

/// # Safety
///
/// All five lists are of one length, and at each index the first four tensors are defined, dense and contiguous, with
/// the same shape, floating kind and device, and the fifth is one defined `f32` on that device.
pub(crate) unsafe fn fused_adamw(
    operands: &Checked<'_>,
    options: FusedAdamW,
) -> Result<(), ShimError> {
    let pointers = |tensors: &[Tensor]| tensors.iter().map(Tensor::as_ptr).collect::<Vec<_>>();
    let params = pointers(operands.params);
    let grads = pointers(operands.grads);
    let exp_avg = pointers(operands.exp_avg);
    let exp_avg_sq = pointers(operands.exp_avg_sq);
    let steps = pointers(operands.steps);
    // SAFETY: each vector holds `params.len()` pointers (the caller's promise) to tensors that the borrowed slices keep
    // alive during the call. The C++ side copies the handles, keeps none, and catches every exception. The kernel's
    // unchecked reads and writes are in bounds by the caller's promise.
    let message = unsafe {
        gauntlet_fused_adamw(
            params.len(),
            params.as_ptr(),
            grads.as_ptr(),
            exp_avg.as_ptr(),
            exp_avg_sq.as_ptr(),
            steps.as_ptr(),
            options.lr,
            options.beta1,
            options.beta2,
            options.weight_decay,
            options.eps,
        )
    };
    checked(message)
}

/// A tensor `[length]` (uint8) over a map, which it owns.
pub(crate) fn tensor_over(mut map: memmap2::MmapMut) -> Result<Tensor, ShimError> {
    extern "C" fn release(owner: *mut c_void) {
        // SAFETY: libtorch calls this once, with the box that was given to it below.
        drop(unsafe { Box::from_raw(owner.cast::<memmap2::MmapMut>()) });
    }
    let (data, length) = (map.as_mut_ptr(), map.len());
    let owner = Box::into_raw(Box::new(map));
    let mut out = std::ptr::null_mut();
    // SAFETY: the map's memory stays where it is when the map is moved, may be read and written, and lives until libtorch
    // releases its owner. Unmapping needs no particular thread.
    let message = unsafe {
        gauntlet_tensor_over(data.cast(), length as i64, owner.cast(), release, &mut out)
    };
    // On an error the map is left alone: libtorch may have released it.
    checked(message)?;
    // SAFETY: no error, so a new tensor that is ours alone.
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// What a fallible function of `csrc/` returned on this thread just now.
fn checked(message: *const c_char) -> Result<(), ShimError> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: not null, so a NUL-terminated string that stays valid until this thread's next call; it is copied here.
    let message = unsafe { CStr::from_ptr(message) };
    Err(ShimError::Torch(message.to_string_lossy().into_owned()))
}

/// Keeps this thread in inference mode, or out of it, until dropped.
///
/// Not `Send`: the mode is the thread's. Guards are private to [`crate::inference_mode`], whose closure nests them.
pub(crate) struct InferenceGuard {
    raw: NonNull<RawInferenceMode>,
    _of_this_thread: PhantomData<*const ()>,
}

impl InferenceGuard {
    pub(crate) fn enter(on: bool) -> Self {
        // SAFETY: takes a truth value; returns null or a guard that only `drop` below deletes.
        let raw = unsafe { gauntlet_inference_mode_enter(on.into()) };
        let raw = NonNull::new(raw).expect("a guard of a few bytes can be allocated");
        InferenceGuard {
            raw,
            _of_this_thread: PhantomData,
        }
    }
}

impl Drop for InferenceGuard {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `enter`, is deleted once, and on the thread that made it, since the guard is not Send.
        unsafe { gauntlet_inference_mode_exit(self.raw.as_ptr()) }
    }
}

unsafe extern "C" {
    fn gauntlet_train_rms_norm(
        x: *const C_tensor,
        weight: *const C_tensor,
        eps: f64,
        out: *mut *mut C_tensor,
    ) -> *const c_char;
    fn gauntlet_train_glu(
        gate: *const C_tensor,
        up: *const C_tensor,
        activation: i32,
        out: *mut *mut C_tensor,
    ) -> *const c_char;
    fn gauntlet_train_rotate(
        x: *const C_tensor,
        cos: *const C_tensor,
        sin: *const C_tensor,
        out: *mut *mut C_tensor,
    ) -> *const c_char;
}

/// The tensor that `call` stores.
fn made(call: impl FnOnce(*mut *mut C_tensor) -> *const c_char) -> Tensor {
    let mut out = std::ptr::null_mut();
    let message = call(&mut out);
    // tch panics on what its own operators report, too.
    if let Err(error) = checked(message) {
        panic!("{error}");
    }
    // SAFETY: the call succeeded, so `out` is a new tensor, which is ours.
    unsafe { Tensor::from_ptr(out) }
}

/// `crate::training::rms_norm`, operands checked.
pub(crate) fn train_rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Tensor {
    // SAFETY: the pointers are of live tensors, whose kinds, devices and sizes the caller has checked.
    made(|out| unsafe { gauntlet_train_rms_norm(x.as_ptr(), weight.as_ptr(), eps, out) })
}

/// `crate::training::glu`, operands checked.
pub(crate) fn train_glu(gate: &Tensor, up: &Tensor, activation: i32) -> Tensor {
    // SAFETY: as above; the number is one of an `Activation`.
    made(|out| unsafe { gauntlet_train_glu(gate.as_ptr(), up.as_ptr(), activation, out) })
}

/// `crate::training::rotate`, operands checked.
pub(crate) fn train_rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Tensor {
    // SAFETY: as above.
    made(|out| unsafe { gauntlet_train_rotate(x.as_ptr(), cos.as_ptr(), sin.as_ptr(), out) })
}

#[cfg(target_env = "gnu")]
unsafe extern "C" {
    /// `mallopt(3)` of glibc.
    fn mallopt(parameter: std::ffi::c_int, value: std::ffi::c_int) -> std::ffi::c_int;
}

/// See [`crate::keep_freed_memory`].
#[cfg(target_env = "gnu")]
pub(crate) fn keep_freed_memory() {
    // From malloc.h. Without blocks of their own, large tensors come out of what others left as well.
    const M_TRIM_THRESHOLD: std::ffi::c_int = -1;
    const M_TOP_PAD: std::ffi::c_int = -2;
    const M_MMAP_MAX: std::ffi::c_int = -4;
    for (parameter, value) in [
        (M_MMAP_MAX, 0),
        // Never: a large model frees more at once than the largest size that could be said here.
        (M_TRIM_THRESHOLD, -1),
        (M_TOP_PAD, 64 << 20),
    ] {
        // SAFETY: mallopt takes any two numbers, and locks the arena itself; a value it refuses changes nothing.
        unsafe { mallopt(parameter, value) };
    }
}
