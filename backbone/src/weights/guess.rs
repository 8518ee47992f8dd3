//! Guesses for people: a checkpoint's dialect and the vision transformer in it, from names and
//! shapes. No loader uses them.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::dialect::Dialect;
use super::resample::grid;
use super::trunk::SEGMENTOR_TRUNK_BELOW;

/// What a checkpoint's names look like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Guess {
    /// The dialect to load it with, where there is one.
    pub dialect: Option<Dialect>,
    /// In words, with the reason.
    pub reason: String,
}

impl Guess {
    /// Guesses from the names of all tensors.
    pub(super) fn from_names<'a>(names: impl Iterator<Item = &'a str>) -> Option<Self> {
        let names: Vec<&str> = names.collect();
        let starts = |prefix: &str| names.iter().any(|name| name.starts_with(prefix));
        let holds = |part: &str| names.iter().any(|name| name.contains(part));
        let guess = |dialect, reason: &str| {
            Some(Self {
                dialect,
                reason: reason.to_owned(),
            })
        };
        if holds("visual.") && (holds("resblocks.") || holds("visual.conv1.")) {
            guess(Some(Dialect::Clip), "it has a tower named visual")
        } else if starts("teacher/") && starts("student/") {
            guess(Some(Dialect::Dino), "it has a student and a teacher")
        } else if starts("state_dict/module.base_encoder.") {
            guess(Some(Dialect::Dino), "it has MoCo's base_encoder")
        } else if holds("backbone.simfp_") || holds("backbone.net.") {
            guess(
                Some(Dialect::Detectron2),
                "it is a detector, for it has backbone.net",
            )
        } else if holds("decode_head.") {
            // mmsegmentation's other transformers keep their attention elsewhere.
            let attention = holds(".attn.qkv.");
            if attention && holds("backbone.layers.") {
                guess(
                    Some(Dialect::Mmseg),
                    "it is a segmentor of mmsegmentation 1.x, for it has backbone.layers",
                )
            } else if attention && holds("backbone.blocks.") && holds(".ls1.gamma") {
                guess(
                    Some(Dialect::Native),
                    "it is a segmentor with layer scale named ls1",
                )
            } else if attention && holds("backbone.blocks.") {
                guess(
                    Some(Dialect::DeepmimSeg),
                    "it is a segmentor as DeepMIM has it, for it has backbone.blocks",
                )
            } else {
                guess(None, "an mmsegmentation model, for it has a decode_head")
            }
        } else if starts("model/decoder_embed") || starts("model/mask_token") {
            guess(
                Some(Dialect::Mae),
                "it has a decoder beside its trunk under model",
            )
        } else if starts("model/patch_embed.") {
            guess(Some(Dialect::Mae), "it has a trunk under model")
        } else if starts("state_dict/patch_embed.") {
            guess(Some(Dialect::Timm), "it has a trunk under state_dict")
        } else if starts("patch_embed.") {
            guess(Some(Dialect::Timm), "it has a trunk at the top level")
        } else {
            None
        }
    }
}

impl fmt::Display for Guess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dialect {
            Some(dialect) => write!(f, "{dialect}, as a guess: {}", self.reason),
            None => write!(f, "none of those read here, as a guess: {}", self.reason),
        }
    }
}

/// A vision transformer's dimensions, as far as shapes tell them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VitShape {
    /// What stands before the names of its parameters.
    pub prefix: String,
    /// Channels of a token.
    pub width: i64,
    /// Blocks.
    pub depth: i64,
    /// Side of a patch in pixels.
    pub patch_size: i64,
    /// Side of the picture, where the position table is square.
    pub image_size: Option<i64>,
    /// Attention heads if each is 64 wide, as in all published models but the smallest; a file does
    /// not say how many there are.
    pub heads_if_64_wide: i64,
    /// Hidden width of the feed-forward part over the width.
    pub mlp_ratio: f64,
    /// Whether there is a class token.
    pub class_token: bool,
    /// Classes of a classifier's or a segmentor's head.
    pub classes: Option<i64>,
    /// Decoders of pre-training: one in MAE, one per tap in DeepMIM.
    pub decoders: usize,
}

impl VitShape {
    /// Finds the first trunk among named shapes.
    pub(super) fn from_shapes<'a>(
        shapes: impl Iterator<Item = (&'a str, &'a [i64])>,
    ) -> Option<Self> {
        let shapes: BTreeMap<&str, &[i64]> = shapes.collect();
        // (projection, blocks, hidden layer, class token, positions) in the three vocabularies
        let ours = (
            "patch_embed.proj.weight",
            "blocks.",
            "mlp.fc1.weight",
            "cls_token",
            "pos_embed",
        );
        let clip = (
            "conv1.weight",
            "transformer.resblocks.",
            "mlp.c_fc.weight",
            "class_embedding",
            "positional_embedding",
        );
        let mmseg = (
            "patch_embed.projection.weight",
            "layers.",
            "ffn.layers.0.0.weight",
            "cls_token",
            "pos_embed",
        );
        let (words, prefix, projection) = [ours, clip, mmseg].into_iter().find_map(|words| {
            shapes.iter().find_map(|(name, shape)| match **shape {
                [_, _, side, other] if side == other => {
                    Some((words, name.strip_suffix(words.0)?, *shape))
                }
                _ => None,
            })
        })?;
        let (_, blocks, hidden, class_token, positions) = words;
        let (width, patch_size) = (projection[0], projection[2]);
        if width <= 0 || patch_size <= 0 {
            return None;
        }
        let at = |name: &str| shapes.get(format!("{prefix}{name}").as_str()).copied();
        let around = |name: &str| {
            let outside = prefix.strip_suffix(SEGMENTOR_TRUNK_BELOW)?;
            shapes.get(format!("{outside}{name}").as_str()).copied()
        };
        let numbers = shapes.keys().filter_map(|name| {
            let rest = name.strip_prefix(prefix)?.strip_prefix(blocks)?;
            rest.split('.').next()?.parse::<i64>().ok()
        });
        let depth = numbers.max().map_or(0, |last| last.saturating_add(1));
        let class_token = at(class_token).is_some();
        let tokens =
            at(positions).and_then(|shape| shape.get(shape.len().checked_sub(2)?).copied());
        let side = tokens.and_then(|tokens| {
            // A detector has the class token's row without the token.
            grid(tokens).map(|(_, side)| side)
        });
        let hidden = at(&format!("{blocks}0.{hidden}")).and_then(|shape| shape.first().copied());
        let decoders = shapes.keys().filter_map(|name| name.strip_prefix(prefix));
        Some(Self {
            prefix: prefix.to_owned(),
            width,
            depth,
            patch_size,
            image_size: side.and_then(|side| side.checked_mul(patch_size)),
            heads_if_64_wide: (width / 64).max(1),
            mlp_ratio: hidden.map_or(0.0, |hidden| hidden as f64 / width as f64),
            class_token,
            classes: at("head.weight")
                .or_else(|| around("decode_head.conv_seg.weight"))
                .and_then(|shape| shape.first().copied()),
            decoders: decoders
                .filter(|name| name.starts_with("mask_token"))
                .count(),
        })
    }
}

impl fmt::Display for VitShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} blocks of width {}, patch {}, mlp ratio {}, {} class token",
            self.depth,
            self.width,
            self.patch_size,
            self.mlp_ratio,
            if self.class_token { "with" } else { "without" },
        )?;
        if let Some(size) = self.image_size {
            write!(f, ", pictures of {size} px")?;
        }
        if let Some(classes) = self.classes {
            write!(f, ", {classes} classes")?;
        }
        match self.decoders {
            0 => {}
            1 => write!(f, ", 1 decoder")?,
            count => write!(f, ", {count} decoders")?,
        }
        write!(
            f,
            "; the file does not say how many heads, {} if they are 64 wide",
            self.heads_if_64_wide
        )
    }
}
