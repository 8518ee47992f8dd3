//! Autocast regions (`torch.autocast`) for the CPU and CUDA.

use std::marker::PhantomData;

use tch::Device;

use crate::{NativeError, ffi};

/// While it lives, matrix products and convolutions on its device run in bfloat16 or float16.
///
/// Weights, gradients and everything else stay float32, as with PyTorch's `torch.autocast`. `tch`'s
/// own `autocast` does nothing without CUDA; this one works on the CPU too. The state is the
/// thread's own, so the guard stays on its thread.
#[derive(Debug)]
pub struct Autocast {
    device: i32,
    was_enabled: bool,
    was_dtype: i8,
    this_thread_only: PhantomData<*const ()>,
}

impl Autocast {
    /// Starts a bfloat16 region for operations on `device`.
    ///
    /// # Errors
    ///
    /// When libtorch does not support autocast on the device.
    pub fn bf16(device: Device) -> Result<Self, NativeError> {
        Self::start(device, BF16)
    }

    /// As [`Autocast::bf16`], in float16, whose gradients need loss scaling.
    ///
    /// # Errors
    ///
    /// When libtorch does not support autocast on the device.
    pub fn f16(device: Device) -> Result<Self, NativeError> {
        Self::start(device, F16)
    }

    fn start(device: Device, dtype: i8) -> Result<Self, NativeError> {
        let device = i32::from(device != Device::Cpu);
        let mut guard = Self {
            device,
            was_enabled: false,
            was_dtype: 0,
            this_thread_only: PhantomData,
        };
        // SAFETY: plain values in, two plain values out.
        unsafe {
            ffi::answer(ffi::deepmim_autocast(
                device,
                true,
                dtype,
                &mut guard.was_enabled,
                &mut guard.was_dtype,
            ))?;
            ffi::deepmim_autocast_enter();
        }
        Ok(guard)
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        let (mut enabled, mut dtype) = (false, 0);
        // SAFETY: as in `start`. The call worked with this device before, so it works again.
        unsafe {
            ffi::deepmim_autocast_leave();
            let message = ffi::deepmim_autocast(
                self.device,
                self.was_enabled,
                self.was_dtype,
                &mut enabled,
                &mut dtype,
            );
            debug_assert!(ffi::answer(message).is_ok());
        }
    }
}

/// Numbers in libtorch's list of scalar types.
const F16: i8 = 5;
const BF16: i8 = 15;

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Kind, Tensor};

    #[test]
    fn products_are_bf16_inside_and_float_outside() {
        let weight = Tensor::randn([8, 8], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let input = Tensor::randn([4, 8], (Kind::Float, Device::Cpu));
        {
            let _autocast = Autocast::bf16(Device::Cpu).unwrap();
            let product = input.matmul(&weight);
            assert_eq!(product.kind(), Kind::BFloat16);
            product.sum(Kind::Float).backward();
        }
        assert_eq!(weight.grad().kind(), Kind::Float);
        assert_eq!(input.matmul(&weight).kind(), Kind::Float);
    }

    #[test]
    fn checkpointed_regions_recompute_in_the_same_precision() {
        let weight = Tensor::randn([8, 8], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let input = Tensor::randn([4, 8], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let kinds = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let output = {
            let _autocast = Autocast::bf16(Device::Cpu).unwrap();
            let (weight, kinds) = (weight.shallow_clone(), kinds.clone());
            crate::checkpoint(&input, move |x| {
                let product = x.matmul(&weight);
                kinds.lock().unwrap().push(product.kind());
                product
            })
        };
        output.sum(Kind::Float).backward();
        assert_eq!(*kinds.lock().unwrap(), [Kind::BFloat16, Kind::BFloat16]);
        assert_eq!(weight.grad().kind(), Kind::Float);
    }
}
