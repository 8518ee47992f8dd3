//! Activation checkpointing (Chen et al. 2016, arXiv 1604.06174; `torch.utils.checkpoint`).

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tch::Tensor;
use torch_sys::C_tensor;

use crate::ffi;

type Region = Box<dyn Fn(&Tensor) -> Tensor + Send>;

/// Runs `region` without keeping its intermediate tensors; the backward pass runs it again.
///
/// The value and all gradients, those of parameters that `region` holds included, equal
/// `region(input)`'s. `region` must be a function of its input alone: random masks are to be drawn
/// before and captured, or the second run would see others.
///
/// # Panics
///
/// When `region` panics, or libtorch refuses an operation in it.
pub fn checkpoint(input: &Tensor, region: impl Fn(&Tensor) -> Tensor + Send + 'static) -> Tensor {
    let region: Box<Region> = Box::new(Box::new(region));
    let mut output: *mut C_tensor = std::ptr::null_mut();
    // SAFETY: the shim owns the closure from here on and frees it through `drop_region`; it reads
    // `input` during the call only, and hands over the output tensor.
    unsafe {
        let message = ffi::deepmim_checkpoint(
            input.as_ptr().cast_mut(),
            Box::into_raw(region).cast::<c_void>(),
            call_region,
            drop_region,
            &mut output,
        );
        if let Err(error) = ffi::answer(message) {
            panic!("activation checkpoint: {error}");
        }
        Tensor::from_ptr(output)
    }
}

extern "C" fn call_region(data: *mut c_void, input: *mut C_tensor) -> *mut C_tensor {
    // SAFETY: `data` came from `checkpoint` and lives until `drop_region`; `input` is ours.
    let (region, input) = unsafe { (&*data.cast::<Region>(), Tensor::from_ptr(input)) };
    match catch_unwind(AssertUnwindSafe(|| region(&input))) {
        Ok(mut output) => {
            let raw = output.as_mut_ptr();
            // The shim frees the tensor behind the pointer.
            std::mem::forget(output);
            raw
        }
        Err(_) => std::ptr::null_mut(),
    }
}

extern "C" fn drop_region(data: *mut c_void) {
    // SAFETY: called once, by the shim's destructor, with the pointer `checkpoint` gave away.
    drop(unsafe { Box::from_raw(data.cast::<Region>()) });
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn leaf(shape: &[i64], requires_grad: bool) -> Tensor {
        Tensor::randn(shape, (Kind::Float, Device::Cpu)).set_requires_grad(requires_grad)
    }

    fn region(weight: &Tensor) -> impl Fn(&Tensor) -> Tensor + Send + 'static {
        let weight = weight.shallow_clone();
        move |x| x.matmul(&weight).gelu("none").matmul(&weight)
    }

    #[test]
    fn value_and_gradients_equal_the_plain_run() {
        for input_needs_grad in [true, false] {
            let input = leaf(&[5, 4], input_needs_grad);
            let weight = leaf(&[4, 4], true);
            let plain = region(&weight)(&input);
            plain.square().sum(Kind::Float).backward();
            let wanted = weight.grad().copy();
            let wanted_input = input_needs_grad.then(|| input.grad().copy());
            for mut tensor in [weight.grad(), input.grad()] {
                if tensor.defined() {
                    let _ = tensor.zero_();
                }
            }

            let output = checkpoint(&input, region(&weight));
            assert!(output.equal(&plain));
            // Two regions one behind the other: the first one's backward runs inside the second's.
            output.square().sum(Kind::Float).backward();
            assert!(weight.grad().equal(&wanted));
            if let Some(wanted) = wanted_input {
                assert!(input.grad().equal(&wanted));
            }
        }
    }

    #[test]
    fn regions_chain() {
        let input = leaf(&[5, 4], true);
        let weight = leaf(&[4, 4], true);
        let plain = region(&weight)(&region(&weight)(&input));
        plain.sum(Kind::Float).backward();
        let wanted = weight.grad().copy();
        let _ = weight.grad().zero_();
        let first = checkpoint(&input, region(&weight));
        checkpoint(&first, region(&weight))
            .sum(Kind::Float)
            .backward();
        assert!(weight.grad().allclose(&wanted, 1e-6, 1e-7, false));
    }

    #[test]
    fn the_closure_is_freed_with_the_graph() {
        let alive = std::sync::Arc::new(());
        let input = leaf(&[2], true);
        let held = alive.clone();
        let output = checkpoint(&input, move |x| {
            let _ = &held;
            x * 2.0
        });
        assert_eq!(std::sync::Arc::strong_count(&alive), 2);
        drop(output);
        assert_eq!(std::sync::Arc::strong_count(&alive), 1);
    }

    #[test]
    fn a_panic_inside_is_a_panic_outside() {
        let input = leaf(&[2], true);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            checkpoint(&input, |_| panic!("inside"))
        }));
        assert!(caught.is_err());
    }
}
