//! AdamW with decoupled weight decay, as `torch.optim.AdamW`.

use tch::Tensor;

use super::ParameterGroups;
use crate::kernels;

/// See [`super::OptimizerConfig::Adamw`].
#[derive(Debug)]
pub struct AdamW {
    groups: ParameterGroups,
    betas: [f64; 2],
    eps: f64,
    /// One per parameter, in the groups' order.
    slots: Vec<Slot>,
}

/// A parameter's state.
#[derive(Debug)]
struct Slot {
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    /// Updates so far, on the host so that no step waits for the device.
    step: i64,
}

impl AdamW {
    pub(super) fn new(groups: ParameterGroups, betas: [f64; 2], eps: f64) -> Self {
        let slots = groups
            .parameters()
            .map(|parameter| Slot {
                exp_avg: parameter.tensor.detach().zeros_like(),
                exp_avg_sq: parameter.tensor.detach().zeros_like(),
                step: 0,
            })
            .collect();
        Self {
            groups,
            betas,
            eps,
            slots,
        }
    }

    pub(super) fn groups(&self) -> &ParameterGroups {
        &self.groups
    }

    pub(super) fn step(&mut self, lr: f64) {
        let mut slots = self.slots.iter_mut();
        for group in self.groups.groups() {
            // Parameters that missed a gradient once lag behind in their step count, which the
            // kernel takes once for all it is given: batches of equal counts, normally one.
            let mut batches: Vec<(i64, kernels::AdamWBatch)> = Vec::new();
            for (parameter, slot) in group.parameters.iter().zip(&mut slots) {
                let gradient = parameter.tensor.grad();
                if !gradient.defined() {
                    continue;
                }
                slot.step += 1;
                let at = match batches.iter().position(|(step, _)| *step == slot.step) {
                    Some(at) => at,
                    None => {
                        batches.push((slot.step, kernels::AdamWBatch::default()));
                        batches.len() - 1
                    }
                };
                let batch = &mut batches[at].1;
                batch.parameters.push(parameter.tensor.shallow_clone());
                batch.gradients.push(gradient);
                batch.exp_avg.push(slot.exp_avg.shallow_clone());
                batch.exp_avg_sq.push(slot.exp_avg_sq.shallow_clone());
            }
            for (step, batch) in batches {
                let constants = kernels::AdamWConstants {
                    lr: lr * group.lr_scale,
                    betas: self.betas,
                    eps: self.eps,
                    weight_decay: group.weight_decay,
                    step,
                };
                kernels::adamw(&batch, &constants);
            }
        }
    }

    pub(super) fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = Vec::with_capacity(3 * self.slots.len());
        for (parameter, slot) in self.groups.parameters().zip(&self.slots) {
            let name = &parameter.name;
            state.push((format!("exp_avg.{name}"), slot.exp_avg.shallow_clone()));
            state.push((
                format!("exp_avg_sq.{name}"),
                slot.exp_avg_sq.shallow_clone(),
            ));
            state.push((format!("step.{name}"), Tensor::from(slot.step)));
        }
        state
    }

    /// Takes the step counts out of a list in [`AdamW::state`]'s order; the moments in it are the
    /// optimiser's own tensors and already hold their values.
    pub(super) fn take_steps(&mut self, state: &[(String, Tensor)]) {
        for (slot, entries) in self.slots.iter_mut().zip(state.chunks_exact(3)) {
            slot.step = entries[2].1.int64_value(&[]);
        }
    }
}
