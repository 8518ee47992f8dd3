//! Layer-wise learning-rate decay: which layer a parameter belongs to, and that layer's factor.
//!
//! Source: facebookresearch/mae `util/lr_decay.py` (after BEiT). Parity: `layer_decay`, MAE part.

/// Layer of the parameter `name` in a trunk of `depth` blocks: class token, positions and patch
/// projection are layer 0, block `i` is layer `i + 1`, everything else (norms and heads) is layer
/// `depth + 1`.
pub fn layer_id(name: &str, depth: i64) -> i64 {
    if matches!(name, "cls_token" | "pos_embed") || name.starts_with("patch_embed.") {
        return 0;
    }
    name.strip_prefix("blocks.")
        .and_then(|rest| rest.split('.').next())
        .and_then(|index| index.parse::<i64>().ok())
        .map_or(depth + 1, |index| index + 1)
}

/// Factor on the learning rate of layer `layer`: `decay^(depth + 1 - layer)`, so that the last layer
/// has 1.
pub fn layer_lr_scale(decay: f64, layer: i64, depth: i64) -> f64 {
    decay.powf((depth + 1 - layer) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_counted_from_one_and_heads_come_last() {
        for (name, layer) in [
            ("cls_token", 0),
            ("pos_embed", 0),
            ("patch_embed.proj.bias", 0),
            ("blocks.0.norm1.weight", 1),
            ("blocks.11.mlp.fc2.bias", 12),
            ("norm.weight", 13),
            ("fc_norm.weight", 13),
            ("head.weight", 13),
        ] {
            assert_eq!(layer_id(name, 12), layer, "{name}");
        }
        assert_eq!(layer_lr_scale(0.65, 13, 12), 1.0);
        assert!((layer_lr_scale(0.65, 11, 12) - 0.65 * 0.65).abs() < 1e-15);
    }
}
