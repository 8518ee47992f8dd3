//! `deepmim suite`: checkpoints × tasks × seeds, run, resumed and compared.

mod estimate;
mod file;
mod plan;
mod process;
mod runner;
mod show;
mod status;

use std::path::Path;

use anyhow::Context;
use comfy_table::{CellAlignment, Table, presets};
use deepmim_cli::{Failure, FormatArg, ResampleArgs, SuiteArgs, print_text};
use leaderboard::{Board, BoardOptions};

pub use plan::suite_requests;

use crate::compare::{bootstrap, build, written};
use estimate::estimates;
use file::SuiteFile;
use plan::Plan;
use runner::State;
use status::Status;

/// The leaderboard's files in a suite's folder.
const FILES: [(&str, FormatArg); 4] = [
    ("leaderboard.csv", FormatArg::Csv),
    ("leaderboard.md", FormatArg::Md),
    ("leaderboard.json", FormatArg::Json),
    ("report.html", FormatArg::Html),
];

/// Plans a suite, shows the plan, or runs it.
pub fn run(args: &SuiteArgs) -> Result<(), Failure> {
    let plan = Plan::new(&SuiteFile::read(&args.suite)?, &args.suite)?;
    if args.dry_run {
        return show_plan(&plan, args.fast);
    }
    let only = args.only.as_deref().map(|id| plan.find(id)).transpose()?;
    run_plan(&plan, &args.suite, only, &args.resample)
}

/// Runs a suite's file.
pub fn run_file(suite: &Path, resample: &ResampleArgs) -> Result<(), Failure> {
    let plan = Plan::new(&SuiteFile::read(suite)?, suite)?;
    run_plan(&plan, suite, None, resample)
}

/// Runs what is not finished and compares what is.
fn run_plan(
    plan: &Plan,
    suite: &Path,
    only: Option<usize>,
    resample: &ResampleArgs,
) -> Result<(), Failure> {
    let _lock = runner::open_folder(&plan.out)?;
    plan.write()?;
    let states = runner::run(plan, only)?;
    let evaluated = |cell: &plan::Cell| status::evaluated(&cell.folder);
    if plan.cells.iter().any(evaluated) {
        let board = compared(plan, resample)?;
        print_text(&leaderboard::table(&board))?;
        eprintln!(
            "leaderboard and page: {}",
            plan.out.join("report.html").display()
        );
    }
    tell_failures(plan, suite, &states)
}

/// Compares the finished cells and writes the leaderboard into the suite's folder.
fn compared(plan: &Plan, resample: &ResampleArgs) -> anyhow::Result<Board> {
    let requests = suite_requests(&plan.out)?.unwrap_or_default();
    let options = BoardOptions {
        title: plan.title.clone(),
        bootstrap: bootstrap(resample),
        all_published: resample.published,
        ..BoardOptions::default()
    };
    let board = build(&requests, &options)?;
    for (name, format) in FILES {
        let path = plan.out.join(name);
        std::fs::write(&path, written(&board, format)?)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(board)
}

/// Failures come last, where they are seen, each with the command that tries it again.
fn tell_failures(plan: &Plan, suite: &Path, states: &[State]) -> Result<(), Failure> {
    let mut failed = 0;
    for (cell, state) in plan.cells.iter().zip(states) {
        match state {
            State::Failed(why) => {
                failed += 1;
                eprintln!("failed: {}: {why}", cell.id);
                eprintln!("  log:       {}", plan.log_file(cell).display());
                eprintln!(
                    "  try again: deepmim suite {} --only {}",
                    suite.display(),
                    cell.id
                );
            }
            State::Blocked => {
                failed += 1;
                let before = cell.needs.map_or("", |at| plan.cells[at].id.as_str());
                eprintln!("not run: {}, which needs {before}", cell.id);
            }
            _ => {}
        }
    }
    match failed {
        0 => Ok(()),
        _ => Err(anyhow::anyhow!("{failed} of {} cells are not finished", plan.cells.len()).into()),
    }
}

/// The plan as a table, with how long it will take.
fn show_plan(plan: &Plan, fast: bool) -> Result<(), Failure> {
    let statuses = plan
        .cells
        .iter()
        .map(|cell| plan.status(cell))
        .collect::<anyhow::Result<Vec<Status>>>()?;
    let seconds = match fast {
        true => vec![None; plan.cells.len()],
        false => estimates(plan, &statuses)?,
    };
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_header([
        "cell",
        "checkpoint",
        "task",
        "state",
        "takes about",
    ]);
    let mut total = 0.0;
    for ((cell, status), seconds) in plan.cells.iter().zip(&statuses).zip(&seconds) {
        let (state, share) = match status {
            Status::Finished => ("finished".to_owned(), 0.0),
            Status::Open => ("to do".to_owned(), 1.0),
            Status::Failed(why) => (format!("failed: {why}"), 1.0),
            Status::Begun(epoch) => match (epoch, cell.epochs()) {
                (Some(epoch), Some(epochs)) => (
                    format!("epoch {epoch:.1} of {epochs}"),
                    (1.0 - epoch / epochs).clamp(0.0, 1.0),
                ),
                _ => ("begun".to_owned(), 1.0),
            },
        };
        let left = seconds.map(|seconds| share * seconds);
        total += left.unwrap_or(0.0);
        table.add_row([
            cell.id.clone(),
            cell.system.clone(),
            cell.task.clone(),
            state,
            left.map_or_else(String::new, duration),
        ]);
    }
    if let Some(column) = table.column_mut(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    print_text(&table)?;
    let side = plan.sharing();
    if fast {
        print_text(&side)?;
    } else {
        print_text(&format!(
            "about {} in all: {side}. A few steps were timed; a model that has learnt may take another time to evaluate.",
            duration(total / plan.jobs as f64)
        ))?;
    }
    Ok(())
}

/// Hours, minutes and seconds, as many of them as matter.
fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_have_two_units_at_most() {
        assert_eq!(duration(12.4), "12 s");
        assert_eq!(duration(75.0), "1 min 15 s");
        assert_eq!(duration(7265.0), "2 h 1 min");
    }
}
