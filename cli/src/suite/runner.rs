//! Running the cells of a plan, several side by side.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use deepmim_cli::Failure;

use super::plan::Plan;
use super::process::{Log, Process};
use super::show::Show;
use super::status::Status;

/// Between two looks at the processes.
const LOOK: Duration = Duration::from_millis(200);
/// For how long an interrupted process may go on saving.
const SAVING: Duration = Duration::from_secs(300);
/// Exit code of a training that was stopped and saved.
const INTERRUPTED: i32 = 130;

/// How a cell stands while the suite runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not started yet.
    Waiting,
    /// Its process runs.
    Running,
    /// Done, now or before.
    Finished,
    /// Failed, with the reason.
    Failed(String),
    /// Cannot start, since the cell that it needs is not finished.
    Blocked,
    /// Not asked for.
    LeftOut,
}

/// Runs the cells that are not finished; `only` one of them and what it needs. Gives how each cell ended.
///
/// # Errors
/// When the suite is interrupted (its processes have saved then), or its folder cannot be written.
pub fn run(plan: &Plan, only: Option<usize>) -> Result<Vec<State>, Failure> {
    let stop = stop_flag()?;
    let mut states = Vec::with_capacity(plan.cells.len());
    for (at, cell) in plan.cells.iter().enumerate() {
        let wanted = only.is_none_or(|only| only == at || plan.cells[only].needs == Some(at));
        states.push(match plan.status(cell)? {
            Status::Finished => State::Finished,
            _ if !wanted => State::LeftOut,
            Status::Failed(why) => {
                eprintln!("{} failed before ({why}); it is tried again", cell.id);
                State::Waiting
            }
            Status::Open | Status::Begun(_) => State::Waiting,
        });
    }
    let mut show = Show::new(plan, &states);
    let mut running: BTreeMap<usize, (Process, Instant)> = BTreeMap::new();
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(interrupted(plan, running));
        }
        while running.len() < plan.jobs
            && let Some(at) = next(plan, &states)
        {
            let Some(process) = start(plan, at, &stop, &show)? else {
                break;
            };
            running.insert(at, (process, Instant::now()));
            states[at] = State::Running;
            show.started(plan, at);
        }
        if running.is_empty() && !stop.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep(LOOK);
        let mut ended = Vec::new();
        for (at, (process, began)) in &mut running {
            match process.ended()? {
                Some(status) => ended.push((*at, status, began.elapsed())),
                None => show.progress(plan, *at),
            }
        }
        for (at, status, took) in ended {
            let Some((process, _)) = running.remove(&at) else {
                continue;
            };
            if status.code() == Some(INTERRUPTED) {
                // Ctrl-C reaches the whole group: the cell may be the first to tell.
                stop.store(true, Ordering::Relaxed);
                show.stopped(at);
                continue;
            }
            states[at] = match plan.status(&plan.cells[at]) {
                Ok(Status::Finished) if status.success() => State::Finished,
                Ok(_) => failed(plan, at, process.failure(status))?,
                Err(error) => failed(plan, at, error.to_string())?,
            };
            show.ended(plan, at, &states[at], took);
        }
        block(plan, &mut states);
    }
    show.finish();
    Ok(states)
}

/// The first cell that can start: nothing before it is missing.
fn next(plan: &Plan, states: &[State]) -> Option<usize> {
    let ready = |at: &usize| {
        let needed = plan.cells[*at].needs;
        states[*at] == State::Waiting
            && needed.is_none_or(|needed| states[needed] == State::Finished)
    };
    (0..states.len()).find(ready)
}

/// Cells whose predecessor failed will not run.
fn block(plan: &Plan, states: &mut [State]) {
    for at in 0..states.len() {
        let failed = plan.cells[at]
            .needs
            .is_some_and(|needed| matches!(states[needed], State::Failed(_) | State::Blocked));
        if failed && states[at] == State::Waiting {
            states[at] = State::Blocked;
        }
    }
}

/// Starts a cell, once an interrupted process has let go of its folder; none when a stop came before.
fn start(
    plan: &Plan,
    at: usize,
    stop: &AtomicBool,
    show: &Show,
) -> anyhow::Result<Option<Process>> {
    let cell = &plan.cells[at];
    let began = Instant::now();
    let mut told = false;
    let log = loop {
        if let Some(log) = Log::open(&plan.log_file(cell))? {
            break log;
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        if !told {
            show.say(&format!(
                "{}: waiting for an earlier process to save and end",
                cell.id
            ));
            told = true;
        }
        anyhow::ensure!(
            began.elapsed() < SAVING,
            "an earlier process still writes {}: end it first",
            cell.folder.display()
        );
        std::thread::sleep(LOOK);
    };
    plan.begin(cell)?;
    Process::start(plan, cell, log).map(Some)
}

/// Remembers why a cell failed.
fn failed(plan: &Plan, at: usize, why: String) -> anyhow::Result<State> {
    let path = plan.failure_file(&plan.cells[at]);
    std::fs::write(&path, format!("{why}\n"))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(State::Failed(why))
}

/// Lets every process save, and says how to go on.
fn interrupted(plan: &Plan, mut running: BTreeMap<usize, (Process, Instant)>) -> Failure {
    for (process, _) in running.values_mut() {
        process.stop();
    }
    let began = Instant::now();
    while began.elapsed() < SAVING
        && running
            .values_mut()
            .any(|(process, _)| matches!(process.ended(), Ok(None)))
    {
        std::thread::sleep(LOOK);
    }
    Failure::Interrupted(format!(
        "stopped; what was running has saved in {}; go on with the same command",
        plan.out.display()
    ))
}

/// Raised by SIGINT and SIGTERM. A second signal ends the program at once; its processes save all the same.
fn stop_flag() -> anyhow::Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: this one looks at the flag before the next one raises it.
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
            .context("signal handlers cannot be installed")?;
    }
    Ok(stop)
}

/// Makes the folders of a suite and locks them against a second one.
pub fn open_folder(out: &Path) -> anyhow::Result<std::fs::File> {
    for folder in ["recipes", "logs"] {
        let folder = out.join(folder);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let path = out.join(".suite.lock");
    let lock = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    match lock.try_lock() {
        Err(std::fs::TryLockError::WouldBlock) => anyhow::bail!(
            "another suite runs in {}: wait for it, or end it first",
            out.display()
        ),
        // Some network file systems have no locks; they are no reason not to run.
        _ => Ok(lock),
    }
}
