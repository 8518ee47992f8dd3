//! What a ViT trunk is made of, and the five named sizes.
//!
//! Sizes: Dosovitskiy et al. (arXiv 2010.11929) table 1 for base, large and huge; Touvron et al.
//! (arXiv 2012.12877) for tiny and small. Defaults (norm epsilon 1e-6, erf GELU, fixed sin-cos
//! positions) are those of facebookresearch/mae `models_mae.py`.

use serde::{Deserialize, Serialize};

use crate::BackboneError;

/// Positions added to the patch tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// Fixed two-dimensional sines and cosines; no gradient (pre-training).
    SinCos,
    /// A table that is trained along (fine-tuning).
    Learnable,
}

/// Non-linearity between the two layers of a block's MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x * Phi(x)` with the error function, not its tanh approximation.
    Gelu,
    /// `x * sigmoid(1.702 x)`, as CLIP's towers use.
    QuickGelu,
}

/// The named sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VitPreset {
    /// Width 192, depth 12, 3 heads.
    Tiny,
    /// Width 384, depth 12, 6 heads.
    Small,
    /// Width 768, depth 12, 12 heads.
    Base,
    /// Width 1024, depth 24, 16 heads.
    Large,
    /// Width 1280, depth 32, 16 heads.
    Huge,
}

impl VitPreset {
    /// `(width, depth, heads)`.
    pub fn dimensions(self) -> (i64, i64, i64) {
        match self {
            Self::Tiny => (192, 12, 3),
            Self::Small => (384, 12, 6),
            Self::Base => (768, 12, 12),
            Self::Large => (1024, 24, 16),
            Self::Huge => (1280, 32, 16),
        }
    }
}

/// Attention within windows of the feature map, for pictures larger than those of pre-training
/// (ViTDet, arXiv 2203.16527, section 3; detectron2 `modeling/backbone/vit.py`). Such a trunk has no
/// class token, decomposed relative positions in every block, and learnable absolute positions of the
/// pre-training grid that are resampled to each picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowConfig {
    /// Side of a window, in patches.
    pub size: i64,
    /// Blocks, counted from 0, that attend to the whole map instead.
    pub global_blocks: Vec<i64>,
    /// Side of the pictures of pre-training, in pixels: the grid of the table of positions.
    #[serde(default = "defaults::image_size")]
    pub pretrain_image_size: i64,
}

/// Learnt biases on the scores of attention, one for each distance of two places and head, for
/// segmentation (BEiT, arXiv 2106.08254; DeepMIM `Segmentation/backbone/mae.py`). They start at zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelativeBias {
    /// Each block has a table of its own.
    PerBlock,
    /// One table for all blocks.
    Shared,
}

/// A ViT trunk. In a configuration file `preset` may stand for `width`, `depth` and `heads`; written
/// out, the three numbers are always there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "VitFields")]
pub struct VitConfig {
    /// Side of the square picture, in pixels.
    pub image_size: i64,
    /// Side of a square patch, in pixels.
    pub patch_size: i64,
    /// Colour channels of the picture.
    pub channels: i64,
    /// Channels of a token.
    pub width: i64,
    /// Number of blocks.
    pub depth: i64,
    /// Attention heads; divides `width`.
    pub heads: i64,
    /// Hidden channels of the MLP over `width`.
    pub mlp_ratio: f64,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// Whether the patch projection has a bias (CLIP's has none).
    pub patch_bias: bool,
    /// Epsilon of every LayerNorm.
    pub norm_eps: f64,
    /// Kind of position table.
    pub position: Position,
    /// Non-linearity of the MLP.
    pub activation: Activation,
    /// A norm before the first block (CLIP's `ln_pre`, here `norm_pre`).
    pub pre_norm: bool,
    /// A norm after the last block (`norm`).
    pub final_norm: bool,
    /// Chance of dropping a residual branch in the last block; rises linearly from 0 in the first.
    pub drop_path: f64,
    /// Start value of the per-channel scale on each residual branch; none where absent.
    pub layer_scale: Option<f64>,
    /// Keep only each block's input in training and recompute the rest in the backward pass.
    pub activation_checkpointing: bool,
    /// Relative position biases; none where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative_bias: Option<RelativeBias>,
    /// Windows of attention, for detection; none where every block attends to all tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<WindowConfig>,
}

/// `VitConfig` as a user may write it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VitFields {
    preset: Option<VitPreset>,
    #[serde(default = "defaults::image_size")]
    image_size: i64,
    #[serde(default = "defaults::patch_size")]
    patch_size: i64,
    #[serde(default = "defaults::channels")]
    channels: i64,
    width: Option<i64>,
    depth: Option<i64>,
    heads: Option<i64>,
    #[serde(default = "defaults::mlp_ratio")]
    mlp_ratio: f64,
    #[serde(default = "defaults::yes")]
    qkv_bias: bool,
    #[serde(default = "defaults::yes")]
    patch_bias: bool,
    #[serde(default = "defaults::norm_eps")]
    norm_eps: f64,
    #[serde(default = "defaults::position")]
    position: Position,
    #[serde(default = "defaults::activation")]
    activation: Activation,
    #[serde(default)]
    pre_norm: bool,
    #[serde(default = "defaults::yes")]
    final_norm: bool,
    #[serde(default)]
    drop_path: f64,
    layer_scale: Option<f64>,
    #[serde(default)]
    activation_checkpointing: bool,
    windows: Option<WindowConfig>,
    relative_bias: Option<RelativeBias>,
}

mod defaults {
    use super::{Activation, Position};

    pub fn image_size() -> i64 {
        224
    }
    pub fn patch_size() -> i64 {
        16
    }
    pub fn channels() -> i64 {
        3
    }
    pub fn mlp_ratio() -> f64 {
        4.0
    }
    pub fn norm_eps() -> f64 {
        1e-6
    }
    pub fn position() -> Position {
        Position::SinCos
    }
    pub fn activation() -> Activation {
        Activation::Gelu
    }
    pub fn yes() -> bool {
        true
    }
}

impl TryFrom<VitFields> for VitConfig {
    type Error = BackboneError;

    fn try_from(fields: VitFields) -> Result<Self, BackboneError> {
        let preset = fields.preset.map(VitPreset::dimensions);
        let size = |name, own: Option<i64>, preset: Option<i64>| {
            own.or(preset).ok_or_else(|| {
                BackboneError::config(
                    name,
                    "(absent)",
                    "must be given, or preset = \"tiny\" | \"small\" | \"base\" | \"large\" | \"huge\"",
                )
            })
        };
        let config = Self {
            image_size: fields.image_size,
            patch_size: fields.patch_size,
            channels: fields.channels,
            width: size("width", fields.width, preset.map(|p| p.0))?,
            depth: size("depth", fields.depth, preset.map(|p| p.1))?,
            heads: size("heads", fields.heads, preset.map(|p| p.2))?,
            mlp_ratio: fields.mlp_ratio,
            qkv_bias: fields.qkv_bias,
            patch_bias: fields.patch_bias,
            norm_eps: fields.norm_eps,
            position: fields.position,
            activation: fields.activation,
            pre_norm: fields.pre_norm,
            final_norm: fields.final_norm,
            drop_path: fields.drop_path,
            layer_scale: fields.layer_scale,
            activation_checkpointing: fields.activation_checkpointing,
            windows: fields.windows,
            relative_bias: fields.relative_bias,
        };
        config.check()?;
        Ok(config)
    }
}

impl VitConfig {
    /// A named size for pictures of `image_size` pixels cut into patches of `patch_size`; everything
    /// else as MAE pre-trains it.
    pub fn preset(preset: VitPreset, image_size: i64, patch_size: i64) -> Self {
        let (width, depth, heads) = preset.dimensions();
        Self {
            image_size,
            patch_size,
            channels: defaults::channels(),
            width,
            depth,
            heads,
            mlp_ratio: defaults::mlp_ratio(),
            qkv_bias: true,
            patch_bias: true,
            norm_eps: defaults::norm_eps(),
            position: defaults::position(),
            activation: defaults::activation(),
            pre_norm: false,
            final_norm: true,
            drop_path: 0.0,
            layer_scale: None,
            activation_checkpointing: false,
            windows: None,
            relative_bias: None,
        }
    }

    /// Patches along one side.
    pub fn grid(&self) -> i64 {
        self.image_size / self.patch_size
    }

    /// Patch tokens of one picture, without the class token.
    pub fn tokens(&self) -> i64 {
        self.grid() * self.grid()
    }

    /// Rows of the table of absolute positions, that of the class token included.
    pub fn position_rows(&self) -> i64 {
        let grid = match &self.windows {
            Some(windows) => windows.pretrain_image_size / self.patch_size,
            None => self.grid(),
        };
        1 + grid * grid
    }

    /// Hidden channels of a block's MLP.
    pub fn mlp_width(&self) -> i64 {
        mlp_width(self.width, self.mlp_ratio)
    }

    /// Drop-path rate of the block with this 0-based index: linear from 0 to `drop_path`.
    pub fn drop_path_at(&self, block: i64) -> f64 {
        if self.depth > 1 {
            self.drop_path * block as f64 / (self.depth - 1) as f64
        } else {
            0.0
        }
    }

    /// Checks every rule that the types leave open.
    ///
    /// # Errors
    /// The first rule broken, as a sentence naming key, value and remedy.
    pub fn check(&self) -> Result<(), BackboneError> {
        for (field, value) in [
            ("image_size", self.image_size),
            ("patch_size", self.patch_size),
            ("channels", self.channels),
            ("width", self.width),
            ("depth", self.depth),
            ("heads", self.heads),
        ] {
            if value < 1 {
                return Err(BackboneError::config(field, value, "must be at least 1"));
            }
        }
        if self.image_size % self.patch_size != 0 {
            let problem = format!("must be a multiple of patch_size = {}", self.patch_size);
            return Err(BackboneError::config(
                "image_size",
                self.image_size,
                problem,
            ));
        }
        if self.width % self.heads != 0 {
            let problem = format!("must divide width = {}", self.width);
            return Err(BackboneError::config("heads", self.heads, problem));
        }
        if self.position == Position::SinCos && self.width % 4 != 0 {
            let problem =
                "must be a multiple of 4 for sin-cos positions (or position = \"learnable\")";
            return Err(BackboneError::config("width", self.width, problem));
        }
        if !(self.mlp_ratio.is_finite() && self.mlp_width() >= 1) {
            let problem = "must leave the MLP at least one hidden channel; usual is 4.0";
            return Err(BackboneError::config("mlp_ratio", self.mlp_ratio, problem));
        }
        if !(self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            let problem = "must lie between 0 and 1; usual is 1e-6";
            return Err(BackboneError::config("norm_eps", self.norm_eps, problem));
        }
        if !(0.0..1.0).contains(&self.drop_path) {
            let problem = "is a probability: it must be at least 0 and below 1";
            return Err(BackboneError::config("drop_path", self.drop_path, problem));
        }
        if let Some(scale) = self.layer_scale.filter(|scale| !scale.is_finite()) {
            return Err(BackboneError::config(
                "layer_scale",
                scale,
                "must be a finite number",
            ));
        }
        self.windows
            .as_ref()
            .map_or(Ok(()), |windows| self.check_windows(windows))
    }

    fn check_windows(&self, windows: &WindowConfig) -> Result<(), BackboneError> {
        let refuse = |field, value: &dyn std::fmt::Display, problem: &str| {
            Err(BackboneError::config(field, value, problem))
        };
        if windows.size < 1 {
            return refuse(
                "windows.size",
                &windows.size,
                "must be at least 1; usual is 14",
            );
        }
        let pretrain = windows.pretrain_image_size;
        if pretrain < self.patch_size || pretrain % self.patch_size != 0 {
            let problem = format!("must be a multiple of patch_size = {}", self.patch_size);
            return refuse("windows.pretrain_image_size", &pretrain, &problem);
        }
        if let Some(block) = windows
            .global_blocks
            .iter()
            .find(|block| !(0..self.depth).contains(*block))
        {
            let problem = format!("blocks are counted from 0 to {}", self.depth - 1);
            return refuse("windows.global_blocks", block, &problem);
        }
        if self.position != Position::Learnable {
            let problem = "must be \"learnable\" in a trunk with windows";
            return refuse("position", &"sin_cos", problem);
        }
        if self.final_norm || self.pre_norm {
            let field = if self.final_norm {
                "final_norm"
            } else {
                "pre_norm"
            };
            return refuse(field, &true, "must be false in a trunk with windows");
        }
        if self.relative_bias.is_some() {
            let problem =
                "a trunk with windows has relative positions of its own; leave the key out";
            return refuse("relative_bias", &"(given)", problem);
        }
        Ok(())
    }
}

/// Hidden channels of an MLP; truncated as the reference's `int(dim * ratio)`.
pub(crate) fn mlp_width(width: i64, ratio: f64) -> i64 {
    (width as f64 * ratio) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_stands_for_three_numbers_and_any_of_them_may_be_overridden() {
        let config: VitConfig = toml::from_str("preset = \"large\"\ndepth = 2").unwrap();
        assert_eq!((config.width, config.depth, config.heads), (1024, 2, 16));
        let written = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<VitConfig>(&written).unwrap(), config);
    }

    #[test]
    fn a_misspelt_key_and_an_absent_size_are_errors() {
        assert!(toml::from_str::<VitConfig>("preset = \"base\"\npatchsize = 8").is_err());
        let error = toml::from_str::<VitConfig>("width = 64\nheads = 2")
            .unwrap_err()
            .to_string();
        assert!(error.contains("depth"), "{error}");
    }

    #[test]
    fn impossible_sizes_name_the_key() {
        for (text, key) in [
            ("preset = \"base\"\nimage_size = 225", "image_size"),
            ("preset = \"base\"\nheads = 5", "heads"),
            ("width = 6\ndepth = 1\nheads = 1", "width"),
            ("preset = \"base\"\ndrop_path = 1.0", "drop_path"),
            ("preset = \"base\"\nmlp_ratio = 0.0", "mlp_ratio"),
            ("preset = \"base\"\npatch_size = 0", "patch_size"),
        ] {
            let error = toml::from_str::<VitConfig>(text).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn windows_need_a_trunk_that_fits_them() {
        let text = "preset = \"base\"\nimage_size = 1024\nposition = \"learnable\"\nfinal_norm = false\n[windows]\nsize = 14\nglobal_blocks = [2, 5, 8, 11]";
        let config: VitConfig = toml::from_str(text).unwrap();
        assert_eq!(config.position_rows(), 1 + 14 * 14);
        let written = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<VitConfig>(&written).unwrap(), config);
        for (from, to, key) in [
            ("11]", "12]", "global_blocks"),
            ("= 14", "= 0", "windows.size"),
            ("final_norm = false", "", "final_norm"),
            ("position = \"learnable\"", "", "position"),
        ] {
            let error = toml::from_str::<VitConfig>(&text.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }

    #[test]
    fn drop_path_rises_linearly_from_zero() {
        let mut config = VitConfig::preset(VitPreset::Base, 224, 16);
        config.drop_path = 0.11;
        assert_eq!(config.drop_path_at(0), 0.0);
        assert!((config.drop_path_at(4) - 0.04).abs() < 1e-12);
        assert!((config.drop_path_at(11) - 0.11).abs() < 1e-12);
    }
}
