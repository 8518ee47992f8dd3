//! A pre-training recipe: trunk, taps, masking, decoders, target.
//!
//! MAE is one tap at the last block with a decoder of 8 blocks; DeepMIM is several taps, each with a
//! decoder of its own of 4 blocks (arXiv 2303.08817; OliverRensu/DeepMIM `models_mae.py`). MAE-CLIP is
//! the former and DeepMIM-CLIP the latter with `target.kind = "clip"`. Every target goes with any taps.

use std::path::PathBuf;

use backbone::weights::{Dialect, LoadOptions};
use backbone::{Activation, Position, VitConfig, VitPreset};
use data::ColourStatistics;
use serde::{Deserialize, Serialize};

use crate::PretrainError;
use crate::target::Distance;

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
    /// Targets of single taps, in place of `target`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tap_targets: Vec<TapTarget>,
    /// Weight of each tap's loss in the objective, in the order of `taps`; empty: all 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tap_weights: Vec<f64>,
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

/// The target of one tap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TapTarget {
    /// The tap's block.
    pub tap: i64,
    /// What is predicted there.
    pub target: TargetConfig,
}

/// What hidden patches are predicted as.
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
    /// Histograms of oriented gradients (MaskFeat); mean squared error.
    Hog(HogConfig),
    /// Features of a frozen vision transformer.
    Features(FeaturesConfig),
    /// Numbers of discrete tokens, read from disk (BEiT); cross-entropy.
    Tokens(TokensConfig),
    /// Features of a moving average of the trunk (data2vec).
    Ema(EmaConfig),
    /// Several at once.
    Hybrid {
        /// They and their weights.
        parts: Vec<HybridPart>,
    },
}

/// One of several targets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HybridPart {
    /// Factor of its loss.
    #[serde(default = "one")]
    pub weight: f64,
    /// The target.
    pub target: TargetConfig,
}

/// Histograms of oriented gradients, for each colour channel and cell of a patch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HogConfig {
    /// Bins over half a circle.
    pub orientations: i64,
    /// Side of a cell in pixels; divides the patch.
    pub cell: i64,
}

impl Default for HogConfig {
    /// MaskFeat's.
    fn default() -> Self {
        Self {
            orientations: 9,
            cell: 8,
        }
    }
}

/// A frozen vision transformer and where its features are taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeaturesConfig {
    /// Its weights.
    pub weights: PathBuf,
    /// Naming scheme of the file.
    #[serde(default = "native_names")]
    pub dialect: Dialect,
    /// Which dictionary of the file to take instead of the dialect's usual one: `student`, `model_ema`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// What it is built like.
    pub trunk: VitConfig,
    /// Its block whose output is predicted, from 1; the last one's is taken after the final norm, where there
    /// is one. None: the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<i64>,
    /// How far a prediction is from it.
    #[serde(default)]
    pub distance: Distance,
    /// Colours that it was trained with.
    #[serde(default)]
    pub colours: ColourStatistics,
}

/// Tokens of every training picture: see [`crate::TokenFile`] for the folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokensConfig {
    /// The folder.
    pub folder: PathBuf,
    /// Numbers that there are: they go from 0 to one less.
    pub vocabulary: i64,
}

/// A moving average of the trunk's weights as teacher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmaConfig {
    /// `teacher = decay * teacher + (1 - decay) * trunk` after each step.
    #[serde(default = "ema::decay")]
    pub decay: f64,
    /// What the decay becomes over the first `decay_steps` steps, linearly. None: it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay_end: Option<f64>,
    /// Steps over which it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay_steps: Option<u64>,
    /// Last blocks whose features are averaged.
    #[serde(default = "ema::blocks")]
    pub blocks: i64,
    /// How far a prediction is from them.
    #[serde(default = "ema::distance")]
    pub distance: Distance,
}

mod ema {
    pub fn decay() -> f64 {
        0.9998
    }
    pub fn blocks() -> i64 {
        6
    }
    pub fn distance() -> super::Distance {
        super::Distance::SmoothL1
    }
}

fn one() -> f64 {
    1.0
}

fn native_names() -> Dialect {
    Dialect::Native
}

impl FeaturesConfig {
    /// The block whose output is predicted.
    pub fn block(&self) -> i64 {
        self.block.unwrap_or(self.trunk.depth)
    }

    /// Heads and decoders of the file have no place in a teacher.
    pub(crate) fn load_options(&self) -> LoadOptions {
        LoadOptions {
            may_ignore: [
                "head.*",
                "fc_norm.*",
                "decoder*",
                "mask_token*",
                "teacher.*",
            ]
            .map(str::to_owned)
            .to_vec(),
            resample_positions: true,
            ..LoadOptions::default()
        }
    }
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
        self.check_taps()?;
        for target in self.targets() {
            self.check_target(target)?;
        }
        Ok(())
    }

    /// The target of the tap at `block`.
    pub fn target_of(&self, block: i64) -> &TargetConfig {
        self.tap_targets
            .iter()
            .find(|of_tap| of_tap.tap == block)
            .map_or(&self.target, |of_tap| &of_tap.target)
    }

    /// All targets that a tap has, parts of hybrids beside them.
    pub fn targets(&self) -> Vec<&TargetConfig> {
        fn with_parts<'a>(target: &'a TargetConfig, all: &mut Vec<&'a TargetConfig>) {
            all.push(target);
            if let TargetConfig::Hybrid { parts } = target {
                for part in parts {
                    with_parts(&part.target, all);
                }
            }
        }
        let mut all = Vec::new();
        for tap in &self.taps {
            with_parts(self.target_of(*tap), &mut all);
        }
        all
    }

    /// The folder and vocabulary of discrete tokens, where a target has them.
    pub fn tokens(&self) -> Option<&TokensConfig> {
        self.targets().into_iter().find_map(|target| match target {
            TargetConfig::Tokens(tokens) => Some(tokens),
            _ => None,
        })
    }

    fn check_taps(&self) -> Result<(), PretrainError> {
        let weights = &self.tap_weights;
        let sound = weights.iter().all(|w| w.is_finite() && *w > 0.0);
        if !sound || ![0, self.taps.len()].contains(&weights.len()) {
            let problem = format!(
                "must be {} numbers above 0, one for each of taps, or left out",
                self.taps.len()
            );
            let value = format!("{weights:?}");
            return Err(PretrainError::config("tap_weights", value, problem));
        }
        for (at, of_tap) in self.tap_targets.iter().enumerate() {
            let again = self.tap_targets[..at].iter().any(|o| o.tap == of_tap.tap);
            if again || !self.taps.contains(&of_tap.tap) {
                let problem = format!("must be one of taps = {:?}, each once", self.taps);
                return Err(PretrainError::config(
                    "tap_targets.tap",
                    of_tap.tap,
                    problem,
                ));
            }
        }
        let mut tokens = self
            .targets()
            .into_iter()
            .filter_map(|target| match target {
                TargetConfig::Tokens(tokens) => Some(tokens),
                _ => None,
            });
        let first = tokens.next();
        if tokens.any(|other| Some(other) != first) {
            return Err(PretrainError::config(
                "target.folder",
                "several",
                "must be the same wherever tokens are predicted",
            ));
        }
        let followers = self
            .targets()
            .into_iter()
            .filter(|target| matches!(target, TargetConfig::Ema(_)));
        let mut followers = followers.map(|of| format!("{of:?}")).collect::<Vec<_>>();
        followers.dedup();
        if followers.len() > 1 {
            return Err(PretrainError::config(
                "target.kind",
                "\"ema\"",
                "must have the same values wherever it is used: there is one teacher",
            ));
        }
        Ok(())
    }

    fn check_target(&self, target: &TargetConfig) -> Result<(), PretrainError> {
        let trunk_error = |place| move |source| PretrainError::Trunk { place, source };
        let at_least_one = |field, value: i64| match value {
            1.. => Ok(()),
            _ => Err(PretrainError::config(field, value, "must be at least 1")),
        };
        match target {
            TargetConfig::Pixels { .. } => Ok(()),
            TargetConfig::Clip(tower) => {
                let trunk = tower.trunk();
                trunk.check().map_err(trunk_error("target"))?;
                at_least_one("target.output", tower.output)?;
                self.same_grid("target.image_size", &trunk)
            }
            TargetConfig::Hog(hog) => {
                at_least_one("target.orientations", hog.orientations)?;
                at_least_one("target.cell", hog.cell)?;
                let patch = self.trunk.patch_size;
                if patch % hog.cell != 0 {
                    let problem = format!("must divide trunk.patch_size = {patch}");
                    return Err(PretrainError::config("target.cell", hog.cell, problem));
                }
                Ok(())
            }
            TargetConfig::Features(of) => {
                of.trunk.check().map_err(trunk_error("target.trunk"))?;
                of.colours.check("target.colours")?;
                let depth = of.trunk.depth;
                if !(1..=depth).contains(&of.block()) {
                    let problem = format!("must be from 1 to target.trunk.depth = {depth}");
                    return Err(PretrainError::config("target.block", of.block(), problem));
                }
                self.same_grid("target.trunk.image_size", &of.trunk)
            }
            TargetConfig::Tokens(tokens) => at_least_one("target.vocabulary", tokens.vocabulary),
            TargetConfig::Ema(ema) => {
                let depth = self.trunk.depth;
                if !(1..=depth).contains(&ema.blocks) {
                    let problem = format!("must be from 1 to trunk.depth = {depth}");
                    return Err(PretrainError::config("target.blocks", ema.blocks, problem));
                }
                for (field, decay) in [
                    ("target.decay", Some(ema.decay)),
                    ("target.decay_end", ema.decay_end),
                ] {
                    if let Some(decay) = decay
                        && !(0.0..=1.0).contains(&decay)
                    {
                        let problem = "must lie in 0 to 1; usual is 0.9998";
                        return Err(PretrainError::config(field, decay, problem));
                    }
                }
                if ema.decay_end.is_some() != ema.decay_steps.is_some() {
                    return Err(PretrainError::config(
                        "target.decay_end",
                        format!("{:?}", ema.decay_end),
                        "and target.decay_steps go together: give both or neither",
                    ));
                }
                Ok(())
            }
            TargetConfig::Hybrid { parts } => {
                let sound = parts.iter().all(|p| p.weight.is_finite() && p.weight > 0.0);
                if parts.is_empty() || !sound {
                    let weights: Vec<f64> = parts.iter().map(|part| part.weight).collect();
                    return Err(PretrainError::config(
                        "target.parts",
                        format!("{weights:?}"),
                        "must be at least one part, with weights above 0",
                    ));
                }
                Ok(())
            }
        }
    }

    /// A teacher must have a feature for each patch of the trunk.
    fn same_grid(&self, field: &'static str, teacher: &VitConfig) -> Result<(), PretrainError> {
        let (own, theirs) = (self.trunk.grid(), teacher.grid());
        if own == theirs {
            return Ok(());
        }
        let problem = format!(
            "gives the teacher {theirs} x {theirs} patches where the trunk has {own} x {own}: each hidden patch \
             needs one feature, so choose {field} = {}",
            own * teacher.patch_size
        );
        Err(PretrainError::config(field, teacher.image_size, problem))
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
