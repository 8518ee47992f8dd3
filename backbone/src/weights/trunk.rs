//! Trunks inside the models of other tasks: taking one out, and putting a pre-trained one in.

use tch::nn;

use super::bias_tables;
use super::dialect::Translated;
use super::error::WeightsError;
use super::glob;
use super::load::{LoadOptions, LoadReport, load_into};
use super::state::StateDict;

/// What stands before the names of a detector's trunk.
pub const TRUNK_BELOW: &str = "backbone.net.";

/// What stands before the names of a segmentor's trunk; its necks `fpn1` and `fpn2` lie there too.
pub const SEGMENTOR_TRUNK_BELOW: &str = "backbone.";

/// A model that has a trunk in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Host {
    Detector,
    Segmentor,
}

impl Host {
    /// Whose state this is; `None` for a bare trunk, a classifier or a model of pre-training.
    pub(super) fn of(state: &StateDict) -> Option<Self> {
        // A detector's prefix begins with a segmentor's.
        [Host::Detector, Host::Segmentor]
            .into_iter()
            .find(|host| state.names().any(|name| name.starts_with(host.below())))
    }

    /// The host whose trunk lies below a prefix without its last dot.
    fn at(prefix: &str) -> Self {
        if TRUNK_BELOW.strip_suffix('.') == Some(prefix) {
            Host::Detector
        } else {
            Host::Segmentor
        }
    }

    /// What stands before the names of its trunk.
    pub(super) fn below(self) -> &'static str {
        match self {
            Host::Detector => TRUNK_BELOW,
            Host::Segmentor => SEGMENTOR_TRUNK_BELOW,
        }
    }

    /// What else lies there.
    fn beside_trunk(self) -> &'static [&'static str] {
        match self {
            Host::Detector => &[],
            Host::Segmentor => &["fpn*"],
        }
    }

    /// What its trunk has and a pre-trained one may lack.
    fn not_pre_trained(self) -> &'static [&'static str] {
        match self {
            Host::Detector => &["blocks.*.attn.rel_pos_h", "blocks.*.attn.rel_pos_w"],
            Host::Segmentor => &[
                "fpn*",
                "blocks.*.ls*.gamma",
                "blocks.*.attn.relative_position_bias_table",
                "rel_pos_bias.relative_position_bias_table",
            ],
        }
    }

    /// Parts of pre-training and classification that its trunk has no use for. A detector has no
    /// class token, but keeps the token's row of the position table, as in detectron2.
    fn not_used(self) -> Vec<&'static str> {
        let both = [
            "norm.*",
            "fc_norm.*",
            "head.*",
            "proj",
            "decoder*",
            "mask_token*",
            "teacher.*",
        ];
        let own: &[&str] = match self {
            Host::Detector => &["cls_token"],
            Host::Segmentor => &["*relative_position_index"],
        };
        both.iter().chain(own).copied().collect()
    }
}

/// Puts a bare trunk where `host` has its own; a state that has the host's names stays as it is.
pub(super) fn housed(state: StateDict, host: Host) -> StateDict {
    if Host::of(&state) == Some(host) {
        return state;
    }
    let mut out = StateDict::new(state.origin());
    for (name, tensor) in state {
        out.insert(format!("{}{name}", host.below()), tensor);
    }
    out
}

impl Translated {
    /// The trunk alone, under a bare trunk's names: of a detector what lies below [`TRUNK_BELOW`],
    /// of a segmentor what lies below [`SEGMENTOR_TRUNK_BELOW`] without its necks; pyramid, necks
    /// and heads are counted among the dropped. Anything else stays as it is.
    #[must_use]
    pub fn into_trunk(self) -> Self {
        let Some(host) = Host::of(&self.state) else {
            return self;
        };
        let mut trunk = Self {
            state: StateDict::new(self.state.origin()),
            dropped: self.dropped,
        };
        let beside = |bare: &str| host.beside_trunk().iter().any(|p| glob::matches(p, bare));
        for (name, tensor) in self.state {
            match name.strip_prefix(host.below()) {
                Some(bare) if !beside(bare) => {
                    trunk.state.insert(bare, tensor);
                }
                _ => trunk.dropped.push(name),
            }
        }
        trunk
    }
}

/// Puts a pre-trained trunk of any dialect into a model that has one below `prefix`, beside parts
/// that start anew: a detector's below `"backbone.net"`, a segmentor's below any other
/// (`"backbone"`).
///
/// `state` has a bare trunk's names, as [`Translated::into_trunk`] gives them. Beyond what `options`
/// allow:
///
/// - the last norm, heads and decoders of the file go unused, and tables of another grid are
///   resampled; a position table with a row for the class token does not fit a model without one,
///   nor the reverse;
/// - a detector has no use for the class token, and its tables of relative positions may be absent;
/// - a segmentor's class token must be there; layer scale and tables of relative position biases
///   may be absent. A table that the file's blocks share goes to every block of a model whose
///   blocks have their own.
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
    let host = Host::at(prefix);
    let with = |own: &[String], more: &[&str]| {
        let more = more.iter().map(|&pattern| pattern.to_owned());
        own.iter().cloned().chain(more).collect()
    };
    let options = LoadOptions {
        may_miss: with(&options.may_miss, host.not_pre_trained()),
        may_ignore: with(&options.may_ignore, &host.not_used()),
        resample_positions: true,
    };
    let (mut own, mut outside) = (Vec::new(), Vec::new());
    for name in vs.variables().into_keys() {
        let bare = name.strip_prefix(prefix).and_then(|n| n.strip_prefix('.'));
        match bare {
            Some(bare) => own.push(bare.to_owned()),
            None => outside.push(name),
        }
    }
    let expanded = bias_tables::for_blocks(state, &own);
    let state = expanded.as_ref().unwrap_or(state);
    let mut report = load_into(vs, prefix, state, &options)?;
    outside.sort();
    report.absent.extend(outside);
    Ok(report)
}
