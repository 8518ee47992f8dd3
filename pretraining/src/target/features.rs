//! Features of a frozen vision transformer: DINO's, a supervised one, an earlier pre-training's.
//!
//! Parity: `targets`.

use backbone::Vit;
use backbone::weights::load_into;
use data::ColourStatistics;
use tch::{Device, Tensor, nn};

use super::{Distance, Seen, Target, recolouring};
use crate::PretrainError;
use crate::target_config::FeaturesConfig;

/// Features of a frozen trunk at one of its blocks.
#[derive(Debug)]
pub struct FeaturesTarget {
    trunk: Vit,
    block: i64,
    distance: Distance,
    /// Factor and summand per channel, from the student's pictures to the teacher's.
    rescale: [Tensor; 2],
}

impl FeaturesTarget {
    /// Reads the teacher's weights. `colours` are those of the pictures that it will be given.
    ///
    /// # Errors
    /// [`PretrainError::FeatureTeacher`] where the file cannot be read or does not fit,
    /// [`PretrainError::Trunk`] where the trunk itself is impossible.
    pub fn load(
        config: &FeaturesConfig,
        colours: &ColourStatistics,
        device: Device,
    ) -> Result<Self, PretrainError> {
        let mut store = nn::VarStore::new(device);
        let trunk =
            Vit::new(&store.root(), &config.trunk).map_err(|source| PretrainError::Trunk {
                place: "target.trunk",
                source,
            })?;
        config
            .dialect
            .read(&config.weights, config.part.as_deref())
            .and_then(|found| load_into(&store, "", &found.state, &config.load_options()))
            .map_err(PretrainError::FeatureTeacher)?;
        store.freeze();
        Ok(Self {
            block: config.block(),
            distance: config.distance,
            rescale: recolouring(colours, &config.colours, device),
            trunk,
        })
    }

    /// Features of the patches: `[B, 3, H, W] -> [B, L, width]`.
    pub fn features(&self, images: &Tensor) -> Tensor {
        let side = self.trunk.config().image_size;
        let mut images = images * &self.rescale[0] + &self.rescale[1];
        if images.size()[2..] != [side, side] {
            images = images.upsample_bicubic2d([side, side], false, None, None);
        }
        let tokens = self.trunk.forward(&images, &[self.block], false).remove(0);
        tokens.narrow(1, 1, tokens.size()[1] - 1)
    }
}

impl Target for FeaturesTarget {
    fn width(&self) -> i64 {
        self.trunk.config().width
    }

    fn all(&self, seen: Seen) -> Tensor {
        self.distance.prepare(&self.features(seen.images))
    }

    fn patch_losses(&self, prediction: &Tensor, target: &Tensor) -> Tensor {
        self.distance.between(prediction, target)
    }
}
