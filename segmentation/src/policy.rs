//! How fast each parameter learns and how much it decays.
//!
//! Source: DeepMIM `Segmentation/mmcv_custom/layer_decay_optimizer_constructor.py`. Parity:
//! `layer_decay`, 1e-12.

use engine::ParamPolicy;

/// Layer-wise learning-rate decay of a trunk of `depth` blocks under `backbone`: class token, positions
/// and patch embedding learn at `layer_decay ^ (depth + 1)` of the scheduled rate, block `i` at
/// `layer_decay ^ (depth - i)`, everything else at the full rate.
///
/// Weight decay spares what has one axis (biases, norms, layer scale) and nothing else: the reference
/// means to spare class token and positions too, but looks for their names without `backbone.`, so they
/// decay.
pub fn upernet_policy(
    name: &str,
    shape: &[i64],
    depth: i64,
    layer_decay: f64,
    weight_decay: f64,
) -> ParamPolicy {
    let layer = match name.strip_prefix("backbone.") {
        // A table shared by all blocks is no layer of its own in the reference: it counts with the heads.
        Some(trunk) => backbone::layer_id(trunk, depth),
        None => depth + 1,
    };
    let spared = shape.len() == 1 || name.ends_with(".bias");
    ParamPolicy {
        lr_scale: backbone::layer_lr_scale(layer_decay, layer, depth),
        weight_decay: if spared { 0.0 } else { weight_decay },
        frozen: false,
    }
}
