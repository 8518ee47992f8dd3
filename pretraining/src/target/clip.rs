//! A frozen CLIP visual tower as the source of targets.
//!
//! Source: OliverRensu/DeepMIM `clip.py::VisionTransformer` (every token after `ln_post @ proj`) and
//! `engine_pretrain.py` (pictures are brought from the student's normalisation to CLIP's). Parity:
//! `deepmim_clip` (`teacher_in`, `teacher_out`).

use backbone::Vit;
use backbone::weights::{Dialect, LoadOptions, load_into};
use data::ColourStatistics;
use tch::{Device, Tensor, nn};

use super::{Seen, Target, cosine, recolouring, unit_length, wide};
use crate::PretrainError;
use crate::masking::Masking;
use crate::target_config::ClipConfig;

/// The tower with its output projection, in a store of its own: no optimiser sees it.
#[derive(Debug)]
pub struct ClipTeacher {
    tower: Vit,
    proj: Tensor,
    /// Factor and summand per channel, `[1, 3, 1, 1]`, from the student's pictures to CLIP's.
    rescale: [Tensor; 2],
}

impl ClipTeacher {
    /// Reads the tower's weights. `colours` are those of the pictures that it will be given.
    ///
    /// # Errors
    /// [`PretrainError::Teacher`] where the file cannot be read or does not fit the tower,
    /// [`PretrainError::Trunk`] where the tower itself is impossible.
    pub fn load(
        config: &ClipConfig,
        colours: &ColourStatistics,
        device: Device,
    ) -> Result<Self, PretrainError> {
        let mut store = nn::VarStore::new(device);
        let root = store.root();
        let tower = Vit::new(&root, &config.trunk()).map_err(|source| PretrainError::Trunk {
            place: "target",
            source,
        })?;
        let proj = root.zeros("proj", &[config.width, config.output]);
        let options = LoadOptions {
            resample_positions: true,
            ..LoadOptions::default()
        };
        Dialect::Clip
            .read(&config.weights, None)
            .and_then(|tower| load_into(&store, "", &tower.state, &options))
            .map_err(PretrainError::Teacher)?;
        store.freeze();
        Ok(Self {
            tower,
            proj,
            rescale: recolouring(colours, &ColourStatistics::CLIP, device),
        })
    }

    /// Channels of a feature.
    pub fn output(&self) -> i64 {
        self.proj.size()[1]
    }

    /// Pictures as the tower takes them: re-normalised, and resized (bicubic) where the student works
    /// at another size.
    pub fn input(&self, images: &Tensor) -> Tensor {
        let side = self.tower.config().image_size;
        let images = images * &self.rescale[0] + &self.rescale[1];
        if images.size()[2..] == [side, side] {
            images
        } else {
            images.upsample_bicubic2d([side, side], false, None, None)
        }
    }

    /// Features of every token, class token first: `[B, 3, H, W] -> [B, 1 + L, output]`.
    pub fn features(&self, images: &Tensor) -> Tensor {
        tch::no_grad(|| {
            let depth = self.tower.num_blocks();
            self.tower.forward(&self.input(images), &[depth], false)[0].matmul(&self.proj)
        })
    }

    /// Features of the hidden patches, in the order of [`Masking::hidden`]: `[B, L - K, output]`. The
    /// tower sees the whole picture; only its last block leaves the other tokens out.
    pub fn hidden_features(&self, images: &Tensor, masking: &Masking) -> Tensor {
        tch::no_grad(|| {
            let patches = self
                .tower
                .patch_tokens_at(&self.input(images), masking.order());
            let tokens = self.tower.with_class_token(&patches);
            let hidden = 1 + masking.visible_count()..tokens.size()[1];
            self.tower
                .blocks_for(tokens, hidden, false)
                .matmul(&self.proj)
        })
    }
}

/// Features of a frozen CLIP tower at length 1; `2 - 2 cos`.
impl Target for ClipTeacher {
    fn width(&self) -> i64 {
        self.output()
    }

    fn all(&self, seen: Seen) -> Tensor {
        let features = self.features(seen.images);
        unit_length(&features.narrow(1, 1, features.size()[1] - 1))
    }

    fn hidden(&self, seen: Seen, masking: &Masking) -> Tensor {
        unit_length(&self.hidden_features(seen.images, masking))
    }

    fn patch_losses(&self, prediction: &Tensor, target: &Tensor) -> Tensor {
        2.0 - cosine(&wide(prediction), target) * 2.0
    }
}
