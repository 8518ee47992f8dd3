//! Detection as a [`engine::Task`]: samples to batches, batches to losses or to detections.

use data::{DetectionSample, Instance};
use engine::{Losses, ParamPolicy, StepContext, Task, TaskError};
use eval::Rle;
use eval::coco::Id;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, nn};

use crate::boxes::to_floats;
use crate::config::DetectorConfig;
use crate::error::DetectionError;
use crate::inference::{Detections, rescale_to_original};
use crate::mask_head::MASK_SIZE;
use crate::model::Detector;
use crate::paste::paste_rles;
use crate::policy::{vitdet_policy, vitdet_policy_decaying_all};
use crate::roi_heads::{Sampling, Target};
use crate::tta::{View, mean_masks, merge_views};

/// Probability from which a pixel belongs to a mask.
const MASK_THRESHOLD: f32 = 0.5;

/// A batch on the device.
#[derive(Debug)]
pub struct DetectionBatch {
    /// `[B, 3, S, S]` float, normalised and padded.
    pub images: Tensor,
    /// Objects of each picture, in pixels of the network's picture.
    pub objects: Vec<Vec<Instance>>,
    /// `(height, width)` of each picture without padding.
    pub sizes: Vec<(usize, usize)>,
    /// `(height, width)` of each picture on disk.
    pub original_sizes: Vec<(usize, usize)>,
    /// The annotation file's id of each picture.
    pub image_ids: Vec<Id>,
    /// Pictures, relative to the data set.
    pub names: Vec<String>,
}

/// What was found on one picture, in pixels of the picture on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetectedPicture {
    /// The picture, relative to the data set.
    pub name: String,
    /// The annotation file's id of it.
    pub image_id: Id,
    /// Boxes, scores and classes, best first.
    pub detections: Detections,
    /// The mask of each; none without a mask head.
    pub masks: Option<Vec<Rle>>,
}

/// How pictures are looked at in evaluation and prediction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TestTime {
    /// Looks at each picture's mirror image too and merges what is found in both.
    pub flip: bool,
}

/// Training and use of one detector.
#[derive(Debug)]
pub struct DetectionTask {
    detector: Detector,
    weight_decay: f64,
    test_time: TestTime,
}

impl DetectionTask {
    /// Builds the detector in an empty variable store. `weight_decay` is the optimiser's.
    ///
    /// # Errors
    /// When the configuration contradicts itself.
    pub fn new(
        vs: &nn::VarStore,
        config: &DetectorConfig,
        weight_decay: f64,
        test_time: TestTime,
    ) -> Result<Self, DetectionError> {
        Ok(Self {
            detector: Detector::new(&vs.root(), config)?,
            weight_decay,
            test_time,
        })
    }

    /// The model.
    pub fn detector(&self) -> &Detector {
        &self.detector
    }

    /// Boxes of single views merged, then masks of the merged boxes in each view, averaged.
    fn predict_flipped(&self, batch: &DetectionBatch) -> Result<Vec<DetectedPicture>, TaskError> {
        let config = self.detector.config();
        let heads = self.detector.heads();
        let mirrored = mirror(&batch.images, &batch.sizes);
        let seen: Vec<_> = [(&batch.images, false), (&mirrored, true)]
            .into_iter()
            .map(|(images, flipped)| {
                let levels = self.detector.levels(images, false);
                let proposals = self.detector.propose(&levels, &batch.sizes);
                let threshold = config.roi.score_threshold;
                let found = heads.detect(&levels, &proposals, &batch.sizes, threshold);
                (levels, found, flipped)
            })
            .collect();
        let view = |picture: usize, flipped: bool| View {
            picture_size: batch.original_sizes[picture],
            network_size: batch.sizes[picture],
            flipped,
        };
        let merged: Vec<Detections> = (0..batch.names.len())
            .map(|picture| {
                let views: Vec<_> = seen
                    .iter()
                    .map(|(_, found, flipped)| (view(picture, *flipped), &found[picture]))
                    .collect();
                let (threshold, most) = (config.roi.nms_threshold, config.roi.max_detections);
                merge_views(&views, config.classes, threshold, most)
            })
            .collect();
        let classes: Vec<i64> = merged
            .iter()
            .flat_map(|of| of.classes.iter().map(|class| *class as i64))
            .collect();
        let masks: Option<Vec<(Vec<f32>, bool)>> = seen
            .iter()
            .map(|(levels, _, flipped)| {
                let boxes: Vec<_> = merged
                    .iter()
                    .enumerate()
                    .map(|(picture, of)| {
                        let view = view(picture, *flipped);
                        of.boxes.iter().map(|of| view.from_picture(*of)).collect()
                    })
                    .collect();
                let logits = heads.mask_logits(levels, &boxes, &classes)?;
                Some((to_floats(&logits.sigmoid()), *flipped))
            })
            .collect();
        let mut first = 0;
        merged
            .into_iter()
            .enumerate()
            .map(|(picture, detections)| {
                let cells = first..first + detections.len() * MASK_SIZE * MASK_SIZE;
                first = cells.end;
                let masks = masks.as_ref().map(|views| {
                    let views: Vec<_> = views
                        .iter()
                        .map(|(all, flipped)| (view(picture, *flipped), &all[cells.clone()]))
                        .collect();
                    mean_masks(&views, MASK_SIZE)
                });
                finish(batch, picture, detections, masks.as_deref())
            })
            .collect()
    }
}

/// The pictures of a padded batch, each mirrored within its own width.
fn mirror(images: &Tensor, sizes: &[(usize, usize)]) -> Tensor {
    let mirrored = images.zeros_like();
    for (index, (height, width)) in sizes.iter().enumerate() {
        let part = |of: &Tensor| {
            of.get(index as i64)
                .narrow(1, 0, *height as i64)
                .narrow(2, 0, *width as i64)
        };
        part(&mirrored).copy_(&part(images).flip([2]));
    }
    mirrored
}

/// One picture's answer from detections in its own pixels and their mask probabilities.
fn finish(
    batch: &DetectionBatch,
    picture: usize,
    detections: Detections,
    masks: Option<&[f32]>,
) -> Result<DetectedPicture, TaskError> {
    let (height, width) = batch.original_sizes[picture];
    let masks = masks
        .map(|numbers| {
            let boxes = &detections.boxes;
            paste_rles(numbers, MASK_SIZE, boxes, height, width, MASK_THRESHOLD)
        })
        .transpose()?;
    Ok(DetectedPicture {
        name: batch.names[picture].clone(),
        image_id: batch.image_ids[picture].clone(),
        detections,
        masks,
    })
}

impl Task for DetectionTask {
    type Sample = DetectionSample;
    type Batch = DetectionBatch;
    type Prediction = DetectedPicture;

    fn collate(
        &self,
        samples: Vec<DetectionSample>,
        _context: &StepContext,
        device: Device,
    ) -> Result<DetectionBatch, TaskError> {
        let pictures: Vec<_> = samples
            .iter()
            .map(|sample| (sample.name.as_str(), &sample.image))
            .collect();
        let images = self.detector.batch(&pictures, device)?;
        let mut batch = DetectionBatch {
            images,
            objects: Vec::new(),
            sizes: Vec::new(),
            original_sizes: Vec::new(),
            image_ids: Vec::new(),
            names: Vec::new(),
        };
        for sample in samples {
            batch.sizes.push((sample.image.height, sample.image.width));
            batch.objects.push(sample.instances);
            batch.original_sizes.push(sample.original_size);
            batch.image_ids.push(sample.image_id);
            batch.names.push(sample.name);
        }
        Ok(batch)
    }

    fn batch_names<'a>(&self, batch: &'a DetectionBatch) -> &'a [String] {
        &batch.names
    }

    fn losses(&self, batch: &DetectionBatch, context: &StepContext) -> Result<Losses, TaskError> {
        let targets: Vec<Target> = batch
            .names
            .iter()
            .zip(&batch.objects)
            .zip(&batch.sizes)
            .map(|((name, objects), size)| Target {
                name,
                objects,
                size: *size,
            })
            .collect();
        let sampling = Sampling::Seeded(context.seed);
        let losses = self
            .detector
            .losses(&batch.images, &targets, sampling, context.train)?;
        let mut total = Tensor::zeros([], (Kind::Float, batch.images.device()));
        for (_, loss) in &losses {
            total += loss;
        }
        let parts = losses
            .into_iter()
            .map(|(name, loss)| (name, loss.detach()))
            .collect();
        Ok(Losses { total, parts })
    }

    fn predict(&self, batch: &DetectionBatch) -> Result<Vec<DetectedPicture>, TaskError> {
        let _no_grad = tch::no_grad_guard();
        if self.test_time.flip {
            return self.predict_flipped(batch);
        }
        self.detector
            .detect(&batch.images, &batch.sizes)
            .into_iter()
            .enumerate()
            .map(|(picture, found)| {
                let (network, original) = (batch.sizes[picture], batch.original_sizes[picture]);
                let (detections, kept) = rescale_to_original(&found.detections, network, original);
                let cells = MASK_SIZE * MASK_SIZE;
                let masks = found.masks.map(|all| {
                    let of = |at: &usize| all[at * cells..(at + 1) * cells].to_vec();
                    kept.iter().flat_map(of).collect::<Vec<f32>>()
                });
                finish(batch, picture, detections, masks.as_deref())
            })
            .collect()
    }

    fn policy(&self, name: &str, shape: &[i64]) -> ParamPolicy {
        let config = self.detector.config();
        let policy = match config.decay_everything {
            true => vitdet_policy_decaying_all,
            false => vitdet_policy,
        };
        policy(
            name,
            shape,
            config.trunk.depth,
            config.layer_decay,
            self.weight_decay,
        )
    }
}
