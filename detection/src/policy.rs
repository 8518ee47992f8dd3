//! Learning-rate scale and weight decay of each parameter of a ViTDet detector.
//!
//! Source: detectron2 `modeling/backbone/vit.py::get_vit_lr_decay_rate` and
//! `solver/build.py::get_default_optimizer_params` as `projects/ViTDet/configs/COCO/`
//! `mask_rcnn_vitdet_b_100ep.py` sets them up. Parity: `layer_decay`, 1e-12.

use engine::ParamPolicy;

/// Layer-wise learning-rate decay of a trunk of `depth` blocks under `backbone.net`: positions and
/// patch embedding learn at `layer_decay ^ (depth + 1)` of the scheduled rate, block `i` at
/// `layer_decay ^ (depth - i)`, pyramid and heads at the full rate.
///
/// Weight decay spares the position table and the trunk's own norms, and nothing else: biases,
/// relative positions and the channel norms of pyramid and heads are decayed, because detectron2
/// knows a norm by PyTorch's class and theirs is another one. `shape` is therefore not looked at;
/// it is there because the optimiser asks with it.
///
/// The published ViT-H recipes spare nothing; see [`vitdet_policy_decaying_all`].
pub fn vitdet_policy(
    name: &str,
    _shape: &[i64],
    depth: i64,
    layer_decay: f64,
    weight_decay: f64,
) -> ParamPolicy {
    let trunk = name.strip_prefix("backbone.net.");
    let spared = trunk.is_some_and(|name| {
        name == "pos_embed" || name.contains(".norm1.") || name.contains(".norm2.")
    });
    ParamPolicy {
        lr_scale: backbone::layer_lr_scale(layer_decay, layer(trunk, depth), depth),
        weight_decay: if spared { 0.0 } else { weight_decay },
        frozen: false,
    }
}

/// As [`vitdet_policy`], with the same weight decay on every parameter: `mask_rcnn_vitdet_h_75ep.py`
/// and its cascade set `overrides = {}` and `weight_decay_norm = None`.
pub fn vitdet_policy_decaying_all(
    name: &str,
    shape: &[i64],
    depth: i64,
    layer_decay: f64,
    weight_decay: f64,
) -> ParamPolicy {
    ParamPolicy {
        weight_decay,
        ..vitdet_policy(name, shape, depth, layer_decay, weight_decay)
    }
}

/// 0 for positions and patch embedding, `i + 1` for block `i`, `depth + 1` for all else.
fn layer(trunk: Option<&str>, depth: i64) -> i64 {
    let Some(name) = trunk else { return depth + 1 };
    if name == "pos_embed" || name.starts_with("patch_embed.") {
        return 0;
    }
    name.strip_prefix("blocks.")
        .and_then(|rest| rest.split('.').next()?.parse::<i64>().ok())
        .map_or(depth + 1, |block| block + 1)
}
