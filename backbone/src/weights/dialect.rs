//! The names different projects give to the same weights.
//!
//! A dialect is chosen by name in a configuration. The loader never guesses one: a guess that
//! silently takes the wrong half of a file (student instead of teacher, averaged instead of plain
//! weights) would cost somebody a week. `checkpoint inspect` guesses, and says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::bias_tables;
use super::checkpoint::Checkpoint;
use super::error::WeightsError;
use super::glob;
use super::state::StateDict;
use super::trunk::{Host, housed};

/// Whose names a checkpoint uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// This project's own files: MAE's and timm's names at the top level.
    Native,
    /// facebookresearch/mae and DeepMIM, pre-trained or fine-tuned: weights under `model`.
    Mae,
    /// timm: at the top level, or under `state_dict` or `model`.
    Timm,
    /// DINO (and MoCo v3): trunk inside a student and a teacher, the teacher by default.
    Dino,
    /// OpenAI CLIP and OpenCLIP: the visual tower.
    Clip,
    /// detectron2's ViTDet: a whole detector under `model`, its trunk below `backbone.net.`. Names
    /// are those of our own detectors.
    Detectron2,
    /// mmsegmentation 1.x: a whole UperNet under `state_dict`, its trunk (`MAE`, `BEiT`) below
    /// `backbone.` and its necks below `neck.`.
    Mmseg,
    /// mmsegmentation 0.x with DeepMIM's or BEiT's own trunk: a whole UperNet under `state_dict`,
    /// trunk and necks below `backbone.`. Names are those of our own segmentors but for layer scale.
    ///
    /// Both dialects read either's files; they differ in what is written.
    DeepmimSeg,
}

/// The native names of a checkpoint's weights, and what of it was left behind.
#[derive(Debug)]
pub struct Translated {
    /// Weights under native names.
    pub state: StateDict,
    /// Names, as in the file, that have no place in the model: a text tower, projection heads of
    /// pre-training, constants of a detector.
    pub dropped: Vec<String>,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Dialect {
    /// All dialects.
    pub const ALL: [Dialect; 8] = [
        Dialect::Native,
        Dialect::Mae,
        Dialect::Timm,
        Dialect::Dino,
        Dialect::Clip,
        Dialect::Detectron2,
        Dialect::Mmseg,
        Dialect::DeepmimSeg,
    ];

    /// The name used in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Native => "native",
            Dialect::Mae => "mae",
            Dialect::Timm => "timm",
            Dialect::Dino => "dino",
            Dialect::Clip => "clip",
            Dialect::Detectron2 => "detectron2",
            Dialect::Mmseg => "mmseg",
            Dialect::DeepmimSeg => "deepmim_seg",
        }
    }

    /// The dictionary that this dialect's own `.pth` files keep weights in, where they are not at
    /// the top level.
    pub(super) fn nested(self) -> Option<&'static str> {
        match self {
            Dialect::Mae | Dialect::Detectron2 => Some("model"),
            Dialect::Mmseg | Dialect::DeepmimSeg => Some("state_dict"),
            Dialect::Native | Dialect::Timm | Dialect::Dino | Dialect::Clip => None,
        }
    }

    /// The kind of model that this dialect's files hold around a trunk.
    pub(super) fn host(self) -> Option<Host> {
        match self {
            Dialect::Detectron2 => Some(Host::Detector),
            Dialect::Mmseg | Dialect::DeepmimSeg => Some(Host::Segmentor),
            Dialect::Native | Dialect::Mae | Dialect::Timm | Dialect::Dino | Dialect::Clip => None,
        }
    }

    /// Whether weights of this dialect are found under `model`, where a `.pkl` file has them.
    pub(super) fn reads_pickles(self) -> bool {
        self.map().sections.contains(&"model")
    }

    /// Reads the weights of a file under native names, and only these: optimiser states and what has
    /// no place in a model stay on the disk.
    ///
    /// `part` names the dictionary to take instead of the dialect's usual one: `student` for DINO,
    /// `state_dict_ema` or `model_ema` for averaged weights.
    ///
    /// # Errors
    /// As [`Checkpoint::open`] and [`Dialect::to_native`].
    pub fn read(
        self,
        path: impl AsRef<Path>,
        part: Option<&str>,
    ) -> Result<Translated, WeightsError> {
        let checkpoint = Checkpoint::open(path)?;
        let origin = checkpoint.path().display().to_string();
        let names: Vec<&str> = checkpoint
            .tensors()
            .iter()
            .map(|t| t.name.as_str())
            .collect();
        let section = self.section(&names, part, &origin)?;
        let found: Vec<(&str, &str)> = names
            .iter()
            .filter_map(|name| Some((*name, self.stripped(within(name, &section)?))))
            .collect();
        let only = self.only(found.iter().map(|(_, inner)| *inner));
        let (mut wanted, mut dropped): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|(_, inner)| self.kept(only, inner).is_some());
        if wanted.is_empty() {
            // For the message, which names what there is.
            std::mem::swap(&mut wanted, &mut dropped);
        }
        let wanted: BTreeSet<&str> = wanted.into_iter().map(|(name, _)| name).collect();
        let state = checkpoint.read(|name| wanted.contains(name))?;
        let mut translated = self.translate(state, part)?;
        let dropped = dropped.into_iter().map(|(name, _)| name.to_owned());
        translated.dropped.extend(dropped);
        Ok(translated)
    }

    /// A name without the prefixes that wrappers of models leave.
    fn stripped(self, mut name: &str) -> &str {
        let strip = self.map().strip;
        while let Some(rest) = strip.iter().find_map(|prefix| name.strip_prefix(prefix)) {
            name = rest;
        }
        name
    }

    /// The part of a larger model that this dialect takes, where one of the names is in it.
    fn only<'a>(self, mut names: impl Iterator<Item = &'a str>) -> Option<&'static str> {
        let only = self.map().only?;
        names.any(|name| name.starts_with(only)).then_some(only)
    }

    /// What a name is inside that part; none where it has no place in a model.
    fn kept<'a>(self, only: Option<&str>, name: &'a str) -> Option<&'a str> {
        let name = match only {
            Some(only) => name.strip_prefix(only)?,
            None => name,
        };
        let drop = self.map().drop;
        (!drop.iter().any(|pattern| glob::matches(pattern, name))).then_some(name)
    }

    /// Native names for a state read from a file of this dialect.
    ///
    /// # Errors
    /// When the state holds no weights where the dialect keeps them, or two tensors would get the
    /// same name.
    pub fn to_native(self, state: StateDict) -> Result<StateDict, WeightsError> {
        Ok(self.translate(state, None)?.state)
    }

    /// As [`Dialect::to_native`], saying what was left behind; `part` as in [`Dialect::read`].
    ///
    /// # Errors
    /// As [`Dialect::to_native`].
    pub fn translate(
        self,
        state: StateDict,
        part: Option<&str>,
    ) -> Result<Translated, WeightsError> {
        let map = self.map();
        let origin = state.origin().to_owned();
        let names: Vec<&str> = state.names().collect();
        let section = self.section(&names, part, &origin)?;
        let mut stripped = Vec::new();
        for (name, tensor) in state {
            if let Some(inner) = within(&name, &section) {
                stripped.push((self.stripped(inner).to_owned(), name, tensor));
            }
        }
        let found = first_names(stripped.iter().map(|entry| entry.0.as_str()));
        let only = self.only(stripped.iter().map(|entry| entry.0.as_str()));
        let mut translated = Translated {
            state: StateDict::new(origin.clone()),
            dropped: Vec::new(),
        };
        for (inner, name, tensor) in stripped {
            let Some(inner) = self.kept(only, &inner) else {
                translated.dropped.push(name);
                continue;
            };
            let renamed =
                map.pairs.iter().chain(map.also_read).find_map(|pair| {
                    Some((glob::rename(pair.theirs, pair.ours, inner)?, pair.lead))
                });
            let (ours, lead) = renamed.unwrap_or_else(|| (inner.to_owned(), 0));
            let tensor = (0..lead).fold(tensor, |tensor, _| tensor.unsqueeze(0));
            if translated.state.insert(ours.clone(), tensor).is_some() {
                return Err(WeightsError::Duplicate { origin, name: ours });
            }
        }
        if matches!(
            self,
            Dialect::Timm | Dialect::Dino | Dialect::Mmseg | Dialect::DeepmimSeg
        ) {
            join_qkv_bias(&mut translated.state)?;
        }
        let has_trunk = translated
            .state
            .names()
            .map(|name| match self.host() {
                Some(host) => name.strip_prefix(host.below()).unwrap_or(""),
                None => name,
            })
            .any(|name| name.starts_with("blocks.") || name.starts_with("patch_embed."));
        if self != Dialect::Native && !has_trunk {
            return Err(WeightsError::NoWeights {
                origin,
                dialect: self.name(),
                wanted: self.places(part),
                found,
            });
        }
        Ok(translated)
    }

    /// This dialect's names for a native state, as a bare state dict. Where one of its own files
    /// would be nested (`{"model": …}`), the names are those inside. A bare trunk takes its place
    /// below `backbone.net.` in detectron2's, below `backbone.` in mmsegmentation's.
    ///
    /// mmsegmentation's get the buffer `relative_position_index` beside every table of relative
    /// position biases, and 1.x, where each block has its own table, copies of a shared one.
    ///
    /// # Errors
    /// When two tensors would get the same name or a tensor has no shape of this dialect.
    pub fn from_native(self, state: StateDict) -> Result<StateDict, WeightsError> {
        let map = self.map();
        let origin = state.origin().to_owned();
        let mut out = StateDict::new(origin.clone());
        let below = map.only.unwrap_or("");
        let mut state = match self.host() {
            Some(host) => housed(state, host),
            None => state,
        };
        if self.host() == Some(Host::Segmentor) {
            let below = Host::Segmentor.below();
            if self == Dialect::Mmseg {
                bias_tables::unshare(&mut state, below)?;
            }
            bias_tables::add_indices(&mut state, below)?;
        }
        for (name, mut tensor) in state {
            let renamed = map
                .pairs
                .iter()
                .find_map(|pair| Some((glob::rename(pair.ours, pair.theirs, &name)?, pair.lead)));
            let (theirs, lead) = renamed.unwrap_or_else(|| (name.clone(), 0));
            for _ in 0..lead {
                if tensor.size().first() != Some(&1) {
                    return Err(WeightsError::Entry {
                        origin,
                        name,
                        found: tensor.size(),
                        wanted: format!("which cannot become {theirs}"),
                    });
                }
                tensor = tensor.squeeze_dim(0);
            }
            let theirs = format!("{below}{theirs}");
            if out.insert(theirs.clone(), tensor).is_some() {
                return Err(WeightsError::Duplicate {
                    origin,
                    name: theirs,
                });
            }
        }
        Ok(out)
    }

    /// The dictionary that holds the weights; empty for the top level.
    fn section(
        self,
        names: &[&str],
        part: Option<&str>,
        origin: &str,
    ) -> Result<String, WeightsError> {
        let map = self.map();
        let wanted: Vec<&str> = match part {
            Some(part) => vec![part],
            None => map.sections.iter().copied().chain([""]).collect(),
        };
        let holds = |section: &&str| names.iter().any(|name| within(name, section).is_some());
        match wanted.iter().copied().find(holds) {
            Some(section) => Ok(section.to_owned()),
            None => Err(WeightsError::NoWeights {
                origin: origin.to_owned(),
                dialect: self.name(),
                wanted: self.places(part),
                found: first_names(names.iter().copied()),
            }),
        }
    }

    /// Where the dialect looks, for messages.
    fn places(self, part: Option<&str>) -> String {
        match part {
            Some(part) => format!("under {part}"),
            None => {
                let map = self.map();
                let mut places: Vec<String> = map
                    .sections
                    .iter()
                    .map(|section| format!("under {section}"))
                    .collect();
                places.push("at the top level".to_owned());
                places.join(" or ")
            }
        }
    }
}

/// The name inside a dictionary; the top level (an empty section) has only names without one.
fn within<'a>(name: &'a str, section: &str) -> Option<&'a str> {
    if section.is_empty() {
        return (!name.contains('/')).then_some(name);
    }
    name.strip_prefix(section)?.strip_prefix('/')
}

fn first_names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.len() {
        0 => "nothing".to_owned(),
        count @ 1..=3 => format!("{} ({count} tensors)", names.join(", ")),
        count => format!("{}, … ({count} tensors)", names[..3].join(", ")),
    }
}

/// BEiT stores the biases of queries and values; keys have none, which is a bias of zero.
fn join_qkv_bias(state: &mut StateDict) -> Result<(), WeightsError> {
    let heads: Vec<String> = state
        .names()
        .filter_map(|name| Some(name.strip_suffix(".q_bias")?.to_owned()))
        .collect();
    let mut joined = BTreeMap::new();
    for head in heads {
        let (q, v) = (format!("{head}.q_bias"), format!("{head}.v_bias"));
        let (Some(q), Some(v)) = (state.remove(&q), state.remove(&v)) else {
            continue;
        };
        let zero = q.zeros_like();
        let name = format!("{head}.qkv.bias");
        let bias = Tensor::f_cat(&[q, zero, v], 0).map_err(|source| WeightsError::Torch {
            name: name.clone(),
            source,
        })?;
        joined.insert(name, bias);
    }
    for (name, bias) in joined {
        state.insert(name, bias);
    }
    Ok(())
}
