//! One optimiser step: micro batches forward and backward, the finiteness check, clipping, update.

use tch::{Device, Kind, Tensor};

use crate::evaluate::autocast;
use crate::{
    EngineError, Optimizer, SampleBatch, StepContext, Task, TaskError, TrainerConfig, kernels,
    micro_seed, step_seed,
};

/// What a finished step leaves behind.
pub(crate) struct StepDone<B> {
    /// Mean over the micro batches of each loss, then `grad_norm`.
    pub values: Vec<(String, f64)>,
    /// Samples seen.
    pub samples: usize,
    /// The last micro batch, for snapshots.
    pub batch: B,
    /// The context it was seen in.
    pub context: StepContext,
}

/// Why a step was not made; weights and optimiser are as before it.
pub(crate) enum StepFailure {
    /// The data source has no more batches.
    Ended,
    /// The source or the task failed.
    Task(TaskError),
    /// A loss or the gradient norm is not finite.
    NonFinite {
        name: String,
        value: f64,
        files: Vec<String>,
    },
    /// libtorch refused.
    Engine(EngineError),
}

impl<E: Into<EngineError>> From<E> for StepFailure {
    fn from(error: E) -> Self {
        Self::Engine(error.into())
    }
}

/// Where and how fast a step is made.
pub(crate) struct StepPlan {
    pub epoch: u64,
    pub step: u64,
    pub lr: f64,
    pub device: Device,
}

/// Makes one optimiser step out of `config.accumulate` batches. Their losses and the gradient norm
/// are read in one go after the last backward pass, before anything is updated: that is the only
/// point where the host waits for the device.
pub(crate) fn make<T: Task>(
    task: &T,
    batches: &mut dyn Iterator<Item = SampleBatch<T::Sample>>,
    optimizer: &mut Optimizer,
    config: &TrainerConfig,
    plan: &StepPlan,
) -> Result<StepDone<T::Batch>, StepFailure> {
    let seed = step_seed(config.seed, plan.step);
    let mut names: Vec<Vec<String>> = Vec::new();
    let mut files: Vec<Vec<String>> = Vec::new();
    let mut scalars: Vec<Tensor> = Vec::new();
    let mut samples = 0;
    let mut last = None;
    optimizer.clear_gradients();
    for micro in 0..config.accumulate {
        // The previous micro batch's memory is free before the next one is made.
        drop(last.take());
        let drawn = match batches.next() {
            Some(drawn) => drawn.map_err(StepFailure::Task)?,
            None => return Err(StepFailure::Ended),
        };
        samples += drawn.len();
        let context = StepContext {
            epoch: plan.epoch,
            step: plan.step,
            seed: micro_seed(seed, micro as u64),
            train: true,
        };
        tch::manual_seed(context.seed as i64);
        let batch = task
            .collate(drawn, &context, plan.device)
            .map_err(StepFailure::Task)?;
        files.push(task.batch_names(&batch).to_vec());
        let losses = {
            let _autocast = autocast(config.precision, plan.device)?;
            task.losses(&batch, &context).map_err(StepFailure::Task)?
        };
        let mut of_batch = vec!["loss".to_owned()];
        scalars.push(as_scalar(&losses.total)?);
        for (name, value) in &losses.parts {
            // A lone part is often the total under its own name.
            if name != "loss" {
                of_batch.push(name.clone());
                scalars.push(as_scalar(value)?);
            }
        }
        names.push(of_batch);
        if config.accumulate == 1 {
            losses.total.f_backward()?;
        } else {
            (losses.total / config.accumulate as f64).f_backward()?;
        }
        last = Some((batch, context));
    }
    let Some((batch, context)) = last else {
        return Err(StepFailure::Ended);
    };

    let gradients: Vec<Tensor> = optimizer
        .groups()
        .parameters()
        .map(|parameter| parameter.tensor.grad())
        .filter(Tensor::defined)
        .collect();
    scalars.push(as_scalar(
        &kernels::global_norm(&gradients).to_device(plan.device),
    )?);
    let read: Vec<f64> = Vec::try_from(Tensor::f_stack(&scalars, 0)?.to_device(Device::Cpu))?;
    let values = sum_up(&names, &files, &read)?;

    let norm = read[read.len() - 1];
    if let Some(largest) = config.clip_grad {
        clip(&gradients, norm, largest);
    }
    drop(gradients);
    optimizer.step(plan.lr);
    Ok(StepDone {
        values,
        samples,
        batch,
        context,
    })
}

/// Scales gradients of global norm `norm` down to `largest`, in float32 and in the order of
/// operations of `torch.nn.utils.clip_grad_norm_`.
fn clip(gradients: &[Tensor], norm: f64, largest: f64) {
    let factor = (norm as f32 + 1e-6).recip() * largest as f32;
    if factor < 1.0 {
        kernels::scale(gradients, f64::from(factor));
    }
}

fn as_scalar(value: &Tensor) -> Result<Tensor, EngineError> {
    if value.numel() != 1 {
        return Err(EngineError::Torch(format!(
            "a loss must be one number, but the task gave a tensor of shape {:?}",
            value.size()
        )));
    }
    Ok(value.detach().reshape([0i64; 0]).to_kind(Kind::Double))
}

/// Means over the micro batches, or the first value that is not finite with its files.
fn sum_up(
    names: &[Vec<String>],
    files: &[Vec<String>],
    read: &[f64],
) -> Result<Vec<(String, f64)>, StepFailure> {
    let mut sums: Vec<(String, f64, usize)> = Vec::new();
    let mut rest = read.iter();
    for (names, files) in names.iter().zip(files) {
        let mut total = None;
        for (name, value) in names.iter().zip(&mut rest) {
            let bad = |value| StepFailure::NonFinite {
                name: name.clone(),
                value,
                files: files.clone(),
            };
            match (value.is_finite(), name.as_str()) {
                (true, _) => {}
                // A part says more than the total; the total speaks if no part does.
                (false, "loss") => total = Some(bad(*value)),
                (false, _) => return Err(bad(*value)),
            }
            match sums.iter_mut().find(|(known, ..)| known == name) {
                Some((_, sum, count)) => {
                    *sum += value;
                    *count += 1;
                }
                None => sums.push((name.clone(), *value, 1)),
            }
        }
        if let Some(total) = total {
            return Err(total);
        }
    }
    let norm = rest.next().copied().unwrap_or_default();
    if !norm.is_finite() {
        return Err(StepFailure::NonFinite {
            name: "grad_norm".into(),
            value: norm,
            files: files.concat(),
        });
    }
    let mut values: Vec<(String, f64)> = sums
        .into_iter()
        .map(|(name, sum, count)| (name, sum / count as f64))
        .collect();
    values.push(("grad_norm".into(), norm));
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// parity/golden/optimizers: `torch.nn.utils.clip_grad_norm_` of torch 2.11; 1e-6 relative.
    #[test]
    fn clipping_is_torchs() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../parity/golden/optimizers/steps.safetensors"
        );
        let golden: HashMap<String, Tensor> = Tensor::read_safetensors(path)
            .unwrap()
            .into_iter()
            .collect();
        for (label, largest) in [("loose", 100.0), ("tight", 0.7)] {
            let names = ["w", "b", "z"];
            let gradients: Vec<Tensor> = names
                .iter()
                .map(|name| golden[&format!("grad.2.{name}")].copy())
                .collect();
            let norm = kernels::global_norm(&gradients).double_value(&[]);
            let wanted = golden[&format!("clip.{label}.norm")].double_value(&[]);
            assert!((norm - wanted).abs() < 1e-6 * wanted);
            clip(&gradients, norm, largest);
            for (name, got) in names.iter().zip(&gradients) {
                let wanted = &golden[&format!("clip.{label}.{name}")];
                assert!(got.allclose(wanted, 1e-6, 0.0, false), "{label} {name}");
            }
        }
    }

    #[test]
    fn without_gradients_the_norm_is_zero() {
        assert_eq!(kernels::global_norm(&[]).double_value(&[]), 0.0);
    }
}
