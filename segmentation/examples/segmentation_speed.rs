//! Full-size UperNet on ViT-B, a few rounds, each timed: the Rust side of `benches/segmentation.py`, which
//! says what a round is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use backbone::weights::{Dialect, LoadOptions, load_into};
use backbone::{Position, RelativeBias, VitConfig, VitPreset};
use clap::{Parser, ValueEnum};
use data::{Orientation, RgbImage, SegmentationSample, decode_file};
use deepmim_segmentation::{
    InferenceMode, SegmentationTask, SegmentorConfig, TestTime, upernet_policy,
};
use engine::{Optimizer, StepContext, Task, TaskError};
use eval::segmentation::{Labels, read_label_png};
use tch::nn;

#[path = "../../benches/stages.rs"]
mod stages;
use stages::Stages;

const SIDE: i64 = 512;
const CLASSES: usize = 150;
const TAPS: [i64; 4] = [4, 6, 8, 12];
const LEARNING_RATE: f64 = 5e-5;
const LAYER_DECAY: f64 = 0.9;
const WEIGHT_DECAY: f64 = 0.05;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// A picture that fits the network, in memory, to its label map
    Whole,
    /// A larger picture to its label map, in windows
    Slide,
    /// Clear gradients, forward, losses, backward, AdamW
    Train,
}

/// Times UperNet on ViT-B at 512 pixels.
#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    mode: Mode,
    /// Weights with the names of DeepMIM's released segmentor
    #[arg(long)]
    weights: PathBuf,
    #[arg(long)]
    picture: Vec<PathBuf>,
    /// The label map of each picture
    #[arg(long)]
    labels: Vec<PathBuf>,
    #[arg(long)]
    rounds: usize,
    #[arg(long)]
    threads: i32,
    /// Compute each block of the trunk again in the backward pass
    #[arg(long)]
    checkpointing: bool,
    /// Where to write what the first round found
    #[arg(long)]
    record: Option<PathBuf>,
}

fn config(arguments: &Arguments) -> SegmentorConfig {
    let trunk = VitConfig {
        position: Position::Learnable,
        final_norm: false,
        drop_path: 0.0,
        layer_scale: Some(1.0),
        relative_bias: Some(RelativeBias::PerBlock),
        activation_checkpointing: arguments.checkpointing,
        ..VitConfig::preset(VitPreset::Base, SIDE, 16)
    };
    SegmentorConfig {
        dropout: 0.0,
        ..SegmentorConfig::new(trunk, TAPS, CLASSES)
    }
}

fn samples(arguments: &Arguments) -> Result<Vec<SegmentationSample>, TaskError> {
    let mut samples = Vec::new();
    for (picture, labels) in arguments.picture.iter().zip(&arguments.labels) {
        let image: RgbImage = decode_file(picture, Orientation::Ignore)?;
        let labels = match read_label_png(labels)?.labels() {
            Labels::U8(labels) => labels.clone(),
            Labels::U16(_) => return Err("label maps of the benchmark have 8 bits".into()),
        };
        samples.push(SegmentationSample {
            original_size: (image.height, image.width),
            image,
            further_views: Vec::new(),
            labels: Some(labels),
            name: picture.display().to_string(),
        });
    }
    Ok(samples)
}

fn infer(
    task: &SegmentationTask,
    sample: &SegmentationSample,
    test: &TestTime,
) -> Result<Vec<u8>, TaskError> {
    let views = std::slice::from_ref(&sample.image);
    let (name, size) = (&sample.name, sample.original_size);
    Ok(task
        .segmentor()
        .label_map(name, views, size, test, stages::device())?)
}

fn train(
    task: &SegmentationTask,
    samples: &[SegmentationSample],
    optimizer: &mut Optimizer,
    stages: &mut Stages,
) -> Result<Vec<u8>, TaskError> {
    optimizer.clear_gradients();
    let context = StepContext {
        train: true,
        ..StepContext::evaluation()
    };
    let losses = stages.timed("forward", || {
        let batch = task.collate(samples.to_vec(), &context, stages::device())?;
        let _autocast = stages::autocast(stages::device())?;
        task.losses(&batch, &context)
    })?;
    stages.timed("backward", || losses.total.backward());
    stages.timed("update", || optimizer.step(LEARNING_RATE));
    let values: BTreeMap<String, f64> = losses
        .parts
        .iter()
        .map(|(name, value)| (name.clone(), value.double_value(&[])))
        .collect();
    Ok(serde_json::json!({ "losses": values })
        .to_string()
        .into_bytes())
}

fn main() -> Result<(), TaskError> {
    let arguments = Arguments::parse();
    tch::set_num_threads(arguments.threads);
    // As deepmim-model does.
    native::keep_freed_memory();
    let config = config(&arguments);
    let test = TestTime {
        mode: match arguments.mode {
            Mode::Whole => InferenceMode::Whole,
            _ => InferenceMode::Slide,
        },
        ..TestTime::default()
    };
    let vs = nn::VarStore::new(stages::device());
    let task = SegmentationTask::new(&vs, &config, WEIGHT_DECAY, test)?;
    {
        let weights = Dialect::DeepmimSeg.read(&arguments.weights, None)?.state;
        load_into(&vs, "", &weights, &LoadOptions::default())?;
    }
    native::return_freed_memory();
    let samples = samples(&arguments)?;
    let mut optimizer = match arguments.mode {
        Mode::Whole | Mode::Slide => None,
        Mode::Train => {
            let depth = config.trunk.depth;
            Some(stages::adamw(&vs, WEIGHT_DECAY, |name, shape| {
                upernet_policy(name, shape, depth, LAYER_DECAY, WEIGHT_DECAY)
            })?)
        }
    };
    let mut stages = Stages::default();
    for round in 0..arguments.rounds {
        let found = stages.round(|stages| match &mut optimizer {
            None => infer(&task, samples.first().ok_or("give --picture")?, &test),
            Some(optimizer) => train(&task, &samples, optimizer, stages),
        })?;
        if let (0, Some(path)) = (round, &arguments.record) {
            std::fs::write(path, found)?;
        }
    }
    println!("{}", stages.report());
    Ok(())
}
