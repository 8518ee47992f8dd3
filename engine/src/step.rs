//! One optimiser step: micro batches forward and backward, the finiteness check, clipping, update.

use std::rc::Rc;

use native::Reducer;
use tch::{Device, Kind, Tensor};

use crate::evaluate::autocast;
use crate::{
    EngineError, LossScale, Optimizer, SampleBatch, Share, StepContext, Task, TaskError,
    TrainerConfig, World, kernels, micro_seed, step_seed,
};

/// With whom a step is made.
#[derive(Debug)]
pub(crate) struct Ranks {
    pub world: Rc<World>,
    pub share: Share,
    /// None where this process is alone.
    pub reducer: Option<Reducer>,
    /// Whether a process wanted to stop when the last step was made.
    pub stop_is_agreed: bool,
}

/// What a finished step leaves behind.
pub(crate) struct StepDone<B> {
    /// Mean of each loss over the forward passes of all processes; then `loss_scale`, with float16; then
    /// `grad_norm`, unless it overflowed and nothing was updated.
    pub values: Vec<(String, f64)>,
    /// Samples seen by all processes.
    pub samples: usize,
    /// The last micro batch, for snapshots.
    pub batch: B,
    /// The context it was seen in.
    pub context: StepContext,
    /// Whether one of the processes wants to stop.
    pub stop: bool,
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
    /// Another process failed, before anything was updated here.
    Peer(EngineError),
    /// libtorch refused.
    Engine(EngineError),
}

impl<E: Into<EngineError>> From<E> for StepFailure {
    fn from(error: E) -> Self {
        match error.into() {
            error @ (EngineError::PeerFailed { .. } | EngineError::PeerLost { .. }) => {
                Self::Peer(error)
            }
            error => Self::Engine(error),
        }
    }
}

/// Where and how fast a step is made.
pub(crate) struct StepPlan {
    pub epoch: u64,
    pub step: u64,
    pub lr: f64,
    pub device: Device,
    /// Whether this process wants to stop.
    pub stop: bool,
}

/// Makes this process's share of one optimiser step. Losses and the gradient norm are read in one go
/// after the last backward pass, before anything is updated: that is the only point where the host
/// waits for the device. There the processes tell each other, too, so that all or none of them update.
pub(crate) fn make<T: Task>(
    task: &T,
    batches: &mut dyn Iterator<Item = SampleBatch<T::Sample>>,
    optimizer: &mut Optimizer,
    config: &TrainerConfig,
    plan: &StepPlan,
    ranks: &Ranks,
    mut loss_scale: Option<&mut LossScale>,
) -> Result<StepDone<T::Batch>, StepFailure> {
    let factor = loss_scale.as_ref().map_or(1.0, |scale| scale.factor);
    let Ranks { world, share, .. } = ranks;
    let seed = step_seed(config.seed, plan.step);
    let mut names: Vec<Vec<String>> = Vec::new();
    let mut files: Vec<Vec<String>> = Vec::new();
    let mut scalars: Vec<Tensor> = Vec::new();
    let mut samples = 0;
    let mut last = None;
    optimizer.clear_gradients();
    if let Some(reducer) = &ranks.reducer {
        reducer.begin();
    }
    for pass in 0..share.passes {
        // The previous pass's memory is free before the next one is made.
        drop(last.take());
        let drawn = match batches.next() {
            Some(drawn) => drawn.map_err(StepFailure::Task)?,
            None => return Err(StepFailure::Ended),
        };
        samples += drawn.len();
        let context = StepContext {
            epoch: plan.epoch,
            step: plan.step,
            seed: micro_seed(seed, share.piece(pass) as u64),
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
        let loss = match (share.passes, factor) {
            (1, 1.0) => losses.total,
            (passes, factor) => losses.total * (factor / passes as f64),
        };
        backward(loss, ranks, pass + 1 == share.passes)?;
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
    if factor != 1.0 {
        kernels::scale(&gradients, factor.recip());
    }
    scalars.push(as_scalar(
        &kernels::global_norm(&gradients).to_device(plan.device),
    )?);
    let mut told: Vec<f64> = Vec::try_from(Tensor::f_stack(&scalars, 0)?.to_device(Device::Cpu))?;
    let unused = ranks.reducer.as_ref().map(Reducer::used);
    let all_used = |used: &Vec<f32>| used.iter().all(|used| *used == 1.0);
    told.push(f64::from(plan.stop));
    told.push(f64::from(unused.as_ref().is_none_or(all_used)));
    let told = world.exchange_numbers(told)?;
    let every = |at_end: usize| told.iter().map(move |one| one[one.len() - 1 - at_end]);
    let stop = every(1).any(|wants| wants == 1.0);
    let (mut values, norm) = match sum_up(&names, &told) {
        Ok(summed) => summed,
        Err(found) => return Err(found.failure(world, &files)?),
    };
    let done = |values| StepDone {
        values,
        samples: samples * share.ranks,
        batch,
        context,
        stop,
    };
    if let Some(scale) = &mut loss_scale {
        values.push(("loss_scale".into(), factor));
        if norm.is_finite() {
            scale.was_finite();
        } else if scale.overflowed() {
            // The format's limit, not the training's: this update is left out.
            return Ok(done(values));
        }
    }
    if !norm.is_finite() {
        return Err(NonFinite::norm(norm).failure(world, &files)?);
    }
    if let Some(used) = unused
        && every(0).any(|all_used| all_used == 0.0)
    {
        clear_unused(optimizer, world, &used)?;
    }

    if let Some(largest) = config.clip_grad {
        clip(&gradients, norm, largest);
    }
    drop(gradients);
    optimizer.step(plan.lr);
    values.push(("grad_norm".into(), norm));
    Ok(done(values))
}

/// The backward pass of `loss`; with the step's last one gradients are averaged over the processes.
fn backward(loss: Tensor, ranks: &Ranks, last: bool) -> Result<(), StepFailure> {
    let loss = match &ranks.reducer {
        Some(reducer) if last => reducer
            .attach(&loss)
            .map_err(|error| ranks.world.broken(&error.to_string()))?,
        _ => loss,
    };
    loss.f_backward().map_err(|error| {
        match EngineError::from(error) {
            EngineError::Torch(message) if ranks.world.is_about_connections(&message) => {
                ranks.world.broken(&message)
            }
            error => error,
        }
        .into()
    })
}

/// Parameters without a gradient in any process have none, rather than one of zeros: as with one process,
/// neither they nor their moments change.
fn clear_unused(optimizer: &Optimizer, world: &World, used: &[f32]) -> Result<(), EngineError> {
    let own = used.iter().map(|used| f64::from(*used)).collect();
    let everywhere = world.exchange_numbers(own)?;
    for (at, parameter) in optimizer.groups().parameters().enumerate() {
        if everywhere.iter().all(|used| used[at] == 0.0) {
            kernels::clear_gradients(std::iter::once(&parameter.tensor));
        }
    }
    Ok(())
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
    if !matches!(value.kind(), Kind::Float | Kind::Double) {
        return Err(EngineError::Torch(format!(
            "a loss must be computed in float32, but the task gave one in {:?}",
            value.kind()
        )));
    }
    Ok(value.detach().reshape([0i64; 0]).to_kind(Kind::Double))
}

/// A value that is not finite.
struct NonFinite {
    name: String,
    value: f64,
    rank: usize,
    /// The forward pass it is of; none for the gradient norm, which is of all.
    pass: Option<usize>,
}

impl NonFinite {
    fn norm(value: f64) -> Self {
        Self {
            name: "grad_norm".into(),
            value,
            rank: 0,
            pass: None,
        }
    }

    /// The failure, with the files that were seen; every process learns them.
    fn failure(self, world: &World, files: &[Vec<String>]) -> Result<StepFailure, EngineError> {
        let files: Vec<Vec<Vec<String>>> = world.exchange(&files.to_vec())?;
        Ok(StepFailure::NonFinite {
            name: self.name,
            value: self.value,
            files: match self.pass {
                Some(pass) => files[self.rank].get(pass).cloned().unwrap_or_default(),
                None => files.concat().concat(),
            },
        })
    }
}

/// Means over the passes of all processes and the gradient norm, or the first loss that is not finite. `told`
/// holds each process's losses in the order of `names`, then its gradient norm.
fn sum_up(
    names: &[Vec<String>],
    told: &[Vec<f64>],
) -> Result<(Vec<(String, f64)>, f64), NonFinite> {
    let mut sums: Vec<(String, f64, usize)> = Vec::new();
    let mut norm = 0.0;
    for (rank, told) in told.iter().enumerate() {
        let mut rest = told.iter().copied();
        for (pass, names) in names.iter().enumerate() {
            let mut total = None;
            for (name, value) in names.iter().zip(&mut rest) {
                let bad = || NonFinite {
                    name: name.clone(),
                    value,
                    rank,
                    pass: Some(pass),
                };
                match (value.is_finite(), name.as_str()) {
                    (true, _) => {}
                    // A part says more than the total; the total speaks if no part does.
                    (false, "loss") => total = Some(bad()),
                    (false, _) => return Err(bad()),
                }
                match sums.iter_mut().find(|(known, ..)| known == name) {
                    Some((_, sum, count)) => {
                        *sum += value;
                        *count += 1;
                    }
                    None => sums.push((name.clone(), value, 1)),
                }
            }
            if let Some(total) = total {
                return Err(total);
            }
        }
        // The processes' gradients are the same by now.
        norm = rest.next().unwrap_or_default();
    }
    let means = sums
        .into_iter()
        .map(|(name, sum, count)| (name, sum / count as f64))
        .collect();
    Ok((means, norm))
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
