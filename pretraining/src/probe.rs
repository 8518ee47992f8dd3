//! How good a trunk's features are while it is pre-trained, without training anything: the nearest neighbours of
//! each validation picture among the training pictures vote for its class.
//!
//! Source of the vote: facebookresearch/dino `eval_knn.py` (arXiv 2104.14294, appendix): cosine similarity, the `k`
//! most similar, weights `exp(similarity / temperature)`. A picture's feature is the mean of its patch tokens, at
//! each of the recipe's taps.

use data::ClassificationSample;
use engine::{Losses, ParamPolicy, StepContext, Task, TaskError};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::PretrainError;
use crate::model::MaskedAutoencoder;
use crate::task::Pictures;

/// Validation pictures that are compared with all training pictures at once.
const AT_ONCE: i64 = 512;

/// The model as an extractor of features; only evaluated.
#[derive(Debug)]
pub struct FeatureTask<'a>(pub &'a MaskedAutoencoder);

/// Pictures with their classes.
#[derive(Debug)]
pub struct FeatureBatch(Pictures);

/// What a trunk makes of one picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PictureFeatures {
    /// Its class, from 0.
    pub label: i64,
    /// Its feature at each tap.
    pub taps: Vec<Vec<f32>>,
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
        let side = self.0.config().trunk.image_size;
        Ok(FeatureBatch(Pictures::stack(samples, side, device)?))
    }

    fn batch_names<'a>(&self, batch: &'a FeatureBatch) -> &'a [String] {
        &batch.0.names
    }

    fn losses(&self, _batch: &FeatureBatch, _context: &StepContext) -> Result<Losses, TaskError> {
        Err("features are not trained: this task is for evaluation".into())
    }

    fn predict(&self, batch: &FeatureBatch) -> Result<Vec<PictureFeatures>, TaskError> {
        let taps = &self.0.config().taps;
        let pooled = self
            .0
            .trunk()
            .forward(&batch.0.images, taps, false)
            .iter()
            .map(|tokens| {
                let patches = tokens.narrow(1, 1, tokens.size()[1] - 1);
                let mean = patches.mean_dim([1i64].as_slice(), false, Kind::Float); // [B, C]
                let width = mean.size()[1] as usize;
                let numbers = Vec::<f32>::try_from(mean.to_device(Device::Cpu).reshape([-1]))?;
                Ok(numbers.chunks(width).map(<[f32]>::to_vec).collect())
            })
            .collect::<Result<Vec<Vec<Vec<f32>>>, tch::TchError>>()?;
        let of_picture = |at: usize| pooled.iter().map(|tap| tap[at].clone()).collect();
        Ok(batch
            .0
            .labels
            .iter()
            .enumerate()
            .map(|(at, label)| PictureFeatures {
                label: *label,
                taps: of_picture(at),
            })
            .collect())
    }

    fn policy(&self, _name: &str, _shape: &[i64]) -> ParamPolicy {
        ParamPolicy::frozen()
    }
}

/// Features of labelled pictures at one tap, at length 1.
#[derive(Debug)]
pub struct LabelledFeatures {
    features: Tensor,
    labels: Tensor,
}

impl LabelledFeatures {
    /// Those at the tap that comes `place`-th in the recipe, from 0; pictures of unknown class are left out.
    ///
    /// # Errors
    /// [`PretrainError::NoFeatures`] where no picture is left.
    pub fn at(place: usize, pictures: &[PictureFeatures]) -> Result<Self, PretrainError> {
        let known: Vec<&PictureFeatures> = pictures.iter().filter(|p| p.label >= 0).collect();
        if known.is_empty() {
            return Err(PretrainError::NoFeatures);
        }
        let numbers: Vec<f32> = known.iter().flat_map(|p| p.taps[place].clone()).collect();
        let labels: Vec<i64> = known.iter().map(|picture| picture.label).collect();
        let features = Tensor::from_slice(&numbers).view([known.len() as i64, -1]);
        let length = features.norm_scalaropt_dim(2.0, [1i64].as_slice(), true);
        Ok(Self {
            features: features / length.clamp_min(f64::from(f32::MIN_POSITIVE)),
            labels: Tensor::from_slice(&labels),
        })
    }

    /// Share of `validation` that its `k` most similar neighbours here vote into its class, in per cent.
    pub fn vote(&self, validation: &Self, k: i64, temperature: f64) -> f64 {
        let _no_grad = tch::no_grad_guard();
        let k = k.min(self.labels.size()[0]);
        let both = [&self.labels, &validation.labels];
        let classes = 1 + both
            .map(|labels| labels.max().int64_value(&[]))
            .into_iter()
            .max()
            .unwrap_or(0);
        let count = validation.labels.size()[0];
        let mut right = 0;
        for start in (0..count).step_by(AT_ONCE as usize) {
            let length = AT_ONCE.min(count - start);
            let asked = validation.features.narrow(0, start, length);
            let (similar, nearest) = asked
                .matmul(&self.features.transpose(0, 1))
                .topk(k, 1, true, true);
            let votes = Tensor::zeros([length, classes], (Kind::Float, Device::Cpu)).scatter_add(
                1,
                &self.labels.take(&nearest),
                &(similar / temperature).exp(),
            );
            let chosen = votes.argmax(1, false);
            let hit = chosen.eq_tensor(&validation.labels.narrow(0, start, length));
            right += hit.sum(Kind::Int64).int64_value(&[]);
        }
        100.0 * right as f64 / count as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(of: &[(i64, [f32; 2])]) -> LabelledFeatures {
        let pictures: Vec<PictureFeatures> = of
            .iter()
            .map(|(label, at)| PictureFeatures {
                label: *label,
                taps: vec![at.to_vec()],
            })
            .collect();
        LabelledFeatures::at(0, &pictures).unwrap()
    }

    /// By hand: of the three neighbours of (1, 0) the nearest is of class 0, the two others of class 1, at cosines
    /// 1, 0.8 and 0.8. With temperature 0.1 exp(10) beats 2 exp(8); with temperature 1 e loses to 2 exp(0.8).
    #[test]
    fn near_neighbours_weigh_more_the_lower_the_temperature() {
        let known = features(&[(0, [2.0, 0.0]), (1, [0.8, 0.6]), (1, [4.0, -3.0])]);
        let asked = features(&[(0, [1.0, 0.0])]);
        assert_eq!(known.vote(&asked, 3, 0.1), 100.0);
        assert_eq!(known.vote(&asked, 3, 1.0), 0.0);
        assert_eq!(known.vote(&asked, 1, 1.0), 100.0);
    }

    #[test]
    fn pictures_of_unknown_class_are_left_out() {
        let known = features(&[(0, [1.0, 0.0]), (2, [0.0, 1.0]), (-1, [0.0, 1.0])]);
        let asked = features(&[(2, [0.1, 1.0]), (-1, [1.0, 0.0]), (0, [0.0, 1.0])]);
        assert_eq!(known.vote(&asked, 20, 0.07), 50.0);
        assert!(LabelledFeatures::at(0, &[]).is_err());
    }
}
