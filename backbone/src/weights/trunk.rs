//! Trunks inside detectors: taking one out, and putting a pre-trained one in.

use tch::nn;

use super::dialect::Translated;
use super::error::WeightsError;
use super::load::{LoadOptions, LoadReport, load_into};
use super::state::StateDict;

/// What stands before the names of a detector's trunk.
pub const TRUNK_BELOW: &str = "backbone.net.";

/// Parts of pre-training and classification that a detector's trunk has no use for; a class
/// token's row of the position table stays, as in detectron2.
const NOT_IN_DETECTORS: &[&str] = &[
    "cls_token",
    "norm.*",
    "fc_norm.*",
    "head.*",
    "proj",
    "decoder*",
    "mask_token*",
];
/// What a detector's trunk has and a pre-trained one has not.
const NOT_PRE_TRAINED: &[&str] = &["blocks.*.attn.rel_pos_h", "blocks.*.attn.rel_pos_w"];

/// True for the state of a detector: its trunk lies below [`TRUNK_BELOW`].
pub(super) fn is_detector(state: &StateDict) -> bool {
    state.names().any(|name| name.starts_with(TRUNK_BELOW))
}

impl Translated {
    /// The trunk alone, under a bare trunk's names: of a detector what lies below
    /// [`TRUNK_BELOW`], its pyramid and heads counted among the dropped; anything else as it is.
    #[must_use]
    pub fn into_trunk(self) -> Self {
        if !is_detector(&self.state) {
            return self;
        }
        let mut trunk = Self {
            state: StateDict::new(self.state.origin()),
            dropped: self.dropped,
        };
        for (name, tensor) in self.state {
            match name.strip_prefix(TRUNK_BELOW) {
                Some(bare) => {
                    trunk.state.insert(bare, tensor);
                }
                None => trunk.dropped.push(name),
            }
        }
        trunk
    }
}

/// Puts a pre-trained trunk of any dialect into a model that has one below `prefix`
/// (`"backbone.net"`), beside a pyramid and heads that start anew.
///
/// `state` has a bare trunk's names, as [`Translated::into_trunk`] gives them. Beyond what `options`
/// allow, the class token, the last norm, heads and decoders of the file go unused, tables of
/// relative positions may be absent, and tables of another grid are resampled. A position table
/// with a row for the class token does not fit a model without one, nor the reverse.
///
/// The report names the trunk's parameters without the prefix; `absent` ends with all parameters of
/// the model outside the trunk, by their full names.
///
/// # Errors
/// As [`load_into`]; nothing is written then.
pub fn load_trunk(
    vs: &nn::VarStore,
    prefix: &str,
    state: &StateDict,
    options: &LoadOptions,
) -> Result<LoadReport, WeightsError> {
    let with = |own: &[String], more: &[&str]| {
        let more = more.iter().map(|&pattern| pattern.to_owned());
        own.iter().cloned().chain(more).collect()
    };
    let options = LoadOptions {
        may_miss: with(&options.may_miss, NOT_PRE_TRAINED),
        may_ignore: with(&options.may_ignore, NOT_IN_DETECTORS),
        resample_positions: true,
    };
    let mut report = load_into(vs, prefix, state, &options)?;
    let mut outside: Vec<String> = vs
        .variables()
        .into_keys()
        .filter(|name| {
            let inside = name.strip_prefix(prefix).and_then(|n| n.strip_prefix('.'));
            inside.is_none()
        })
        .collect();
    outside.sort();
    report.absent.extend(outside);
    Ok(report)
}
