//! `deepmim checkpoint inspect | convert | diff`.

use std::path::Path;

use anyhow::bail;
use backbone::weights::{ConvertOptions, DiffSide, Precision, convert, diff, inspect};
use deepmim_cli::{CheckpointCommand, DialectArg, DtypeArg, Failure, print_json, print_text};

use crate::weights::{dialect, file};

/// Runs one of the three.
pub fn run(command: &CheckpointCommand) -> Result<(), Failure> {
    match command {
        CheckpointCommand::Inspect {
            file: path,
            stats,
            json,
        } => {
            let inspection = inspect(file(path)?.0, *stats)?;
            if *json {
                print_json(&inspection)?
            } else {
                print_text(&inspection)?
            }
        }
        CheckpointCommand::Convert {
            input,
            output,
            from,
            to,
            trunk_only,
            dtype,
            overwrite,
        } => {
            refuse_existing(output, *overwrite)?;
            let options = ConvertOptions {
                from: dialect(*from),
                to: dialect(*to),
                part: None,
                precision: dtype.map(precision),
                trunk_only: *trunk_only,
            };
            print_text(&convert(file(input)?.0, output, &options)?)?;
        }
        CheckpointCommand::Diff {
            left,
            right,
            left_dialect,
            right_dialect,
            tolerance,
            json,
        } => {
            let sides = (side(*left_dialect), side(*right_dialect));
            let mut difference = diff((file(left)?.0, &sides.0), (file(right)?.0, &sides.1))?;
            let before = difference.values.len();
            // Another element type is a difference however near the values are; a NaN is never near.
            difference.values.retain(|tensor| {
                tensor.kinds.is_some() || tensor.max_abs.is_nan() || tensor.max_abs > *tolerance
            });
            let near = before - difference.values.len();
            if *json {
                print_json(&difference)?
            } else {
                print_text(&difference)?
            }
            if near > 0 {
                eprintln!("{near} more tensors differ by at most {tolerance}");
            }
            if !difference.is_empty() {
                return Err(Failure::Negative);
            }
        }
    }
    Ok(())
}

fn side(argument: Option<DialectArg>) -> DiffSide {
    DiffSide {
        dialect: argument.map(dialect),
        part: None,
    }
}

fn precision(argument: DtypeArg) -> Precision {
    match argument {
        DtypeArg::F32 => Precision::Float32,
        DtypeArg::F16 => Precision::Float16,
        DtypeArg::Bf16 => Precision::Bfloat16,
    }
}

fn refuse_existing(output: &Path, overwrite: bool) -> anyhow::Result<()> {
    if output.exists() && !overwrite {
        bail!(
            "{} exists already: choose another name, or replace it with --overwrite",
            output.display()
        );
    }
    Ok(())
}
