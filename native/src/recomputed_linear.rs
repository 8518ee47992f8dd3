//! Fully connected layers behind LayerNorm or GELU that keep less for the backward pass.

use tch::Tensor;
use torch_sys::C_tensor;

use crate::ffi;

/// A layer `[outputs, inputs]` with its bias, where it has one.
#[derive(Debug, Clone, Copy)]
pub struct LinearParameters<'a> {
    /// `[outputs, inputs]`.
    pub weight: &'a Tensor,
    /// `[outputs]`.
    pub bias: Option<&'a Tensor>,
}

/// LayerNorm's parameters.
#[derive(Debug, Clone, Copy)]
pub struct NormParameters<'a> {
    /// Factor of each channel, `[inputs]`.
    pub weight: &'a Tensor,
    /// Shift of each channel, `[inputs]`.
    pub bias: &'a Tensor,
    /// Added to the variance.
    pub eps: f64,
}

/// `linear(gelu(x))` for rows `[N, inputs]`, with GELU's exact form: `[N, outputs]`. Equal to the two
/// operators in value and gradient, but only `x` is kept for the backward pass, which computes GELU
/// again: in a transformer's MLP that is the widest tensor of the block.
///
/// # Panics
///
/// When the shapes do not fit together.
pub fn linear_after_gelu(x: &Tensor, linear: LinearParameters) -> Tensor {
    let mut output: *mut C_tensor = std::ptr::null_mut();
    // SAFETY: live tensors, or null for the bias, read during the call; the shim hands over the output.
    unsafe {
        let message = ffi::deepmim_linear_after_gelu(
            x.as_ptr(),
            linear.weight.as_ptr(),
            linear.bias.map_or(std::ptr::null(), Tensor::as_ptr),
            &mut output,
        );
        if let Err(error) = ffi::answer(message) {
            panic!("linear layer after GELU: {error}");
        }
        Tensor::from_ptr(output)
    }
}

/// `linear(layer_norm(x))` for rows `[N, inputs]`, normalised over `inputs`: `[N, outputs]`. Equal to the
/// two operators in value and gradient, but only `x` and two numbers a row are kept for the backward
/// pass, which normalises again.
///
/// # Panics
///
/// When the shapes do not fit together.
pub fn linear_after_norm(x: &Tensor, norm: NormParameters, linear: LinearParameters) -> Tensor {
    let mut output: *mut C_tensor = std::ptr::null_mut();
    // SAFETY: live tensors, or null for the bias, read during the call; the shim hands over the output.
    unsafe {
        let message = ffi::deepmim_linear_after_norm(
            x.as_ptr(),
            norm.weight.as_ptr(),
            norm.bias.as_ptr(),
            norm.eps,
            linear.weight.as_ptr(),
            linear.bias.map_or(std::ptr::null(), Tensor::as_ptr),
            &mut output,
        );
        if let Err(error) = ffi::answer(message) {
            panic!("linear layer after LayerNorm: {error}");
        }
        Tensor::from_ptr(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Autocast;
    use tch::{Device, Kind};

    fn leaf(shape: &[i64], requires_grad: bool) -> Tensor {
        Tensor::randn(shape, (Kind::Float, Device::Cpu)).set_requires_grad(requires_grad)
    }

    fn gradients(out: &Tensor, weights: &Tensor, inputs: &[&Tensor]) -> Vec<Tensor> {
        let loss = (out.to_kind(Kind::Float) * weights).sum(Kind::Float);
        Tensor::run_backward(&[loss], inputs, false, false)
    }

    /// Runs both forms with and without bias and autocast; they must agree to the last bit.
    fn compare(
        parameters: &[&Tensor],
        found: impl Fn(Option<&Tensor>) -> Tensor,
        wanted: impl Fn(Option<&Tensor>) -> Tensor,
    ) {
        let bias = leaf(&[5], true);
        let weights = leaf(&[7, 5], false);
        for narrow in [false, true] {
            let _autocast = narrow.then(|| Autocast::bf16(Device::Cpu).unwrap());
            for bias in [None, Some(&bias)] {
                let (found, wanted) = (found(bias), wanted(bias));
                assert_eq!(found.kind(), wanted.kind());
                assert!(found.equal(&wanted), "{found} against {wanted}");
                let inputs: Vec<&Tensor> = parameters.iter().copied().chain(bias).collect();
                let found = gradients(&found, &weights, &inputs);
                for (found, wanted) in found.iter().zip(gradients(&wanted, &weights, &inputs)) {
                    assert_eq!(found.kind(), wanted.kind());
                    assert!(found.equal(&wanted), "{found} against {wanted}");
                }
            }
        }
    }

    #[test]
    fn behind_gelu_value_and_gradients_are_those_of_the_two_operators() {
        tch::manual_seed(3);
        let (x, weight) = (leaf(&[7, 9], true), leaf(&[5, 9], true));
        compare(
            &[&x, &weight],
            |bias| {
                linear_after_gelu(
                    &x,
                    LinearParameters {
                        weight: &weight,
                        bias,
                    },
                )
            },
            |bias| x.gelu("none").linear(&weight, bias),
        );
    }

    #[test]
    fn behind_layer_norm_value_and_gradients_are_those_of_the_two_operators() {
        tch::manual_seed(4);
        let (x, weight) = (leaf(&[7, 9], true), leaf(&[5, 9], true));
        let (scale, shift) = (leaf(&[9], true), leaf(&[9], true));
        let norm = NormParameters {
            weight: &scale,
            bias: &shift,
            eps: 1e-6,
        };
        compare(
            &[&x, &scale, &shift, &weight],
            |bias| {
                linear_after_norm(
                    &x,
                    norm,
                    LinearParameters {
                        weight: &weight,
                        bias,
                    },
                )
            },
            |bias| {
                x.layer_norm([9], Some(&scale), Some(&shift), 1e-6, true)
                    .linear(&weight, bias)
            },
        );
    }

    /// A frozen trunk under a head that learns, and frozen layers under an input that is looked at.
    #[test]
    fn what_needs_no_gradient_gets_none() {
        let scale = leaf(&[9], false);
        for (x_learns, weight_learns) in [(true, false), (false, true)] {
            let (x, weight) = (leaf(&[7, 9], x_learns), leaf(&[5, 9], weight_learns));
            let linear = LinearParameters {
                weight: &weight,
                bias: None,
            };
            let norm = NormParameters {
                weight: &scale,
                bias: &scale,
                eps: 1e-6,
            };
            for out in [
                linear_after_gelu(&x, linear),
                linear_after_norm(&x, norm, linear),
            ] {
                out.sum(Kind::Float).backward();
            }
            assert_eq!(x.grad().defined(), x_learns);
            assert_eq!(weight.grad().defined(), weight_learns);
            assert!(!scale.grad().defined());
        }
    }
}
