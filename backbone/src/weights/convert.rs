//! From any readable checkpoint to a file in another dialect's names, for `checkpoint convert`.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tch::Kind;

use super::dialect::{Dialect, Translated};
use super::error::WeightsError;
use super::glob;
use super::inspect::thousands;
use super::state::StateDict;
use super::trunk::Host;
use super::write::Ending;

/// Names of the trunk; heads and decoders are the rest.
const TRUNK: &[&str] = &[
    "cls_token",
    "pos_embed",
    "patch_embed.*",
    "blocks.*",
    "norm.*",
    "norm_pre.*",
    "rel_pos_bias.*",
];

/// Element type to store weights in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits.
    Float32,
    /// 16 bits with a short exponent.
    Float16,
    /// 16 bits with a short fraction.
    Bfloat16,
}

impl Precision {
    fn kind(self) -> Kind {
        match self {
            Precision::Float32 => Kind::Float,
            Precision::Float16 => Kind::Half,
            Precision::Bfloat16 => Kind::BFloat16,
        }
    }
}

/// What to convert.
#[derive(Debug, Clone)]
pub struct ConvertOptions {
    /// Whose names the input has.
    pub from: Dialect,
    /// Whose names the output gets.
    pub to: Dialect,
    /// Dictionary of the input to take instead of its dialect's usual one, such as `student`.
    pub part: Option<String>,
    /// Element type of the output; as in the input where there is none.
    pub precision: Option<Precision>,
    /// Leaves out heads and decoders.
    pub trunk_only: bool,
}

/// What was converted.
#[derive(Debug, Clone, Serialize)]
pub struct Conversion {
    /// The input.
    pub input: String,
    /// The output.
    pub output: String,
    /// Dialect of the input.
    pub from: Dialect,
    /// Dialect of the output.
    pub to: Dialect,
    /// Names written.
    pub written: Vec<String>,
    /// Numbers written.
    pub parameters: u64,
    /// Names of the input that have no place in the output's model.
    pub dropped: Vec<String>,
    /// Heads and decoders that were left out, as asked.
    pub left_out: Vec<String>,
}

/// Converts a checkpoint. Of a detector or a segmentor, dialects that are not of such models get the
/// trunk.
///
/// # Errors
/// When the input cannot be read in that dialect or the output cannot be written as its name says
/// (see [`StateDict::write`]); an older file of that name is then untouched.
pub fn convert(
    input: impl AsRef<Path>,
    output: impl AsRef<Path>,
    options: &ConvertOptions,
) -> Result<Conversion, WeightsError> {
    let (input, output) = (input.as_ref(), output.as_ref());
    Ending::of(output, options.to)?; // before gigabytes are read
    let read = options.from.read(input, options.part.as_deref())?;
    let whole = Host::of(&read.state)
        .is_none_or(|host| options.to == Dialect::Native || options.to.host() == Some(host));
    let Translated { state, dropped } = if options.trunk_only || !whole {
        read.into_trunk()
    } else {
        read
    };
    let mut kept = StateDict::new(state.origin());
    let mut left_out = Vec::new();
    for (name, tensor) in state {
        if options.trunk_only && !TRUNK.iter().any(|pattern| glob::matches(pattern, &name)) {
            left_out.push(name);
        } else {
            kept.insert(name, tensor);
        }
    }
    if let Some(precision) = options.precision {
        kept.to_kind(precision.kind())?;
    }
    let written = options.to.from_native(kept)?;
    written.write(output, options.to)?;
    Ok(Conversion {
        input: input.display().to_string(),
        output: output.display().to_string(),
        from: options.from,
        to: options.to,
        parameters: written
            .iter()
            .map(|(_, tensor)| tensor.numel() as u64)
            .sum(),
        written: written.names().map(str::to_owned).collect(),
        dropped,
        left_out,
    })
}

impl fmt::Display for Conversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} ({}) → {} ({})",
            self.input, self.from, self.output, self.to
        )?;
        let (tensors, parameters) = (self.written.len(), thousands(self.parameters));
        writeln!(
            f,
            "  written   {tensors:>5} tensors, {parameters} parameters"
        )?;
        for (label, names) in [("dropped", &self.dropped), ("left out", &self.left_out)] {
            if !names.is_empty() {
                writeln!(f, "  {label:<9} {:>5}  {}", names.len(), names.join(", "))?;
            }
        }
        let file = &self.output;
        let nested = match self.to.nested() {
            Some(nested) => format!("[\"{nested}\"]"),
            None => String::new(),
        };
        match Ending::of(Path::new(file), self.to) {
            Ok(Ending::Safetensors) => writeln!(
                f,
                "  in PyTorch: model.load_state_dict(safetensors.torch.load_file(\"{file}\"))"
            ),
            Ok(Ending::Torch) => writeln!(
                f,
                "  in PyTorch: model.load_state_dict(torch.load(\"{file}\", weights_only=True){nested})"
            ),
            Ok(Ending::Pickle) => writeln!(
                f,
                "  in detectron2: DetectionCheckpointer(model).load(\"{file}\")"
            ),
            Err(_) => Ok(()),
        }
    }
}
