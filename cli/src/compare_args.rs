//! What can be typed after `deepmim compare` and `deepmim suite`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Forms of a leaderboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// For the terminal
    Table,
    /// One line per task, system and metric, all digits
    Csv,
    /// Markdown
    Md,
    /// One page with plots and pictures, nothing loaded from elsewhere
    Html,
    /// Everything, unrounded
    Json,
}

/// How pictures are resampled.
#[derive(Debug, Args)]
pub struct ResampleArgs {
    /// Resamples of the paired bootstrap
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub resamples: usize,
    /// Seed of the resamples
    #[arg(long, default_value_t = 0)]
    pub bootstrap_seed: u64,
    /// Show the published rows of ImageNet, COCO and ADE20K beside other data sets, too
    #[arg(long)]
    pub published: bool,
}

/// `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Runs, evaluation folders, suites' folders, or bare files of predictions (results .json, predictions .csv,
    /// folders of label maps); NAME=PATH puts several into one row
    #[arg(required = true, value_name = "[NAME=]RUN")]
    pub runs: Vec<String>,
    /// Ground truth of bare predictions, or a recorded one that has moved: an annotation file (.json), a folder of
    /// label maps, or a file of labels; one for each task
    #[arg(long, value_name = "PATH")]
    pub gt: Vec<PathBuf>,
    /// Class names, one a line, for bare label maps
    #[arg(long, value_name = "FILE")]
    pub class_names: Option<PathBuf>,
    /// Number of classes, for bare label maps without --class-names
    #[arg(long, value_name = "N")]
    pub classes: Option<usize>,
    /// Bare label maps: the ground truth counts classes from 1 and 0 is ignored, as in ADE20K's files
    #[arg(long)]
    pub reduce_zero_label: bool,
    /// What stands on top
    #[arg(long, default_value = "Leaderboard")]
    pub title: String,
    /// Form of the output
    #[arg(long, value_enum, default_value = "table")]
    pub format: FormatArg,
    /// Write to a file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub resample: ResampleArgs,
    /// Threads that score; default: all cores
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// `suite`.
#[derive(Debug, Args)]
pub struct SuiteArgs {
    /// The suite's file, TOML: checkpoints, tasks, seeds
    pub suite: PathBuf,
    /// Show the plan and how long it will take, by timing a few steps of each recipe; train nothing
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: time nothing
    #[arg(long, requires = "dry_run")]
    pub fast: bool,
    /// Run one cell alone (and what it needs)
    #[arg(long, value_name = "CELL")]
    pub only: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub resample: ResampleArgs,
}
