//! What can be typed behind `data`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use crate::args::RecipeArgs;

/// `data …`.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Make a small data set with real structure, to try things on
    #[command(subcommand)]
    Synth(SynthCommand),
    /// Check a data set: classification (class order, empty classes, unreadable pictures, leaks), detection (COCO annotations and pictures) or segmentation (pictures and label maps)
    #[command(after_help = "Examples:
  deepmim data check --train cifar10/train --val cifar10/test --classes 10
  deepmim data check --annotations coco/annotations/instances_train2017.json --images coco/train2017
  deepmim data check --images ADEChallengeData2016/images/training --labels ADEChallengeData2016/annotations/training --classes-file objectInfo150.csv --reduce-zero-label
  deepmim data check --config configs/imagenet_finetune_mae_b.toml --data imagenet")]
    Check(CheckArgs),
    /// Make label maps for segmentation out of COCO instance annotations
    #[command(after_help = "Example:
  deepmim data labels --annotations coco/annotations/instances_val2017.json --images coco/val2017 --out coco/semantic
writes coco/semantic/annotations/val2017/*.png, one grey PNG per picture, and coco/semantic/classes.txt. In the
section [data] of a recipe with root = \"coco\":
  val = { images = \"val2017\", labels = \"semantic/annotations/val2017\" }
  classes = { names = \"semantic/classes.txt\" }
Class 0 is background and the categories follow by ascending id, so reduce_zero_label stays false. Larger
objects are drawn first, so that smaller ones in front of them stay visible; crowds are ignored (255), but
where an object lies on them.")]
    Labels(LabelsArgs),
    /// Make the discrete tokens that a pre-training recipe predicts, by k-means over patches of pixels
    #[command(after_help = "Example:
  deepmim data tokens configs/cifar10_pretrain_deepmim_tokens.toml --data cifar10
  deepmim pretrain configs/cifar10_pretrain_deepmim_tokens.toml --data cifar10
Pictures, transform, patch, vocabulary and folder are the recipe's. A trained tokenizer's numbers (BEiT's) may lie in
the same two files, names.txt and tokens.safetensors.")]
    Tokens(TokensArgs),
}

/// `data tokens`.
#[derive(Debug, Args)]
pub struct TokensArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub recipe: RecipeArgs,
    /// Replace tokens that are there
    #[arg(long)]
    pub overwrite: bool,
    /// Patches that the words are learnt from, at most
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub patches: usize,
    /// Rounds of k-means
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub rounds: usize,
    /// Random seed
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// `data labels`.
#[derive(Debug, Args)]
pub struct LabelsArgs {
    /// COCO annotation file
    #[arg(long, value_name = "FILE")]
    pub annotations: PathBuf,
    /// Folder of its pictures
    #[arg(long, value_name = "DIR")]
    pub images: PathBuf,
    /// Folder to write annotations/SPLIT/ and classes.txt into
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Name of the part; default: the annotation file's, without instances_
    #[arg(long, value_name = "SPLIT")]
    pub split: Option<String>,
    /// Ignore pixels of no object (255) instead of making them class 0; the categories then start at 0
    #[arg(long)]
    pub ignore_background: bool,
    /// Label crowds as their category instead of ignoring them
    #[arg(long)]
    pub keep_crowds: bool,
}

/// `data synth …`.
#[derive(Debug, Subcommand)]
pub enum SynthCommand {
    /// Class folders of drawn pictures: DIR/train/CLASS/ and DIR/val/CLASS/
    Classification {
        /// Folder to make
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Number of classes
        #[arg(long, default_value_t = 10)]
        classes: usize,
        /// Training pictures per class
        #[arg(long, default_value_t = 100)]
        per_class: usize,
        /// Validation pictures per class
        #[arg(long, default_value_t = 30)]
        val_per_class: usize,
        /// Side in pixels
        #[arg(long, default_value_t = 32)]
        size: usize,
        /// Easy pictures, for small models and short training: large objects that stand out and are almost upright
        #[arg(long)]
        plain: bool,
        /// Random seed: the same seed makes the same files
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Pictures of drawn objects with outlines, as COCO has them: DIR/train, DIR/val, DIR/annotations
    #[command(
        after_help = "Example:\n  deepmim data synth detection --out shapes --pictures 500 --classes 4"
    )]
    Detection {
        /// Folder to make
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Training pictures
        #[arg(long, default_value_t = 200)]
        pictures: usize,
        /// Validation pictures
        #[arg(long, default_value_t = 50)]
        val_pictures: usize,
        /// Number of classes, up to 8
        #[arg(long, default_value_t = 4)]
        classes: usize,
        /// Most objects on a picture
        #[arg(long, default_value_t = 6)]
        max_objects: usize,
        /// Longer side in pixels
        #[arg(long, default_value_t = 192)]
        size: usize,
        /// Easy pictures, for small models and short training: large objects that stand out, no crowds, square
        #[arg(long)]
        plain: bool,
        /// Random seed: the same seed makes the same files
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Pictures of wavy regions and drawn objects with label maps, as ADE20K has them: DIR/images/training, DIR/annotations/training, DIR/images/validation, DIR/annotations/validation, DIR/classes.txt
    #[command(
        after_help = "Example:\n  deepmim data synth segmentation --out scenes --pictures 500 --classes 8"
    )]
    Segmentation {
        /// Folder to make
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Training pictures
        #[arg(long, default_value_t = 200)]
        pictures: usize,
        /// Validation pictures
        #[arg(long, default_value_t = 50)]
        val_pictures: usize,
        /// Number of classes, 2 to 12: half of them regions, up to four, the others objects
        #[arg(long, default_value_t = 8)]
        classes: usize,
        /// Most objects on a picture
        #[arg(long, default_value_t = 5)]
        max_objects: usize,
        /// Longer side in pixels
        #[arg(long, default_value_t = 192)]
        size: usize,
        /// Easy pictures, for small models and short training: large objects that stand out; square, no rims
        #[arg(long)]
        plain: bool,
        /// Random seed: the same seed makes the same files
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
}

/// `data check`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("truth").args(["annotations", "labels"])))]
#[command(group(ArgGroup::new("val_truth").args(["val_annotations", "val_labels"])))]
pub struct CheckArgs {
    /// Classification: training pictures, one folder per class
    #[arg(long, value_name = "DIR", required_unless_present_any = ["config", "truth"])]
    pub train: Option<PathBuf>,
    /// Classification: validation pictures, one folder per class
    #[arg(long, value_name = "DIR")]
    pub val: Option<PathBuf>,
    /// Detection: COCO annotation file of the training pictures
    #[arg(long, value_name = "FILE", requires = "images", conflicts_with_all = ["train", "val"])]
    pub annotations: Option<PathBuf>,
    /// Segmentation: folder of the training pictures' label maps (PNG)
    #[arg(long, value_name = "DIR", requires = "images", conflicts_with_all = ["train", "val"])]
    pub labels: Option<PathBuf>,
    /// Detection and segmentation: folder of the training pictures
    #[arg(long, value_name = "DIR", requires = "truth")]
    pub images: Option<PathBuf>,
    /// Detection: COCO annotation file of the validation pictures
    #[arg(long, value_name = "FILE", requires = "annotations")]
    pub val_annotations: Option<PathBuf>,
    /// Segmentation: folder of the validation pictures' label maps
    #[arg(long, value_name = "DIR", requires_all = ["labels", "val_images"])]
    pub val_labels: Option<PathBuf>,
    /// Detection and segmentation: folder of the validation pictures; default in detection: that of the training pictures
    #[arg(long, value_name = "DIR", requires = "val_truth")]
    pub val_images: Option<PathBuf>,
    /// Segmentation: file of class names, one a line, or ADE20K's objectInfo150.csv or .txt
    #[arg(long, value_name = "FILE", requires = "labels")]
    pub classes_file: Option<PathBuf>,
    /// Segmentation: labels count from 1, and 0 is ignored, as in ADE20K
    #[arg(long, requires = "labels")]
    pub reduce_zero_label: bool,
    /// Number of classes there should be
    #[arg(long, value_name = "N")]
    pub classes: Option<usize>,
    /// Take the data set from a recipe instead
    #[arg(long, conflicts_with_all = ["train", "val", "truth"])]
    pub config: Option<PathBuf>,
    /// With --config: folder of the data set
    #[arg(long, value_name = "DIR", requires = "config")]
    pub data: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
