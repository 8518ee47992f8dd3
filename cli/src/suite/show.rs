//! What is seen while a suite runs: a line per running cell on a terminal, lines of text elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::plan::Plan;
use super::runner::State;
use super::status::last_epoch;

/// Between two lines about a running cell where there is no terminal.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// The progress of a suite.
pub struct Show {
    bars: MultiProgress,
    /// Of running cells, by place.
    cells: Vec<Option<ProgressBar>>,
    /// When a cell was last told of.
    told: Vec<Instant>,
    terminal: bool,
    done: usize,
}

impl Show {
    /// Of a plan whose finished cells are known.
    pub fn new(plan: &Plan, states: &[State]) -> Self {
        let done = states
            .iter()
            .filter(|state| **state == State::Finished)
            .count();
        let show = Self {
            bars: MultiProgress::new(),
            cells: vec![None; plan.cells.len()],
            told: vec![Instant::now(); plan.cells.len()],
            terminal: std::io::stderr().is_terminal(),
            done,
        };
        show.say(&format!(
            "{} cells, {done} finished; {}",
            plan.cells.len(),
            plan.sharing()
        ));
        show
    }

    /// A line above the bars.
    pub fn say(&self, line: &str) {
        if self.terminal {
            // A terminal that is gone takes nothing away from the runs.
            let _ = self.bars.println(line);
        } else {
            eprintln!("{line}");
        }
    }

    /// A cell's process runs.
    pub fn started(&mut self, plan: &Plan, at: usize) {
        let cell = &plan.cells[at];
        self.told[at] = Instant::now();
        if !self.terminal {
            self.say(&format!("{}: started", cell.what()));
            return;
        }
        let bar = ProgressBar::new(1000);
        let style = ProgressStyle::with_template("{msg:40} {bar:30} {percent:>3} % {elapsed}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        let bar = self.bars.add(bar);
        bar.set_message(cell.what());
        bar.enable_steady_tick(Duration::from_millis(500));
        self.cells[at] = Some(bar);
    }

    /// Looks how far a running cell is.
    pub fn progress(&mut self, plan: &Plan, at: usize) {
        let cell = &plan.cells[at];
        let due = self.told[at].elapsed() >= HEARTBEAT;
        if !self.terminal && !due {
            return;
        }
        let (Some(epoch), Some(epochs)) = (last_epoch(&cell.folder), cell.epochs()) else {
            return;
        };
        match &self.cells[at] {
            Some(bar) => bar.set_position((1000.0 * epoch / epochs) as u64),
            None => {
                self.told[at] = Instant::now();
                self.say(&format!("{}: epoch {epoch:.1} of {epochs}", cell.what()));
            }
        }
    }

    /// A cell's process ended.
    pub fn ended(&mut self, plan: &Plan, at: usize, state: &State, took: Duration) {
        self.stopped(at);
        let what = plan.cells[at].what();
        let seconds = took.as_secs_f64();
        match state {
            State::Failed(why) => self.say(&format!("{what}: FAILED after {seconds:.0} s: {why}")),
            _ => {
                self.done += 1;
                let all = plan.cells.len();
                self.say(&format!(
                    "{what}: finished in {seconds:.0} s ({} of {all})",
                    self.done
                ));
            }
        }
    }

    /// Takes a cell's line away.
    pub fn stopped(&mut self, at: usize) {
        if let Some(bar) = self.cells[at].take() {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }

    /// Takes all lines away.
    pub fn finish(&self) {
        // As above.
        let _ = self.bars.clear();
    }
}
