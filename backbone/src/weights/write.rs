//! Writing a state: the kind of file is told from the end of its name.

use std::collections::BTreeMap;
use std::path::Path;

use super::dialect::Dialect;
use super::error::WeightsError;
use super::state::StateDict;
use super::trunk::Host;
use super::{atomic, numpy_pickle, safetensors, torch_save};

/// Kinds of files that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Safetensors,
    Torch,
    Pickle,
}

impl Ending {
    /// From the end of a file's name, before anything is read or written.
    pub(super) fn of(path: &Path, dialect: Dialect) -> Result<Self, WeightsError> {
        let refuse = |what: &str, remedy: &str| {
            Err(WeightsError::Write {
                path: path.to_path_buf(),
                what: what.to_owned(),
                remedy: remedy.to_owned(),
                source: std::io::ErrorKind::InvalidInput.into(),
            })
        };
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("safetensors") => Ok(Self::Safetensors),
            Some("pth" | "pt") => Ok(Self::Torch),
            Some("pkl") if dialect.reads_pickles() => Ok(Self::Pickle),
            Some("pkl") => refuse(
                &format!("the {dialect} dialect has no .pkl files"),
                "end its name in .safetensors or .pth",
            ),
            _ => refuse(
                "the end of its name does not say what to write",
                "end its name in .safetensors, .pth or .pkl",
            ),
        }
    }
}

impl StateDict {
    /// Writes a file of the dialect, whose names the state has (see [`Dialect::from_native`]). The
    /// end of the file's name says which kind:
    ///
    /// - `.safetensors`: names at the top level; `safetensors.torch.load_file(path)`;
    /// - `.pth`, `.pt`: `torch.load(path, weights_only=True)`, the weights nested where the
    ///   dialect's files have them (`model` for MAE and detectron2,
    ///   `state_dict` for mmsegmentation);
    /// - `.pkl`: numpy arrays under `model`, which detectron2's checkpointer takes for a file of
    ///   its model zoo; without a detector's names the file asks it to match the ends of names.
    ///
    /// The file appears whole or not at all.
    ///
    /// # Errors
    /// When the name ends otherwise, the kind of file lacks an element type or the dialect the kind
    /// of file, the disk is full, the folder is missing or may not be written to; an older file of
    /// that name is then untouched.
    pub fn write(&self, path: impl AsRef<Path>, dialect: Dialect) -> Result<(), WeightsError> {
        let path = path.as_ref();
        let ending = Ending::of(path, dialect)?;
        atomic::write(path, |out| match ending {
            Ending::Safetensors => {
                let notes = BTreeMap::from([
                    ("format".to_owned(), "pt".to_owned()),
                    ("dialect".to_owned(), dialect.name().to_owned()),
                ]);
                safetensors::write(out, self.iter(), &notes)
            }
            Ending::Torch => torch_save::write(out, self.iter(), dialect.nested()),
            Ending::Pickle => {
                numpy_pickle::write(out, self.iter(), Host::of(self) != Some(Host::Detector))
            }
        })
    }
}
