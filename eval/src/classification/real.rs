//! Reassessed labels of the ImageNet validation set.

use std::path::{Path, PathBuf};

use super::truth::trailing_number;
use crate::error::EvalError;
use crate::input::{input_name, read_whole};

/// ReaL labels (Beyer et al., "Are we done with ImageNet?", arXiv 2006.07159): for each validation
/// picture every class that people see on it. Pictures on which they agreed on none have no label
/// and are left out of the accuracy.
#[derive(Debug)]
pub struct RealLabels {
    path: PathBuf,
    labels: Vec<Vec<u32>>,
}

impl RealLabels {
    /// Reads `real.json` of google-research/reassessed-imagenet: a list of lists of class numbers,
    /// entry `n - 1` being that of picture `ILSVRC2012_val_0000000n`.
    ///
    /// # Errors
    /// When the file cannot be read or is something else.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let bytes = read_whole(path)?;
        let path = input_name(path);
        match serde_json::from_slice(&bytes) {
            Ok(labels) => Ok(Self { path, labels }),
            Err(error) => Err(EvalError::record(
                &path,
                error.line() as u64,
                format!(
                    "not a list of lists of class numbers ({error}): use real.json of \
                     reassessed-imagenet"
                ),
            )),
        }
    }

    /// The classes of a picture, known by the number that its name ends with.
    ///
    /// # Errors
    /// When the name has no such number, there is no entry for it, or a label is no class.
    pub(super) fn of(&self, name: &str, classes: usize) -> Result<&[u32], EvalError> {
        let Some(number) = trailing_number(name) else {
            let problem = "its name does not end with the number of an ILSVRC validation picture, \
                           by which reassessed labels are found";
            return Err(EvalError::prediction(name, problem));
        };
        let place = usize::try_from(number)
            .ok()
            .and_then(|number| number.checked_sub(1));
        let labels = place.and_then(|place| self.labels.get(place)).ok_or_else(|| {
            let problem = format!(
                "there are {} entries, but picture \"{name}\" is number {number}: use the labels \
                 of the same pictures",
                self.labels.len()
            );
            EvalError::file(&self.path, problem)
        })?;
        match labels.iter().find(|&&label| label as usize >= classes) {
            Some(label) => Err(EvalError::item(
                &self.path,
                format!("entry {number}"),
                format!(
                    "label {label} is no class from 0 to {}",
                    classes.saturating_sub(1)
                ),
            )),
            None => Ok(labels),
        }
    }
}
