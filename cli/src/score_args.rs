//! What can be typed after `deepmim score`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `score …`.
#[derive(Debug, Subcommand)]
pub enum ScoreCommand {
    /// COCO detection: the twelve AP and AR numbers of boxes and masks
    #[command(after_help = "Examples:
  deepmim score coco --gt instances_val2017.json --pred results.json
  deepmim score coco --gt instances_val2017.json --pred results.json --type segm --errors --out scores
  deepmim score coco --gt instances_val2017.json --pred mae.json --pred deepmim.json
  zcat results.json.gz | deepmim score coco --gt instances_val2017.json --pred - --json")]
    Coco(ScoreCocoArgs),
    /// Semantic segmentation, ADE20K's or any other: mIoU, mAcc, aAcc of label maps
    #[command(after_help = "Examples:
  deepmim score ade20k --gt ADEChallengeData2016/annotations/validation --reduce-zero-label --pred out/labels --class-names objectInfo150.csv
  deepmim score ade20k --gt annotations --pred mae/labels --pred deepmim/labels --classes 150 --out scores")]
    Ade20k(ScoreAde20kArgs),
    /// ImageNet: top-1, top-5, loss and calibration error with intervals, and differences between files
    #[command(after_help = "Examples:
  deepmim score imagenet --pred runs/imagenet_finetune/eval/predictions.csv
  deepmim score imagenet --pred mae/predictions.csv --pred deepmim/predictions.csv --class-names classes.txt --out scores
  deepmim score imagenet --pred logits.csv.gz --gt ILSVRC2012_validation_ground_truth.txt --synsets synsets.txt --real real.json
A file of logits has the columns file,0,1,…; a ranking has file,top1,…,top5 and perhaps p1,…,p5 and loss.")]
    Imagenet(ScoreImagenetArgs),
}

/// Which overlap decides a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum IouTypeArg {
    Bbox,
    Segm,
}

/// `score coco`.
#[derive(Debug, Args)]
pub struct ScoreCocoArgs {
    /// Annotation file (instances_*.json); may be gzip-compressed
    #[arg(long, value_name = "FILE")]
    pub gt: PathBuf,
    /// Results file in COCO's format; may be gzip-compressed, - is standard input; given again, files are compared
    #[arg(long, value_name = "FILE", required = true)]
    pub pred: Vec<PathBuf>,
    /// What to score; may be given twice; default: boxes, and masks where the results have them
    #[arg(long = "type", value_name = "TYPE")]
    pub iou_types: Vec<IouTypeArg>,
    /// Limits on detections per picture and category
    #[arg(
        long,
        value_name = "N,N,N",
        value_delimiter = ',',
        default_values_t = [1, 10, 100]
    )]
    pub max_dets: Vec<usize>,
    /// Let detections match objects of any category (useCats = 0)
    #[arg(long)]
    pub class_agnostic: bool,
    /// Print AP of every category
    #[arg(long)]
    pub per_category: bool,
    /// Print what errors cost: wrong class, wrong place, duplicates, background, misses (as TIDE does)
    #[arg(long)]
    pub errors: bool,
    /// Leave unusable records out and count them, instead of stopping at the first
    #[arg(long)]
    pub lenient: bool,
    /// Folder for tables and curves as CSV and JSON
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// With --out: also write pycocotools' arrays precision, recall and scores as .npy
    #[arg(long, requires = "out")]
    pub arrays: bool,
    /// Resamples of the paired bootstrap; default: 1000 where files are compared, none for a single one
    #[arg(long, value_name = "N")]
    pub resamples: Option<usize>,
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
    /// File with one class name a line, or ADE20K's objectInfo150.csv or .txt
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
    /// Resamples of the paired bootstrap; default: 1000 where folders are compared, none for a single one
    #[arg(long, value_name = "N")]
    pub resamples: Option<usize>,
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
