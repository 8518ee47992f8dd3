//! A table of named numbers: what an evaluation says, in a fixed order.

use std::fmt;
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::error::EvalError;
use crate::file::{CsvFile, WholeFile};

/// Ordered rows of (name, value). Names are unique.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    rows: Vec<(String, f64)>,
}

impl Report {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a row at the end; a row of that name keeps its place and takes the new value.
    pub fn push(&mut self, name: impl Into<String>, value: f64) {
        let name = name.into();
        match self.rows.iter_mut().find(|(known, _)| *known == name) {
            Some(row) => row.1 = value,
            None => self.rows.push((name, value)),
        }
    }

    /// Adds all rows of another table, their names after `prefix`.
    pub fn extend(&mut self, prefix: &str, other: &Report) {
        for (name, value) in &other.rows {
            self.push(format!("{prefix}{name}"), *value);
        }
    }

    /// The value of a row.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.rows.iter().find(|row| row.0 == name).map(|row| row.1)
    }

    /// The rows in order.
    pub fn rows(&self) -> &[(String, f64)] {
        &self.rows
    }

    /// `name,value` lines with all digits; a value that is no number stays "NaN" or "inf".
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_csv(&self, path: &Path) -> Result<(), EvalError> {
        let mut csv = CsvFile::create(path, &["name", "value"])?;
        for (name, value) in &self.rows {
            csv.row([name.as_str(), &value.to_string()])?;
        }
        csv.finish()
    }

    /// The table as a JSON object in row order; JSON has no NaN or infinity, these become null.
    pub fn to_json(&self) -> serde_json::Value {
        let rows = self
            .rows
            .iter()
            .map(|(name, value)| (name.clone(), (*value).into()));
        serde_json::Value::Object(rows.collect())
    }

    /// Writes [`Report::to_json`], one row per line.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_json(&self, path: &Path) -> Result<(), EvalError> {
        write_json(path, &self.to_json())
    }
}

/// Writes a value as indented JSON, whole or not at all.
///
/// # Errors
/// When the file cannot be written, or the value has no form in JSON.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), EvalError> {
    let mut file = WholeFile::create(path)?;
    let written = serde_json::to_writer_pretty(&mut file, value);
    let written = written
        .map_err(std::io::Error::from)
        .and_then(|()| writeln!(file));
    written.map_err(|source| file.failed(source))?;
    file.finish()
}

impl<N: Into<String>> FromIterator<(N, f64)> for Report {
    fn from_iter<I: IntoIterator<Item = (N, f64)>>(rows: I) -> Self {
        let mut report = Self::new();
        for (name, value) in rows {
            report.push(name, value);
        }
        report
    }
}

impl fmt::Display for Report {
    /// Names to the left, values to the right; whole numbers without decimals, others with four.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<String> = self
            .rows
            .iter()
            .map(|(_, value)| {
                if value.fract() == 0.0 && value.abs() < 1e15 {
                    format!("{value:.0}")
                } else {
                    format!("{value:.4}")
                }
            })
            .collect();
        let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
        let left = longest(&mut self.rows.iter().map(|(name, _)| name.chars().count()));
        let right = longest(&mut values.iter().map(String::len));
        for (i, ((name, _), value)) in self.rows.iter().zip(&values).enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{name:<left$}  {value:>right$}")?;
        }
        Ok(())
    }
}
