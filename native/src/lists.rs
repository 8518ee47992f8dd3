//! Operations over whole lists of tensors, one call and on CUDA one kernel for many tensors.

use tch::Tensor;
use torch_sys::C_tensor;

use crate::{NativeError, ffi};

/// What is the same for all parameters of one [`fused_adamw`] call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConstants {
    /// Learning rate.
    pub lr: f64,
    /// Decay rates of the first and second moment.
    pub betas: [f64; 2],
    /// Added to the square root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Number of this update, from 1.
    pub step: i64,
}

/// One AdamW update in place by libtorch's `_fused_adamw_`, which reads and writes every number
/// once. The four lists are parallel; all tensors are on one device and of one kind.
///
/// # Errors
///
/// When the lists do not fit together, or libtorch has no such kernel for the device or kind.
pub fn fused_adamw(
    parameters: &[Tensor],
    gradients: &[Tensor],
    exp_avg: &[Tensor],
    exp_avg_sq: &[Tensor],
    constants: &AdamWConstants,
) -> Result<(), NativeError> {
    let count = parameters.len();
    if [gradients.len(), exp_avg.len(), exp_avg_sq.len()] != [count; 3] {
        return Err(NativeError(
            "fused_adamw: lists of different lengths".into(),
        ));
    }
    let lists = [parameters, gradients, exp_avg, exp_avg_sq].map(pointers);
    // SAFETY: four arrays of `count` live tensors; the shim copies the handles.
    unsafe {
        ffi::answer(ffi::deepmim_fused_adamw(
            lists[0].as_ptr(),
            lists[1].as_ptr(),
            lists[2].as_ptr(),
            lists[3].as_ptr(),
            count,
            constants.lr,
            constants.betas[0],
            constants.betas[1],
            constants.eps,
            constants.weight_decay,
            constants.step,
        ))
    }
}

/// The Euclidean norm of all tensors together, as torch's `clip_grad_norm_` computes it: the norm of
/// their norms. A scalar on their device; the list may not be empty.
///
/// # Errors
///
/// When the list is empty, or libtorch refuses.
pub fn foreach_norm(tensors: &[Tensor]) -> Result<Tensor, NativeError> {
    let list = pointers(tensors);
    let mut output: *mut C_tensor = std::ptr::null_mut();
    // SAFETY: an array of live tensors; the shim hands over a new one on success.
    unsafe {
        ffi::answer(ffi::deepmim_foreach_norm(
            list.as_ptr(),
            list.len(),
            &mut output,
        ))?;
        Ok(Tensor::from_ptr(output))
    }
}

/// Multiplies every tensor by `factor` in place.
///
/// # Errors
///
/// When libtorch refuses.
pub fn foreach_scale(tensors: &[Tensor], factor: f64) -> Result<(), NativeError> {
    let list = pointers(tensors);
    // SAFETY: an array of live tensors.
    unsafe {
        ffi::answer(ffi::deepmim_foreach_scale(
            list.as_ptr(),
            list.len(),
            factor,
        ))
    }
}

/// `target += weight * (source - target)` in place for each pair.
///
/// # Errors
///
/// When the lists do not fit together.
pub fn foreach_lerp(
    targets: &[Tensor],
    sources: &[Tensor],
    weight: f64,
) -> Result<(), NativeError> {
    if targets.len() != sources.len() {
        return Err(NativeError(
            "foreach_lerp: lists of different lengths".into(),
        ));
    }
    let (targets, sources) = (pointers(targets), pointers(sources));
    // SAFETY: two arrays of as many live tensors.
    unsafe {
        ffi::answer(ffi::deepmim_foreach_lerp(
            targets.as_ptr(),
            sources.as_ptr(),
            targets.len(),
            weight,
        ))
    }
}

/// Drops a tensor's gradient, so that it has none until the next backward pass, which then stores
/// its result instead of adding to zeros (`zero_grad(set_to_none=True)`).
pub fn clear_grad(tensor: &Tensor) {
    // SAFETY: a live tensor; its gradient's handle is reset.
    unsafe { ffi::deepmim_clear_grad(tensor.as_ptr().cast_mut()) }
}

/// The version of the libtorch whose headers this was compiled with, e.g. "2.11.0".
pub fn libtorch_version() -> String {
    // SAFETY: a string literal of the shim.
    unsafe { std::ffi::CStr::from_ptr(ffi::deepmim_libtorch_version()) }
        .to_string_lossy()
        .into_owned()
}

pub(crate) fn pointers(tensors: &[Tensor]) -> Vec<*mut C_tensor> {
    tensors
        .iter()
        .map(|tensor| tensor.as_ptr().cast_mut())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn random(shape: &[i64]) -> Tensor {
        Tensor::randn(shape, (Kind::Float, Device::Cpu))
    }

    /// By hand, as in the paper: one number, first step, so both moments correct to the gradient.
    #[test]
    fn adamw_decays_then_steps() {
        let ones = |value: f64| Tensor::full([3], value, (Kind::Float, Device::Cpu));
        let (x, first, second) = (ones(2.0), ones(0.0), ones(0.0));
        let constants = AdamWConstants {
            lr: 0.1,
            betas: [0.9, 0.99],
            eps: 0.0,
            weight_decay: 0.5,
            step: 1,
        };
        let lists = [&x, &ones(0.5), &first, &second].map(|t| [t.shallow_clone()]);
        fused_adamw(&lists[0], &lists[1], &lists[2], &lists[3], &constants).unwrap();
        assert!((x.double_value(&[1]) - 1.8).abs() < 1e-6);
        assert!((first.double_value(&[1]) - 0.05).abs() < 1e-7);
        assert!((second.double_value(&[1]) - 0.0025).abs() < 1e-8);
        assert!(fused_adamw(&lists[0], &[], &lists[2], &lists[3], &constants).is_err());
    }

    #[test]
    fn lists_are_worked_on_in_place() {
        let tensors = [random(&[4, 3]), random(&[5])];
        let flat = Tensor::cat(&tensors.each_ref().map(|t| t.flatten(0, -1)), 0);
        let norm = foreach_norm(&tensors).unwrap().double_value(&[]);
        assert!((norm - flat.norm().double_value(&[])).abs() < 1e-5);
        foreach_scale(&tensors, 0.5).unwrap();
        let halved = foreach_norm(&tensors).unwrap().double_value(&[]);
        assert!((halved - norm / 2.0).abs() < 1e-5);
        let targets = [tensors[0].zeros_like(), tensors[1].zeros_like()];
        foreach_lerp(&targets, &tensors, 0.25).unwrap();
        assert!(targets[1].allclose(&(&tensors[1] * 0.25), 1e-6, 1e-7, false));
        assert!(foreach_norm(&[]).is_err());
    }

    #[test]
    fn a_cleared_gradient_is_none() {
        let x = random(&[2]).set_requires_grad(true);
        (&x * 3.0).sum(Kind::Float).backward();
        assert!(x.grad().defined());
        clear_grad(&x);
        assert!(!x.grad().defined());
        (&x * 2.0).sum(Kind::Float).backward();
        assert_eq!(x.grad().double_value(&[0]), 2.0);
        assert!(libtorch_version().starts_with("2."));
    }
}
