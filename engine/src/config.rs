//! The part of a configuration file that belongs to the trainer.

use serde::{Deserialize, Serialize};

use crate::{EngineError, OptimizerConfig, Schedule, ScheduleConfig};

/// Number format of matrix products and convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// float32 throughout; parity is measured in it.
    #[default]
    F32,
    /// bfloat16 autocast; weights, gradients and optimiser state stay float32, and so do norms, softmax and
    /// losses.
    Bf16,
    /// float16 autocast with loss scaling ([`crate::LossScale`]), else as `bf16`: for GPUs without bfloat16.
    F16,
}

/// How a model is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerConfig {
    /// Passes over the training set.
    pub epochs: u64,
    /// Ends the training after so many optimiser steps, where `epochs` would take more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u64>,
    /// Samples per forward pass.
    pub batch_size: usize,
    /// Forward passes per optimiser step; the effective batch is `batch_size * accumulate`.
    #[serde(default = "one")]
    pub accumulate: usize,
    /// Update rule.
    pub optimizer: OptimizerConfig,
    /// Learning rate over time.
    pub schedule: ScheduleConfig,
    /// Largest global gradient norm; gradients beyond it are scaled down. None: no clipping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_grad: Option<f64>,
    /// Keeps `ema = decay * ema + (1 - decay) * weights` after each step, and evaluates with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema_decay: Option<f64>,
    /// Number format of the forward pass.
    #[serde(default)]
    pub precision: Precision,
    /// Seed of everything random in the run.
    #[serde(default)]
    pub seed: u64,
    /// Threads of libtorch's CPU kernels. None: as many as libtorch chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Evaluates after every so many epochs. None: after each, or as `evaluate_every_steps` says.
    /// The end of the training is always evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluate_every_epochs: Option<u64>,
    /// Evaluates after every so many optimiser steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluate_every_steps: Option<u64>,
    /// Saves a checkpoint after every so many epochs. One is always saved at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub save_every_epochs: Option<u64>,
    /// Saves a checkpoint after every so many optimiser steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub save_every_steps: Option<u64>,
    /// Saves a checkpoint whenever so many minutes have passed since the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub save_every_minutes: Option<f64>,
    /// Newest checkpoints to keep.
    #[serde(default = "two")]
    pub keep: usize,
    /// Writes a row of metrics every so many steps: means over the steps since the last row.
    #[serde(default = "ten_steps")]
    pub log_every: u64,
    /// Lets the task write pictures every so many steps. None: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_every: Option<u64>,
}

fn one() -> usize {
    1
}
fn two() -> usize {
    2
}
fn ten_steps() -> u64 {
    10
}

impl TrainerConfig {
    /// Samples per optimiser step.
    pub fn effective_batch(&self) -> usize {
        self.batch_size * self.accumulate
    }

    /// Optimiser steps of the whole training.
    pub(crate) fn total_steps(&self, per_epoch: u64) -> u64 {
        let all = self.epochs.saturating_mul(per_epoch);
        self.max_steps.map_or(all, |most| most.min(all))
    }

    /// Whether the state after `step` (at least 1) is evaluated.
    pub(crate) fn evaluates_after(&self, step: u64, per_epoch: u64) -> bool {
        let every_epochs = match (self.evaluate_every_epochs, self.evaluate_every_steps) {
            (None, None) => Some(1),
            (given, _) => given,
        };
        let every = |steps: Option<u64>| steps.is_some_and(|n| step.is_multiple_of(n));
        step == self.total_steps(per_epoch)
            || every(self.evaluate_every_steps)
            || every(every_epochs.map(|n| n.saturating_mul(per_epoch)))
    }

    /// The learning-rate schedule with all numbers known.
    ///
    /// # Errors
    /// When the schedule's numbers cannot work.
    pub fn resolve_schedule(&self) -> Result<Schedule, EngineError> {
        self.schedule.resolve(self.effective_batch(), self.epochs)
    }

    /// Checks every value that is wrong on its own or beside another.
    ///
    /// # Errors
    /// One sentence naming the key and what it may be.
    pub fn check(&self) -> Result<(), EngineError> {
        let counts = [
            ("epochs", Some(self.epochs)),
            ("batch_size", Some(self.batch_size as u64)),
            ("accumulate", Some(self.accumulate as u64)),
            ("threads", self.threads.map(|n| n as u64)),
            ("max_steps", self.max_steps),
            ("evaluate_every_epochs", self.evaluate_every_epochs),
            ("evaluate_every_steps", self.evaluate_every_steps),
            ("save_every_epochs", self.save_every_epochs),
            ("save_every_steps", self.save_every_steps),
            ("keep", Some(self.keep as u64)),
            ("log_every", Some(self.log_every)),
            ("snapshot_every", self.snapshot_every),
        ];
        if let Some((key, _)) = counts.iter().find(|(_, count)| *count == Some(0)) {
            return Err(EngineError::Config(format!(
                "{key} is 0; it must be 1 or more"
            )));
        }
        let above_zero = |key: &str, value: Option<f64>| match value {
            Some(value) if !(value.is_finite() && value > 0.0) => Err(EngineError::Config(
                format!("{key} is {value}; it must be above 0, or left out"),
            )),
            _ => Ok(()),
        };
        above_zero("clip_grad", self.clip_grad)?;
        above_zero("save_every_minutes", self.save_every_minutes)?;
        if let Some(decay) = self.ema_decay
            && !(0.0..1.0).contains(&decay)
        {
            return Err(EngineError::Config(format!(
                "ema_decay is {decay}; it must be at least 0 and below 1, e.g. 0.9999"
            )));
        }
        self.optimizer.check()?;
        self.resolve_schedule().map(|_| ())
    }
}
