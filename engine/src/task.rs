//! What one training task must say about itself; the trainer and the evaluator know nothing else.
//!
//! A task turns samples into a batch, a batch into named losses or predictions, and says for each
//! parameter how fast it learns and how much it decays. Everything random inside a step comes from
//! [`StepContext::seed`] or from libtorch's global generator, which the trainer seeds with it; so a
//! step can be repeated exactly, whatever ran before it.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::{Device, Tensor};

/// Any error of a task or of its data; shown to the user as its one sentence.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

/// How the optimiser treats one parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParamPolicy {
    /// Factor on the scheduled learning rate (layer-wise decay); 0 leaves the parameter alone.
    pub lr_scale: f64,
    /// Weight decay of this parameter, absolute, not a factor on the configured one.
    pub weight_decay: f64,
    /// Not optimised at all: no gradient is computed for it and no state is kept.
    pub frozen: bool,
}

impl ParamPolicy {
    /// The full learning rate with the given weight decay.
    pub fn decayed(weight_decay: f64) -> Self {
        Self {
            lr_scale: 1.0,
            weight_decay,
            frozen: false,
        }
    }

    /// A parameter that is never updated.
    pub fn frozen() -> Self {
        Self {
            lr_scale: 0.0,
            weight_decay: 0.0,
            frozen: true,
        }
    }

    /// Whether the optimiser updates the parameter.
    pub fn trains(&self) -> bool {
        !self.frozen && self.lr_scale != 0.0
    }
}

/// What one forward pass in training gives back.
#[derive(Debug)]
pub struct Losses {
    /// The scalar that is differentiated, with its graph.
    pub total: Tensor,
    /// Named scalars for the log, detached, in the order they are shown. Reading them waits for
    /// the device, so the trainer does it only on steps that are logged.
    pub parts: Vec<(String, Tensor)>,
}

/// Where in a run a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepContext {
    /// Epoch, from 0.
    pub epoch: u64,
    /// Optimiser steps completed before this one, from 0, over the whole run.
    pub step: u64,
    /// Hash of run seed, step and micro batch: see [`crate::step_seed`].
    pub seed: u64,
    /// Training rather than evaluation.
    pub train: bool,
}

impl StepContext {
    /// The context of an evaluation pass: not training, seed and counters zero.
    pub fn evaluation() -> Self {
        Self {
            epoch: 0,
            step: 0,
            seed: 0,
            train: false,
        }
    }
}

/// One kind of training and evaluation.
pub trait Task {
    /// One sample as the loader makes it: host memory only, since loader threads build it.
    type Sample: Send + 'static;
    /// A batch on the device.
    type Batch;
    /// What is predicted for one sample; it travels to the process that writes it down.
    type Prediction: Serialize + DeserializeOwned;

    /// Stacks samples and moves them to `device`; mixing and masking noise come from
    /// `context.seed`.
    ///
    /// # Errors
    /// When the samples cannot make one batch (shapes that differ, a label out of range).
    fn collate(
        &self,
        samples: Vec<Self::Sample>,
        context: &StepContext,
        device: Device,
    ) -> Result<Self::Batch, TaskError>;

    /// File names of the batch, as a user would look for them; for error messages.
    fn batch_names<'a>(&self, batch: &'a Self::Batch) -> &'a [String];

    /// Forward pass with losses. Runs with gradients in training, without in evaluation.
    ///
    /// # Errors
    /// When the batch does not fit the model.
    fn losses(&self, batch: &Self::Batch, context: &StepContext) -> Result<Losses, TaskError>;

    /// Forward pass for evaluation, one prediction per sample, in order.
    ///
    /// # Errors
    /// When the batch does not fit the model.
    fn predict(&self, batch: &Self::Batch) -> Result<Vec<Self::Prediction>, TaskError>;

    /// Learning-rate scale and weight decay of the parameter `name` with `shape`.
    fn policy(&self, name: &str, shape: &[i64]) -> ParamPolicy;

    /// Called after every optimiser step, `step` of them being done. Does nothing unless a task has something
    /// that follows the weights; that is to be among the model's variables, so that checkpoints hold it.
    fn after_step(&self, step: u64) {
        let _ = step;
    }

    /// Writes pictures or tables of the present state into `folder`, which exists; called every
    /// `snapshot_every` steps. Does nothing unless a task has something to show.
    ///
    /// # Errors
    /// When a file cannot be written.
    fn snapshot(
        &self,
        batch: &Self::Batch,
        folder: &Path,
        context: &StepContext,
    ) -> Result<(), TaskError> {
        let _ = (batch, folder, context);
        Ok(())
    }
}

/// The samples of one batch, or why they could not be had.
pub type SampleBatch<S> = Result<Vec<S>, TaskError>;

/// Where batches come from; keeps this crate free of the data loader.
pub trait BatchSource {
    /// One sample as the loader makes it.
    type Sample;

    /// Batches in one epoch, the same for every epoch.
    fn batches(&self) -> usize;

    /// The batches of an epoch in order, without the first `skip_batches` (which a resumed run
    /// has already seen).
    fn epoch(
        &self,
        epoch: u64,
        skip_batches: usize,
    ) -> Box<dyn Iterator<Item = SampleBatch<Self::Sample>> + '_>;
}

/// A [`BatchSource`] made of a count and a closure `(epoch, skip) -> iterator`.
#[derive(Debug, Clone)]
pub struct FnSource<F> {
    batches: usize,
    open: F,
}

impl<F> FnSource<F> {
    /// `batches` per epoch, opened by `open(epoch, skip_batches)`.
    pub fn new(batches: usize, open: F) -> Self {
        Self { batches, open }
    }
}

impl<S, I, F> BatchSource for FnSource<F>
where
    F: Fn(u64, usize) -> I,
    I: Iterator<Item = SampleBatch<S>> + 'static,
{
    type Sample = S;

    fn batches(&self) -> usize {
        self.batches
    }

    fn epoch(
        &self,
        epoch: u64,
        skip_batches: usize,
    ) -> Box<dyn Iterator<Item = SampleBatch<S>> + '_> {
        Box::new((self.open)(epoch, skip_batches))
    }
}
