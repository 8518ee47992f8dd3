//! What a checkpoint holds, for `checkpoint inspect`.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use tch::{Kind, Tensor};

use super::checkpoint::{Checkpoint, Format};
use super::error::WeightsError;
use super::guess::{Guess, VitShape};
use super::kind::{is_float, kind_name};

/// A checkpoint's contents.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// The file.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// How it is stored.
    pub format: Format,
    /// The dialect it seems to be of. The loader never guesses.
    pub guess: Option<Guess>,
    /// Keys of its outermost dictionary, each with a word on the value.
    pub top_level: Vec<(String, String)>,
    /// Classes it mentions, which were left alone.
    pub opaque_classes: Vec<String>,
    /// The vision transformer found in it.
    pub vit: Option<VitShape>,
    /// Numbers in all tensors together.
    pub parameters: u64,
    /// Every tensor, in the order of the file.
    pub tensors: Vec<TensorRow>,
}

/// One tensor of the listing.
#[derive(Debug, Clone, Serialize)]
pub struct TensorRow {
    /// Path through the dictionaries.
    pub name: String,
    /// Sides.
    pub shape: Vec<i64>,
    /// Element type, as PyTorch calls it, or why the tensor cannot be read.
    pub kind: String,
    /// Statistics, where they were asked for and the tensor is of floating-point numbers.
    pub statistics: Option<Statistics>,
}

/// Statistics over the finite numbers of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Statistics {
    /// Mean.
    pub mean: f64,
    /// Standard deviation of the population.
    pub std: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// How many numbers are infinite or not a number.
    pub non_finite: u64,
}

/// Lists a checkpoint; with `statistics` every tensor is read, one at a time.
///
/// # Errors
/// As [`Checkpoint::open`] and [`Checkpoint::read`].
pub fn inspect(path: impl AsRef<Path>, statistics: bool) -> Result<Inspection, WeightsError> {
    let checkpoint = Checkpoint::open(path)?;
    let mut tensors = Vec::with_capacity(checkpoint.tensors().len());
    let mut parameters = 0_u64;
    for info in checkpoint.tensors() {
        let kind = match (info.kind(), info.unreadable()) {
            (Some(kind), _) => kind_name(kind).to_owned(),
            (None, why) => why.unwrap_or("unreadable").to_owned(),
        };
        let count = |shape: &[i64]| {
            shape
                .iter()
                .map(|&side| side.unsigned_abs())
                .product::<u64>()
        };
        if info.kind().is_some() {
            parameters = parameters.saturating_add(count(info.shape()));
        }
        let statistics = match info.kind() {
            Some(kind) if statistics && is_float(kind) => {
                let state = checkpoint.read(|name| name == info.name)?;
                state
                    .get(&info.name)
                    .map(measure)
                    .transpose()
                    .map_err(|source| WeightsError::Torch {
                        name: info.name.clone(),
                        source,
                    })?
            }
            _ => None,
        };
        tensors.push(TensorRow {
            name: info.name.clone(),
            shape: info.shape().to_vec(),
            kind,
            statistics,
        });
    }
    let shapes = || {
        tensors
            .iter()
            .map(|row| (row.name.as_str(), row.shape.as_slice()))
    };
    Ok(Inspection {
        file: checkpoint.path().display().to_string(),
        bytes: checkpoint.file_len(),
        format: checkpoint.format(),
        guess: Guess::from_names(shapes().map(|(name, _)| name)),
        top_level: checkpoint.top_level().to_vec(),
        opaque_classes: checkpoint.opaque_classes().to_vec(),
        vit: VitShape::from_shapes(shapes()),
        parameters,
        tensors,
    })
}

fn measure(tensor: &Tensor) -> Result<Statistics, tch::TchError> {
    let values = tensor.f_to_kind(Kind::Double)?.f_flatten(0, -1)?;
    let finite = values.f_masked_select(&values.f_isfinite()?)?;
    let count = finite.numel();
    let non_finite = (values.numel() - count) as u64;
    let number = |tensor: Tensor| tensor.f_double_value(&[]);
    if count == 0 {
        let [mean, std, min, max] = [f64::NAN; 4];
        return Ok(Statistics {
            mean,
            std,
            min,
            max,
            non_finite,
        });
    }
    Ok(Statistics {
        mean: number(finite.f_mean(Kind::Double)?)?,
        std: number(finite.f_std(false)?)?,
        min: number(finite.f_min()?)?,
        max: number(finite.f_max()?)?,
        non_finite,
    })
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.file)?;
        writeln!(f, "  format      {}, {} bytes", self.format, self.bytes)?;
        match &self.guess {
            Some(guess) => writeln!(f, "  dialect     {guess}")?,
            None => writeln!(f, "  dialect     unknown")?,
        }
        if let Some(vit) = &self.vit {
            writeln!(f, "  trunk       {vit}")?;
        }
        let count = self.tensors.len();
        writeln!(
            f,
            "  parameters  {} in {count} tensors",
            thousands(self.parameters)
        )?;
        for (key, what) in self.top_level.iter().filter(|(_, what)| what != "tensor") {
            writeln!(f, "  {key:<11} {what}")?;
        }
        if !self.opaque_classes.is_empty() {
            writeln!(f, "  left alone  {}", self.opaque_classes.join(", "))?;
        }
        let width = self
            .tensors
            .iter()
            .map(|row| row.name.chars().count())
            .max()
            .unwrap_or(0);
        for TensorRow {
            name,
            shape,
            kind,
            statistics,
        } in &self.tensors
        {
            let shape = format!("{shape:?}");
            write!(f, "{name:<width$}  {shape:<20} {kind:<9}")?;
            if let Some(Statistics {
                mean,
                std,
                min,
                max,
                non_finite,
            }) = statistics
            {
                write!(
                    f,
                    " mean {mean:>10.3e} std {std:>9.3e} in {min:>10.3e} … {max:>10.3e}"
                )?;
                if *non_finite > 0 {
                    write!(f, ", {non_finite} not finite")?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// `86,567,656`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(86_567_656), "86,567,656");
    }

    /// By hand: mean and deviation of 1, 2, 3, 4 are 2.5 and √1.25.
    #[test]
    fn statistics_leave_out_what_is_not_finite() {
        let tensor = Tensor::from_slice(&[1.0, f32::NAN, 2.0, 3.0, f32::INFINITY, 4.0]);
        let found = measure(&tensor).expect("measurable");
        assert_eq!(
            (found.mean, found.min, found.max, found.non_finite),
            (2.5, 1.0, 4.0, 2)
        );
        assert!((found.std - 1.25_f64.sqrt()).abs() < 1e-12);
    }
}
