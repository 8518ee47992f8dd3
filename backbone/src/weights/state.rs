//! Named tensors: what is read from a checkpoint, renamed between dialects, put into a model or
//! written.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Kind, Tensor, nn};

use super::checkpoint::Checkpoint;
use super::error::WeightsError;
use super::kind::is_float;
use super::{atomic, safetensors};

/// Tensors by name, in alphabetical order, each with the element type it was stored with.
#[derive(Debug, Default)]
pub struct StateDict {
    tensors: BTreeMap<String, Tensor>,
    origin: String,
}

impl StateDict {
    /// An empty one. `origin` is what messages call it: usually a file's path.
    pub fn new(origin: impl Into<String>) -> Self {
        Self {
            tensors: BTreeMap::new(),
            origin: origin.into(),
        }
    }

    /// Reads every tensor of a `.pth`, `.pt`, `.pkl` or `.safetensors` file. Names are paths
    /// through its dictionaries joined by `/`.
    ///
    /// To read only the weights of a dialect, use [`super::Dialect::read`].
    ///
    /// # Errors
    /// As [`Checkpoint::open`] and [`Checkpoint::read`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        Checkpoint::open(path)?.read_all()
    }

    /// The parameters and buffers of a model, sharing its memory: write or compare them before the
    /// model trains on.
    pub fn from_var_store(vs: &nn::VarStore) -> Self {
        let mut state = Self::new("the model");
        for (name, tensor) in vs.variables() {
            state.insert(name, tensor.detach());
        }
        state
    }

    /// What messages call this state: usually a file's path.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Adds a tensor; one of the same name is handed back.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) -> Option<Tensor> {
        self.tensors.insert(name.into(), tensor)
    }

    /// Takes a tensor out.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        self.tensors.remove(name)
    }

    /// Names and tensors in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Names in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// True without any tensor.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// The sub-dictionary `name/…`, its own name stripped.
    pub fn section(self, name: &str) -> Self {
        let prefix = format!("{name}/");
        let origin = self.origin;
        let tensors = self
            .tensors
            .into_iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix(&prefix)?.to_owned(), tensor)));
        Self {
            tensors: tensors.collect(),
            origin,
        }
    }

    /// Casts all floating-point tensors, leaving counters and indices as they are.
    ///
    /// # Errors
    /// When libtorch cannot cast.
    pub fn to_kind(&mut self, kind: Kind) -> Result<(), WeightsError> {
        for (name, tensor) in &mut self.tensors {
            if is_float(tensor.kind()) && tensor.kind() != kind {
                *tensor = tensor
                    .f_to_kind(kind)
                    .map_err(|source| WeightsError::Torch {
                        name: name.clone(),
                        source,
                    })?;
            }
        }
        Ok(())
    }

    /// Writes a safetensors file, which PyTorch opens with
    /// `safetensors.torch.load_file(path)`. The file appears whole or not at all.
    ///
    /// # Errors
    /// When the disk is full, the folder is missing or may not be written to; an older file of
    /// that name is then untouched.
    pub fn write_safetensors(&self, path: impl AsRef<Path>) -> Result<(), WeightsError> {
        // Readers in Python's world look for this note.
        let notes = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        self.write_safetensors_with(path, &notes)
    }

    /// As [`StateDict::write_safetensors`], with notes of the caller's in the header.
    ///
    /// # Errors
    /// As [`StateDict::write_safetensors`].
    pub fn write_safetensors_with(
        &self,
        path: impl AsRef<Path>,
        notes: &BTreeMap<String, String>,
    ) -> Result<(), WeightsError> {
        atomic::write(path.as_ref(), |out| {
            safetensors::write(out, self.iter(), notes)
        })
    }
}

impl IntoIterator for StateDict {
    type Item = (String, Tensor);
    type IntoIter = std::collections::btree_map::IntoIter<String, Tensor>;

    fn into_iter(self) -> Self::IntoIter {
        self.tensors.into_iter()
    }
}
