//! What can go wrong with a checkpoint, each as one sentence naming the file and the remedy.

use std::io;
use std::path::{Path, PathBuf};

use super::load::Mismatch;

/// A checkpoint could not be read, written, renamed or put into a model.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The operating system refused to read the file.
    #[error("{}: cannot be read ({source}); check the path and its permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file could not be written; a file of that name from before is untouched.
    #[error("{}: {what}; nothing was changed there, {remedy}", path.display())]
    Write {
        /// The file that was to be written.
        path: PathBuf,
        /// What happened.
        what: String,
        /// What to do.
        remedy: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file is cut off, inconsistent or otherwise not what it says it is.
    #[error("{}: is damaged or incomplete: {what}; download or copy it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where and how.
        what: String,
    },
    /// The file is something else than a checkpoint.
    #[error("{}: is not a checkpoint but {what}; {remedy}", path.display())]
    NotACheckpoint {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The pickle names something that only a program, never a set of weights, needs.
    #[error(
        "{}: refused, because its pickle asks for {global}, which no set of weights needs; nothing \
         of it was run: take the file from a source you trust, or have its owner save only \
         model.state_dict()", path.display()
    )]
    Refused {
        /// The file.
        path: PathBuf,
        /// Module and name, as in `posix.system`.
        global: String,
    },
    /// A legitimate file with something in it that is not read here.
    #[error("{}: {what} is not supported; save it again with a current PyTorch as \
             torch.save(model.state_dict(), …)", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What.
        what: String,
    },
    /// The weights would take far more memory than the file could explain.
    #[error("{}: its tensors announce {wanted} bytes, but the file stores only {stored}; it was \
             refused as damaged or hostile", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes that all tensors would take.
        wanted: u128,
        /// Bytes of all storages in the file.
        stored: u64,
    },
    /// The dialect chosen in the configuration does not find its weights in the file.
    #[error(
        "{origin}: holds no weights where the {dialect} dialect keeps them ({wanted}), only \
             {found}; choose the right dialect or part, `checkpoint inspect` shows what is inside"
    )]
    NoWeights {
        /// The file, or what else the state came from.
        origin: String,
        /// The dialect's name.
        dialect: &'static str,
        /// Where the dialect looked.
        wanted: String,
        /// What is there instead.
        found: String,
    },
    /// A file without a trunk of the kind that is wanted.
    #[error("{origin}: {problem}; give another file, or another dialect or part of this one")]
    NoTrunk {
        /// The file, or what else the state came from.
        origin: String,
        /// What is missing or wrong.
        problem: String,
    },
    /// Two entries would get the same name.
    #[error("{origin}: two tensors would both be named {name}; choose another dialect or part")]
    Duplicate {
        /// The file, or what else the state came from.
        origin: String,
        /// The name.
        name: String,
    },
    /// An entry has a shape that its name does not allow.
    #[error("{origin}: {name} has shape {found:?}, {wanted}; the file is of another dialect")]
    Entry {
        /// The file, or what else the state came from.
        origin: String,
        /// The entry.
        name: String,
        /// Its shape.
        found: Vec<i64>,
        /// What was expected.
        wanted: String,
    },
    /// A table of relative positions whose grid cannot be told from it.
    #[error(
        "{origin}: {name} has {rows} rows, which is the table of no square grid of at most 128 \
         patches a side, or of another grid than the positions', so its index cannot be written; \
         write the native dialect, which has none"
    )]
    BiasGrid {
        /// The file, or what else the state came from.
        origin: String,
        /// The table.
        name: String,
        /// Its rows.
        rows: i64,
    },
    /// The file and the model differ in names or shapes; every difference is listed inside.
    #[error("{0}")]
    Mismatch(Box<Mismatch>),
    /// libtorch refused an operation on a tensor.
    #[error("{name}: {source}")]
    Torch {
        /// The tensor's name.
        name: String,
        /// What libtorch said.
        source: tch::TchError,
    },
}

/// A fault inside a file, before the file's name is known to the code that met it.
#[derive(Debug)]
pub(super) enum Problem {
    Damaged(String),
    Refused(String),
    Unsupported(String),
    Io(io::Error),
}

impl Problem {
    /// Names the file.
    pub(super) fn at(self, path: &Path) -> WeightsError {
        let path = path.to_path_buf();
        match self {
            Problem::Damaged(what) => WeightsError::Damaged { path, what },
            Problem::Refused(global) => WeightsError::Refused { path, global },
            Problem::Unsupported(what) => WeightsError::Unsupported { path, what },
            Problem::Io(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
                WeightsError::Damaged {
                    path,
                    what: "it ends too early".to_owned(),
                }
            }
            Problem::Io(source) => WeightsError::Read { path, source },
        }
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Problem::Io(error)
    }
}

/// Shorthand for [`Problem::Damaged`].
pub(super) fn damaged<T>(what: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Damaged(what.into()))
}
