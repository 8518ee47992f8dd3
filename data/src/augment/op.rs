//! One RandAugment operation: which, how strong, and applied to a picture.
//!
//! Source: timm 0.3.2 `data/auto_augment.py` (the release MAE and DeepMIM pin): names and the maps
//! from magnitude (0..=10) to argument are its own.

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::affine::{self, AffineFilter};
use super::{enhance, point};
use crate::RgbImage;

/// Largest magnitude.
pub const MAX_MAGNITUDE: f64 = 10.0;

/// How RandAugment's warps interpolate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// Always bilinear.
    Bilinear,
    /// Always bicubic: what MAE and DeepMIM train with.
    #[default]
    Bicubic,
    /// One of the two, drawn for each operation.
    Random,
}

impl Interpolation {
    pub(super) fn draw(self, rng: &mut impl Rng) -> AffineFilter {
        match self {
            Self::Bilinear => AffineFilter::Bilinear,
            Self::Bicubic => AffineFilter::Bicubic,
            Self::Random if rng.random() => AffineFilter::Bilinear,
            Self::Random => AffineFilter::Bicubic,
        }
    }
}

/// What operations need besides their magnitude.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OpParams {
    /// Colour of pixels that come from outside the picture.
    pub fill: [u8; 3],
    /// Shift in pixels of the absolute translations at the largest magnitude.
    pub translate_const: f64,
    /// Shift in picture sides of the relative translations at the largest magnitude.
    pub translate_pct: f64,
}

/// An operation by its name in timm.
#[allow(
    missing_docs,
    reason = "the names are timm's; `Op::apply` says what each does"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OpKind {
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    Posterize,
    PosterizeIncreasing,
    PosterizeOriginal,
    Solarize,
    SolarizeIncreasing,
    SolarizeAdd,
    Color,
    ColorIncreasing,
    Contrast,
    ContrastIncreasing,
    Brightness,
    BrightnessIncreasing,
    Sharpness,
    SharpnessIncreasing,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    TranslateXRel,
    TranslateYRel,
}

impl OpKind {
    /// The set of `inc1`: operations that do more as the magnitude grows.
    pub const INCREASING: [Self; 15] = [
        Self::AutoContrast,
        Self::Equalize,
        Self::Invert,
        Self::Rotate,
        Self::PosterizeIncreasing,
        Self::SolarizeIncreasing,
        Self::SolarizeAdd,
        Self::ColorIncreasing,
        Self::ContrastIncreasing,
        Self::BrightnessIncreasing,
        Self::SharpnessIncreasing,
        Self::ShearX,
        Self::ShearY,
        Self::TranslateXRel,
        Self::TranslateYRel,
    ];

    /// The set without `inc1`.
    pub const PLAIN: [Self; 15] = [
        Self::AutoContrast,
        Self::Equalize,
        Self::Invert,
        Self::Rotate,
        Self::Posterize,
        Self::Solarize,
        Self::SolarizeAdd,
        Self::Color,
        Self::Contrast,
        Self::Brightness,
        Self::Sharpness,
        Self::ShearX,
        Self::ShearY,
        Self::TranslateXRel,
        Self::TranslateYRel,
    ];

    /// The operation at `magnitude` (0..=10); `negated` turns the direction of those that have
    /// one and changes nothing for the others.
    pub fn at(self, magnitude: f64, negated: bool, params: &OpParams) -> Op {
        let level = magnitude / MAX_MAGNITUDE;
        let signed = |value: f64| if negated { -value } else { value };
        let enhance = level * 1.8 + 0.1;
        let enhance_increasing = 1.0 + signed(level * 0.9);
        let bits = (level * 4.0) as u32;
        let threshold = (level * 256.0) as u32;
        match self {
            Self::AutoContrast => Op::AutoContrast,
            Self::Equalize => Op::Equalize,
            Self::Invert => Op::Invert,
            Self::Rotate => Op::Rotate {
                degrees: signed(level * 30.0),
            },
            Self::Posterize => Op::Posterize { bits },
            Self::PosterizeIncreasing => Op::Posterize { bits: 4 - bits },
            Self::PosterizeOriginal => Op::Posterize { bits: 4 + bits },
            Self::Solarize => Op::Solarize { threshold },
            Self::SolarizeIncreasing => Op::Solarize {
                threshold: 256 - threshold,
            },
            Self::SolarizeAdd => Op::SolarizeAdd {
                amount: (level * 110.0) as u8,
            },
            Self::Color => Op::Color { factor: enhance },
            Self::ColorIncreasing => Op::Color {
                factor: enhance_increasing,
            },
            Self::Contrast => Op::Contrast { factor: enhance },
            Self::ContrastIncreasing => Op::Contrast {
                factor: enhance_increasing,
            },
            Self::Brightness => Op::Brightness { factor: enhance },
            Self::BrightnessIncreasing => Op::Brightness {
                factor: enhance_increasing,
            },
            Self::Sharpness => Op::Sharpness { factor: enhance },
            Self::SharpnessIncreasing => Op::Sharpness {
                factor: enhance_increasing,
            },
            Self::ShearX => Op::ShearX {
                factor: signed(level * 0.3),
            },
            Self::ShearY => Op::ShearY {
                factor: signed(level * 0.3),
            },
            Self::TranslateX => Op::TranslateX {
                pixels: signed(level * params.translate_const),
            },
            Self::TranslateY => Op::TranslateY {
                pixels: signed(level * params.translate_const),
            },
            Self::TranslateXRel => Op::TranslateXRel {
                share: signed(level * params.translate_pct),
            },
            Self::TranslateYRel => Op::TranslateYRel {
                share: signed(level * params.translate_pct),
            },
        }
    }
}

/// An operation with its argument.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Op {
    /// Stretches each channel to 0..=255.
    AutoContrast,
    /// Flattens each channel's histogram.
    Equalize,
    /// 255 minus the level.
    Invert,
    /// Turns about the centre, counter-clockwise.
    Rotate {
        /// Angle.
        degrees: f64,
    },
    /// Keeps the highest bits of each level.
    Posterize {
        /// How many: 0 is black.
        bits: u32,
    },
    /// Inverts levels from a threshold up.
    Solarize {
        /// Lowest level inverted; 256 inverts none.
        threshold: u32,
    },
    /// Brightens levels below 128.
    SolarizeAdd {
        /// Added levels.
        amount: u8,
    },
    /// Saturation.
    Color {
        /// 0 grey, 1 unchanged.
        factor: f64,
    },
    /// Contrast about the mean grey.
    Contrast {
        /// 0 flat grey, 1 unchanged.
        factor: f64,
    },
    /// Brightness.
    Brightness {
        /// 0 black, 1 unchanged.
        factor: f64,
    },
    /// Sharpness.
    Sharpness {
        /// 0 smoothed, 1 unchanged.
        factor: f64,
    },
    /// Shear along x.
    ShearX {
        /// Pixels per row.
        factor: f64,
    },
    /// Shear along y.
    ShearY {
        /// Pixels per column.
        factor: f64,
    },
    /// Shift along x.
    TranslateX {
        /// Pixels to the left.
        pixels: f64,
    },
    /// Shift along y.
    TranslateY {
        /// Pixels up.
        pixels: f64,
    },
    /// Shift along x by a share of the width.
    TranslateXRel {
        /// Widths to the left.
        share: f64,
    },
    /// Shift along y by a share of the height.
    TranslateYRel {
        /// Heights up.
        share: f64,
    },
}

impl Op {
    /// Applies the operation in place; `filter` and `fill` matter to the warps only.
    pub fn apply(self, image: &mut RgbImage, filter: AffineFilter, fill: [u8; 3]) {
        let (width, height) = (image.width as f64, image.height as f64);
        match self {
            Self::AutoContrast => point::auto_contrast(image),
            Self::Equalize => point::equalize(image),
            Self::Invert => point::invert(image),
            Self::Rotate { degrees } => affine::rotate(image, degrees, filter, fill),
            Self::Posterize { bits } => point::posterize(image, bits),
            Self::Solarize { threshold } => point::solarize(image, threshold),
            Self::SolarizeAdd { amount } => point::solarize_add(image, amount),
            Self::Color { factor } => enhance::color(image, factor),
            Self::Contrast { factor } => point::contrast(image, factor),
            Self::Brightness { factor } => point::brightness(image, factor),
            Self::Sharpness { factor } => enhance::sharpness(image, factor),
            Self::ShearX { factor } => affine::shear_x(image, factor, filter, fill),
            Self::ShearY { factor } => affine::shear_y(image, factor, filter, fill),
            Self::TranslateX { pixels } => affine::translate_x(image, pixels, filter, fill),
            Self::TranslateY { pixels } => affine::translate_y(image, pixels, filter, fill),
            Self::TranslateXRel { share } => {
                affine::translate_x(image, share * width, filter, fill);
            }
            Self::TranslateYRel { share } => {
                affine::translate_y(image, share * height, filter, fill);
            }
        }
    }
}
