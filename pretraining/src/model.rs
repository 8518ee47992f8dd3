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
use crate::target::{Seen, Target, build};

/// Trunk, decoders and target of one recipe.
#[derive(Debug)]
pub struct MaskedAutoencoder {
    config: PretrainConfig,
    trunk: Vit,
    decoder_positions: Tensor,
    decoders: Vec<Decoder>,
    /// Different ones only; taps share them.
    targets: Vec<Box<dyn Target>>,
    /// Number of each tap's target.
    target_of: Vec<usize>,
}

impl MaskedAutoencoder {
    /// Adds trunk and decoders at the root of `store` and loads teachers, which are no part of it unless they
    /// follow the trunk.
    ///
    /// # Errors
    /// Where the configuration is inconsistent, or the teacher's file cannot be read or does not fit.
    pub fn new(store: &nn::VarStore, config: &PretrainConfig) -> Result<Self, PretrainError> {
        config.check()?;
        let path = &store.root();
        let trunk = Vit::new(path, &config.trunk).map_err(|source| PretrainError::Trunk {
            place: "trunk",
            source,
        })?;
        let grid = config.trunk.grid();
        let table = sincos_2d(config.decoder.width, grid, grid, true).to_device(path.device());
        let (distinct, target_of) = config.distinct_targets();
        let targets = distinct
            .into_iter()
            .map(|target| build(target, config, store))
            .collect::<Result<Vec<_>, _>>()?;
        let decoders = (1..=config.taps.len())
            .map(|place| {
                let around = Surroundings {
                    trunk_width: config.trunk.width,
                    norm_eps: config.trunk.norm_eps,
                    target_width: targets[target_of[place - 1]].width(),
                    checkpointing: config.trunk.activation_checkpointing,
                };
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
            targets,
            target_of,
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

    /// What is predicted at the tap that comes `place`-th in the recipe, from 0.
    pub fn target(&self, place: usize) -> &dyn Target {
        self.targets[self.target_of[place]].as_ref()
    }

    /// Called after every optimiser step, `step` being done: teachers that follow the trunk move.
    pub fn after_step(&self, step: u64) {
        for target in &self.targets {
            target.after_step(step);
        }
    }

    /// The hidden patches' targets of every tap.
    fn hidden_targets(&self, seen: Seen, masking: &Masking) -> Vec<Tensor> {
        tch::no_grad(|| {
            let targets: Vec<Tensor> = self
                .targets
                .iter()
                .map(|target| target.hidden(seen, masking))
                .collect();
            self.target_of
                .iter()
                .map(|number| targets[*number].shallow_clone())
                .collect()
        })
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
    pub fn losses(&self, seen: Seen, masking: &Masking, train: bool) -> Vec<Tensor> {
        let targets = self.hidden_targets(seen, masking);
        self.predict_hidden(seen.images, masking, train)
            .iter()
            .zip(&targets)
            .enumerate()
            .map(|(place, (prediction, target))| self.target(place).loss(prediction, target))
            .collect()
    }

    /// Every tap's loss per patch, `[B, L - K]` each, in the order of [`Masking::hidden`].
    pub fn patch_losses(&self, seen: Seen, masking: &Masking) -> Vec<Tensor> {
        let targets = self.hidden_targets(seen, masking);
        self.predict_hidden(seen.images, masking, false)
            .iter()
            .zip(&targets)
            .enumerate()
            .map(|(place, (prediction, target))| {
                self.target(place).patch_losses(prediction, target)
            })
            .collect()
    }
}
