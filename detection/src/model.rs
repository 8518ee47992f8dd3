//! The whole detector: trunk, pyramid, proposals, heads.
//!
//! Source: detectron2 `modeling/meta_arch/rcnn.py::GeneralizedRCNN`. Parameter names are those of its
//! ViTDet checkpoints.

use backbone::{FeatureLevel, SimpleFeaturePyramid, Vit};
use data::RgbImage;
use tch::{Device, Kind, Tensor, nn};

use crate::boxes::{BoxF, to_floats};
use crate::config::DetectorConfig;
use crate::error::DetectionError;
use crate::inference::Detections;
use crate::mask_head::MASK_SIZE;
use crate::roi_heads::{RoiHeads, Sampling, Target};
use crate::rpn::Rpn;

/// Detections of one picture, in pixels of the network's picture.
#[derive(Debug, Clone, PartialEq)]
pub struct PictureDetections {
    /// Boxes, scores and classes, best first.
    pub detections: Detections,
    /// Probabilities of each one's mask, [`MASK_SIZE`] squared numbers apiece, row by row; none without
    /// a mask head.
    pub masks: Option<Vec<f32>>,
}

/// ViTDet Mask R-CNN or Cascade Mask R-CNN.
#[derive(Debug)]
pub struct Detector {
    trunk: Vit,
    pyramid: SimpleFeaturePyramid,
    rpn: Rpn,
    heads: RoiHeads,
    config: DetectorConfig,
}

impl Detector {
    /// Adds the parameters under `path`, initialised at random from libtorch's global generator.
    ///
    /// # Errors
    /// When [`DetectorConfig::check`] refuses the configuration.
    pub fn new(path: &nn::Path, config: &DetectorConfig) -> Result<Self, DetectionError> {
        config.check()?;
        let backbone = path / "backbone";
        let trunk = &config.trunk;
        Ok(Self {
            trunk: Vit::new(&(&backbone / "net"), trunk)?,
            pyramid: SimpleFeaturePyramid::new(
                &backbone,
                trunk.width,
                config.channels,
                trunk.patch_size,
            ),
            rpn: Rpn::new(&(path / "proposal_generator"), config),
            heads: RoiHeads::new(&(path / "roi_heads"), config),
            config: config.clone(),
        })
    }

    /// What the detector was built from.
    pub fn config(&self) -> &DetectorConfig {
        &self.config
    }

    /// The trunk.
    pub fn trunk(&self) -> &Vit {
        &self.trunk
    }

    /// The pyramid over its map.
    pub fn pyramid(&self) -> &SimpleFeaturePyramid {
        &self.pyramid
    }

    /// The region proposal network.
    pub fn rpn(&self) -> &Rpn {
        &self.rpn
    }

    /// The heads over regions.
    pub fn heads(&self) -> &RoiHeads {
        &self.heads
    }

    /// Normalised pictures, padded at the bottom and to the right with zeros to the network's square:
    /// `[B, 3, S, S]`.
    ///
    /// # Errors
    /// When a picture is larger than the square; `names` are for the message.
    pub fn batch(
        &self,
        pictures: &[(&str, &RgbImage)],
        device: Device,
    ) -> Result<Tensor, DetectionError> {
        let side = self.config.trunk.image_size as usize;
        let numbers = |of: [f64; 3]| {
            Tensor::from_slice(&of)
                .to_kind(Kind::Float)
                .to_device(device)
                .view([3, 1, 1])
        };
        let (mean, std) = (
            numbers(self.config.pixel_mean),
            numbers(self.config.pixel_std),
        );
        let shape = [pictures.len() as i64, 3, side as i64, side as i64];
        let batch = Tensor::zeros(shape, (Kind::Float, device));
        for (index, (name, image)) in pictures.iter().enumerate() {
            if image.width > side || image.height > side {
                return Err(DetectionError::Picture {
                    name: (*name).to_owned(),
                    width: image.width,
                    height: image.height,
                    side,
                });
            }
            let (height, width) = (image.height as i64, image.width as i64);
            let pixels = Tensor::from_slice(&image.pixels)
                .to_device(device)
                .view([height, width, 3])
                .permute([2, 0, 1])
                .to_kind(Kind::Float);
            batch
                .get(index as i64)
                .narrow(1, 0, height)
                .narrow(2, 0, width)
                .copy_(&((pixels - &mean) / &std));
        }
        Ok(batch)
    }

    /// The pyramid's five levels, finest first.
    pub fn levels(&self, images: &Tensor, train: bool) -> Vec<FeatureLevel> {
        self.pyramid.forward(&self.trunk.feature_map(images, train))
    }

    /// Named losses of a batch `[B, 3, S, S]`: `loss_rpn_cls`, `loss_rpn_loc`, `loss_cls`,
    /// `loss_box_reg` (one pair for each stage of a cascade) and `loss_mask`; the objective is their sum.
    ///
    /// # Errors
    /// When an object has a class beyond the model's, no outline, or one that cannot be rasterised.
    pub fn losses(
        &self,
        images: &Tensor,
        targets: &[Target],
        sampling: Sampling,
        train: bool,
    ) -> Result<Vec<(String, Tensor)>, DetectionError> {
        self.check_classes(targets)?;
        let levels = self.levels(images, train);
        let output = self.rpn.forward(&levels);
        let anchors = self.rpn.anchors(&levels);
        let all: Vec<BoxF> = anchors.concat();
        let anchor_targets: Vec<_> = targets
            .iter()
            .enumerate()
            .map(|(index, target)| {
                self.rpn
                    .targets(&all, target.objects, &sampling.order(index, 0))
            })
            .collect();
        let objects: Vec<_> = targets.iter().map(|target| target.objects).collect();
        let [classification, localisation] =
            self.rpn.losses(&output, &all, &anchor_targets, &objects);
        let sizes: Vec<(usize, usize)> = targets.iter().map(|target| target.size).collect();
        let proposals = self.rpn.proposals(&output, &anchors, &sizes, true);
        let regions = proposals
            .iter()
            .zip(targets)
            .enumerate()
            .map(|(index, (proposals, target))| {
                let order = sampling.order(index, 1);
                self.heads.sample(proposals, target.objects, &order)
            })
            .collect();
        let mut losses = vec![
            ("loss_rpn_cls".to_owned(), classification),
            ("loss_rpn_loc".to_owned(), localisation),
        ];
        losses.extend(self.heads.losses(&levels, regions, targets)?);
        Ok(losses)
    }

    fn check_classes(&self, targets: &[Target]) -> Result<(), DetectionError> {
        for target in targets {
            let classes = self.config.classes;
            if let Some(object) = target.objects.iter().find(|object| object.class >= classes) {
                return Err(DetectionError::Class {
                    name: target.name.to_owned(),
                    class: object.class,
                    classes,
                });
            }
        }
        Ok(())
    }

    /// Detections of a batch `[B, 3, S, S]` of pictures of the given `(height, width)`, without
    /// gradients.
    pub fn detect(&self, images: &Tensor, sizes: &[(usize, usize)]) -> Vec<PictureDetections> {
        tch::no_grad(|| {
            let levels = self.levels(images, false);
            let proposals = self.propose(&levels, sizes);
            let threshold = self.config.roi.score_threshold;
            let found = self.heads.detect(&levels, &proposals, sizes, threshold);
            self.with_masks(&levels, found)
        })
    }

    /// Boxes of proposals for each picture, best first.
    pub fn propose(&self, levels: &[FeatureLevel], sizes: &[(usize, usize)]) -> Vec<Vec<BoxF>> {
        let output = self.rpn.forward(levels);
        let anchors = self.rpn.anchors(levels);
        self.rpn
            .proposals(&output, &anchors, sizes, false)
            .into_iter()
            .map(|proposals| proposals.boxes)
            .collect()
    }

    /// Predicts the masks of detections.
    pub fn with_masks(
        &self,
        levels: &[FeatureLevel],
        found: Vec<Detections>,
    ) -> Vec<PictureDetections> {
        let boxes: Vec<Vec<BoxF>> = found.iter().map(|of| of.boxes.clone()).collect();
        let classes: Vec<i64> = found
            .iter()
            .flat_map(|of| of.classes.iter().map(|class| *class as i64))
            .collect();
        let masks = self
            .heads
            .mask_logits(levels, &boxes, &classes)
            .map(|logits| to_floats(&logits.sigmoid()));
        let mut first = 0;
        found
            .into_iter()
            .map(|detections| {
                let numbers = detections.len() * MASK_SIZE * MASK_SIZE;
                let range = first..first + numbers;
                first = range.end;
                PictureDetections {
                    masks: masks.as_ref().map(|all| all[range].to_vec()),
                    detections,
                }
            })
            .collect()
    }
}
