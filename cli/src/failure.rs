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
    /// Another process of the same command tells it; this one only has the exit code.
    Quiet(u8),
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
        Err(Failure::Quiet(code)) => ExitCode::from(code),
        Err(Failure::Interrupted(sentence)) => {
            eprintln!("{sentence}");
            ExitCode::from(130)
        }
        Err(Failure::Error(error)) => {
            if is_broken_pipe(&error) {
                return ExitCode::SUCCESS;
            }
            eprintln!("error: {}", one_sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes; a cause that the error already tells is not told again.
pub fn one_sentence(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |said, cause| {
        let cause = cause.to_string();
        if said.is_empty() {
            cause
        } else if said.contains(&cause) {
            said
        } else {
            format!("{said}: {cause}")
        }
    })
}

/// Whoever read our output has seen enough (`deepmim … | head`).
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::one_sentence;

    #[test]
    fn a_cause_is_told_once() {
        let missing = || std::io::Error::other("no such file");
        let told = Err::<(), _>(missing()).context("gt.json cannot be read (no such file)");
        assert_eq!(
            one_sentence(&told.unwrap_err()),
            "gt.json cannot be read (no such file)"
        );
        let bare = Err::<(), _>(missing()).context("gt.json cannot be read");
        assert_eq!(
            one_sentence(&bare.unwrap_err()),
            "gt.json cannot be read: no such file"
        );
    }
}
