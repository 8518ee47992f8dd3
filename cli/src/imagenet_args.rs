//! What can be typed after `deepmim score imagenet`.

use std::path::PathBuf;

use clap::Args;

/// `score imagenet`.
#[derive(Debug, Args)]
pub struct ScoreImagenetArgs {
    /// Predictions as CSV: predictions.csv of a run; columns file,top1,…; or file and one column of logits or probabilities per class. May be gzip-compressed, - is standard input; given again, files are compared
    #[arg(long, value_name = "FILE", required = true)]
    pub pred: Vec<PathBuf>,
    /// True classes: CSV of file,label, lines of "file label", or ILSVRC's ground truth (one id a line); default: the column label of the first predictions
    #[arg(long, value_name = "FILE")]
    pub gt: Option<PathBuf>,
    /// With ILSVRC's ground truth: the WordNet ids in the order of its ids; without it, id 1 is class 0
    #[arg(long, value_name = "FILE", requires = "gt")]
    pub synsets: Option<PathBuf>,
    /// Reassessed labels: real.json of google-research/reassessed-imagenet
    #[arg(long, value_name = "FILE")]
    pub real: Option<PathBuf>,
    /// Number of classes; default: what the files tell
    #[arg(long, value_name = "N", conflicts_with = "class_names")]
    pub classes: Option<usize>,
    /// Names of the classes, one a line, in class order
    #[arg(long, value_name = "FILE")]
    pub class_names: Option<PathBuf>,
    /// Compare every pair of files, not only each with the first
    #[arg(long)]
    pub all_pairs: bool,
    /// Leave out and count what cannot be scored, instead of stopping at the first
    #[arg(long)]
    pub lenient: bool,
    /// Folder for summary.json, per_class.csv, confusion.csv and calibration.csv
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Resamples of the paired bootstrap
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pub resamples: usize,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Threads; default: all cores
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
