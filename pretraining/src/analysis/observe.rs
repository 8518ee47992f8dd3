//! What trunks make of a picture, in one pass over a set: a task that is only evaluated, so that it streams, stops
//! and shares its batches with other processes as every evaluation does.

use backbone::{Vit, VitConfig};
use data::{ClassificationSample, ColourStatistics};
use engine::{Losses, ParamPolicy, StepContext, Task, TaskError};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, TchError, Tensor};

use super::attention::{AttentionMeasures, attention_measures};
use crate::PretrainError;
use crate::target::recolouring;
use crate::task::Pictures;

/// Numbers in the maps of attention of all layers that are there at once, at most: 128 MB in float32, of which a few
/// copies are made.
const MAP_NUMBERS: i64 = 1 << 25;

/// How a layer's tokens become one feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// The mean of the patch tokens.
    #[default]
    Mean,
    /// The class token.
    Class,
}

impl Pool {
    /// `[B, 1 + N, C] -> [B, C]`, float32.
    pub(crate) fn pool(self, tokens: &Tensor) -> Tensor {
        match self {
            Self::Mean => tokens.narrow(1, 1, tokens.size()[1] - 1).mean_dim(
                [1i64].as_slice(),
                false,
                Kind::Float,
            ),
            Self::Class => tokens.select(1, 0).to_kind(Kind::Float),
        }
    }
}

/// A trunk that is looked into, after which blocks, and the colours that it expects.
#[derive(Debug)]
pub struct Subject<'a> {
    trunk: &'a Vit,
    layers: Vec<i64>,
    /// Where pictures come in other colours.
    rescale: Option<[Tensor; 2]>,
}

impl<'a> Subject<'a> {
    /// After every block. Pictures come normalised with `given` and are brought to the trunk's `own`.
    pub fn new(
        trunk: &'a Vit,
        given: &ColourStatistics,
        own: &ColourStatistics,
        device: Device,
    ) -> Self {
        Self {
            rescale: Some(recolouring(given, own, device)),
            layers: (1..=trunk.num_blocks()).collect(),
            trunk,
        }
    }

    /// After the blocks `layers`, from 1 and ascending; pictures come in the trunk's own colours.
    pub fn after(trunk: &'a Vit, layers: &[i64]) -> Self {
        Self {
            trunk,
            layers: layers.to_vec(),
            rescale: None,
        }
    }

    /// What the trunk was built from.
    pub fn config(&self) -> &VitConfig {
        self.trunk.config()
    }

    /// Observations of each of `images [B, 3, S, S]`.
    fn observe(
        &self,
        images: &Tensor,
        pool: Pool,
        attention: bool,
    ) -> Result<Vec<TrunkObservation>, TchError> {
        let images = match &self.rescale {
            Some([factor, summand]) => images * factor + summand,
            None => images.shallow_clone(),
        };
        let config = self.config();
        let tokens = config.tokens() + 1;
        let of_picture = config.depth * config.heads * tokens * tokens;
        let at_once = match attention {
            true => (MAP_NUMBERS / of_picture).max(1),
            false => images.size()[0],
        };
        let mut all = Vec::new();
        for part in images.split(at_once, 0) {
            let (mut features, mut maps) = (Vec::new(), Vec::new());
            match attention {
                true => self.trunk.observe(&part, |seen| {
                    if self.layers.contains(&seen.layer) {
                        features.push(pool.pool(&seen.tokens));
                    }
                    maps.push(seen.attention);
                }),
                false => {
                    let taps = self.trunk.forward(&part, &self.layers, false);
                    features.extend(taps.iter().map(|tokens| pool.pool(tokens)));
                }
            }
            let mut measured = match attention {
                true => attention_measures(&maps, config)?
                    .into_iter()
                    .map(Some)
                    .collect(),
                false => Vec::new(),
            };
            measured.resize_with(part.size()[0] as usize, || None);
            let features = Tensor::stack(&features, 1).to_device(Device::Cpu); // [B, layers, C]
            let numbers = Vec::<f32>::try_from(features.contiguous().view([-1]))?;
            let each = self.layers.len() * config.width as usize;
            let observed = numbers.chunks(each).zip(measured);
            all.extend(observed.map(|(features, attention)| TrunkObservation {
                features: features.to_vec(),
                attention,
            }));
        }
        Ok(all)
    }
}

/// What one trunk makes of one picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrunkObservation {
    /// Pooled features after the blocks that are looked at, `[layers, C]` row by row.
    pub features: Vec<f32>,
    /// Where its heads look, where asked for.
    pub attention: Option<AttentionMeasures>,
}

/// What all trunks make of one picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The picture's name.
    pub name: String,
    /// Its class, from 0; -1 where unknown.
    pub label: i64,
    /// One per trunk.
    pub trunks: Vec<TrunkObservation>,
}

/// Trunks that look at the same pictures.
#[derive(Debug)]
pub struct ObserveTask<'a> {
    /// The trunks; all take pictures of one size.
    pub subjects: &'a [Subject<'a>],
    /// How tokens become features.
    pub pool: Pool,
    /// Whether attention is measured.
    pub attention: bool,
}

/// Pictures with their classes.
#[derive(Debug)]
pub struct ObservedBatch(Pictures);

impl Task for ObserveTask<'_> {
    type Sample = ClassificationSample;
    type Batch = ObservedBatch;
    type Prediction = Observation;

    fn collate(
        &self,
        samples: Vec<ClassificationSample>,
        _context: &StepContext,
        device: Device,
    ) -> Result<ObservedBatch, TaskError> {
        let side = self
            .subjects
            .first()
            .map_or(0, |first| first.config().image_size);
        Ok(ObservedBatch(Pictures::stack(samples, side, device)?))
    }

    fn batch_names<'a>(&self, batch: &'a ObservedBatch) -> &'a [String] {
        &batch.0.names
    }

    fn losses(&self, _batch: &ObservedBatch, _context: &StepContext) -> Result<Losses, TaskError> {
        Err(PretrainError::OnlyEvaluated.into())
    }

    fn predict(&self, batch: &ObservedBatch) -> Result<Vec<Observation>, TaskError> {
        let Pictures {
            images,
            labels,
            names,
        } = &batch.0;
        let mut all: Vec<Observation> = names
            .iter()
            .zip(labels)
            .map(|(name, label)| Observation {
                name: name.clone(),
                label: *label,
                trunks: Vec::with_capacity(self.subjects.len()),
            })
            .collect();
        for subject in self.subjects {
            let observed = subject.observe(images, self.pool, self.attention)?;
            for (picture, trunk) in all.iter_mut().zip(observed) {
                picture.trunks.push(trunk);
            }
        }
        Ok(all)
    }

    fn policy(&self, _name: &str, _shape: &[i64]) -> ParamPolicy {
        ParamPolicy::frozen()
    }
}
