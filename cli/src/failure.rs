//! How a command ends: exit code 0, 1 for a failure told in one sentence, 130 for an interrupted run.

use std::process::ExitCode;

/// A command that did not end well.
#[derive(Debug)]
pub enum Failure {
    /// Something is wrong; told as `error: …`.
    Error(anyhow::Error),
    /// The answer is no (two checkpoints differ, a data set has faults); it was already printed.
    Negative,
    /// Stopped by SIGINT or SIGTERM after saving; the sentence says how to go on.
    Interrupted(String),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// Prints a failure to stderr and gives the program's exit code.
pub fn finish(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Negative) => ExitCode::FAILURE,
        Err(Failure::Interrupted(sentence)) => {
            eprintln!("{sentence}");
            ExitCode::from(130)
        }
        Err(Failure::Error(error)) => {
            if is_broken_pipe(&error) {
                return ExitCode::SUCCESS;
            }
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whoever read our output has seen enough (`deepmim … | head`).
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
