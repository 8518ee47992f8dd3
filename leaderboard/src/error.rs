//! What can go wrong between run folders and a leaderboard.

use std::path::{Path, PathBuf};

use eval::EvalError;

/// Runs that cannot be read or compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaderboardError {
    /// A file or folder cannot be used.
    #[error("{}: {problem}", .path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Runs do not fit each other, or an option does not fit them.
    #[error("{0}")]
    Compare(String),
    /// Predictions cannot be scored.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

impl LeaderboardError {
    pub(crate) fn file(path: &Path, problem: impl Into<String>) -> Self {
        Self::File {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }

    /// For `map_err`: a file that could not be read.
    pub(crate) fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File {
            path,
            problem: format!("it cannot be read ({error})"),
        }
    }
}
