//! Learning-rate scale and weight decay of each parameter in fine-tuning.
//!
//! Source: MAE `util/lr_decay.py::param_groups_lrd` with timm 0.3.2's
//! `VisionTransformer.no_weight_decay()`. Parity: `layer_decay`, 1e-12.

use engine::ParamPolicy;

/// Parameters of more than one dimension that are not decayed all the same.
const NO_WEIGHT_DECAY: [&str; 2] = ["pos_embed", "cls_token"];

/// Whether weight decay applies to a parameter: not to vectors (biases, norm gains), positions and
/// class token.
pub fn decays(name: &str, shape: &[i64]) -> bool {
    shape.len() > 1 && !NO_WEIGHT_DECAY.contains(&name)
}

/// Layer-wise learning-rate decay: with `depth` blocks, layer `i` of `0..=depth + 1` learns at
/// `layer_decay ^ (depth + 1 - i)` of the scheduled rate; class token, positions and patch
/// embedding are layer 0, block `i` is layer `i + 1`, everything behind the blocks the last.
pub fn layer_decay_policy(
    name: &str,
    shape: &[i64],
    depth: i64,
    layer_decay: f64,
    weight_decay: f64,
) -> ParamPolicy {
    let layer = backbone::layer_id(name, depth);
    ParamPolicy {
        lr_scale: backbone::layer_lr_scale(layer_decay, layer, depth),
        weight_decay: if decays(name, shape) {
            weight_decay
        } else {
            0.0
        },
        frozen: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_positions_and_class_token_do_not_decay() {
        assert!(decays("head.weight", &[10, 4]));
        assert!(decays("patch_embed.proj.weight", &[4, 3, 2, 2]));
        assert!(!decays("head.bias", &[10]));
        assert!(!decays("cls_token", &[1, 1, 4]));
        assert!(!decays("pos_embed", &[1, 5, 4]));
    }

    /// Two blocks, decay 0.5: layers 0..=3 by hand.
    #[test]
    fn the_first_layer_learns_slowest() {
        let scale = |name: &str| layer_decay_policy(name, &[4, 4], 2, 0.5, 0.05).lr_scale;
        assert_eq!(scale("cls_token"), 0.125);
        assert_eq!(scale("patch_embed.proj.weight"), 0.125);
        assert_eq!(scale("blocks.0.attn.qkv.weight"), 0.25);
        assert_eq!(scale("blocks.1.attn.qkv.weight"), 0.5);
        assert_eq!(scale("fc_norm.weight"), 1.0);
        assert_eq!(scale("head.weight"), 1.0);
    }
}
