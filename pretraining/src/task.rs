//! Pre-training as the trainer sees it.
//!
//! Source: facebookresearch/mae and OliverRensu/DeepMIM `main_pretrain.py`, `engine_pretrain.py`: one
//! learning rate for all, no decay on one-dimensional parameters, the taps' losses summed (unweighted in the
//! reference).

use std::path::Path;

use data::ClassificationSample;
use engine::{Losses, ParamPolicy, StepContext, Task, TaskError};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, nn};

use crate::PretrainError;
use crate::config::PretrainConfig;
use crate::masking::{Masking, masking_noise};
use crate::model::MaskedAutoencoder;
use crate::picture::draw_reconstructions;
use crate::target::{Seen, TEACHER, TokenFile};

/// Masked pre-training with one recipe.
#[derive(Debug)]
pub struct PretrainTask {
    model: MaskedAutoencoder,
    loss_names: Vec<String>,
    weight_decay: f64,
    tokens: Option<TokenFile>,
}

/// Pictures with the noise that decides what of them is hidden.
#[derive(Debug)]
pub struct PretrainBatch {
    /// `[B, 3, S, S]`, normalised.
    pub images: Tensor,
    /// `[B, L]` in `[0, 1)`.
    pub noise: Tensor,
    /// Numbers of discrete tokens, `[B, L]`, where they are a target.
    pub tokens: Option<Tensor>,
    /// Names of the samples.
    pub names: Vec<String>,
}

impl PretrainBatch {
    /// As targets see it.
    pub fn seen(&self) -> Seen<'_> {
        Seen {
            images: &self.images,
            tokens: self.tokens.as_ref(),
        }
    }
}

/// How well the hidden patches of one picture are predicted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReconstructionLoss {
    /// Name of the sample.
    pub name: String,
    /// Mean loss over the hidden patches at each tap, in the order of the recipe's taps.
    pub taps: Vec<f64>,
}

/// The pictures of a batch, stacked.
#[derive(Debug)]
pub(crate) struct Pictures {
    /// `[B, 3, S, S]`, normalised.
    pub images: Tensor,
    /// Classes, from 0; -1 where unknown.
    pub labels: Vec<i64>,
    pub names: Vec<String>,
}

impl Pictures {
    /// Stacks samples of `side` pixels on `device`.
    pub fn stack(
        samples: Vec<ClassificationSample>,
        side: i64,
        device: Device,
    ) -> Result<Self, PretrainError> {
        let count = samples.len();
        let mut pixels = Vec::with_capacity(count * (3 * side * side) as usize);
        let mut labels = Vec::with_capacity(count);
        let mut names = Vec::with_capacity(count);
        for sample in samples {
            if sample.size as i64 != side || sample.image.len() != 3 * sample.size * sample.size {
                let (name, found) = (sample.name, sample.size);
                return Err(PretrainError::Size {
                    name,
                    found,
                    wanted: side,
                });
            }
            pixels.extend_from_slice(&sample.image);
            labels.push(sample.label);
            names.push(sample.name);
        }
        let images = Tensor::from_slice(&pixels).view([count as i64, 3, side, side]);
        Ok(Self {
            images: images.to_device(device),
            labels,
            names,
        })
    }
}

impl PretrainTask {
    /// Adds the model's parameters at the root of `store`, so that a saved model has the reference's names.
    /// `weight_decay` applies to parameters of two or more dimensions.
    ///
    /// # Errors
    /// Where the recipe is inconsistent, or a teacher's or the tokens' file cannot be read or does not fit.
    pub fn new(
        store: &nn::VarStore,
        config: &PretrainConfig,
        weight_decay: f64,
    ) -> Result<Self, PretrainError> {
        Ok(Self {
            model: MaskedAutoencoder::new(store, config)?,
            tokens: config
                .tokens()
                .map(|of| TokenFile::read(&of.folder, config.trunk.tokens(), of.vocabulary))
                .transpose()?,
            loss_names: config.taps.iter().map(|tap| format!("tap{tap}")).collect(),
            weight_decay,
        })
    }

    /// The model.
    pub fn model(&self) -> &MaskedAutoencoder {
        &self.model
    }

    /// Names of the losses, one per tap: `tap6`, `tap8`, …
    pub fn loss_names(&self) -> &[String] {
        &self.loss_names
    }

    fn masking(&self, batch: &PretrainBatch) -> Masking {
        Masking::new(&batch.noise, self.model.config().mask_ratio)
    }
}

impl Task for PretrainTask {
    type Sample = ClassificationSample;
    type Batch = PretrainBatch;
    type Prediction = ReconstructionLoss;

    fn collate(
        &self,
        samples: Vec<ClassificationSample>,
        context: &StepContext,
        device: Device,
    ) -> Result<PretrainBatch, TaskError> {
        if samples.is_empty() {
            return Err(PretrainError::EmptyBatch.into());
        }
        let trunk = &self.model.config().trunk;
        let count = samples.len() as i64;
        let Pictures { images, names, .. } = Pictures::stack(samples, trunk.image_size, device)?;
        let tokens = match &self.tokens {
            Some(file) => Some(file.of(&names)?.to_device(device)),
            None => None,
        };
        Ok(PretrainBatch {
            images,
            noise: masking_noise(context.seed, count, trunk.tokens(), device),
            tokens,
            names,
        })
    }

    fn batch_names<'a>(&self, batch: &'a PretrainBatch) -> &'a [String] {
        &batch.names
    }

    fn losses(&self, batch: &PretrainBatch, context: &StepContext) -> Result<Losses, TaskError> {
        let losses = self
            .model
            .losses(batch.seen(), &self.masking(batch), context.train);
        let parts = self
            .loss_names
            .iter()
            .zip(&losses)
            .map(|(name, loss)| (name.clone(), loss.detach()))
            .collect();
        let weights = &self.model.config().tap_weights;
        let total = losses
            .into_iter()
            .enumerate()
            .map(|(place, loss)| match weights.get(place) {
                Some(weight) => loss * *weight,
                None => loss,
            })
            .reduce(|total, loss| total + loss)
            .expect("a checked recipe has at least one tap");
        Ok(Losses { total, parts })
    }

    fn predict(&self, batch: &PretrainBatch) -> Result<Vec<ReconstructionLoss>, TaskError> {
        let per_tap = tch::no_grad(|| self.model.patch_losses(batch.seen(), &self.masking(batch)));
        let means = per_tap
            .iter()
            .map(|losses| losses.mean_dim([1i64].as_slice(), false, Kind::Double)) // [B]
            .map(Vec::<f64>::try_from)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(batch
            .names
            .iter()
            .enumerate()
            .map(|(sample, name)| ReconstructionLoss {
                name: name.clone(),
                taps: means.iter().map(|tap| tap[sample]).collect(),
            })
            .collect())
    }

    fn policy(&self, name: &str, shape: &[i64]) -> ParamPolicy {
        if name.split('.').next() == Some(TEACHER) {
            return ParamPolicy::frozen();
        }
        ParamPolicy::decayed(if shape.len() <= 1 {
            0.0
        } else {
            self.weight_decay
        })
    }

    fn after_step(&self, step: u64) {
        self.model.after_step(step);
    }

    fn snapshot(
        &self,
        batch: &PretrainBatch,
        folder: &Path,
        _context: &StepContext,
    ) -> Result<(), TaskError> {
        let colours = &self.model.config().colours;
        draw_reconstructions(&self.model, batch.seen(), &batch.noise, colours)
            .write_png(&folder.join("reconstructions.png"))?;
        Ok(())
    }
}
