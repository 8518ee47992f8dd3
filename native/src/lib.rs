//! What deepmim needs of libtorch and `tch` does not offer.
//!
//! - [`checkpoint`]: activation checkpointing, a custom autograd function around a Rust closure;
//! - [`Autocast`]: bfloat16 and float16 autocast on the CPU and on CUDA;
//! - [`fused_adamw`] and the `foreach_*` functions: one call for many tensors;
//! - [`clear_grad`]: a gradient that is none, not zero;
//! - [`keep_freed_memory`]: spares a training step the page faults of its large tensors, and
//!   [`return_freed_memory`] hands back what a loaded checkpoint took;
//! - [`relative_attention`]: attention over a grid of tokens without a matrix of all pairs;
//! - [`biased_attention`]: the same with a learnt bias for each distance of two tokens;
//! - [`linear_after_norm`], [`linear_after_gelu`]: two operators that keep what one would;
//! - [`enlarged_cross_entropy`]: the loss of a label map without logits of its size;
//! - [`roi_align`]: ROIAlign, forward and backward;
//! - [`Store`], [`ProcessGroup`] and [`Reducer`]: PyTorch's distributed training (c10d);
//! - [`load_cuda`]: makes libtorch's CUDA half visible to a program linked against its CPU half,
//!   and [`set_cuda_device`] chooses a GPU, whose [`peak_cuda_memory`] is known.
//!
//! This is the only crate with `unsafe` code. The C++ half are the `.cpp` files beside it.

#![allow(unsafe_code)]

mod attention;
mod autocast;
mod biased_attention;
mod checkpoint;
mod cuda;
mod enlarged_loss;
mod ffi;
mod lists;
mod memory;
mod process_group;
mod recomputed_linear;
mod reducer;
mod roi_align;

pub use attention::relative_attention;
pub use autocast::Autocast;
pub use biased_attention::biased_attention;
pub use checkpoint::checkpoint;
pub use cuda::{load_cuda, peak_cuda_memory, set_cuda_device};
pub use enlarged_loss::{PixelSums, enlarged_cross_entropy};
pub use lists::{
    AdamWConstants, clear_grad, foreach_lerp, foreach_norm, foreach_scale, fused_adamw,
    libtorch_version,
};
pub use memory::{keep_freed_memory, return_freed_memory};
pub use process_group::{Backend, GroupOptions, ProcessGroup, Store};
pub use recomputed_linear::{
    LinearParameters, NormParameters, linear_after_gelu, linear_after_norm,
};
pub use reducer::Reducer;
pub use roi_align::{RoiAlign, roi_align};

/// An exception that libtorch raised inside the shim.
#[derive(Debug, thiserror::Error)]
#[error("libtorch: {0}")]
pub struct NativeError(String);
