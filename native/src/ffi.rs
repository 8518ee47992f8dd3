//! Declarations of `shim.cpp`.

use std::ffi::{CStr, c_char, c_int, c_void};

use torch_sys::C_tensor;

use crate::NativeError;

/// Runs a checkpointed region on an input it owns; null after a panic.
pub type Call = extern "C" fn(*mut c_void, *mut C_tensor) -> *mut C_tensor;
/// Frees a checkpointed region's closure.
pub type Drop = extern "C" fn(*mut c_void);

/// `deepmim_store`.
#[repr(C)]
pub struct Store {
    opaque: [u8; 0],
}

/// `deepmim_group`.
#[repr(C)]
pub struct Group {
    opaque: [u8; 0],
}

/// `deepmim_reducer`.
#[repr(C)]
pub struct Reducer {
    opaque: [u8; 0],
}

unsafe extern "C" {
    pub fn deepmim_free_message(message: *mut c_char);
    pub fn deepmim_checkpoint(
        input: *mut C_tensor,
        data: *mut c_void,
        call: Call,
        drop: Drop,
        output: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub fn deepmim_autocast(
        device: c_int,
        enabled: bool,
        dtype: i8,
        was_enabled: *mut bool,
        was_dtype: *mut i8,
    ) -> *mut c_char;
    pub fn deepmim_autocast_enter();
    pub fn deepmim_autocast_leave();
    pub fn deepmim_fused_adamw(
        parameters: *const *mut C_tensor,
        gradients: *const *mut C_tensor,
        exp_avg: *const *mut C_tensor,
        exp_avg_sq: *const *mut C_tensor,
        count: usize,
        lr: f64,
        beta1: f64,
        beta2: f64,
        eps: f64,
        weight_decay: f64,
        step: i64,
    ) -> *mut c_char;
    pub fn deepmim_foreach_norm(
        tensors: *const *mut C_tensor,
        count: usize,
        output: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub fn deepmim_foreach_scale(
        tensors: *const *mut C_tensor,
        count: usize,
        factor: f64,
    ) -> *mut c_char;
    pub fn deepmim_foreach_lerp(
        targets: *const *mut C_tensor,
        sources: *const *mut C_tensor,
        count: usize,
        weight: f64,
    ) -> *mut c_char;
    pub fn deepmim_relative_attention(
        qkv: *const C_tensor,
        bias: *const C_tensor,
        rel_h: *const C_tensor,
        rel_w: *const C_tensor,
        heads: i64,
        output: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub fn deepmim_biased_attention(
        qkv: *const C_tensor,
        table: *const C_tensor,
        heads: i64,
        rows: i64,
        columns: i64,
        output: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub fn deepmim_enlarged_cross_entropy(
        logits: *const C_tensor,
        labels: *const C_tensor,
        ignored: i64,
        loss: *mut *mut C_tensor,
        right: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub fn deepmim_linear_after_gelu(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        output: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub fn deepmim_linear_after_norm(
        x: *const C_tensor,
        scale: *const C_tensor,
        shift: *const C_tensor,
        eps: f64,
        weight: *const C_tensor,
        bias: *const C_tensor,
        output: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub fn deepmim_roi_align(
        features: *const C_tensor,
        rois: *const C_tensor,
        bins_h: i64,
        bins_w: i64,
        scale: f64,
        sampling_ratio: i64,
        aligned: bool,
        output: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub fn deepmim_set_cuda_device(index: i8) -> *mut c_char;
    pub fn deepmim_peak_cuda_memory(index: i8, bytes: *mut i64) -> *mut c_char;
    pub fn deepmim_store_open(
        host: *const c_char,
        port: u16,
        serve: bool,
        timeout_ms: i64,
        output: *mut *mut Store,
    ) -> *mut c_char;
    pub fn deepmim_store_prefixed(
        store: *const Store,
        prefix: *const c_char,
        output: *mut *mut Store,
    ) -> *mut c_char;
    pub fn deepmim_store_free(store: *mut Store);
    pub fn deepmim_store_set(
        store: *const Store,
        key: *const c_char,
        data: *const u8,
        count: usize,
    ) -> *mut c_char;
    pub fn deepmim_store_get(
        store: *const Store,
        key: *const c_char,
        timeout_ms: i64,
        output: *mut *mut c_char,
    ) -> *mut c_char;
    pub fn deepmim_group_new(
        store: *const Store,
        rank: c_int,
        size: c_int,
        nccl: bool,
        address: *const c_char,
        timeout_ms: i64,
        output: *mut *mut Group,
    ) -> *mut c_char;
    pub fn deepmim_group_free(group: *mut Group);
    pub fn deepmim_group_sum(group: *const Group, tensor: *const C_tensor) -> *mut c_char;
    pub fn deepmim_group_broadcast(
        group: *const Group,
        tensor: *const C_tensor,
        root: i64,
    ) -> *mut c_char;
    pub fn deepmim_group_all_gather(
        group: *const Group,
        tensor: *const C_tensor,
        output: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub fn deepmim_group_differentiable_sum(
        group: *const Group,
        tensor: *const C_tensor,
        output: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub fn deepmim_reducer_new(
        group: *const Group,
        parameters: *const *mut C_tensor,
        count: usize,
        bucket_bytes: i64,
        output: *mut *mut Reducer,
    ) -> *mut c_char;
    pub fn deepmim_reducer_free(reducer: *mut Reducer);
    pub fn deepmim_reducer_begin(reducer: *const Reducer);
    pub fn deepmim_reducer_used(reducer: *const Reducer, used: *mut f32);
    pub fn deepmim_reducer_attach(
        reducer: *const Reducer,
        loss: *const C_tensor,
        output: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub fn deepmim_clear_grad(tensor: *mut C_tensor);
    pub fn deepmim_libtorch_version() -> *const c_char;
}

/// Turns the shim's answer into a result and frees its message.
pub fn answer(message: *mut c_char) -> Result<(), NativeError> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: a non-null answer is a NUL-terminated string that the shim allocated for us.
    let text = unsafe { CStr::from_ptr(message) }
        .to_string_lossy()
        .into_owned();
    unsafe { deepmim_free_message(message) };
    // Everything after the first line is libtorch's own C++ stack.
    Err(NativeError(
        text.lines().next().unwrap_or_default().to_owned(),
    ))
}
