//! How two checkpoints differ, for `checkpoint diff`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;
use tch::{Kind, Tensor};

use super::checkpoint::Checkpoint;
use super::dialect::Dialect;
use super::error::WeightsError;
use super::kind::kind_name;
use super::load::ShapeChange;
use super::state::StateDict;

/// One side of a comparison.
#[derive(Debug, Clone, Default)]
pub struct DiffSide {
    /// Reads the file under native names; without it names are compared as they stand.
    pub dialect: Option<Dialect>,
    /// Dictionary to take instead of the dialect's usual one.
    pub part: Option<String>,
}

/// How much one tensor differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorDifference {
    /// Its name.
    pub name: String,
    /// Largest absolute difference; infinite where one side is not finite and the other differs.
    pub max_abs: f64,
    /// The same over the largest absolute value of the left side.
    pub relative: f64,
    /// Numbers that differ.
    pub differing: u64,
    /// Numbers in the tensor.
    pub elements: u64,
    /// Element types, where they differ.
    pub kinds: Option<(String, String)>,
}

/// All differences between two checkpoints.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// The left file.
    pub left: String,
    /// The right file.
    pub right: String,
    /// Names that only the left file has.
    pub only_left: Vec<String>,
    /// Names that only the right file has.
    pub only_right: Vec<String>,
    /// Tensors of different shape: `found` on the left, `wanted` on the right.
    pub shapes: Vec<ShapeChange>,
    /// Tensors whose numbers or element types differ, the largest relative difference first.
    pub values: Vec<TensorDifference>,
    /// Tensors that are equal in every number and in their type.
    pub identical: usize,
}

impl Difference {
    /// True where the files hold the same tensors.
    pub fn is_empty(&self) -> bool {
        self.only_left.is_empty()
            && self.only_right.is_empty()
            && self.shapes.is_empty()
            && self.values.is_empty()
    }

    /// Exit status for the command, as `diff` has it: 0 without differences, 1 with.
    pub fn exit_status(&self) -> u8 {
        u8::from(!self.is_empty())
    }
}

/// Compares two checkpoints.
///
/// # Errors
/// As [`Checkpoint::open`], [`Checkpoint::read`] and [`Dialect::read`].
pub fn diff(
    left: (impl AsRef<Path>, &DiffSide),
    right: (impl AsRef<Path>, &DiffSide),
) -> Result<Difference, WeightsError> {
    diff_states(
        read(left.0.as_ref(), left.1)?,
        read(right.0.as_ref(), right.1)?,
    )
}

fn read(path: &Path, side: &DiffSide) -> Result<StateDict, WeightsError> {
    match side.dialect {
        Some(dialect) => Ok(dialect.read(path, side.part.as_deref())?.state),
        None => {
            let checkpoint = Checkpoint::open(path)?;
            match &side.part {
                Some(part) => {
                    let prefix = format!("{part}/");
                    let state = checkpoint.read(|name| name.starts_with(&prefix))?;
                    Ok(state.section(part))
                }
                None => checkpoint.read_all(),
            }
        }
    }
}

/// Compares two states.
///
/// # Errors
/// When libtorch refuses to compare two tensors.
pub fn diff_states(left: StateDict, right: StateDict) -> Result<Difference, WeightsError> {
    let mut difference = Difference {
        left: left.origin().to_owned(),
        right: right.origin().to_owned(),
        only_left: Vec::new(),
        only_right: Vec::new(),
        shapes: Vec::new(),
        values: Vec::new(),
        identical: 0,
    };
    let mut others: BTreeMap<String, Tensor> = right.into_iter().collect();
    for (name, a) in left {
        let Some(b) = others.remove(&name) else {
            difference.only_left.push(name);
            continue;
        };
        if a.size() != b.size() {
            difference.shapes.push(ShapeChange {
                name,
                found: a.size(),
                wanted: b.size(),
            });
            continue;
        }
        let values = compare(&name, &a, &b).map_err(|source| WeightsError::Torch {
            name: name.clone(),
            source,
        })?;
        match values {
            Some(values) => difference.values.push(values),
            None => difference.identical += 1,
        }
    }
    difference.only_right = others.into_keys().collect();
    difference
        .values
        .sort_by(|a, b| b.relative.total_cmp(&a.relative));
    Ok(difference)
}

/// The difference between two tensors of one shape; `None` where they are equal. Two numbers that
/// are both not a number count as equal.
fn compare(name: &str, a: &Tensor, b: &Tensor) -> Result<Option<TensorDifference>, tch::TchError> {
    let kinds = (a.kind() != b.kind()).then(|| {
        (
            kind_name(a.kind()).to_owned(),
            kind_name(b.kind()).to_owned(),
        )
    });
    let (a, b) = (a.f_to_kind(Kind::Double)?, b.f_to_kind(Kind::Double)?);
    let same = a
        .f_eq_tensor(&b)?
        .f_logical_or(&a.f_isnan()?.f_logical_and(&b.f_isnan()?)?)?;
    let elements = a.numel() as u64;
    let differing = elements - same.f_sum(Kind::Int64)?.f_int64_value(&[])? as u64;
    if differing == 0 && kinds.is_none() {
        return Ok(None);
    }
    let mut max_abs = 0.0;
    let mut relative = 0.0;
    if differing > 0 {
        // Where a side is not finite the subtraction may give no number.
        let distance = (a.f_sub(&b)?).f_abs()?.f_masked_fill(&same, 0.0)?;
        let distance = distance.f_nan_to_num(f64::INFINITY, f64::INFINITY, f64::INFINITY)?;
        max_abs = distance.f_max()?.f_double_value(&[])?;
        let scale = a
            .f_abs()?
            .f_nan_to_num(0.0, 0.0, 0.0)?
            .f_max()?
            .f_double_value(&[])?;
        relative = if scale > 0.0 {
            max_abs / scale
        } else {
            f64::INFINITY
        };
    }
    Ok(Some(TensorDifference {
        name: name.to_owned(),
        max_abs,
        relative,
        differing,
        elements,
        kinds,
    }))
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "left   {}\nright  {}", self.left, self.right)?;
        if self.is_empty() {
            return writeln!(f, "no differences in {} tensors", self.identical);
        }
        for name in &self.only_left {
            writeln!(f, "only left   {name}")?;
        }
        for name in &self.only_right {
            writeln!(f, "only right  {name}")?;
        }
        for ShapeChange {
            name,
            found,
            wanted,
        } in &self.shapes
        {
            writeln!(f, "shape       {name}: {found:?} left, {wanted:?} right")?;
        }
        if !self.values.is_empty() {
            let width = self
                .values
                .iter()
                .map(|value| value.name.chars().count())
                .max();
            let width = width.unwrap_or(0);
            writeln!(
                f,
                "values      {:<width$}  max abs    relative   differing",
                "name"
            )?;
            for value in &self.values {
                let TensorDifference {
                    name,
                    max_abs,
                    relative,
                    differing,
                    elements,
                    kinds,
                } = value;
                write!(
                    f,
                    "            {name:<width$}  {max_abs:<9.3e}  {relative:<9.3e}  {differing} of {elements}"
                )?;
                match kinds {
                    Some((left, right)) => writeln!(f, ", {left} left, {right} right")?,
                    None => writeln!(f)?,
                }
            }
        }
        writeln!(
            f,
            "{} identical, {} with other values, {} of another shape, {} only left, {} only right",
            self.identical,
            self.values.len(),
            self.shapes.len(),
            self.only_left.len(),
            self.only_right.len()
        )
    }
}
