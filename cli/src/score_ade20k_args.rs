//! What can be typed after `deepmim score ade20k`.

use std::path::PathBuf;

use clap::Args;

/// `score ade20k`.
#[derive(Debug, Args)]
pub struct ScoreAde20kArgs {
    /// Folder of ground-truth label maps (PNG, subfolders too)
    #[arg(long, value_name = "DIR")]
    pub gt: PathBuf,
    /// Folder of predicted label maps (PNG, the index of a palette is the class), named as the ground truth; given again, folders are compared
    #[arg(long, value_name = "DIR", required = true)]
    pub pred: Vec<PathBuf>,
    /// Number of classes; default: as many as --class-names has
    #[arg(long, value_name = "N", required_unless_present = "class_names")]
    pub classes: Option<usize>,
    /// File with one class name a line, or ADE20K's objectInfo150.csv
    #[arg(long, value_name = "FILE")]
    pub class_names: Option<PathBuf>,
    /// The ground truth counts from 1 and 0 is no class, as in ADE20K's files; predictions still count from 0
    #[arg(long)]
    pub reduce_zero_label: bool,
    /// Predictions count from 1 too, as in files for ADE20K's evaluation server
    #[arg(long)]
    pub one_based_predictions: bool,
    /// Ground-truth pixels with this number (after --reduce-zero-label) are left out; default: 255, or 65535 with more than 255 classes
    #[arg(long, value_name = "N")]
    pub ignore_index: Option<u16>,
    /// Print scores of every class
    #[arg(long)]
    pub per_class: bool,
    /// Leave images that cannot be scored out and count them, instead of stopping at the first; predicted numbers that are no class count as wrong
    #[arg(long)]
    pub lenient: bool,
    /// Folder for summary, scores per class, confusion matrix and confused classes as CSV and JSON
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Threads; default: all cores
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
