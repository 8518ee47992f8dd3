//! Settings of the transforms, with MAE's values as defaults.

use serde::{Deserialize, Serialize};

use crate::augment::{AugmentError, ColorJitter, RandAugmentPolicy, RandomErasing};
use crate::error::DataError;
use crate::filter::Filter;
use crate::normalise::ColourStatistics;

/// How a picture is prepared for evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalTransformConfig {
    /// Side of the model's input in pixels.
    pub size: usize,
    /// Share of the resized short side that the crop keeps: the short side becomes `int(size / crop_ratio)`.
    /// 0.875 up to 224 px and 1 above in MAE.
    #[serde(default = "default_crop_ratio")]
    pub crop_ratio: f64,
    /// False takes pixels as they are and only crops (or pads with black): for tiny pictures.
    #[serde(default = "yes")]
    pub resize: bool,
    /// Resampling filter.
    #[serde(default = "bicubic")]
    pub filter: Filter,
    /// Normalisation.
    #[serde(default)]
    pub colours: ColourStatistics,
}

impl EvalTransformConfig {
    /// MAE's: bicubic, crop ratio 0.875 up to 224 pixels and 1 above, ImageNet's colours.
    pub fn new(size: usize) -> Self {
        let crop_ratio = if size <= 224 {
            default_crop_ratio()
        } else {
            1.0
        };
        Self {
            size,
            crop_ratio,
            resize: true,
            filter: Filter::Bicubic,
            colours: ColourStatistics::IMAGENET,
        }
    }

    /// Checks ranges; `section` names the configuration section in messages.
    ///
    /// # Errors
    /// When a value is out of range.
    pub fn check(&self, section: &str) -> Result<(), DataError> {
        check_size(section, self.size)?;
        if !(self.crop_ratio > 0.0 && self.crop_ratio <= 1.0) {
            return Err(DataError::config(
                format!("{section}.crop_ratio"),
                format!("{} must be above 0 and at most 1", self.crop_ratio),
            ));
        }
        self.colours.check(section)
    }
}

/// How a training picture's part is chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum TrainCrop {
    /// A box of random area and aspect ratio, resized (torchvision's RandomResizedCrop).
    RandomResized {
        /// Smallest and largest share of the picture's area.
        #[serde(default = "default_scale")]
        scale: [f64; 2],
        /// Smallest and largest width over height.
        #[serde(default = "default_ratio")]
        ratio: [f64; 2],
        /// Resampling filter.
        #[serde(default = "bicubic")]
        filter: Filter,
        /// Draw once and cut to the picture, as MAE's linear probing does, instead of up to ten times.
        #[serde(default)]
        single_draw: bool,
    },
    /// The picture with a black border, cropped back to the input size at a random place, not resized
    /// (usual for CIFAR).
    Padded {
        /// Border in pixels.
        padding: usize,
    },
    /// Always the same place, as in evaluation: for targets that were made from whole pictures beforehand.
    Centre {
        /// Share of the resized short side that the crop keeps.
        #[serde(default = "whole")]
        crop_ratio: f64,
        /// False takes pixels as they are and only crops (or pads with black): for tiny pictures.
        #[serde(default = "yes")]
        resize: bool,
        /// Resampling filter.
        #[serde(default = "bicubic")]
        filter: Filter,
    },
}

impl TrainCrop {
    /// A bicubic RandomResizedCrop of at least `scale` of the area: 0.2 in MAE's pre-training, 0.08 in
    /// fine-tuning.
    pub fn random_resized(scale: f64) -> Self {
        Self::RandomResized {
            scale: [scale, 1.0],
            ratio: default_ratio(),
            filter: Filter::Bicubic,
            single_draw: false,
        }
    }
}

/// How a picture is prepared for training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainTransformConfig {
    /// Side of the model's input in pixels.
    pub size: usize,
    /// Which part of the picture is taken.
    pub crop: TrainCrop,
    /// Probability of mirroring.
    #[serde(default = "half")]
    pub flip: f64,
    /// Random brightness, contrast, saturation and hue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color_jitter: Option<ColorJitter>,
    /// RandAugment, for example "rand-m9-mstd0.5-inc1".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rand_augment: Option<RandAugmentPolicy>,
    /// Erasing of random patches after normalisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random_erasing: Option<RandomErasing>,
    /// Normalisation.
    #[serde(default)]
    pub colours: ColourStatistics,
}

impl TrainTransformConfig {
    /// The evaluation's transform that a centre crop is.
    pub(crate) fn centre(&self) -> Option<EvalTransformConfig> {
        match self.crop {
            TrainCrop::Centre {
                crop_ratio,
                resize,
                filter,
            } => Some(EvalTransformConfig {
                size: self.size,
                crop_ratio,
                resize,
                filter,
                colours: self.colours,
            }),
            _ => None,
        }
    }

    /// Whether every epoch sees a picture in the same place and the same way round.
    pub fn is_fixed(&self) -> bool {
        matches!(self.crop, TrainCrop::Centre { .. }) && self.flip == 0.0
    }

    /// Crop and flip only, ImageNet's colours.
    pub fn new(size: usize, crop: TrainCrop) -> Self {
        Self {
            size,
            crop,
            flip: 0.5,
            color_jitter: None,
            rand_augment: None,
            random_erasing: None,
            colours: ColourStatistics::IMAGENET,
        }
    }

    /// Checks ranges; `section` names the configuration section in messages.
    ///
    /// # Errors
    /// When a value is out of range.
    pub fn check(&self, section: &str) -> Result<(), DataError> {
        check_size(section, self.size)?;
        if !(0.0..=1.0).contains(&self.flip) {
            return Err(DataError::config(
                format!("{section}.flip"),
                format!("{} must lie in 0..=1", self.flip),
            ));
        }
        if let Some(centre) = self.centre() {
            centre.check(section)?;
        }
        if let TrainCrop::RandomResized { scale, ratio, .. } = &self.crop {
            if !(scale[0] > 0.0 && scale[0] <= scale[1] && scale[1] <= 1.0) {
                return Err(DataError::config(
                    format!("{section}.crop.scale"),
                    format!(
                        "{scale:?} must be two shares of the area, rising, above 0 and at most 1"
                    ),
                ));
            }
            if !(ratio[0] > 0.0 && ratio[0] <= ratio[1] && ratio[1].is_finite()) {
                return Err(DataError::config(
                    format!("{section}.crop.ratio"),
                    format!("{ratio:?} must be two positive aspect ratios, rising"),
                ));
            }
        }
        let named = |error: AugmentError| DataError::config(section, error.to_string());
        if let Some(jitter) = &self.color_jitter {
            jitter.check().map_err(named)?;
        }
        if let Some(erasing) = &self.random_erasing {
            erasing.check().map_err(named)?;
        }
        self.colours.check(section)
    }
}

fn check_size(section: &str, size: usize) -> Result<(), DataError> {
    if (1..=16384).contains(&size) {
        return Ok(());
    }
    Err(DataError::config(
        format!("{section}.size"),
        format!("{size} must be a side in pixels, 1 to 16384"),
    ))
}

fn default_crop_ratio() -> f64 {
    0.875
}

fn whole() -> f64 {
    1.0
}

fn default_scale() -> [f64; 2] {
    [0.08, 1.0]
}

fn default_ratio() -> [f64; 2] {
    [0.75, 4.0 / 3.0]
}

fn bicubic() -> Filter {
    Filter::Bicubic
}

fn yes() -> bool {
    true
}

fn half() -> f64 {
    0.5
}
