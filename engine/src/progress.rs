//! What a person at the terminal sees: a bar with throughput and time left, or, where standard
//! error is not a terminal, a line every so often.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two lines where there is no bar.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Progress over a known number of steps or batches.
#[derive(Debug)]
pub struct Progress {
    label: String,
    /// Shows nothing at all.
    silent: bool,
    bar: Option<ProgressBar>,
    total: u64,
    done: u64,
    samples: u64,
    started: Instant,
    done_at_start: u64,
    last_line: Instant,
}

impl Progress {
    /// `total` steps, of which `done` were made before this start.
    pub fn new(label: &str, total: u64, done: u64) -> Self {
        Self::shown(label, total, done, false)
    }

    /// Shows nothing: for all but one of several processes.
    pub fn silent() -> Self {
        Self::shown("", 0, 0, true)
    }

    fn shown(label: &str, total: u64, done: u64, silent: bool) -> Self {
        let bar = (!silent && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let style =
                ProgressStyle::with_template("{prefix} [{wide_bar:.cyan/blue}] {pos}/{len} {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("=> "));
            bar.set_prefix(label.to_owned());
            bar.set_position(done);
            bar
        });
        let now = Instant::now();
        Self {
            label: label.to_owned(),
            silent,
            bar,
            total,
            done,
            samples: 0,
            started: now,
            done_at_start: done,
            last_line: now,
        }
    }

    /// One more step over `samples` samples; `note` is made only when it is shown.
    pub fn step(&mut self, samples: usize, note: impl FnOnce() -> String) {
        self.done += 1;
        self.samples += samples as u64;
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{} {}", note(), self.pace()));
            bar.set_position(self.done);
        } else if !self.silent && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            eprintln!(
                "{} {}/{} {} {}",
                self.label,
                self.done,
                self.total,
                note(),
                self.pace()
            );
        }
    }

    /// Samples per second since the start.
    pub fn throughput(&self) -> f64 {
        self.samples as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }

    fn pace(&self) -> String {
        let made = (self.done - self.done_at_start).max(1);
        let left = self.total.saturating_sub(self.done);
        let eta = self.started.elapsed().mul_f64(left as f64 / made as f64);
        format!("{:.1}/s, {} left", self.throughput(), HumanDuration(eta))
    }

    /// A line of its own, above the bar where there is one.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None if self.silent => {}
            None => eprintln!("{line}"),
        }
    }

    /// Takes the bar away while something else draws one.
    pub fn hide(&self) {
        if let Some(bar) = &self.bar {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
    }

    /// Shows the bar again.
    pub fn show(&self) {
        if let Some(bar) = &self.bar {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
