//! Exponential moving average of a model's weights.

use std::collections::{HashMap, HashSet};

use tch::Tensor;

use crate::tensor_file::copy_exactly;
use crate::{EngineError, World, kernels};

/// Averaged copies of all trained weights; other variables are not averaged but current.
#[derive(Debug)]
pub(crate) struct Ema {
    decay: f64,
    names: Vec<String>,
    averages: Vec<Tensor>,
    /// The model's own tensors, in the same order.
    weights: Vec<Tensor>,
}

impl Ema {
    /// Starts at the present weights.
    pub fn new(decay: f64, trained: Vec<(String, Tensor)>) -> Self {
        let (names, weights): (Vec<_>, Vec<_>) = trained.into_iter().unzip();
        Self {
            decay,
            names,
            averages: weights
                .iter()
                .map(|weight| weight.detach().copy())
                .collect(),
            weights,
        }
    }

    /// `average = decay * average + (1 - decay) * weight`.
    pub fn update(&mut self) {
        tch::no_grad(|| kernels::lerp(&self.averages, &self.weights, 1.0 - self.decay));
    }

    /// The whole model as it is evaluated: averages where there are any, else the present value.
    /// The tensors are not copies.
    pub fn model(&self, variables: &[(String, Tensor)]) -> Vec<(String, Tensor)> {
        let averages: HashMap<&str, &Tensor> = self
            .names
            .iter()
            .map(String::as_str)
            .zip(&self.averages)
            .collect();
        variables
            .iter()
            .map(|(name, present)| {
                let chosen = averages.get(name.as_str()).unwrap_or(&present);
                (name.clone(), chosen.shallow_clone())
            })
            .collect()
    }

    /// Takes the averages out of what [`Ema::model`] gave.
    ///
    /// # Errors
    /// A half sentence naming the first entry that is missing or of another shape.
    pub fn load(&mut self, model: Vec<(String, Tensor)>) -> Result<(), String> {
        let own: Vec<(String, Tensor)> = self
            .names
            .iter()
            .cloned()
            .zip(self.averages.iter().map(Tensor::shallow_clone))
            .collect();
        let averaged: HashSet<&str> = self.names.iter().map(String::as_str).collect();
        let model = model
            .into_iter()
            .filter(|(name, _)| averaged.contains(name.as_str()))
            .collect();
        copy_exactly(&own, model)
    }

    /// Takes rank 0's averages.
    ///
    /// # Errors
    /// When a process is gone.
    pub fn take_from_main(&self, world: &World) -> Result<(), EngineError> {
        world.take_from_main(&self.averages)
    }

    /// Exchanges the model's weights and the averages. Twice gives back what was, bit for bit.
    pub fn swap(&mut self) {
        tch::no_grad(|| {
            for (average, weight) in self.averages.iter_mut().zip(&mut self.weights) {
                let kept = weight.copy();
                weight.copy_(average);
                average.copy_(&kept);
            }
        });
    }
}
