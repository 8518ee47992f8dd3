//! Segmentation as a [`engine::Task`]: samples to batches, batches to losses or to label maps.

use std::rc::Rc;

use backbone::SumOverProcesses;
use data::{IGNORED, RgbImage, SegmentationSample};
use engine::{Losses, ParamPolicy, StepContext, Task, TaskError, World};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, nn};

use crate::config::{SegmentorConfig, TestTime};
use crate::error::SegmentationError;
use crate::inference::normalised;
use crate::model::Segmentor;
use crate::policy::upernet_policy;

/// A batch; tensors are on the device.
#[derive(Debug)]
pub struct SegmentationBatch {
    /// `[B, 3, S, S]` float, normalised and padded with zeros at the bottom and to the right; none in
    /// evaluation, where pictures differ in size.
    pub images: Option<Tensor>,
    /// `[B, S, S]` int64, 255 ignored; none in evaluation.
    pub labels: Option<Tensor>,
    /// The pictures themselves, at the sizes they are looked at, in evaluation.
    pub views: Vec<Vec<RgbImage>>,
    /// `(height, width)` of each picture on disk.
    pub original_sizes: Vec<(usize, usize)>,
    /// Pictures, relative to the data set.
    pub names: Vec<String>,
    device: Device,
}

/// What was found on one picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentedPicture {
    /// The picture, relative to the data set.
    pub name: String,
    /// Columns of the picture on disk.
    pub width: usize,
    /// Its rows.
    pub height: usize,
    /// The class of each pixel, from 0, row by row.
    pub labels: Vec<u8>,
}

/// Training and use of one segmentor.
#[derive(Debug)]
pub struct SegmentationTask {
    segmentor: Segmentor,
    weight_decay: f64,
    test_time: TestTime,
}

impl SegmentationTask {
    /// Builds the segmentor in an empty variable store. `weight_decay` is the optimiser's.
    ///
    /// # Errors
    /// When the configuration contradicts itself.
    pub fn new(
        vs: &nn::VarStore,
        config: &SegmentorConfig,
        weight_decay: f64,
        test_time: TestTime,
    ) -> Result<Self, SegmentationError> {
        test_time.check(config.trunk.image_size)?;
        Ok(Self {
            segmentor: Segmentor::new(&vs.root(), config)?,
            weight_decay,
            test_time,
        })
    }

    /// From now on training takes the statistics of BatchNorm over the batches of all processes of `world`.
    pub fn synchronise(&mut self, world: &Rc<World>) {
        let world = world.clone();
        let sum = SumOverProcesses::new(move |tensor| world.differentiable_sum(tensor));
        self.segmentor.synchronise(&sum);
    }

    /// The model.
    pub fn segmentor(&self) -> &Segmentor {
        &self.segmentor
    }

    /// Pictures and labels of a training batch, padded to the network's square.
    fn stack(
        &self,
        samples: &[SegmentationSample],
        device: Device,
    ) -> Result<(Tensor, Tensor), SegmentationError> {
        let config = self.segmentor.config();
        let side = config.trunk.image_size;
        let count = samples.len() as i64;
        let images = Tensor::zeros([count, 3, side, side], (Kind::Float, device));
        let ignored = i64::from(IGNORED);
        let labels = Tensor::full([count, side, side], ignored, (Kind::Int64, device));
        for (index, sample) in (0..).zip(samples) {
            let (height, width) = (sample.image.height as i64, sample.image.width as i64);
            if height > side || width > side {
                return Err(SegmentationError::Picture {
                    name: sample.name.clone(),
                    width: sample.image.width,
                    height: sample.image.height,
                    side: side as usize,
                    remedy: "set data.train_transform.size to model.trunk.image_size",
                });
            }
            let within = |of: &Tensor, rows: i64| {
                of.get(index)
                    .narrow(rows, 0, height)
                    .narrow(rows + 1, 0, width)
            };
            within(&images, 1).copy_(&normalised(config, &sample.image, device));
            let own = Tensor::from_slice(self.labels_of(sample)?)
                .view([height, width])
                .to_device(device);
            within(&labels, 0).copy_(&own);
        }
        Ok((images, labels))
    }

    fn labels_of<'a>(&self, sample: &'a SegmentationSample) -> Result<&'a [u8], SegmentationError> {
        let name = || sample.name.clone();
        let labels = sample
            .labels
            .as_deref()
            .ok_or_else(|| SegmentationError::NoLabels { name: name() })?;
        let pixels = sample.image.width * sample.image.height;
        if labels.len() != pixels {
            return Err(SegmentationError::LabelSize {
                name: name(),
                labels: labels.len(),
                pixels,
            });
        }
        let classes = self.segmentor.config().classes;
        let beyond = |label: &&u8| **label != IGNORED && usize::from(**label) >= classes;
        match labels.iter().find(beyond) {
            Some(class) => Err(SegmentationError::Label {
                name: name(),
                class: *class,
                classes,
            }),
            None => Ok(labels),
        }
    }
}

impl Task for SegmentationTask {
    type Sample = SegmentationSample;
    type Batch = SegmentationBatch;
    type Prediction = SegmentedPicture;

    fn collate(
        &self,
        samples: Vec<SegmentationSample>,
        context: &StepContext,
        device: Device,
    ) -> Result<SegmentationBatch, TaskError> {
        let mut batch = SegmentationBatch {
            images: None,
            labels: None,
            views: Vec::new(),
            original_sizes: Vec::new(),
            names: Vec::new(),
            device,
        };
        if context.train {
            let (images, labels) = self.stack(&samples, device)?;
            batch.images = Some(images);
            batch.labels = Some(labels);
        }
        for sample in samples {
            batch.original_sizes.push(sample.original_size);
            batch.names.push(sample.name);
            if !context.train {
                let mut views = vec![sample.image];
                views.extend(sample.further_views);
                batch.views.push(views);
            }
        }
        Ok(batch)
    }

    fn batch_names<'a>(&self, batch: &'a SegmentationBatch) -> &'a [String] {
        &batch.names
    }

    fn losses(
        &self,
        batch: &SegmentationBatch,
        context: &StepContext,
    ) -> Result<Losses, TaskError> {
        let (Some(images), Some(labels)) = (&batch.images, &batch.labels) else {
            return Err("losses are of batches made for training".into());
        };
        let losses = self.segmentor.losses(images, labels, context.train);
        let total = losses.total();
        let parts = losses
            .losses
            .into_iter()
            .chain(losses.accuracies)
            .map(|(name, value)| (name.to_owned(), value.detach()))
            .collect();
        Ok(Losses { total, parts })
    }

    fn predict(&self, batch: &SegmentationBatch) -> Result<Vec<SegmentedPicture>, TaskError> {
        batch
            .names
            .iter()
            .zip(&batch.views)
            .zip(&batch.original_sizes)
            .map(|((name, views), &(height, width))| {
                let labels = self.segmentor.label_map(
                    name,
                    views,
                    (height, width),
                    &self.test_time,
                    batch.device,
                )?;
                Ok(SegmentedPicture {
                    name: name.clone(),
                    width,
                    height,
                    labels,
                })
            })
            .collect()
    }

    fn policy(&self, name: &str, shape: &[i64]) -> ParamPolicy {
        let config = self.segmentor.config();
        upernet_policy(
            name,
            shape,
            config.trunk.depth,
            config.layer_decay,
            self.weight_decay,
        )
    }
}
