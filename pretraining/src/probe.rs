//! Features of a trunk while it is pre-trained, for [`Neighbours`](crate::Neighbours) to vote on: the mean of a
//! picture's patch tokens after a block.

use backbone::Vit;
use data::ClassificationSample;
use engine::{Losses, ParamPolicy, StepContext, Task, TaskError};
use serde::{Deserialize, Serialize};
use tch::Device;

use crate::PretrainError;
use crate::analysis::Pool;
use crate::task::Pictures;

/// A trunk as an extractor of features; only evaluated.
#[derive(Debug)]
pub struct FeatureTask<'a> {
    /// The trunk.
    pub trunk: &'a Vit,
    /// Blocks whose output is pooled, from 1 and ascending.
    pub layers: &'a [i64],
}

/// Pictures with their classes.
#[derive(Debug)]
pub struct FeatureBatch(Pictures);

/// What a trunk makes of one picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PictureFeatures {
    /// Its class, from 0.
    pub label: i64,
    /// Its feature after each block that was asked for.
    pub layers: Vec<Vec<f32>>,
}

impl Task for FeatureTask<'_> {
    type Sample = ClassificationSample;
    type Batch = FeatureBatch;
    type Prediction = PictureFeatures;

    fn collate(
        &self,
        samples: Vec<ClassificationSample>,
        _context: &StepContext,
        device: Device,
    ) -> Result<FeatureBatch, TaskError> {
        let side = self.trunk.config().image_size;
        Ok(FeatureBatch(Pictures::stack(samples, side, device)?))
    }

    fn batch_names<'a>(&self, batch: &'a FeatureBatch) -> &'a [String] {
        &batch.0.names
    }

    fn losses(&self, _batch: &FeatureBatch, _context: &StepContext) -> Result<Losses, TaskError> {
        Err(PretrainError::OnlyEvaluated.into())
    }

    fn predict(&self, batch: &FeatureBatch) -> Result<Vec<PictureFeatures>, TaskError> {
        let pooled = self
            .trunk
            .forward(&batch.0.images, self.layers, false)
            .iter()
            .map(|tokens| {
                let mean = Pool::Mean.pool(tokens); // [B, C]
                let width = mean.size()[1] as usize;
                let numbers = Vec::<f32>::try_from(mean.to_device(Device::Cpu).reshape([-1]))?;
                Ok(numbers.chunks(width).map(<[f32]>::to_vec).collect())
            })
            .collect::<Result<Vec<Vec<Vec<f32>>>, tch::TchError>>()?;
        let of_picture = |at: usize| pooled.iter().map(|layer| layer[at].clone()).collect();
        Ok(batch
            .0
            .labels
            .iter()
            .enumerate()
            .map(|(at, label)| PictureFeatures {
                label: *label,
                layers: of_picture(at),
            })
            .collect())
    }

    fn policy(&self, _name: &str, _shape: &[i64]) -> ParamPolicy {
        ParamPolicy::frozen()
    }
}
