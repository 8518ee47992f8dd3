//! What a detector is made of. Defaults are detectron2's `configs/common/models/mask_rcnn_vitdet.py`
//! and `cascade_rcnn.py`.

use backbone::VitConfig;
use serde::{Deserialize, Serialize};

use crate::error::DetectionError;

/// ViTDet Mask R-CNN, or Cascade Mask R-CNN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorConfig {
    /// Number of object classes, the background not counted.
    pub classes: usize,
    /// Three box heads, each learning from better boxes than the one before (Cascade R-CNN, arXiv
    /// 1712.00726), instead of one.
    #[serde(default)]
    pub cascade: bool,
    /// Whether masks are predicted. Needs a data set with outlines.
    #[serde(default = "yes")]
    pub masks: bool,
    /// Channels of the feature pyramid.
    #[serde(default = "channels")]
    pub channels: i64,
    /// Learning-rate factor from one layer of the trunk to the next below.
    #[serde(default = "layer_decay")]
    pub layer_decay: f64,
    /// Weight decay spares nothing, as in the published ViT-H recipes; else it spares positions and the
    /// trunk's norms.
    #[serde(default)]
    pub decay_everything: bool,
    /// Mean of the training pictures' red, green and blue, 0 to 255.
    #[serde(default = "pixel_mean")]
    pub pixel_mean: [f64; 3],
    /// Their standard deviation.
    #[serde(default = "pixel_std")]
    pub pixel_std: [f64; 3],
    /// Region proposals.
    #[serde(default)]
    pub rpn: RpnConfig,
    /// Classification, boxes and masks of regions.
    #[serde(default)]
    pub roi: RoiConfig,
    /// The trunk; needs `windows`. Pictures are padded to squares of its `image_size`.
    pub trunk: VitConfig,
}

/// The region proposal network (Faster R-CNN, arXiv 1506.01497, section 3.1). Pairs are for training
/// and for inference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RpnConfig {
    /// Sides of the anchors, in pixels, one for each pyramid level.
    pub anchor_sizes: Vec<f64>,
    /// Their heights over their widths.
    pub aspect_ratios: Vec<f64>,
    /// 3×3 convolutions before the predictions.
    pub convolutions: usize,
    /// Anchors sampled per picture for the losses, which are divided by this number.
    pub batch_per_picture: usize,
    /// Largest share of them that may be positive.
    pub positive_fraction: f64,
    /// Best proposals of each level that are kept before suppression.
    pub before_nms: [usize; 2],
    /// Best proposals of a picture that are kept after it.
    pub after_nms: [usize; 2],
    /// Overlap above which the worse of two proposals of one level goes.
    pub nms_threshold: f64,
}

impl Default for RpnConfig {
    fn default() -> Self {
        Self {
            anchor_sizes: vec![32.0, 64.0, 128.0, 256.0, 512.0],
            aspect_ratios: vec![0.5, 1.0, 2.0],
            convolutions: 2,
            batch_per_picture: 256,
            positive_fraction: 0.5,
            before_nms: [2000, 1000],
            after_nms: [1000, 1000],
            nms_threshold: 0.7,
        }
    }
}

/// The heads over regions (Mask R-CNN, arXiv 1703.06870, section 3).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoiConfig {
    /// Regions sampled per picture for the losses.
    pub batch_per_picture: usize,
    /// Largest share of them that may be positive.
    pub positive_fraction: f64,
    /// Samples along each axis of a pooled bin; 0 adapts to its size.
    pub sampling_ratio: i64,
    /// 3×3 convolutions of a box head.
    pub box_convolutions: usize,
    /// Width of the fully connected layer after them.
    pub box_width: i64,
    /// 3×3 convolutions of the mask head.
    pub mask_convolutions: usize,
    /// Detections must score more than this.
    pub score_threshold: f64,
    /// Overlap above which the worse of two detections of one class goes.
    pub nms_threshold: f64,
    /// Most detections of a picture.
    pub max_detections: usize,
}

impl Default for RoiConfig {
    fn default() -> Self {
        Self {
            batch_per_picture: 512,
            positive_fraction: 0.25,
            sampling_ratio: 0,
            box_convolutions: 4,
            box_width: 1024,
            mask_convolutions: 4,
            score_threshold: 0.05,
            nms_threshold: 0.5,
            max_detections: 100,
        }
    }
}

fn yes() -> bool {
    true
}
fn channels() -> i64 {
    256
}
fn layer_decay() -> f64 {
    0.7
}
fn pixel_mean() -> [f64; 3] {
    [123.675, 116.28, 103.53]
}
fn pixel_std() -> [f64; 3] {
    [58.395, 57.12, 57.375]
}

/// One stage of the box heads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BoxStage {
    /// Overlap from which a region belongs to an object.
    pub overlap: f64,
    /// Factors on the four box deltas.
    pub weights: [f64; 4],
}

impl DetectorConfig {
    /// A detector with the reference's sizes on this trunk.
    pub fn new(trunk: VitConfig, classes: usize) -> Self {
        Self {
            classes,
            cascade: false,
            masks: true,
            channels: channels(),
            layer_decay: layer_decay(),
            decay_everything: false,
            pixel_mean: pixel_mean(),
            pixel_std: pixel_std(),
            rpn: RpnConfig::default(),
            roi: RoiConfig::default(),
            trunk,
        }
    }

    /// The box heads, first to last.
    pub(crate) fn stages(&self) -> Vec<BoxStage> {
        let stage = |overlap, factor: f64| BoxStage {
            overlap,
            weights: [10.0, 10.0, 5.0, 5.0].map(|weight| weight * factor),
        };
        match self.cascade {
            true => vec![stage(0.5, 1.0), stage(0.6, 2.0), stage(0.7, 3.0)],
            false => vec![stage(0.5, 1.0)],
        }
    }

    /// Rules across fields.
    ///
    /// # Errors
    /// The first setting that is out of range or contradicts another, with what to write instead.
    pub fn check(&self) -> Result<(), DetectionError> {
        self.trunk.check()?;
        let refuse = |key: &'static str, problem: String, remedy: &'static str| {
            Err(DetectionError::Config {
                key,
                problem,
                remedy,
            })
        };
        if self.trunk.windows.is_none() {
            return refuse(
                "trunk.windows",
                "a detector's trunk attends within windows".into(),
                "add [model.trunk.windows] with size and global_blocks",
            );
        }
        // The coarsest map but one is half the trunk's, and a pyramid's second level a quarter patch.
        if self.trunk.patch_size % 4 != 0 || self.trunk.grid() % 2 != 0 {
            return refuse(
                "trunk.image_size",
                format!(
                    "{} pixels in patches of {} give a grid of {}, which no pyramid can be built on",
                    self.trunk.image_size,
                    self.trunk.patch_size,
                    self.trunk.grid()
                ),
                "take patches of a multiple of 4 pixels and an even number of them, e.g. 1024 and 16",
            );
        }
        if self.trunk.width % 4 != 0 {
            return refuse(
                "trunk.width",
                format!("{} cannot be quartered", self.trunk.width),
                "give a multiple of 4",
            );
        }
        if self.rpn.anchor_sizes.len() != 5 {
            return refuse(
                "rpn.anchor_sizes",
                format!(
                    "{} sizes for five pyramid levels",
                    self.rpn.anchor_sizes.len()
                ),
                "give five, finest level first",
            );
        }
        if self.rpn.aspect_ratios.is_empty() {
            return refuse("rpn.aspect_ratios", "is empty".into(), "give at least one");
        }
        let counts: [(&'static str, i128); 9] = [
            ("classes", self.classes as i128),
            ("channels", self.channels.into()),
            ("rpn.convolutions", self.rpn.convolutions as i128),
            ("rpn.batch_per_picture", self.rpn.batch_per_picture as i128),
            ("roi.batch_per_picture", self.roi.batch_per_picture as i128),
            ("roi.box_width", self.roi.box_width.into()),
            ("roi.max_detections", self.roi.max_detections as i128),
            (
                "rpn.before_nms",
                *self.rpn.before_nms.iter().min().unwrap_or(&0) as i128,
            ),
            (
                "rpn.after_nms",
                *self.rpn.after_nms.iter().min().unwrap_or(&0) as i128,
            ),
        ];
        for (key, count) in counts {
            if count < 1 {
                return refuse(key, format!("{count} is too few"), "give at least 1");
            }
        }
        if self.roi.sampling_ratio < 0 {
            return refuse(
                "roi.sampling_ratio",
                format!("{} is negative", self.roi.sampling_ratio),
                "give 0 for adaptive sampling, or a number of samples",
            );
        }
        let shares: [(&'static str, f64); 6] = [
            ("rpn.positive_fraction", self.rpn.positive_fraction),
            ("rpn.nms_threshold", self.rpn.nms_threshold),
            ("roi.positive_fraction", self.roi.positive_fraction),
            ("roi.nms_threshold", self.roi.nms_threshold),
            ("roi.score_threshold", self.roi.score_threshold),
            ("layer_decay", self.layer_decay),
        ];
        for (key, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return refuse(
                    key,
                    format!("{share} is out of range"),
                    "give a number from 0 to 1",
                );
            }
        }
        if let Some(deviation) = self
            .pixel_std
            .iter()
            .find(|value| !value.is_finite() || **value <= 0.0)
        {
            return refuse(
                "pixel_std",
                format!("{deviation} is no standard deviation"),
                "give three numbers above 0",
            );
        }
        Ok(())
    }
}
