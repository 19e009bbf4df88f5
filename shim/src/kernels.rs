//! The foreign functions of `csrc/kernels.cpp`, each behind a function that takes tensors which [`crate::fused`] or
//! [`crate::adamw_bf16`] has checked.
#![expect(
    unsafe_code,
    reason = "this module is the boundary to the fused kernels"
)]

use std::ffi::c_void;

use tch::Tensor;

use crate::fused::Attend;

/// `gauntlet::Packed`.
#[repr(C)]
pub(crate) struct RawPacked {
    pub precision: i32,
    pub outputs: i64,
    pub inputs: i64,
    pub weights: *mut c_void,
    pub scales: *mut f32,
    pub bias: *const f32,
}

/// `gauntlet::Rows`.
#[repr(C)]
struct RawRows {
    weight: *const c_void,
    outputs: i64,
}

/// `gauntlet::Heads`.
#[repr(C)]
pub(crate) struct RawHeads {
    pub query: i64,
    pub key_value: i64,
    pub width: i64,
}

/// `gauntlet::Cache`.
#[repr(C)]
pub(crate) struct RawCache {
    pub half: i32,
    pub keys: *mut c_void,
    pub values: *mut c_void,
}

/// `gauntlet::AdamWStep`.
#[repr(C)]
pub(crate) struct RawAdamWStep {
    pub scale: f32,
    pub decay: f32,
    pub beta1: f32,
    pub beta2: f32,
    pub rate: f32,
    pub root: f32,
    pub eps: f32,
    pub key: u32,
}

unsafe extern "C" {
    fn gauntlet_isa() -> i32;
    fn gauntlet_limit_isa(most: i32);
    fn gauntlet_adamw_bf16(
        weight: *mut u16,
        grad: *const u16,
        exp_avg: *mut u16,
        exp_avg_sq: *mut u16,
        n: i64,
        step: *const RawAdamWStep,
    );
    fn gauntlet_pack(parts: *const RawRows, count: i64, half: i32, packed: *mut RawPacked);
    fn gauntlet_linear(
        packed: *const RawPacked,
        x: *const f32,
        m: i64,
        y: *mut f32,
        add: i32,
        scratch: *mut c_void,
    );
    fn gauntlet_rms_norm(x: *const f32, weight: *const f32, m: i64, c: i64, eps: f32, y: *mut f32);
    fn gauntlet_glu(x: *const f32, m: i64, width: i64, activation: i32, y: *mut f32);
    fn gauntlet_rope_store(
        qkv: *mut f32,
        heads: *const RawHeads,
        m: i64,
        positions: *const i64,
        slots: *const i64,
        cos: *const f32,
        sin: *const f32,
        q_norm: *const f32,
        k_norm: *const f32,
        eps: f32,
        cache: *const RawCache,
    );
    fn gauntlet_attend(
        qkv: *const f32,
        heads: *const RawHeads,
        m: i64,
        tables: *const i32,
        stride: i64,
        lengths: *const i64,
        window: i64,
        scale: f32,
        cache: *const RawCache,
        y: *mut f32,
    );
}

/// The number of this thread's instruction set, as in `crate::Isa`.
pub(crate) fn isa() -> i32 {
    // SAFETY: reads a value of this thread.
    unsafe { gauntlet_isa() }
}

pub(crate) fn limit_isa(most: i32) {
    // SAFETY: any number will do; it is compared with what the processor has.
    unsafe { gauntlet_limit_isa(most) }
}

fn floats(tensor: &Tensor) -> *mut f32 {
    tensor.data_ptr().cast()
}

pub(crate) fn pack(parts: &[Tensor], half: bool, mut packed: RawPacked) {
    let rows: Vec<RawRows> = parts
        .iter()
        .map(|part| RawRows {
            weight: part.data_ptr(),
            outputs: part.size()[0],
        })
        .collect();
    // SAFETY: `PackedLinear::new`, the only caller, has made each part contiguous, of bf16 if `half` and of f32 if not, with
    // as many columns as the layer has inputs and with all its outputs as rows together, and the packed buffers of the
    // sizes that kernels.h states for them; all outlive the call.
    unsafe { gauntlet_pack(rows.as_ptr(), rows.len() as i64, half.into(), &mut packed) }
}

pub(crate) fn linear(packed: RawPacked, x: &Tensor, y: &Tensor, add: bool, scratch: &Tensor) {
    // SAFETY: `PackedLinear::run`, the only caller, has checked x [m, inputs] and y [m, outputs], contiguous f32, and made
    // `scratch` of the bytes that kernels.h states. The packed buffers live as long as the layer that lent them.
    unsafe {
        gauntlet_linear(
            &packed,
            floats(x),
            x.size()[0],
            floats(y),
            i32::from(add),
            scratch.data_ptr(),
        );
    }
}

pub(crate) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32, y: &Tensor) {
    let size = x.size();
    // SAFETY: x and y are contiguous f32 of one shape [m, c] and weight of [c], as the caller checked.
    unsafe { gauntlet_rms_norm(floats(x), floats(weight), size[0], size[1], eps, floats(y)) }
}

pub(crate) fn glu(x: &Tensor, activation: i32, y: &Tensor) {
    let size = y.size();
    // SAFETY: y is contiguous f32 [m, i], x is [m, 2 i] or one wider; the number is one of an `Activation`.
    unsafe { gauntlet_glu(floats(x), size[0], size[1], activation, floats(y)) }
}

pub(crate) fn attention(
    qkv: &Tensor,
    heads: RawHeads,
    [positions, slots, lengths, tables]: &[&Tensor; 4],
    with: &Attend,
    cache: RawCache,
    y: &Tensor,
) {
    let m = positions.size()[0];
    let (q_norm, k_norm, eps) = match with.norms {
        Some((q, k, eps)) => (floats(q).cast_const(), floats(k).cast_const(), eps as f32),
        None => (std::ptr::null(), std::ptr::null(), 0.0),
    };
    let (cos, sin) = match with.rotary {
        Some((cos, sin)) => (floats(cos).cast_const(), floats(sin).cast_const()),
        None => (std::ptr::null(), std::ptr::null()),
    };
    let plain = 1.0 / (heads.width as f32).sqrt();
    let scale = with.scale.map_or(plain, |scale| scale as f32);
    // SAFETY: `PagedCache::attend`, the only caller, has checked that qkv, tables of angles, norms and y have the shapes that
    // kernels.h states, that positions lie in the tables that are given, that slots and blocks lie in the cache, and that each length
    // lies within the blocks of its row. `Places` makes int64 and int32 tensors of m rows.
    unsafe {
        gauntlet_rope_store(
            floats(qkv),
            &heads,
            m,
            positions.data_ptr().cast(),
            slots.data_ptr().cast(),
            cos,
            sin,
            q_norm,
            k_norm,
            eps,
            &cache,
        );
        gauntlet_attend(
            floats(qkv),
            &heads,
            m,
            tables.data_ptr().cast(),
            tables.size()[1],
            lengths.data_ptr().cast(),
            with.window.unwrap_or(0),
            scale,
            &cache,
            floats(y),
        );
    }
}

/// A step of [`crate::adamw_bf16`], which has checked that all four tensors are contiguous bf16 of one size on the CPU.
pub(crate) fn adamw_bf16(
    weight: &Tensor,
    grad: &Tensor,
    [exp_avg, exp_avg_sq]: [&Tensor; 2],
    step: &RawAdamWStep,
) {
    // SAFETY: all four have the same number of values of two bytes, which is what is read and written; no other thread can
    // change them, since `Tensor` is not Sync.
    unsafe {
        gauntlet_adamw_bf16(
            weight.data_ptr().cast(),
            grad.data_ptr().cast(),
            exp_avg.data_ptr().cast(),
            exp_avg_sq.data_ptr().cast(),
            weight.numel() as i64,
            step,
        );
    }
}
