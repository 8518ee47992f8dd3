//! Augmentation of training pictures: RandAugment, colour jitter, random erasing, mixup and CutMix.
//!
//! Every augmentation is split in two: `draw` turns random numbers into plain values, and a
//! deterministic function applies them. The latter are checked pixel by pixel against Pillow,
//! torchvision and timm (`parity/golden/augment`). All work in place on 8-bit RGB pictures, except
//! random erasing and mixing, which follow normalisation.

mod affine;
mod color_jitter;
mod enhance;
mod erasing;
mod error;
mod mix;
mod op;
mod point;
mod randaugment;

pub use affine::{
    AffineFilter, AffineMatrix, rotate, shear_x, shear_y, translate_x, translate_y, warp,
};
pub use color_jitter::{ColorJitter, JitterStep};
pub use enhance::{color, hue, sharpness};
pub use erasing::{ErasingMode, Patch, RandomErasing, erase};
pub use error::AugmentError;
pub use mix::{CutBox, Mix, Mixer, soft_targets};
pub use op::{Interpolation, MAX_MAGNITUDE, Op, OpKind, OpParams};
pub use point::{
    auto_contrast, brightness, contrast, equalize, invert, posterize, solarize, solarize_add,
};
pub use randaugment::{RandAugment, RandAugmentPolicy};
