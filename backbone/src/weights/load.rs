//! Putting a state into a model: strictly, and all or nothing.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use tch::{Tensor, nn};

use super::error::WeightsError;
use super::glob;
use super::kind::{is_float, kind_name};
use super::resample::{remedy, resampled};
use super::state::StateDict;

/// What may differ between a file and a model. Patterns are names in which `*` stands for any
/// letters.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Parameters that keep the model's own values where the file lacks them or has them in
    /// another shape: `head.*` of a new classifier, a fixed `pos_embed`.
    pub may_miss: Vec<String>,
    /// Entries of the file that need no place in the model: `decoder_*`, `mask_token*` when
    /// fine-tuning.
    pub may_ignore: Vec<String>,
    /// Position tables (`pos_embed` and names that end in it) of another grid are resampled
    /// bicubically, tables of relative positions (`rel_pos_h`, `rel_pos_w`) of another length
    /// linearly, and tables of relative position biases by
    /// [`resample_relative_bias`](crate::resample_relative_bias).
    pub resample_positions: bool,
}

/// A parameter whose shape differs between file and model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShapeChange {
    /// The parameter.
    pub name: String,
    /// Shape in the file.
    pub found: Vec<i64>,
    /// Shape in the model.
    pub wanted: Vec<i64>,
}

/// What became of every parameter and every entry, in alphabetical order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LoadReport {
    /// The file.
    pub origin: String,
    /// Parameters taken from the file.
    pub loaded: Vec<String>,
    /// Of these, the position tables that were resampled.
    pub resized: Vec<ShapeChange>,
    /// Of these, the ones stored in another element type, with its name.
    pub converted: Vec<(String, String)>,
    /// Parameters absent from the file that kept the model's values, as allowed.
    pub absent: Vec<String>,
    /// Parameters of another shape in the file that kept the model's values, as allowed.
    pub kept: Vec<ShapeChange>,
    /// Entries of the file that were not used, as allowed.
    pub unused: Vec<String>,
}

/// Everything that keeps a file from fitting a model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// The file.
    pub origin: String,
    /// Parameters that the file lacks.
    pub absent: Vec<String>,
    /// Entries of the file without a place in the model.
    pub unused: Vec<String>,
    /// Entries of another shape.
    pub shapes: Vec<ShapeChange>,
    /// Entries of integers where the model has floating-point numbers or the reverse.
    pub kinds: Vec<String>,
}

/// Copies a state's tensors into the variables of `vs` below `prefix` (`""` for all of them), cast
/// to the model's own element types and moved to its device.
///
/// Nothing is written unless everything fits.
///
/// # Errors
/// [`WeightsError::Mismatch`] with every parameter that is absent, unused or of the wrong shape
/// beyond what `options` allow.
pub fn load_into(
    vs: &nn::VarStore,
    prefix: &str,
    state: &StateDict,
    options: &LoadOptions,
) -> Result<LoadReport, WeightsError> {
    let model = variables(vs, prefix);
    let mut report = LoadReport {
        origin: state.origin().to_owned(),
        ..LoadReport::default()
    };
    let mut problems = Mismatch {
        origin: state.origin().to_owned(),
        ..Mismatch::default()
    };
    let mut copies = Vec::new();
    for (name, variable) in &model {
        let may_miss = glob::any(&options.may_miss, name);
        let Some(entry) = state.get(name) else {
            let list = if may_miss {
                &mut report.absent
            } else {
                &mut problems.absent
            };
            list.push(name.clone());
            continue;
        };
        if is_float(entry.kind()) != is_float(variable.kind()) {
            problems.kinds.push(format!(
                "{name} holds {} where the model has {}",
                kind_name(entry.kind()),
                kind_name(variable.kind())
            ));
            continue;
        }
        let change = ShapeChange {
            name: name.clone(),
            found: entry.size(),
            wanted: variable.size(),
        };
        if change.found == change.wanted {
            copies.push((name, variable, entry.shallow_clone()));
        } else if let Some(table) = resampled(entry, &change, options) {
            copies.push((name, variable, table));
            report.resized.push(change);
        } else if may_miss {
            report.kept.push(change);
            continue;
        } else {
            problems.shapes.push(change);
            continue;
        }
        if entry.kind() != variable.kind() {
            report
                .converted
                .push((name.clone(), kind_name(entry.kind()).to_owned()));
        }
        report.loaded.push(name.clone());
    }
    for name in state.names().filter(|name| !model.contains_key(*name)) {
        let allowed = glob::any(&options.may_ignore, name);
        let list = if allowed {
            &mut report.unused
        } else {
            &mut problems.unused
        };
        list.push(name.to_owned());
    }
    if !problems.is_empty() {
        return Err(WeightsError::Mismatch(Box::new(problems)));
    }
    tch::no_grad(|| {
        for (name, variable, entry) in copies {
            variable
                .shallow_clone()
                .f_copy_(&entry)
                .map_err(|source| WeightsError::Torch {
                    name: name.clone(),
                    source,
                })?;
        }
        Ok(report)
    })
}

/// The model's variables below the prefix, by their names without it.
fn variables(vs: &nn::VarStore, prefix: &str) -> BTreeMap<String, Tensor> {
    let below = |name: String| match prefix {
        "" => Some(name),
        _ => Some(name.strip_prefix(prefix)?.strip_prefix('.')?.to_owned()),
    };
    vs.variables()
        .into_iter()
        .filter_map(|(name, tensor)| Some((below(name)?, tensor)))
        .collect()
}

impl Mismatch {
    fn is_empty(&self) -> bool {
        self.absent.is_empty()
            && self.unused.is_empty()
            && self.shapes.is_empty()
            && self.kinds.is_empty()
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.shapes.is_empty() {
            let shapes = self.shapes.iter().map(|change| {
                let ShapeChange {
                    name,
                    found,
                    wanted,
                } = change;
                format!("{name} is {found:?} in the file and {wanted:?} in the model")
            });
            parts.push(format!("{} ({})", listed(shapes), remedy(&self.shapes)));
        }
        if !self.absent.is_empty() {
            let count = self.absent.len();
            let names = listed(self.absent.iter().cloned());
            parts.push(format!(
                "{count} parameters of the model are absent from it: {names} (list them in \
                 may_miss if they are to start anew)"
            ));
        }
        if !self.unused.is_empty() {
            let count = self.unused.len();
            let names = listed(self.unused.iter().cloned());
            parts.push(format!(
                "{count} of its entries have no place in the model: {names} (list them in \
                 may_ignore if they are to be left out)"
            ));
        }
        if !self.kinds.is_empty() {
            parts.push(listed(self.kinds.iter().cloned()));
        }
        write!(
            f,
            "{}: does not fit the model; {}",
            self.origin,
            parts.join("; ")
        )
    }
}

/// The first few of a list, and how many more there are.
fn listed(mut items: impl Iterator<Item = String>) -> String {
    let first: Vec<String> = items.by_ref().take(4).collect();
    let more = items.count();
    match more {
        0 => first.join(", "),
        _ => format!("{} and {more} more", first.join(", ")),
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.origin)?;
        writeln!(f, "  loaded     {:>5}", self.loaded.len())?;
        let mut row = |label: &str, count: usize, text: String| match count {
            0 => Ok(()),
            _ => writeln!(f, "  {label:<10} {count:>5}  {text}"),
        };
        let shapes =
            |changes: &[ShapeChange]| {
                listed(changes.iter().map(|change| {
                    format!("{} {:?} → {:?}", change.name, change.found, change.wanted)
                }))
            };
        row("resampled", self.resized.len(), shapes(&self.resized))?;
        let kinds = self.converted.iter().map(|(_, kind)| kind.as_str());
        let kinds: std::collections::BTreeSet<&str> = kinds.collect();
        let kinds = kinds.into_iter().collect::<Vec<_>>().join(", ");
        row("converted", self.converted.len(), format!("from {kinds}"))?;
        row(
            "absent",
            self.absent.len(),
            listed(self.absent.iter().cloned()),
        )?;
        row("kept", self.kept.len(), shapes(&self.kept))?;
        row(
            "unused",
            self.unused.len(),
            listed(self.unused.iter().cloned()),
        )
    }
}
