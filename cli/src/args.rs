//! What can be typed: the command line as clap parses it, nothing resolved yet.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::analyze_args::AnalyzeArgs;
use crate::compare_args::{CompareArgs, SuiteArgs};
use crate::data_args::DataCommand;
use crate::score_args::ScoreCommand;

/// Pre-trains, fine-tunes, evaluates and compares vision transformers.
#[derive(Debug, Parser)]
#[command(
    name = "deepmim",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = "Examples:
  deepmim demo
  deepmim data check --train imagenet/train --val imagenet/val --classes 1000
  deepmim pretrain configs/cifar10_pretrain_deepmim.toml --data cifar10
  deepmim finetune configs/cifar10_finetune.toml --data cifar10 --init runs/cifar10_pretrain_deepmim
  deepmim eval configs/imagenet_finetune_mae_b.toml --data imagenet --weights mae_finetuned_vit_base.pth --dialect mae
  deepmim score coco --gt instances_val2017.json --pred mae.json --pred deepmim.json
  deepmim checkpoint inspect mae_pretrain_vit_base.pth")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The whole story on a data set made on the spot: pre-train MAE and DeepMIM, fine-tune, evaluate, compare
    Demo(DemoArgs),
    /// Pre-train a trunk (MAE or DeepMIM) as a recipe says
    #[command(after_help = "Examples:
  deepmim pretrain configs/imagenet_pretrain_deepmim_clip_b.toml --data imagenet --teacher ViT-B-16.pt
  deepmim pretrain configs/cifar10_pretrain_mae.toml --data cifar10 --set trainer.epochs=10
  deepmim pretrain configs/cifar10_pretrain_mae.toml --data cifar10 --resume")]
    Pretrain(PretrainArgs),
    /// Fine-tune or linearly probe a pre-trained trunk as a recipe says
    #[command(after_help = "Examples:
  deepmim finetune configs/imagenet_finetune_mae_b.toml --data imagenet --init mae_pretrain_vit_base.pth --dialect mae
  deepmim finetune configs/imagenet_linprobe_mae_b.toml --data imagenet --init dino_vitbase16_pretrain.pth --dialect dino
  deepmim finetune configs/cifar10_finetune.toml --data cifar10          (from random weights)")]
    Finetune(FinetuneArgs),
    /// Evaluate trained weights on a recipe's validation set
    #[command(after_help = "Examples:
  deepmim eval configs/cifar10_finetune.toml --data cifar10 --weights runs/cifar10_finetune
  deepmim eval configs/imagenet_finetune_mae_b.toml --data imagenet --weights mae_finetuned_vit_base.pth --dialect mae --json")]
    Eval(EvalArgs),
    /// Name what is on pictures, or find and outline it
    #[command(after_help = "Examples:
  deepmim predict configs/cifar10_finetune.toml --weights runs/cifar10_finetune cat.jpg dog.jpg --top 3
  deepmim predict configs/smoke/detect.toml --weights runs/detect street.jpg --out found")]
    Predict(PredictArgs),
    /// Score prediction files, without a model: COCO, ADE20K, ImageNet
    #[command(subcommand)]
    Score(ScoreCommand),
    /// Compare runs and predictions: leaderboards with paired intervals, as table, CSV, Markdown, JSON or a page
    #[command(after_help = "Examples:
  deepmim compare runs/cifar10_mae runs/cifar10_deepmim
  deepmim compare MAE=runs/mae_det MAE=runs/mae_seg DeepMIM=runs/deepmim_det DeepMIM=runs/deepmim_seg --format html --out report.html
  deepmim compare runs/mini --format md
  deepmim compare mae.json deepmim.json --gt instances_val2017.json
Several runs of one name on one task are trainings with several seeds: their mean is compared.")]
    Compare(CompareArgs),
    /// What the layers of checkpoints have learnt: probes, similarity (CKA), attention, rank; as CSV, plots and a page
    #[command(after_help = "Examples:
  deepmim analyze MAE=runs/cifar10_pretrain_mae DeepMIM=runs/cifar10_pretrain_deepmim --data cifar10
  deepmim analyze --config configs/imagenet_analyze.toml --data imagenet MAE=mae_pretrain_vit_base.pth --dialect mae
  deepmim compare runs/cifar10_mae runs/cifar10_deepmim analysis --format html --out report.html
Several checkpoints of one name are trainings with several seeds. Without --config the pictures are those of the first
run's own recipe: its [probe], or its data.")]
    Analyze(AnalyzeArgs),
    /// Run checkpoints × tasks × seeds, resume what was interrupted, and compare
    #[command(after_help = "Examples:
  deepmim suite configs/suites/cifar10_coco_mini.toml --dry-run
  deepmim suite configs/suites/cifar10_coco_mini.toml
  deepmim suite configs/suites/cifar10_coco_mini.toml --only deepmim.coco_mini_detection.s0
What is finished is skipped; the same command goes on after any interruption.")]
    Suite(SuiteArgs),
    /// Run a training or an evaluation as several processes of this machine, one for each GPU or share of cores
    #[command(after_help = "Examples:
  deepmim launch -n 8 pretrain configs/imagenet_pretrain_deepmim_b.toml --data imagenet --set run.device=cuda
  deepmim launch -n 2 --max-restarts 3 finetune configs/cifar10_finetune.toml --data cifar10
The recipe says what a step is; the processes share its forward passes, so their number changes no result beyond
rounding. For several machines use torchrun, srun or Kubernetes: docs/SCALING.md has a line for each.")]
    Launch(LaunchArgs),
    /// Look into, convert and compare checkpoint files
    #[command(subcommand)]
    Checkpoint(CheckpointCommand),
    /// Make a data set, or check one for the mistakes that silently cost accuracy
    #[command(subcommand)]
    Data(DataCommand),
    /// Print a shell's completion script
    #[command(after_help = "Example:
  deepmim completions bash > ~/.local/share/bash-completion/completions/deepmim")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Of every command that takes a recipe.
#[derive(Debug, Args)]
pub struct RecipeArgs {
    /// The recipe, a TOML file
    pub config: PathBuf,
    /// Folder of the data set; replaces the recipe's data.root
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Replace one value of the recipe; may be given again
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Where to compute: auto, cpu, cuda or cuda:N; replaces the recipe's run.device
    #[arg(long)]
    pub device: Option<String>,
}

/// Of every command that trains.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Folder of the run; default: runs/ and the recipe's name
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on from the run's last whole checkpoint (or start, when there is none)
    #[arg(long, conflicts_with = "overwrite")]
    pub resume: bool,
    /// Delete what is in the run's folder first
    #[arg(long)]
    pub overwrite: bool,
    /// Time a few steps, print as JSON how long the whole will take, and write nothing
    #[arg(long, conflicts_with_all = ["resume", "overwrite", "out"])]
    pub estimate: bool,
}

/// `launch`.
#[derive(Debug, Args)]
pub struct LaunchArgs {
    /// Processes to start
    #[arg(short = 'n', long, value_name = "N")]
    pub processes: usize,
    /// Start all again, with --resume, when one fails, at most so many times
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_restarts: u32,
    /// Seconds that a process waits for the others (600)
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,
    /// Port at which they meet; default: a free one
    #[arg(long)]
    pub port: Option<u16>,
    /// What to run: pretrain, finetune, eval or analyze with its options
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

/// `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Folder of the demo's data, runs and leaderboard; what is finished in it is skipped
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    pub out: PathBuf,
    /// Random seed of data, weights and training
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// `pretrain`.
#[derive(Debug, Args)]
pub struct PretrainArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub recipe: RecipeArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub run: RunArgs,
    /// The frozen teacher's checkpoint, a file or a run's folder, for recipes whose target is kind clip or features
    #[arg(long, value_name = "FILE")]
    pub teacher: Option<PathBuf>,
}

/// `finetune`.
#[derive(Debug, Args)]
pub struct FinetuneArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub recipe: RecipeArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub run: RunArgs,
    /// Pre-trained weights: a file, or a run's folder; without it, training starts from random weights
    #[arg(long, value_name = "CKPT")]
    pub init: Option<PathBuf>,
    /// Naming scheme of --init; default: the recipe's init.dialect, or native for a run's folder
    #[arg(long)]
    pub dialect: Option<DialectArg>,
}

/// Where trained weights come from.
#[derive(Debug, Args)]
pub struct WeightsArgs {
    /// Trained weights: a file, or a run's folder (its last checkpoint; averaged weights where it has them)
    #[arg(long, value_name = "CKPT")]
    pub weights: PathBuf,
    /// Naming scheme of --weights; default: the recipe's init.dialect, or native for a run's folder
    #[arg(long)]
    pub dialect: Option<DialectArg>,
}

/// How detectors and segmentors look at pictures, in `eval` and `predict`.
#[derive(Debug, Args)]
pub struct TestTimeArgs {
    /// Detection and segmentation: look at each picture's mirror image too, and merge
    #[arg(long)]
    pub flip: bool,
    /// Detection: drop what scores no more than this; replaces the recipe's model.roi.score_threshold
    #[arg(long, value_name = "SCORE")]
    pub score_threshold: Option<f64>,
    /// Detection: most objects of a picture; replaces the recipe's model.roi.max_detections
    #[arg(long, value_name = "N")]
    pub max_detections: Option<u32>,
}

/// `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub recipe: RecipeArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub weights: WeightsArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub test_time: TestTimeArgs,
    /// Folder for predictions and tables; default: eval/ in the run, or runs/ and the recipe's name
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Segmentation: also write label maps counted from 1 (submission/), as ADE20K's server takes them
    #[arg(long)]
    pub submission: bool,
    /// Print the numbers as JSON
    #[arg(long)]
    pub json: bool,
    /// Time a few batches, print as JSON how long the whole will take, and write nothing
    #[arg(long, conflicts_with_all = ["out", "submission", "json"])]
    pub estimate: bool,
}

/// `predict`.
#[derive(Debug, Args)]
pub struct PredictArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub recipe: RecipeArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub weights: WeightsArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub test_time: TestTimeArgs,
    /// Detection and segmentation: folder for overlays, label maps and their JSON; default: predictions/
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Pictures (JPEG or PNG)
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// Classification: how many classes to name per picture; default: 5
    #[arg(long, value_name = "K")]
    pub top: Option<usize>,
    /// File with one class name a line, in class order; default: the training run's, or the data set's
    #[arg(long, value_name = "FILE")]
    pub classes: Option<PathBuf>,
    /// Print JSON, one object per picture
    #[arg(long)]
    pub json: bool,
}

/// Naming schemes of checkpoints; the backbone crate says what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DialectArg {
    /// This program's own files
    Native,
    /// MAE and DeepMIM, pre-trained or fine-tuned
    Mae,
    /// timm, MoCo-v3, BEiT-style
    Timm,
    /// DINO (the teacher)
    Dino,
    /// OpenAI CLIP's visual tower
    Clip,
    /// detectron2's ViTDet detectors
    Detectron2,
    /// mmsegmentation 1.x's UperNet
    Mmseg,
    /// UperNet as DeepMIM and BEiT have it in mmsegmentation 0.x
    #[value(name = "deepmim_seg")]
    DeepmimSeg,
}

/// `checkpoint …`.
#[derive(Debug, Subcommand)]
pub enum CheckpointCommand {
    /// List what is in a checkpoint file: format, dialect, sizes, tensors
    #[command(
        after_help = "Example:\n  deepmim checkpoint inspect mae_pretrain_vit_base.pth --stats"
    )]
    Inspect {
        /// The file: .pth, .pt, .pkl or .safetensors; or a run's folder
        file: PathBuf,
        /// Mean, deviation, extremes and non-finite values of every tensor
        #[arg(long)]
        stats: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Rewrite a checkpoint with another dialect's names, as .safetensors, .pth or .pkl
    #[command(after_help = "Examples:
  deepmim checkpoint convert ViT-B-16.pt clip_trunk.safetensors --from clip --to timm --trunk-only
  deepmim checkpoint convert runs/cifar10_finetune vit.pth --from native --to mae
  deepmim checkpoint convert model_final_61ccd1.pkl vitdet_trunk.pth --from detectron2 --to mae
  deepmim checkpoint convert mae_pretrain_vit_base.pth mae_base.pkl --from mae --to detectron2 --trunk-only
  deepmim checkpoint convert upernet_deepmim.pth upernet_mmseg.pth --from deepmim_seg --to mmseg
The line it prints at the end says how PyTorch or detectron2 opens the file.")]
    Convert {
        /// The file to read, or a run's folder
        input: PathBuf,
        /// The file to write; its ending says how: .safetensors, .pth (PyTorch), .pkl (detectron2's numpy arrays)
        output: PathBuf,
        /// Naming scheme of the input
        #[arg(long, value_name = "DIALECT")]
        from: DialectArg,
        /// Naming scheme of the output
        #[arg(long, value_name = "DIALECT", default_value = "native")]
        to: DialectArg,
        /// Keep the trunk alone: no decoders, heads, projections, no detector or segmentor around it
        #[arg(long)]
        trunk_only: bool,
        /// Convert floating-point tensors; default: as they are
        #[arg(long)]
        dtype: Option<DtypeArg>,
        /// Replace the output when it exists
        #[arg(long)]
        overwrite: bool,
    },
    /// Compare two checkpoints tensor by tensor; exit code 1 when they differ
    #[command(
        after_help = "Example:\n  deepmim checkpoint diff before.safetensors after.safetensors --tolerance 1e-6"
    )]
    Diff {
        /// The first file or run folder
        left: PathBuf,
        /// The second
        right: PathBuf,
        /// Naming scheme of the first; default: names are compared as they are
        #[arg(long, value_name = "DIALECT")]
        left_dialect: Option<DialectArg>,
        /// Naming scheme of the second
        #[arg(long, value_name = "DIALECT")]
        right_dialect: Option<DialectArg>,
        /// Largest absolute difference that still counts as equal
        #[arg(long, default_value_t = 0.0)]
        tolerance: f64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Floating-point types a checkpoint can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum DtypeArg {
    F32,
    F16,
    Bf16,
}
