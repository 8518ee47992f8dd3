//! The patch's own pixels.
//!
//! Source: facebookresearch/mae `models_mae.py::forward_loss`. Parity: `mae_pixels`, `deepmim_pixels`.

use tch::{Reduction, Tensor};

use super::{Seen, Shown, Target, squared_error, wide};
use crate::masking::Masking;
use crate::pixels::{patch_statistics, patchify, patchify_at};

/// The patch's own pixels; mean squared error.
#[derive(Debug, Clone, Copy)]
pub struct PixelTarget {
    /// Side of a patch, in pixels.
    pub patch: i64,
    /// Bring each patch to mean 0 and variance 1 first (`norm_pix_loss`).
    pub normalize: bool,
}

impl PixelTarget {
    fn compared(&self, pixels: Tensor) -> Tensor {
        if !self.normalize {
            return pixels;
        }
        let (mean, deviation) = patch_statistics(&pixels);
        (pixels - mean) / deviation
    }
}

impl Target for PixelTarget {
    fn width(&self) -> i64 {
        self.patch * self.patch * 3
    }

    fn all(&self, seen: Seen) -> Tensor {
        self.compared(patchify(seen.images, self.patch))
    }

    fn hidden(&self, seen: Seen, masking: &Masking) -> Tensor {
        self.compared(patchify_at(seen.images, self.patch, &masking.hidden()))
    }

    fn patch_losses(&self, prediction: &Tensor, target: &Tensor) -> Tensor {
        squared_error(prediction, target)
    }

    fn loss(&self, prediction: &Tensor, target: &Tensor) -> Tensor {
        wide(prediction).mse_loss(target, Reduction::Mean)
    }

    /// A prediction of normalised pixels is brought back with the patch's own mean and deviation.
    fn shown(&self, prediction: &Tensor, seen: Seen) -> Shown {
        if !self.normalize {
            return Shown::Colours(prediction.shallow_clone());
        }
        let (mean, deviation) = patch_statistics(&patchify(seen.images, self.patch));
        Shown::Colours(prediction * deviation + mean)
    }
}
