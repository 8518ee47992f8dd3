//! Operations over whole lists of tensors: the optimiser's update, norms, averaging.

use tch::{Kind, Tensor};

/// Parameters that share one call of the AdamW kernel: four lists of equal length.
#[derive(Debug, Default)]
pub(crate) struct AdamWBatch {
    pub parameters: Vec<Tensor>,
    pub gradients: Vec<Tensor>,
    pub exp_avg: Vec<Tensor>,
    pub exp_avg_sq: Vec<Tensor>,
}

/// What is the same for all parameters of an [`AdamWBatch`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamWConstants {
    pub lr: f64,
    pub betas: [f64; 2],
    pub eps: f64,
    pub weight_decay: f64,
    /// Number of this update, from 1.
    pub step: i64,
}

/// One AdamW update in place, gradients off.
pub(crate) fn adamw(batch: AdamWBatch, constants: &AdamWConstants) {
    let [beta1, beta2] = constants.betas;
    let step = constants.step as f64;
    let correction1 = 1.0 - beta1.powf(step);
    let correction2 = (1.0 - beta2.powf(step)).sqrt();
    let moments = batch.exp_avg.into_iter().zip(batch.exp_avg_sq);
    let weights = batch.parameters.into_iter().zip(batch.gradients);
    for ((mut weight, gradient), (mut first, mut second)) in weights.zip(moments) {
        let _ = weight.g_mul_scalar_(1.0 - constants.lr * constants.weight_decay);
        let _ = first.lerp_(&gradient, 1.0 - beta1);
        let _ = second.g_mul_scalar_(beta2);
        let mut squared = &gradient * &gradient;
        let _ = squared.g_mul_scalar_(1.0 - beta2);
        let _ = second.g_add_(&squared);
        let mut denominator = second.sqrt();
        let _ = denominator.g_div_scalar_(correction2);
        let _ = denominator.g_add_scalar_(constants.eps);
        squared.copy_(&first);
        let _ = squared.g_mul_scalar_(-constants.lr / correction1);
        let _ = weight.addcdiv_(&squared, &denominator);
    }
}

/// The Euclidean norm of all gradients together, as a scalar on their device; zero without any.
pub(crate) fn global_norm(gradients: &[Tensor]) -> Tensor {
    if gradients.is_empty() {
        return Tensor::from(0f32);
    }
    let norms: Vec<Tensor> = gradients.iter().map(|gradient| gradient.norm()).collect();
    Tensor::stack(&norms, 0).to_kind(Kind::Float).norm()
}

/// Multiplies every tensor by `factor` in place.
pub(crate) fn scale(tensors: &mut [Tensor], factor: f64) {
    for tensor in tensors {
        let _ = tensor.g_mul_scalar_(factor);
    }
}

/// `target += weight * (source - target)` for each pair.
pub(crate) fn lerp(targets: &mut [Tensor], sources: &[Tensor], weight: f64) {
    for (target, source) in targets.iter_mut().zip(sources) {
        let _ = target.lerp_(source, weight);
    }
}

/// Forgets the gradients of all `parameters`.
pub(crate) fn clear_gradients<'a>(parameters: impl Iterator<Item = &'a Tensor>) {
    for parameter in parameters {
        parameter.shallow_clone().zero_grad();
    }
}
