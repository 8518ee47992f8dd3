//! What can go wrong between a file on disk and a sample in memory.
//!
//! Every message names the file (or configuration key) and what to do about it, because it is shown to
//! the user as it stands.

use std::path::{Path, PathBuf};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder could not be opened, read or listed.
    #[error(
        "{}: cannot be read ({source}); check the path and its permissions",
        path.display()
    )]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file or folder could not be written.
    #[error(
        "{}: cannot be written ({source}); check the path, its permissions and the free space",
        path.display()
    )]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A picture could not be decoded.
    #[error("{name}: not a readable picture ({reason}); replace it or remove it from the data set")]
    Decode {
        /// File name, or whatever the caller called the bytes.
        name: String,
        /// The decoder's reason.
        reason: String,
    },
    /// A picture could not be encoded.
    #[error("{name}: the picture could not be encoded ({reason})")]
    Encode {
        /// File name.
        name: String,
        /// The encoder's reason.
        reason: String,
    },
    /// A data set's folders or lists are not as they must be.
    #[error("{}: {problem}; {remedy}", path.display())]
    Layout {
        /// The folder or list file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// A line of a label or class list is wrong.
    #[error("{} line {line}: {problem}; {remedy}", path.display())]
    Line {
        /// The list file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// An annotation file cannot be used.
    #[error(transparent)]
    Annotations(#[from] eval::EvalError),
    /// A configuration value is out of range.
    #[error("{key}: {problem}")]
    Config {
        /// The configuration key.
        key: String,
        /// What is wrong, with the permitted values.
        problem: String,
    },
    /// A worker panicked: a defect of this program.
    #[error("sample {index} could not be made ({message}); this is a defect, please report it")]
    Panic {
        /// Index of the sample in its data set.
        index: usize,
        /// The panic's message.
        message: String,
    },
    /// The worker threads could not be started.
    #[error("the loader's threads could not be started ({0}); ask for fewer threads")]
    Threads(String),
}

impl DataError {
    pub(crate) fn read(path: &Path, source: std::io::Error) -> Self {
        Self::Read {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn write(path: &Path, source: std::io::Error) -> Self {
        Self::Write {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn decode(name: &str, reason: impl Into<String>) -> Self {
        Self::Decode {
            name: name.to_owned(),
            reason: reason.into(),
        }
    }

    pub(crate) fn layout(
        path: &Path,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Layout {
            path: path.to_owned(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn config(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Config {
            key: key.into(),
            problem: problem.into(),
        }
    }
}
