//! Operations over whole lists of tensors: the optimiser's update, norms, averaging.
//!
//! All lists are made by this crate out of one model, so libtorch has nothing to refuse in them.

use native::NativeError;
use tch::Tensor;

pub(crate) use native::AdamWConstants;

/// Parameters that share one call of the AdamW kernel: four lists of equal length.
#[derive(Debug, Default)]
pub(crate) struct AdamWBatch {
    pub parameters: Vec<Tensor>,
    pub gradients: Vec<Tensor>,
    pub exp_avg: Vec<Tensor>,
    pub exp_avg_sq: Vec<Tensor>,
}

/// One AdamW update in place.
pub(crate) fn adamw(batch: &AdamWBatch, constants: &AdamWConstants) {
    native::fused_adamw(
        &batch.parameters,
        &batch.gradients,
        &batch.exp_avg,
        &batch.exp_avg_sq,
        constants,
    )
    .unwrap_or_else(|error| refused(&error));
}

/// The Euclidean norm of all gradients together, as a scalar on their device; zero without any.
pub(crate) fn global_norm(gradients: &[Tensor]) -> Tensor {
    if gradients.is_empty() {
        return Tensor::from(0f32);
    }
    native::foreach_norm(gradients).unwrap_or_else(|error| refused(&error))
}

/// Multiplies every tensor by `factor` in place.
pub(crate) fn scale(tensors: &[Tensor], factor: f64) {
    native::foreach_scale(tensors, factor).unwrap_or_else(|error| refused(&error));
}

/// `target += weight * (source - target)` for each pair.
pub(crate) fn lerp(targets: &[Tensor], sources: &[Tensor], weight: f64) {
    native::foreach_lerp(targets, sources, weight).unwrap_or_else(|error| refused(&error));
}

/// Forgets the gradients of all `parameters`: the next backward pass stores instead of adding.
pub(crate) fn clear_gradients<'a>(parameters: impl Iterator<Item = &'a Tensor>) {
    parameters.for_each(native::clear_grad);
}

fn refused(error: &NativeError) -> ! {
    panic!("the optimiser's tensors do not fit together: {error}")
}
