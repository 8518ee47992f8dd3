//! The summing of gradients over processes, as `torch.nn.parallel.DistributedDataParallel` does it.

use std::ptr::null_mut;

use tch::Tensor;
use torch_sys::C_tensor;

use crate::lists::pointers;
use crate::{NativeError, ProcessGroup, ffi};

/// DDP's `Reducer` over a model's parameters. Gradients are averaged over the processes in buckets, each as
/// soon as its last gradient is ready, while the backward pass goes on.
#[derive(Debug)]
pub struct Reducer {
    handle: *mut ffi::Reducer,
    parameters: usize,
}

impl Reducer {
    /// Over `parameters`, which are leaves that want gradients, in the same order in every process. Buckets
    /// hold at most `bucket_bytes`, the first one 1 MiB.
    ///
    /// # Errors
    /// When the processes' parameters are not alike.
    pub fn new(
        group: &ProcessGroup,
        parameters: &[Tensor],
        bucket_bytes: usize,
    ) -> Result<Self, NativeError> {
        let pointers = pointers(parameters);
        let bucket_bytes = i64::try_from(bucket_bytes).unwrap_or(i64::MAX);
        let mut handle = null_mut();
        // SAFETY: live handles in; the shim copies the tensors' and hands over a new one.
        unsafe {
            ffi::answer(ffi::deepmim_reducer_new(
                group.0,
                pointers.as_ptr(),
                pointers.len(),
                bucket_bytes,
                &mut handle,
            ))?;
        }
        Ok(Self {
            handle,
            parameters: parameters.len(),
        })
    }

    /// An optimiser step begins; the parameters have no gradients.
    pub fn begin(&self) {
        // SAFETY: a live handle.
        unsafe { ffi::deepmim_reducer_begin(self.handle) }
    }

    /// `loss` for the step's last backward pass: the pass leaves in each parameter's gradient the mean over
    /// the processes of what was accumulated since [`Reducer::begin`], with zero for a process that has
    /// none. Passes of losses that do not go through here only accumulate (DDP's `no_sync`).
    ///
    /// # Errors
    /// When a process is gone; a failure in the backward pass is that pass's error.
    pub fn attach(&self, loss: &Tensor) -> Result<Tensor, NativeError> {
        let mut output: *mut C_tensor = null_mut();
        // SAFETY: live handles in, a new tensor out.
        unsafe {
            ffi::answer(ffi::deepmim_reducer_attach(
                self.handle,
                loss.as_ptr(),
                &mut output,
            ))?;
            Ok(Tensor::from_ptr(output))
        }
    }

    /// For each parameter 1 if this process's passes of the step gave it a gradient, else 0.
    pub fn used(&self) -> Vec<f32> {
        let mut used = vec![0.0; self.parameters];
        // SAFETY: as many numbers as there are parameters.
        unsafe { ffi::deepmim_reducer_used(self.handle, used.as_mut_ptr()) }
        used
    }
}

impl Drop for Reducer {
    fn drop(&mut self) {
        // SAFETY: our own handle, freed once.
        unsafe { ffi::deepmim_reducer_free(self.handle) }
    }
}
