//! The configuration of the trunk in a file that no recipe describes: a supervised, DINO or CLIP trunk to look into.

use tch::Tensor;

use super::dialect::Dialect;
use super::error::WeightsError;
use super::state::StateDict;
use crate::config::{Activation, Position, RelativeBias, VitConfig, VitPreset};

/// Epsilon of CLIP's norms, PyTorch's default.
const CLIP_EPSILON: f64 = 1e-5;

impl VitConfig {
    /// The trunk under native names in `state`, for pictures of `image_size` pixels. Shapes and names tell all of
    /// it but three things: `dialect` tells the non-linearity and the norms' epsilon (CLIP's own, else timm's), and
    /// heads are `heads`, else as in the published size of this width.
    ///
    /// # Errors
    /// [`WeightsError::NoTrunk`] where there is no trunk, one with windows, or one of an unknown width without `heads`.
    pub fn of_state(
        state: &StateDict,
        dialect: Dialect,
        image_size: i64,
        heads: Option<i64>,
    ) -> Result<Self, WeightsError> {
        let none = |problem: String| WeightsError::NoTrunk {
            origin: state.origin().to_owned(),
            problem,
        };
        let shape = |name: &str| state.get(name).map(Tensor::size);
        let has = |name: &str| state.get(name).is_some();
        let (width, channels, patch_size) = match shape("patch_embed.proj.weight").as_deref() {
            Some([width, channels, side, other]) if side == other && *side > 0 => {
                (*width, *channels, *side)
            }
            _ => return Err(none("it has no patch projection of square patches".into())),
        };
        let depth = (0..)
            .take_while(|block| has(&format!("blocks.{block}.attn.qkv.weight")))
            .count() as i64;
        let hidden = match shape("blocks.0.mlp.fc1.weight").as_deref() {
            Some([hidden, _]) if depth > 0 => *hidden,
            _ => return Err(none("it has no transformer blocks of timm's names".into())),
        };
        if has("blocks.0.attn.rel_pos_h") {
            return Err(none(
                "its trunk attends within windows of a feature map, as a detector's does".into(),
            ));
        }
        if !has("cls_token") {
            return Err(none("its trunk has no class token".into()));
        }
        let clip = dialect == Dialect::Clip;
        let config = Self {
            image_size,
            patch_size,
            channels,
            width,
            depth,
            heads: match heads.or_else(|| published_heads(width)) {
                Some(heads) => heads,
                None => {
                    return Err(none(format!(
                        "a trunk of width {width} is none of the published ones, so its number of attention heads must be told"
                    )));
                }
            },
            mlp_ratio: hidden as f64 / width as f64,
            qkv_bias: has("blocks.0.attn.qkv.bias"),
            patch_bias: has("patch_embed.proj.bias"),
            norm_eps: match clip {
                true => CLIP_EPSILON,
                false => Self::preset(VitPreset::Base, image_size, patch_size).norm_eps,
            },
            position: Position::Learnable,
            activation: match clip {
                true => Activation::QuickGelu,
                false => Activation::Gelu,
            },
            pre_norm: has("norm_pre.weight"),
            final_norm: has("norm.weight"),
            drop_path: 0.0,
            layer_scale: has("blocks.0.ls1.gamma").then_some(1.0),
            activation_checkpointing: false,
            relative_bias: match (
                has("blocks.0.attn.relative_position_bias_table"),
                has("rel_pos_bias.relative_position_bias_table"),
            ) {
                (true, _) => Some(RelativeBias::PerBlock),
                (_, true) => Some(RelativeBias::Shared),
                _ => None,
            },
            windows: None,
        };
        config.check().map_err(|error| none(error.to_string()))?;
        Ok(config)
    }
}

fn published_heads(width: i64) -> Option<i64> {
    [
        VitPreset::Tiny,
        VitPreset::Small,
        VitPreset::Base,
        VitPreset::Large,
        VitPreset::Huge,
    ]
    .into_iter()
    .map(VitPreset::dimensions)
    .find(|(known, _, _)| *known == width)
    .map(|(_, _, heads)| heads)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Vit, WindowConfig};
    use tch::{Device, nn};

    fn found(config: &VitConfig, dialect: Dialect) -> Result<VitConfig, WeightsError> {
        let vs = nn::VarStore::new(Device::Cpu);
        let _trunk = Vit::new(&vs.root(), config).unwrap();
        VitConfig::of_state(&StateDict::from_var_store(&vs), dialect, 32, None)
    }

    #[test]
    fn a_trunk_is_read_from_its_names_and_shapes() {
        let timm = VitConfig {
            position: Position::Learnable,
            layer_scale: Some(1.0),
            relative_bias: Some(RelativeBias::PerBlock),
            mlp_ratio: 2.0,
            depth: 3,
            ..VitConfig::preset(VitPreset::Tiny, 32, 8)
        };
        assert_eq!(found(&timm, Dialect::Timm).unwrap(), timm);
        let clip = VitConfig {
            activation: Activation::QuickGelu,
            norm_eps: 1e-5,
            pre_norm: true,
            patch_bias: false,
            qkv_bias: false,
            final_norm: false,
            layer_scale: None,
            relative_bias: None,
            ..timm
        };
        assert_eq!(found(&clip, Dialect::Clip).unwrap(), clip);
        assert_eq!(published_heads(1280), Some(16), "ViT-H has heads of 80");
        assert_eq!(published_heads(96), None);
    }

    #[test]
    fn what_is_no_trunk_is_said() {
        let error = VitConfig::of_state(&StateDict::new("a.pth"), Dialect::Timm, 32, None);
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("a.pth") && error.contains("no patch projection"),
            "{error}"
        );
        let detector = VitConfig {
            windows: Some(WindowConfig {
                size: 2,
                global_blocks: vec![1],
                pretrain_image_size: 32,
            }),
            depth: 2,
            final_norm: false,
            position: Position::Learnable,
            ..VitConfig::preset(VitPreset::Tiny, 32, 8)
        };
        let error = found(&detector, Dialect::Native).unwrap_err().to_string();
        assert!(error.contains("within windows"), "{error}");
    }
}
