//! What deepmim needs of libtorch and `tch` does not offer.
//!
//! - [`checkpoint`]: activation checkpointing, a custom autograd function around a Rust closure;
//! - [`Autocast`]: bfloat16 autocast on the CPU and on CUDA;
//! - [`load_cuda`]: makes libtorch's CUDA half visible to a program linked against its CPU half.
//!
//! This is the only crate with `unsafe` code. The C++ half is `shim.cpp`.

#![allow(unsafe_code)]

mod autocast;
mod checkpoint;
mod cuda;
mod ffi;

pub use autocast::Autocast;
pub use checkpoint::checkpoint;
pub use cuda::load_cuda;

/// An exception that libtorch raised inside the shim.
#[derive(Debug, thiserror::Error)]
#[error("libtorch: {0}")]
pub struct NativeError(String);
