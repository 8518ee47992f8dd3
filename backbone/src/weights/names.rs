//! Where each dialect keeps its weights and what it calls them.

use super::dialect::Dialect;

/// One name in both languages; `*` is the block number.
pub(super) struct Pair {
    pub(super) theirs: &'static str,
    pub(super) ours: &'static str,
    /// Axes of length 1 that our tensor has in front of theirs.
    pub(super) lead: usize,
}

const fn pair(theirs: &'static str, ours: &'static str) -> Pair {
    Pair {
        theirs,
        ours,
        lead: 0,
    }
}

/// Everything a dialect is.
pub(super) struct NameMap {
    /// Dictionaries that may hold the weights, in order of preference; then the top level.
    pub(super) sections: &'static [&'static str],
    /// Taken off the front of names, repeatedly.
    pub(super) strip: &'static [&'static str],
    /// Where any name has this prefix, only those that do are weights of the trunk; it is put back
    /// when writing.
    pub(super) only: Option<&'static str>,
    /// Patterns without a place in a vision trunk.
    pub(super) drop: &'static [&'static str],
    /// Names read and written; of several that fit, the first counts.
    pub(super) pairs: &'static [Pair],
    /// Names of related projects that are read too and never written.
    pub(super) also_read: &'static [Pair],
}

/// Prefixes of wrappers: distributed training and `torch.compile`.
const WRAPPERS: &[&str] = &["module.", "_orig_mod."];

/// BEiT's names of layer scale, which timm's converter renames in the same way.
const LAYER_SCALE: &[Pair] = &[
    pair("blocks.*.gamma_1", "blocks.*.ls1.gamma"),
    pair("blocks.*.gamma_2", "blocks.*.ls2.gamma"),
];

const CLIP: &[Pair] = &[
    pair("conv1.weight", "patch_embed.proj.weight"),
    Pair {
        theirs: "class_embedding",
        ours: "cls_token",
        lead: 2,
    },
    Pair {
        theirs: "positional_embedding",
        ours: "pos_embed",
        lead: 1,
    },
    pair("ln_pre.*", "norm_pre.*"),
    pair(
        "transformer.resblocks.*.ln_1.weight",
        "blocks.*.norm1.weight",
    ),
    pair("transformer.resblocks.*.ln_1.bias", "blocks.*.norm1.bias"),
    pair(
        "transformer.resblocks.*.attn.in_proj_weight",
        "blocks.*.attn.qkv.weight",
    ),
    pair(
        "transformer.resblocks.*.attn.in_proj_bias",
        "blocks.*.attn.qkv.bias",
    ),
    pair(
        "transformer.resblocks.*.attn.out_proj.weight",
        "blocks.*.attn.proj.weight",
    ),
    pair(
        "transformer.resblocks.*.attn.out_proj.bias",
        "blocks.*.attn.proj.bias",
    ),
    pair(
        "transformer.resblocks.*.ln_2.weight",
        "blocks.*.norm2.weight",
    ),
    pair("transformer.resblocks.*.ln_2.bias", "blocks.*.norm2.bias"),
    pair(
        "transformer.resblocks.*.mlp.c_fc.weight",
        "blocks.*.mlp.fc1.weight",
    ),
    pair(
        "transformer.resblocks.*.mlp.c_fc.bias",
        "blocks.*.mlp.fc1.bias",
    ),
    pair(
        "transformer.resblocks.*.mlp.c_proj.weight",
        "blocks.*.mlp.fc2.weight",
    ),
    pair(
        "transformer.resblocks.*.mlp.c_proj.bias",
        "blocks.*.mlp.fc2.bias",
    ),
    pair("ln_post.*", "norm.*"),
];

/// mmsegmentation 1.x; what of a block has one name in both languages comes after what has two.
const MMSEG: &[Pair] = &[
    pair(
        "backbone.patch_embed.projection.*",
        "backbone.patch_embed.proj.*",
    ),
    pair(
        "backbone.layers.*.ln1.weight",
        "backbone.blocks.*.norm1.weight",
    ),
    pair("backbone.layers.*.ln1.bias", "backbone.blocks.*.norm1.bias"),
    pair(
        "backbone.layers.*.ln2.weight",
        "backbone.blocks.*.norm2.weight",
    ),
    pair("backbone.layers.*.ln2.bias", "backbone.blocks.*.norm2.bias"),
    pair(
        "backbone.layers.*.ffn.layers.0.0.weight",
        "backbone.blocks.*.mlp.fc1.weight",
    ),
    pair(
        "backbone.layers.*.ffn.layers.0.0.bias",
        "backbone.blocks.*.mlp.fc1.bias",
    ),
    pair(
        "backbone.layers.*.ffn.layers.1.weight",
        "backbone.blocks.*.mlp.fc2.weight",
    ),
    pair(
        "backbone.layers.*.ffn.layers.1.bias",
        "backbone.blocks.*.mlp.fc2.bias",
    ),
    pair("backbone.layers.*.gamma_1", "backbone.blocks.*.ls1.gamma"),
    pair("backbone.layers.*.gamma_2", "backbone.blocks.*.ls2.gamma"),
    pair("backbone.layers.*", "backbone.blocks.*"),
    pair("backbone.ln1.*", "backbone.norm.*"),
    pair("neck.upsample_4x.*", "backbone.fpn1.*"),
    pair("neck.upsample_2x.*", "backbone.fpn2.*"),
];

/// mmsegmentation 0.x with the trunk of DeepMIM or BEiT: our names but for layer scale.
const DEEPMIM_SEG: &[Pair] = &[
    pair("backbone.blocks.*.gamma_1", "backbone.blocks.*.ls1.gamma"),
    pair("backbone.blocks.*.gamma_2", "backbone.blocks.*.ls2.gamma"),
];

/// Constants of a segmentor, which are computed from the grid.
const INDICES: &[&str] = &["backbone.*relative_position_index"];

impl Dialect {
    pub(super) fn map(self) -> NameMap {
        let plain = NameMap {
            sections: &[],
            strip: WRAPPERS,
            only: None,
            drop: &[],
            pairs: &[],
            also_read: &[],
        };
        match self {
            Dialect::Native => NameMap {
                strip: &[],
                ..plain
            },
            Dialect::Mae => NameMap {
                sections: &["model"],
                ..plain
            },
            Dialect::Timm => NameMap {
                sections: &["state_dict", "model"],
                also_read: LAYER_SCALE,
                ..plain
            },
            Dialect::Dino => NameMap {
                sections: &["teacher", "state_dict", "model"],
                strip: &["module.", "_orig_mod.", "backbone.", "base_encoder."],
                drop: &["head.*", "predictor.*", "momentum_encoder.*"],
                also_read: LAYER_SCALE,
                ..plain
            },
            Dialect::Clip => NameMap {
                sections: &["state_dict"],
                only: Some("visual."),
                pairs: CLIP,
                ..plain
            },
            Dialect::Detectron2 => NameMap {
                sections: &["model"],
                drop: &[
                    "pixel_mean",
                    "pixel_std",
                    "proposal_generator.anchor_generator.cell_anchors.*",
                ],
                ..plain
            },
            Dialect::Mmseg => NameMap {
                sections: &["state_dict"],
                drop: INDICES,
                pairs: MMSEG,
                also_read: DEEPMIM_SEG,
                ..plain
            },
            Dialect::DeepmimSeg => NameMap {
                sections: &["state_dict"],
                drop: INDICES,
                pairs: DEEPMIM_SEG,
                also_read: MMSEG,
                ..plain
            },
        }
    }
}
