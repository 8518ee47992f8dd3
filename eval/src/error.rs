//! What can go wrong while scoring.

use std::path::{Path, PathBuf};

/// A prediction or a file that cannot be scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A file cannot be opened or read.
    #[error("{}: cannot be read ({source}): check the path and its permissions", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be created or written.
    #[error(
        "{}: cannot be written ({source}): check the folder, its permissions and the free space",
        .path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A record of a file is not what its format says.
    #[error("{}, line {line}: {problem}", .path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: u64,
        /// What is wrong and what belongs there.
        problem: String,
    },
    /// An item of a file, such as an annotation or a detection, cannot be used.
    #[error("{}, {item}: {problem}", .path.display())]
    Item {
        /// The file.
        path: PathBuf,
        /// Which item: "result 17" (counted from 0, as in Python), "annotation 5 (id 123)".
        item: String,
        /// What is wrong and what belongs there.
        problem: String,
    },
    /// A file as a whole is not what it should be.
    #[error("{}: {problem}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what belongs there.
        problem: String,
    },
    /// Thresholds or limits that nothing can be measured with.
    #[error("{0}")]
    Params(String),
    /// A prediction cannot be scored.
    #[error("prediction for \"{name}\": {problem}")]
    Prediction {
        /// Name of the picture.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A number of classes that cannot be counted.
    #[error("{classes} classes cannot be counted: there must be 1 to {most}")]
    ClassCount {
        /// The number asked for.
        classes: usize,
        /// The largest possible.
        most: usize,
    },
    /// Two meters count different numbers of classes.
    #[error("meters of {left} and {right} classes cannot be merged")]
    Classes {
        /// Classes of the meter merged into.
        left: usize,
        /// Classes of the other.
        right: usize,
    },
    /// Resampling was asked for what cannot be resampled.
    #[error("bootstrap: {problem}")]
    Bootstrap {
        /// What is wrong and what to ask for instead.
        problem: String,
    },
}

impl EvalError {
    pub(crate) fn prediction(name: &str, problem: impl Into<String>) -> Self {
        Self::Prediction {
            name: name.to_owned(),
            problem: problem.into(),
        }
    }

    pub(crate) fn item(path: &Path, item: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Item {
            path: path.to_owned(),
            item: item.into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn file(path: &Path, problem: impl Into<String>) -> Self {
        Self::File {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }

    pub(crate) fn record(path: &Path, line: u64, problem: impl Into<String>) -> Self {
        Self::Record {
            path: path.to_owned(),
            line,
            problem: problem.into(),
        }
    }
}
