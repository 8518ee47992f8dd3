//! Results on stdout; whoever closes it early (`| head`) is no error.

use std::fmt::Display;
use std::io::{Write, stdout};

use serde::Serialize;

/// Prints a value as text, ending in a newline.
///
/// # Errors
/// When stdout cannot be written.
pub fn print_text(value: &impl Display) -> anyhow::Result<()> {
    let text = value.to_string();
    writeln!(stdout().lock(), "{}", text.trim_end_matches('\n'))?;
    Ok(())
}

/// Prints a value as indented JSON.
///
/// # Errors
/// When stdout cannot be written.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}
