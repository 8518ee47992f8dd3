//! What the hidden patches are predicted as, and how far off a prediction is.
//!
//! Sources: facebookresearch/mae `models_mae.py::forward_loss` (pixels), OliverRensu/DeepMIM
//! `models_mae.py::forward_loss` (CLIP features). Parity: `mae_pixels`, `deepmim_pixels`,
//! `deepmim_clip`.

use tch::{Device, Kind, Reduction, Tensor};

use crate::PretrainError;
use crate::config::{PretrainConfig, TargetConfig};
use crate::masking::Masking;
use crate::pixels::{patch_statistics, patchify, patchify_at};
use crate::teacher::ClipTeacher;

/// A reconstruction target. Everything here is free of gradients except through a prediction.
#[derive(Debug)]
pub enum Target {
    /// The patch's own pixels; mean squared error.
    Pixels {
        /// Side of a patch, in pixels.
        patch: i64,
        /// Bring each patch to mean 0 and variance 1 first.
        normalize: bool,
    },
    /// Features of a frozen CLIP tower; `2 - 2 cos`.
    Clip(Box<ClipTeacher>),
}

impl Target {
    /// The configured target, its teacher loaded where it has one.
    ///
    /// # Errors
    /// Where a teacher's file cannot be read or does not fit.
    pub fn new(config: &PretrainConfig, device: Device) -> Result<Self, PretrainError> {
        Ok(match &config.target {
            TargetConfig::Pixels { normalize } => Self::Pixels {
                patch: config.trunk.patch_size,
                normalize: *normalize,
            },
            TargetConfig::Clip(tower) => {
                Self::Clip(Box::new(ClipTeacher::load(tower, &config.colours, device)?))
            }
        })
    }

    /// Values predicted per patch.
    pub fn width(&self) -> i64 {
        match self {
            Self::Pixels { patch, .. } => patch * patch * 3,
            Self::Clip(teacher) => teacher.output(),
        }
    }

    /// The targets of the hidden patches as the loss compares them, `[B, L - K, P]` in the order of
    /// [`Masking::hidden`].
    pub fn hidden(&self, images: &Tensor, masking: &Masking) -> Tensor {
        tch::no_grad(|| match self {
            Self::Pixels { patch, normalize } => {
                let pixels = patchify_at(images, *patch, &masking.hidden());
                if *normalize {
                    normalized(&pixels)
                } else {
                    pixels
                }
            }
            Self::Clip(teacher) => unit_length(&teacher.hidden_features(images, masking)),
        })
    }

    /// The targets of all patches as the loss compares them, `[B, L, P]` in picture order.
    pub fn all(&self, images: &Tensor) -> Tensor {
        tch::no_grad(|| match self {
            Self::Pixels { patch, normalize } => {
                let pixels = patchify(images, *patch);
                if *normalize {
                    normalized(&pixels)
                } else {
                    pixels
                }
            }
            Self::Clip(teacher) => {
                let features = teacher.features(images);
                unit_length(&features.narrow(1, 1, features.size()[1] - 1))
            }
        })
    }

    /// Loss of each patch: `[B, M, P]` twice `-> [B, M]`. `target` is one of this target's.
    pub fn patch_losses(&self, prediction: &Tensor, target: &Tensor) -> Tensor {
        let prediction = &prediction.to_kind(Kind::Float);
        match self {
            Self::Pixels { .. } => prediction.mse_loss(target, Reduction::None).mean_dim(
                [-1i64].as_slice(),
                false,
                Kind::Float,
            ),
            Self::Clip(_) => 2.0 - cosine(prediction, target) * 2.0,
        }
    }

    /// Mean of [`Target::patch_losses`]: every sample hides equally many patches, so this is the
    /// reference's sum over hidden patches divided by their number.
    pub fn loss(&self, prediction: &Tensor, target: &Tensor) -> Tensor {
        match self {
            Self::Pixels { .. } => prediction
                .to_kind(Kind::Float)
                .mse_loss(target, Reduction::Mean),
            Self::Clip(_) => self.patch_losses(prediction, target).mean(Kind::Float),
        }
    }
}

/// Cosine of the angle between predictions of any length and targets of length 1: `[.., P] -> [..]`.
/// The length is divided out after the sum, which spares a normalised copy of the prediction.
pub(crate) fn cosine(prediction: &Tensor, target: &Tensor) -> Tensor {
    let last = [-1i64];
    let product = (prediction * target).sum_dim_intlist(last.as_slice(), false, Kind::Float);
    product / prediction.norm_scalaropt_dim(2.0, last.as_slice(), false)
}

fn unit_length(x: &Tensor) -> Tensor {
    let x = &x.to_kind(Kind::Float);
    x / x.norm_scalaropt_dim(2.0, [-1i64].as_slice(), true)
}

fn normalized(pixels: &Tensor) -> Tensor {
    let (mean, deviation) = patch_statistics(pixels);
    (pixels - mean) / deviation
}
