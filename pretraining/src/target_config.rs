//! What hidden patches are predicted as, in a recipe.

use std::path::PathBuf;

use backbone::weights::{Dialect, LoadOptions};
use backbone::{Activation, Position, VitConfig, VitPreset};
use data::ColourStatistics;
use serde::{Deserialize, Serialize};

use crate::PretrainError;
use crate::target::Distance;

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
    /// Histograms of oriented gradients (MaskFeat).
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
    /// How far a prediction is from them. Histograms are compared as they are, each channel's at length 1.
    // Not written where it is the default, so that runs begun before there was a choice can go on.
    #[serde(skip_serializing_if = "is_l2")]
    pub distance: Distance,
}

fn is_l2(distance: &Distance) -> bool {
    *distance == Distance::L2
}

impl Default for HogConfig {
    /// MaskFeat's.
    fn default() -> Self {
        Self {
            orientations: 9,
            cell: 8,
            distance: Distance::L2,
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

impl TargetConfig {
    /// Checks every rule that the types leave open; `trunk` is what will predict it.
    ///
    /// # Errors
    /// The first rule broken, as a sentence naming key, value and remedy.
    pub(crate) fn check(&self, trunk: &VitConfig) -> Result<(), PretrainError> {
        let trunk_error = |place| move |source| PretrainError::Trunk { place, source };
        let at_least_one = |field, value: i64| match value {
            1.. => Ok(()),
            _ => Err(PretrainError::config(field, value, "must be at least 1")),
        };
        match self {
            TargetConfig::Pixels { .. } => Ok(()),
            TargetConfig::Clip(tower) => {
                let teacher = tower.trunk();
                teacher.check().map_err(trunk_error("target"))?;
                at_least_one("target.output", tower.output)?;
                same_grid(trunk, "target.image_size", &teacher)
            }
            TargetConfig::Hog(hog) => {
                at_least_one("target.orientations", hog.orientations)?;
                at_least_one("target.cell", hog.cell)?;
                let patch = trunk.patch_size;
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
                same_grid(trunk, "target.trunk.image_size", &of.trunk)
            }
            TargetConfig::Tokens(tokens) => at_least_one("target.vocabulary", tokens.vocabulary),
            TargetConfig::Ema(ema) => {
                let depth = trunk.depth;
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

    /// It and, of a hybrid, its parts.
    pub(crate) fn with_parts(&self) -> Vec<&Self> {
        let mut all = vec![self];
        if let Self::Hybrid { parts } = self {
            all.extend(parts.iter().flat_map(|part| part.target.with_parts()));
        }
        all
    }
}

/// A teacher must have a feature for each patch of the trunk.
fn same_grid(
    trunk: &VitConfig,
    field: &'static str,
    teacher: &VitConfig,
) -> Result<(), PretrainError> {
    let (own, theirs) = (trunk.grid(), teacher.grid());
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
