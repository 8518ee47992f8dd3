//! Everything that can end a training or an evaluation early.

use std::path::{Path, PathBuf};

use crate::TaskError;

/// Why training, evaluation or a run directory failed; each message is one sentence for the user.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A configuration value that cannot work.
    #[error("{0}")]
    Config(String),
    /// A file or folder could not be read or written.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried, e.g. "cannot write".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The run directory is there already and neither resuming nor overwriting was asked for.
    #[error(
        "{0} already holds a run: continue it with --resume, replace it with --overwrite, or choose another name"
    )]
    RunExists(PathBuf),
    /// The folder is not empty and not a run directory.
    #[error("{0} is not empty and is not a run directory: choose another place for the run")]
    NotARun(PathBuf),
    /// Another process writes the same run.
    #[error("{0} is being written by another process: stop that one first, or choose another name")]
    RunLocked(PathBuf),
    /// Resuming with other settings than the run was started with.
    #[error(
        "the run in {path} was started with another configuration (it had `{had}`, now it is `{now}`): resume with the same one, or start a new run"
    )]
    ConfigChanged {
        /// The run's folder.
        path: PathBuf,
        /// First differing line of the run's configuration.
        had: String,
        /// The line now in its place.
        now: String,
    },
    /// A checkpoint could not be written; those before it are untouched.
    #[error(
        "cannot save the checkpoint of step {step} in {path}: {reason}; {kept}; make room, then start again with --resume"
    )]
    SaveFailed {
        /// Optimiser steps done.
        step: u64,
        /// Where it was to go.
        path: PathBuf,
        /// What the system said.
        reason: String,
        /// Which checkpoint is still there.
        kept: String,
    },
    /// A checkpoint does not fit the model or the run.
    #[error("the checkpoint {path} does not fit: {reason}")]
    Mismatch {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What differs and what to do.
        reason: String,
    },
    /// The run has checkpoints, but none that is whole.
    #[error(
        "none of the {count} checkpoints in {path} is whole (the newest: {reason}): start again with --overwrite"
    )]
    NoWholeCheckpoint {
        /// The checkpoints' folder.
        path: PathBuf,
        /// How many were tried.
        count: usize,
        /// What is wrong with the newest.
        reason: String,
    },
    /// A loss or the gradient is no longer a finite number.
    #[error(
        "{name} is {value} at step {step} (epoch {epoch}) with learning rate {lr:e}, in the batch of {files}; {checkpoint}"
    )]
    NonFinite {
        /// Which loss, or `grad_norm`.
        name: String,
        /// Its value.
        value: f64,
        /// Optimiser steps done before.
        step: u64,
        /// Epoch, from 0.
        epoch: u64,
        /// Scheduled learning rate of the step.
        lr: f64,
        /// File names of the batch.
        files: String,
        /// Where the state before the step was saved.
        checkpoint: String,
    },
    /// The task or its data failed; the state before the step was saved.
    #[error("{source}{}", after(checkpoint))]
    Task {
        /// The error itself.
        source: TaskError,
        /// Where the state before the step was saved, or empty.
        checkpoint: String,
    },
    /// The data source gave fewer batches than it announced.
    #[error(
        "the training data ended before the {wanted} batches that epoch {epoch} should have; {checkpoint}"
    )]
    DataEnded {
        /// Batches announced.
        wanted: u64,
        /// Epoch, from 0.
        epoch: u64,
        /// Where the state was saved.
        checkpoint: String,
    },
    /// libtorch refused an operation.
    #[error("{0}")]
    Torch(String),
    /// Another process of the training failed and said why.
    #[error("process {rank} failed: {message}{}", after(checkpoint))]
    PeerFailed {
        /// Its rank.
        rank: usize,
        /// What it said.
        message: String,
        /// Where the state before the step was saved, or empty.
        checkpoint: String,
    },
    /// Another process of the training ended or fell silent.
    #[error(
        "process {rank} lost another one, which ended, was cut off or did not answer for {seconds} s ({reason}){}",
        after(checkpoint)
    )]
    PeerLost {
        /// The rank of this process.
        rank: usize,
        /// The time-out of the processes' exchanges.
        seconds: u64,
        /// What c10d said.
        reason: String,
        /// Where the state before the step was saved, or empty.
        checkpoint: String,
    },
    /// An evaluation was stopped by a signal.
    #[error("stopped by a signal")]
    Stopped,
}

fn after(note: &str) -> String {
    if note.is_empty() {
        String::new()
    } else {
        format!(" ({note})")
    }
}

impl EngineError {
    /// Adds where the state was saved to an error about another process.
    pub(crate) fn with_checkpoint(mut self, saved: String) -> Self {
        if let Self::PeerFailed { checkpoint, .. } | Self::PeerLost { checkpoint, .. } = &mut self {
            *checkpoint = saved;
        }
        self
    }

    /// Whether every process of a training has this same error, so that one of them may tell it.
    pub fn is_common(&self) -> bool {
        matches!(self, Self::NonFinite { .. } | Self::Stopped)
    }

    /// Whether `error` is, or was caused by, [`EngineError::Stopped`].
    pub fn is_stop(error: &TaskError) -> bool {
        matches!(Self::innermost(error.as_ref()), Some(Self::Stopped))
    }

    /// The engine's error that `error` is, or was caused by; of several, the first cause.
    pub fn innermost<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let own: Option<&Self> = error.downcast_ref();
        let deeper = match own {
            // Its source is a type-erased box of which only the content matters.
            Some(Self::Task { source, .. }) => Self::innermost(source.as_ref()),
            _ => error.source().and_then(|source| Self::innermost(source)),
        };
        deeper.or(own)
    }

    pub(crate) fn io(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> EngineError {
        let path = path.to_owned();
        move |source| EngineError::Io {
            action,
            path,
            source,
        }
    }
}

impl From<tch::TchError> for EngineError {
    fn from(error: tch::TchError) -> Self {
        // The lines after the first are libtorch's own C++ stack.
        let text = error.to_string();
        Self::Torch(text.lines().next().unwrap_or_default().to_owned())
    }
}

impl From<native::NativeError> for EngineError {
    fn from(error: native::NativeError) -> Self {
        Self::Torch(error.to_string())
    }
}
