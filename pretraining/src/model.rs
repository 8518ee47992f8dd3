//! The masked autoencoder: trunk on the visible patches, a decoder per tap, a loss per tap.
//!
//! MAE (arXiv 2111.06377) is one tap after the last block; DeepMIM (arXiv 2303.08817) supervises
//! several blocks. Source: `models_mae.py` of facebookresearch/mae and OliverRensu/DeepMIM. Parameters
//! lie at the root under the references' names, so a saved model is their `model` dictionary. Hidden
//! patches are never embedded, and only hidden ones are predicted; the references do both for all.
//! Parity: `mae_pixels`, `deepmim_pixels`, `deepmim_clip`.

use backbone::{Vit, sincos_2d};
use tch::{Tensor, nn};

use crate::PretrainError;
use crate::config::PretrainConfig;
use crate::decoder::{Decoder, Surroundings, ordered_positions};
use crate::masking::Masking;
use crate::target::Target;

/// Trunk, decoders and target of one recipe.
#[derive(Debug)]
pub struct MaskedAutoencoder {
    config: PretrainConfig,
    trunk: Vit,
    decoder_positions: Tensor,
    decoders: Vec<Decoder>,
    target: Target,
}

impl MaskedAutoencoder {
    /// Adds trunk and decoders under `path` (normally the root) and loads the target's teacher, which
    /// is no part of `path`'s store.
    ///
    /// # Errors
    /// Where the configuration is inconsistent, or the teacher's file cannot be read or does not fit.
    pub fn new(path: &nn::Path, config: &PretrainConfig) -> Result<Self, PretrainError> {
        config.check()?;
        let target = Target::new(config, path.device())?;
        let trunk = Vit::new(path, &config.trunk).map_err(|source| PretrainError::Trunk {
            place: "trunk",
            source,
        })?;
        let grid = config.trunk.grid();
        let table = sincos_2d(config.decoder.width, grid, grid, true).to_device(path.device());
        let around = Surroundings {
            trunk_width: config.trunk.width,
            norm_eps: config.trunk.norm_eps,
            target_width: target.width(),
            checkpointing: config.trunk.activation_checkpointing,
        };
        let decoders = (1..=config.taps.len())
            .map(|place| {
                let suffix = if config.taps.len() == 1 {
                    String::new()
                } else {
                    place.to_string()
                };
                Decoder::new(path, &suffix, &config.decoder, around)
            })
            .collect();
        Ok(Self {
            decoder_positions: path.add("decoder_pos_embed", table, false),
            config: config.clone(),
            trunk,
            decoders,
            target,
        })
    }

    /// The recipe.
    pub fn config(&self) -> &PretrainConfig {
        &self.config
    }

    /// The encoder.
    pub fn trunk(&self) -> &Vit {
        &self.trunk
    }

    /// What is predicted.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Features of the class token and the visible patches at every tap:
    /// `[B, 3, H, W] -> [B, 1 + K, C]` each.
    pub fn encode(&self, images: &Tensor, masking: &Masking, train: bool) -> Vec<Tensor> {
        let visible = self.trunk.patch_tokens_at(images, &masking.visible());
        self.trunk.blocks(
            self.trunk.with_class_token(&visible),
            &self.config.taps,
            train,
        )
    }

    /// Every tap's prediction for the hidden patches: `[B, 3, H, W] -> [B, L - K, P]` each.
    pub fn predict_hidden(&self, images: &Tensor, masking: &Masking, train: bool) -> Vec<Tensor> {
        let positions = ordered_positions(&self.decoder_positions, masking);
        self.encode(images, masking, train)
            .iter()
            .zip(&self.decoders)
            .map(|(latent, decoder)| decoder.predict_hidden(latent, &positions, masking, train))
            .collect()
    }

    /// Every tap's prediction for all tokens, class token first, patches in picture order:
    /// `[B, 3, H, W] -> [B, 1 + L, P]` each. For pictures and tests.
    pub fn predict_all(&self, images: &Tensor, masking: &Masking) -> Vec<Tensor> {
        let positions = ordered_positions(&self.decoder_positions, masking);
        self.encode(images, masking, false)
            .iter()
            .zip(&self.decoders)
            .map(|(latent, decoder)| decoder.predict_all(latent, &positions, masking))
            .collect()
    }

    /// Every tap's loss, a scalar with its graph, in the order of the taps.
    pub fn losses(&self, images: &Tensor, masking: &Masking, train: bool) -> Vec<Tensor> {
        let target = self.target.hidden(images, masking);
        self.predict_hidden(images, masking, train)
            .iter()
            .map(|prediction| self.target.loss(prediction, &target))
            .collect()
    }

    /// Every tap's loss per patch, `[B, L - K]` each, in the order of [`Masking::hidden`].
    pub fn patch_losses(&self, images: &Tensor, masking: &Masking) -> Vec<Tensor> {
        let target = self.target.hidden(images, masking);
        self.predict_hidden(images, masking, false)
            .iter()
            .map(|prediction| self.target.patch_losses(prediction, &target))
            .collect()
    }
}
