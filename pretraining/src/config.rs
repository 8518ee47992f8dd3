//! A pre-training recipe: trunk, taps, masking, decoders, target.
//!
//! MAE is one tap at the last block with a decoder of 8 blocks; DeepMIM is several taps, each with a
//! decoder of its own of 4 blocks (arXiv 2303.08817; OliverRensu/DeepMIM `models_mae.py`). MAE-CLIP is
//! the former and DeepMIM-CLIP the latter with `target.kind = "clip"`.

use std::path::PathBuf;

use backbone::{Activation, Position, VitConfig, VitPreset};
use data::ColourStatistics;
use serde::{Deserialize, Serialize};

use crate::PretrainError;

/// Everything that decides the pre-training model and its losses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// The encoder. Its positions are normally the fixed sin-cos table.
    pub trunk: VitConfig,
    /// Blocks (1-based, ascending) whose output is decoded and supervised: `[12]` is MAE,
    /// `[6, 8, 10, 12]` DeepMIM.
    pub taps: Vec<i64>,
    /// Share of the patches that are hidden.
    #[serde(default = "default_mask_ratio")]
    pub mask_ratio: f64,
    /// Every tap's decoder.
    #[serde(default)]
    pub decoder: DecoderConfig,
    /// What the hidden patches are to be predicted as.
    pub target: TargetConfig,
    /// Mean and deviation that the data section normalises pictures with; a teacher is given pictures
    /// in its own, and reconstructions are drawn in true colours. Not written in a recipe's model
    /// section: whoever reads the recipe copies it from the data section, so that the two agree.
    #[serde(skip)]
    pub colours: ColourStatistics,
}

fn default_mask_ratio() -> f64 {
    0.75
}
/// A tap's decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecoderConfig {
    /// Channels of a decoder token.
    pub width: i64,
    /// Blocks: 8 in MAE, 4 in DeepMIM.
    pub depth: i64,
    /// Attention heads; divides `width`.
    pub heads: i64,
    /// Hidden channels of the MLP over `width`.
    pub mlp_ratio: f64,
}

impl Default for DecoderConfig {
    /// MAE's.
    fn default() -> Self {
        Self {
            width: 512,
            depth: 8,
            heads: 16,
            mlp_ratio: 4.0,
        }
    }
}

/// What hidden patches are predicted as, the same for every tap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum TargetConfig {
    /// The patch's own pixels (MAE); mean squared error.
    Pixels {
        /// Whether each patch is first brought to mean 0 and variance 1 (`norm_pix_loss`).
        #[serde(default = "default_normalize")]
        normalize: bool,
    },
    /// The features of a frozen CLIP visual tower; `2 - 2 cos`.
    Clip(ClipConfig),
}

fn default_normalize() -> bool {
    true
}

/// A frozen CLIP visual tower (arXiv 2103.00020); ViT-B/16 unless sizes are given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipConfig {
    /// The tower's weights: OpenAI's `.pt` or a state dict of the same names.
    pub weights: PathBuf,
    /// Side of the square picture it takes, in pixels.
    #[serde(default = "clip::image_size")]
    pub image_size: i64,
    /// Side of its patches, in pixels.
    #[serde(default = "clip::patch_size")]
    pub patch_size: i64,
    /// Channels of a token.
    #[serde(default = "clip::width")]
    pub width: i64,
    /// Number of blocks.
    #[serde(default = "clip::depth")]
    pub depth: i64,
    /// Attention heads.
    #[serde(default = "clip::heads")]
    pub heads: i64,
    /// Channels of the space shared with text, which is what is predicted.
    #[serde(default = "clip::output")]
    pub output: i64,
}

mod clip {
    pub fn image_size() -> i64 {
        224
    }
    pub fn patch_size() -> i64 {
        16
    }
    pub fn width() -> i64 {
        768
    }
    pub fn depth() -> i64 {
        12
    }
    pub fn heads() -> i64 {
        12
    }
    pub fn output() -> i64 {
        512
    }
}

impl ClipConfig {
    /// The tower as a trunk: QuickGELU, a norm before the blocks, no patch bias, epsilon 1e-5.
    pub fn trunk(&self) -> VitConfig {
        VitConfig {
            width: self.width,
            depth: self.depth,
            heads: self.heads,
            patch_bias: false,
            norm_eps: 1e-5,
            position: Position::Learnable,
            activation: Activation::QuickGelu,
            pre_norm: true,
            ..VitConfig::preset(VitPreset::Base, self.image_size, self.patch_size)
        }
    }
}

impl PretrainConfig {
    /// Patches that stay visible, of `trunk.tokens()`: truncated as the reference's
    /// `int(L * (1 - mask_ratio))`.
    pub fn visible(&self) -> i64 {
        crate::masking::visible(self.trunk.tokens(), self.mask_ratio)
    }

    /// Checks every rule that the types leave open.
    ///
    /// # Errors
    /// The first rule broken, as a sentence naming key, value and remedy.
    pub fn check(&self) -> Result<(), PretrainError> {
        let trunk_error = |place| move |source| PretrainError::Trunk { place, source };
        self.trunk.check().map_err(trunk_error("trunk"))?;
        let depth = self.trunk.depth;
        let ascending = self.taps.windows(2).all(|pair| pair[0] < pair[1]);
        let inside = self.taps.iter().all(|tap| (1..=depth).contains(tap));
        if self.taps.is_empty() || !ascending || !inside {
            let problem = format!(
                "must be ascending block numbers from 1 to trunk.depth = {depth}, such as [{depth}]"
            );
            return Err(PretrainError::config(
                "taps",
                format!("{:?}", self.taps),
                problem,
            ));
        }
        let tokens = self.trunk.tokens();
        if !(0.0..1.0).contains(&self.mask_ratio) || !(1..tokens).contains(&self.visible()) {
            let problem = format!(
                "must hide at least one and leave at least one of the {tokens} patches; usual is 0.75"
            );
            return Err(PretrainError::config(
                "mask_ratio",
                self.mask_ratio,
                problem,
            ));
        }
        self.check_decoder()?;
        if self.trunk.channels != 3 {
            let problem = "must be 3: pictures come as RGB";
            return Err(PretrainError::config(
                "trunk.channels",
                self.trunk.channels,
                problem,
            ));
        }
        self.colours.check("pre-training")?;
        match &self.target {
            TargetConfig::Pixels { .. } => Ok(()),
            TargetConfig::Clip(tower) => {
                let trunk = tower.trunk();
                trunk.check().map_err(trunk_error("target"))?;
                if tower.output < 1 {
                    return Err(PretrainError::config(
                        "target.output",
                        tower.output,
                        "must be at least 1",
                    ));
                }
                if trunk.grid() != self.trunk.grid() {
                    let problem = format!(
                        "gives the tower {} x {} patches where the trunk has {} x {}: each hidden patch \
                         needs one feature, so choose target.image_size = {}",
                        trunk.grid(),
                        trunk.grid(),
                        self.trunk.grid(),
                        self.trunk.grid(),
                        self.trunk.grid() * tower.patch_size
                    );
                    return Err(PretrainError::config(
                        "target.image_size",
                        tower.image_size,
                        problem,
                    ));
                }
                Ok(())
            }
        }
    }

    fn check_decoder(&self) -> Result<(), PretrainError> {
        let decoder = &self.decoder;
        for (field, value) in [
            ("decoder.width", decoder.width),
            ("decoder.depth", decoder.depth),
            ("decoder.heads", decoder.heads),
        ] {
            if value < 1 {
                return Err(PretrainError::config(field, value, "must be at least 1"));
            }
        }
        if decoder.width % decoder.heads != 0 {
            let problem = format!("must divide decoder.width = {}", decoder.width);
            return Err(PretrainError::config(
                "decoder.heads",
                decoder.heads,
                problem,
            ));
        }
        if decoder.width % 4 != 0 {
            let problem = "must be a multiple of 4, for the sin-cos positions";
            return Err(PretrainError::config(
                "decoder.width",
                decoder.width,
                problem,
            ));
        }
        if !(decoder.mlp_ratio.is_finite() && decoder.width as f64 * decoder.mlp_ratio >= 1.0) {
            let problem = "must leave the MLP at least one hidden channel; usual is 4.0";
            return Err(PretrainError::config(
                "decoder.mlp_ratio",
                decoder.mlp_ratio,
                problem,
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEEPMIM_CLIP: &str = r#"
        taps = [6, 8, 10, 12]
        trunk = { preset = "base" }
        decoder = { depth = 4 }
        target = { kind = "clip", weights = "ViT-B-16.pt" }
    "#;

    #[test]
    fn the_four_named_recipes_are_configurations() {
        let deep: PretrainConfig = toml::from_str(DEEPMIM_CLIP).unwrap();
        deep.check().unwrap();
        assert_eq!(deep.visible(), 49);
        assert_eq!(
            deep.decoder,
            DecoderConfig {
                depth: 4,
                ..DecoderConfig::default()
            }
        );
        let again: PretrainConfig = toml::from_str(&toml::to_string(&deep).unwrap()).unwrap();
        assert_eq!(again, deep);

        let single = PretrainConfig {
            taps: vec![12],
            ..deep.clone()
        };
        single.check().unwrap();
        for taps in [vec![12], vec![6, 8, 10, 12]] {
            let pixels = TargetConfig::Pixels { normalize: true };
            PretrainConfig {
                taps,
                target: pixels,
                ..deep.clone()
            }
            .check()
            .unwrap();
        }
    }

    #[test]
    fn a_misspelt_key_is_an_error_at_every_level() {
        for (from, to) in [
            ("taps", "tap"),
            ("depth = 4", "deep = 4"),
            ("preset", "presets"),
            ("weights = \"ViT-B-16.pt\"", "weights = \"a\", size = 3"),
            (
                "kind = \"clip\", weights = \"ViT-B-16.pt\"",
                "kind = \"pixels\", normalise = true",
            ),
            ("\"clip\"", "\"clips\""),
        ] {
            let text = DEEPMIM_CLIP.replace(from, to);
            assert!(toml::from_str::<PretrainConfig>(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn impossible_recipes_name_the_key() {
        let good: PretrainConfig = toml::from_str(DEEPMIM_CLIP).unwrap();
        let refuse = |key: &str, change: &dyn Fn(&mut PretrainConfig)| {
            let mut config = good.clone();
            change(&mut config);
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        };
        refuse("taps", &|c| c.taps = vec![6, 13]);
        refuse("taps", &|c| c.taps = vec![]);
        refuse("taps", &|c| c.taps = vec![8, 6]);
        refuse("mask_ratio", &|c| c.mask_ratio = 0.999);
        refuse("mask_ratio", &|c| c.mask_ratio = 0.0);
        refuse("decoder.heads", &|c| c.decoder.heads = 3);
        refuse("decoder.mlp_ratio", &|c| c.decoder.mlp_ratio = 0.0);
        refuse("trunk", &|c| c.trunk.patch_size = 15);
        refuse("colours.std", &|c| c.colours.std[1] = 0.0);
        refuse("image_size = 112", &|c| {
            c.trunk.image_size = 112;
        });
    }
}
