//! An opened checkpoint: every tensor's name, type, shape and place, no data yet.
//!
//! The format is told from the contents, never from the file's name.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tch::Kind;

use super::archive::Entry;
use super::error::{Problem, WeightsError, damaged};
use super::pickle::{Blob, FileSource, Storage, parse};
use super::rebuild::{Data, Described};
use super::sniff::{Sniffed, sniff};
use super::walk::{Contents, contents};
use super::{kind, legacy, safetensors, torch_zip};

/// How a checkpoint is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `torch.save` since PyTorch 1.6: a zip container.
    TorchZip,
    /// `torch.save` before PyTorch 1.6: pickles, then storages.
    TorchLegacy,
    /// `torch.jit.save`: a zip container with code, which is not looked at.
    TorchScript,
    /// A bare pickle of numpy arrays, as detectron2 publishes.
    Pickle,
    /// Hugging Face's safetensors.
    Safetensors,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::TorchZip => "PyTorch (zip)",
            Format::TorchLegacy => "PyTorch (legacy, before 1.6)",
            Format::TorchScript => "TorchScript archive",
            Format::Pickle => "pickle of arrays",
            Format::Safetensors => "safetensors",
        })
    }
}

/// One tensor of a checkpoint.
#[derive(Debug)]
pub struct TensorInfo {
    /// Path through the dictionaries, joined by `/`: `model/blocks.0.norm1.weight`.
    pub name: String,
    /// Where and how it is stored, or why it cannot be read.
    pub(super) layout: Result<Layout, String>,
}

impl TensorInfo {
    /// Sides of the tensor; empty for a single number and for a tensor that cannot be read.
    pub fn shape(&self) -> &[i64] {
        self.layout.as_ref().map_or(&[], |layout| &layout.shape)
    }

    /// Element type, where it is one that can be read.
    pub fn kind(&self) -> Option<Kind> {
        self.layout.as_ref().ok().map(|layout| layout.kind)
    }

    /// Why the tensor cannot be read, if it cannot (sparse and quantised ones, for example).
    pub fn unreadable(&self) -> Option<&str> {
        self.layout.as_ref().err().map(String::as_str)
    }
}

#[derive(Debug)]
pub(super) struct Layout {
    pub(super) kind: Kind,
    pub(super) shape: Vec<i64>,
    /// In elements.
    pub(super) strides: Vec<i64>,
    /// First element.
    pub(super) first: u64,
    /// Number in the checkpoint's list of storages.
    pub(super) storage: usize,
}

/// Bytes that one or more tensors look at.
#[derive(Debug)]
pub(super) struct Bytes {
    /// What to call it in a message.
    pub(super) name: String,
    pub(super) place: Place,
    /// Length once unpacked.
    pub(super) len: u64,
    /// Width in bytes of big-endian elements, which are turned when read; otherwise 1.
    pub(super) swap: usize,
}

#[derive(Debug)]
pub(super) enum Place {
    File { start: u64, len: u64, latin1: bool },
    Archive(Entry),
    Memory { bytes: Arc<[u8]>, latin1: bool },
}

/// A checkpoint whose tensors are known and can be read one by one or together.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    length: u64,
    format: Format,
    tensors: Vec<TensorInfo>,
    top_level: Vec<(String, String)>,
    classes: Vec<String>,
    pub(super) storages: Vec<Bytes>,
}

impl Checkpoint {
    /// Opens a `.pth`, `.pt`, `.pkl` or `.safetensors` file and lists its tensors. No tensor is
    /// read, and nothing in the file is run.
    ///
    /// # Errors
    /// One sentence when the file cannot be read, is damaged, is no checkpoint, or names something
    /// that only a program needs.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        let read = |source| WeightsError::Read {
            path: path.to_path_buf(),
            source,
        };
        let mut file = File::open(path).map_err(read)?;
        let metadata = file.metadata().map_err(read)?;
        if metadata.is_dir() {
            return Err(WeightsError::NotACheckpoint {
                path: path.to_path_buf(),
                what: "a folder".to_owned(),
                remedy: "name the file inside it",
            });
        }
        let mut head = Vec::new();
        (&mut file).take(512).read_to_end(&mut head).map_err(read)?;
        let index = match sniff(&head, metadata.len()) {
            Sniffed::Zip => torch_zip::open(file),
            Sniffed::Legacy => legacy::open(file, metadata.len()),
            Sniffed::Pickle => open_pickle(file, metadata.len()),
            Sniffed::Safetensors => safetensors::open(file, metadata.len()),
            Sniffed::Else { what, remedy } => {
                return Err(WeightsError::NotACheckpoint {
                    path: path.to_path_buf(),
                    what,
                    remedy,
                });
            }
        };
        let index = index
            .and_then(Index::checked)
            .map_err(|problem| problem.at(path))?;
        Ok(Self {
            path: path.to_path_buf(),
            length: metadata.len(),
            format: index.format,
            tensors: index.tensors,
            top_level: index.top_level,
            classes: index.classes,
            storages: index.storages,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes.
    pub fn file_len(&self) -> u64 {
        self.length
    }

    /// How it is stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// All tensors in the order of the file.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// Keys of the outermost dictionary with a word on each value.
    pub fn top_level(&self) -> &[(String, String)] {
        &self.top_level
    }

    /// Classes that the file mentions and that were left alone.
    pub fn opaque_classes(&self) -> &[String] {
        &self.classes
    }
}

/// What the readers of the formats hand over.
pub(super) struct Index {
    pub(super) format: Format,
    pub(super) tensors: Vec<TensorInfo>,
    pub(super) top_level: Vec<(String, String)>,
    pub(super) classes: Vec<String>,
    pub(super) storages: Vec<Bytes>,
}

impl Index {
    /// From a pickle's contents; `locate` finds a storage's bytes in the file.
    pub(super) fn new(
        format: Format,
        contents: Contents,
        mut locate: impl FnMut(&Storage) -> Result<Bytes, Problem>,
    ) -> Result<Self, Problem> {
        let mut storages = Vec::new();
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut tensors = Vec::with_capacity(contents.tensors.len());
        for (name, described) in contents.tensors {
            let layout = match described {
                Err(why) => Err(why),
                Ok(Described {
                    kind,
                    shape,
                    strides,
                    first,
                    data,
                }) => {
                    let storage = match data {
                        Data::Storage(storage) => match numbers.get(&storage.key) {
                            Some(&number) => number,
                            None => {
                                storages.push(locate(&storage)?);
                                numbers.insert(storage.key, storages.len() - 1);
                                storages.len() - 1
                            }
                        },
                        Data::Bytes {
                            blob,
                            latin1,
                            big_endian,
                        } => {
                            let needed = elements(&shape) * kind.elt_size_in_bytes() as u64;
                            let bytes = array_bytes(&name, blob, latin1, needed)?;
                            let swap = if big_endian {
                                kind.elt_size_in_bytes()
                            } else {
                                1
                            };
                            storages.push(Bytes { swap, ..bytes });
                            storages.len() - 1
                        }
                    };
                    Ok(Layout {
                        kind,
                        shape,
                        strides,
                        first,
                        storage,
                    })
                }
            };
            tensors.push(TensorInfo { name, layout });
        }
        Ok(Self {
            format,
            tensors,
            top_level: contents.top_level,
            classes: contents.classes.into_iter().collect(),
            storages,
        })
    }

    /// Compares every tensor with the storage it looks at, and the names with each other.
    fn checked(self) -> Result<Self, Problem> {
        let mut seen = std::collections::HashSet::new();
        for tensor in &self.tensors {
            let name = &tensor.name;
            if !seen.insert(name) {
                return damaged(format!("two of its tensors are named {name}"));
            }
            let Ok(layout) = &tensor.layout else { continue };
            let bytes = &self.storages[layout.storage];
            let width = layout.kind.elt_size_in_bytes() as u128;
            match extent(layout) {
                Some(end) if end * width <= u128::from(bytes.len) => {}
                _ => {
                    return damaged(format!(
                        "{name} of shape {:?} reaches beyond its storage of {} bytes",
                        layout.shape, bytes.len
                    ));
                }
            }
        }
        Ok(self)
    }
}

/// Elements of a tensor; shapes were checked against overflow.
pub(super) fn elements(shape: &[i64]) -> u64 {
    shape.iter().map(|&side| side.unsigned_abs()).product()
}

/// Elements from the start of the storage to the end of the tensor; `None` for negative strides.
fn extent(layout: &Layout) -> Option<u128> {
    if layout.shape.contains(&0) {
        return Some(0);
    }
    let mut last = u128::from(layout.first);
    for (&side, &stride) in layout.shape.iter().zip(&layout.strides) {
        let (side, stride) = (u128::try_from(side).ok()?, u128::try_from(stride).ok()?);
        last = last.checked_add((side - 1).checked_mul(stride)?)?;
    }
    last.checked_add(1)
}

/// An array's bytes inside the pickle; they must be exactly as many as the shape needs.
fn array_bytes(name: &str, blob: Blob, latin1: bool, needed: u64) -> Result<Bytes, Problem> {
    let held = blob.len();
    // As Latin-1 text, letters from U+0080 on take two bytes.
    let fits = if latin1 {
        held >= needed && held / 2 <= needed
    } else {
        held == needed
    };
    if !fits {
        return damaged(format!(
            "{name} has {held} bytes where its shape needs {needed}"
        ));
    }
    let place = match blob {
        Blob::File { offset, len } => Place::File {
            start: offset,
            len,
            latin1,
        },
        Blob::Memory(bytes) => Place::Memory { bytes, latin1 },
    };
    Ok(Bytes {
        name: name.to_owned(),
        place,
        len: needed,
        swap: 1,
    })
}

/// Bytes of a storage as the pickle announces it.
pub(super) fn announced(storage: &Storage) -> Result<u64, Problem> {
    let width = kind::from_storage(&storage.class).map_or(1, |kind| kind.elt_size_in_bytes());
    match storage.elements.checked_mul(width as u64) {
        Some(bytes) => Ok(bytes),
        None => damaged(format!(
            "storage {} announces an impossible size",
            storage.key
        )),
    }
}

fn open_pickle(file: File, length: u64) -> Result<Index, Problem> {
    let pickle = parse(&mut FileSource::new(file, 0, length)?)?;
    Index::new(Format::Pickle, contents(&pickle)?, |storage| {
        Err(Problem::Unsupported(format!(
            "a bare pickle that keeps storage {} elsewhere",
            storage.key
        )))
    })
}
