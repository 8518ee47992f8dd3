//! Full-size ViTDet-B Mask R-CNN on one picture, a few rounds, each timed: the Rust side of
//! `benches/detection.py`, which says what a round is.
//!
//! Prints one line of JSON: seconds of every round, peak resident memory, and median seconds of the parts
//! of a round (of all rounds but the first).

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use backbone::weights::{Dialect, LoadOptions, load_into};
use backbone::{Position, VitConfig, VitPreset, WindowConfig};
use clap::{Parser, ValueEnum};
use data::{Instance, InstanceMask, Orientation, RgbImage, decode_file};
use deepmim_detection::inference::rescale_to_original;
use deepmim_detection::paste::paste_rles;
use deepmim_detection::{Detector, DetectorConfig, MASK_SIZE, Sampling, Target, vitdet_policy};
use engine::Optimizer;
use serde::Deserialize;
use tch::{Kind, Tensor, nn};

#[path = "../../benches/stages.rs"]
mod stages;
use stages::Stages;

const SIDE: i64 = 1024;
const CLASSES: usize = 80;
const WEIGHT_DECAY: f64 = 0.1;
const LAYER_DECAY: f64 = 0.7;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Picture in memory to boxes, scores, classes and full-size masks
    Infer,
    /// Clear gradients, forward, losses, backward, AdamW
    Train,
}

/// Times ViTDet-B Mask R-CNN on one picture of 1024 x 1024 pixels.
#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    mode: Mode,
    /// Weights with detectron2's names
    #[arg(long)]
    weights: PathBuf,
    #[arg(long)]
    picture: PathBuf,
    /// Objects of the picture: [{"bbox": [x0, y0, x1, y1], "category_id", "segmentation"}]
    #[arg(long)]
    annotations: PathBuf,
    #[arg(long)]
    rounds: usize,
    #[arg(long)]
    threads: i32,
    /// Compute each block of the trunk again in the backward pass
    #[arg(long)]
    checkpointing: bool,
    /// Let every anchor and region count in the losses
    #[arg(long)]
    sample_everything: bool,
    /// Where to write what the first round found
    #[arg(long)]
    record: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Annotation {
    bbox: [f32; 4],
    category_id: usize,
    segmentation: Vec<Vec<f64>>,
}

fn config(arguments: &Arguments) -> DetectorConfig {
    let trunk = VitConfig {
        position: Position::Learnable,
        final_norm: false,
        drop_path: 0.0,
        activation_checkpointing: arguments.checkpointing,
        windows: Some(WindowConfig {
            size: 14,
            global_blocks: vec![2, 5, 8, 11],
            pretrain_image_size: 224,
        }),
        ..VitConfig::preset(VitPreset::Base, SIDE, 16)
    };
    let mut config = DetectorConfig::new(trunk, CLASSES);
    if arguments.sample_everything {
        config.rpn.batch_per_picture = 1 << 20;
        config.roi.batch_per_picture = 1 << 20;
        config.roi.positive_fraction = 1.0;
    }
    config
}

fn infer(
    detector: &Detector,
    picture: &RgbImage,
    stages: &mut Stages,
) -> Result<serde_json::Value, Box<dyn Error>> {
    let size = (picture.height, picture.width);
    let _no_grad = tch::no_grad_guard();
    let images = stages.timed("preprocess", || {
        detector.batch(&[("picture", picture)], stages::device())
    })?;
    let map = stages.timed("trunk", || detector.trunk().feature_map(&images, false));
    let levels = stages.timed("pyramid", || detector.pyramid().forward(&map));
    drop(map);
    let proposals = stages.timed("rpn", || detector.propose(&levels, &[size]));
    let threshold = detector.config().roi.score_threshold;
    let found = stages.timed("boxes", || {
        detector
            .heads()
            .detect(&levels, &proposals, &[size], threshold)
    });
    let found = stages.timed("masks", || detector.with_masks(&levels, found).remove(0));
    let (kept, _) = rescale_to_original(&found.detections, size, size);
    let squares = found.masks.ok_or("the detector has masks")?;
    let masks = stages.timed("paste", || {
        paste_rles(&squares, MASK_SIZE, &kept.boxes, size.0, size.1, 0.5)
    })?;
    let areas: Vec<u64> = masks.iter().map(eval::Rle::area).collect();
    Ok(serde_json::json!({
        "boxes": kept.boxes, "scores": kept.scores, "classes": kept.classes, "mask_areas": areas,
    }))
}

fn train(
    detector: &Detector,
    picture: &RgbImage,
    objects: &[Instance],
    optimizer: &mut Optimizer,
    stages: &mut Stages,
) -> Result<serde_json::Value, Box<dyn Error>> {
    optimizer.clear_gradients();
    let images = stages.timed("preprocess", || {
        detector.batch(&[("picture", picture)], stages::device())
    })?;
    let target = Target {
        name: "picture",
        objects,
        size: (picture.height, picture.width),
    };
    let autocast = stages::autocast(stages::device())?;
    let losses = stages.timed("forward", || {
        let _autocast = autocast;
        detector.losses(&images, &[target], Sampling::Seeded(0), true)
    })?;
    let mut total = Tensor::zeros([], (Kind::Float, stages::device()));
    for (_, loss) in &losses {
        total += loss;
    }
    stages.timed("backward", || total.backward());
    stages.timed("update", || optimizer.step(1e-4));
    let values: BTreeMap<String, f64> = losses
        .iter()
        .map(|(name, loss)| (name.clone(), loss.double_value(&[])))
        .collect();
    Ok(serde_json::json!({ "losses": values }))
}

fn objects(path: &Path) -> Result<Vec<Instance>, Box<dyn Error>> {
    let annotations: Vec<Annotation> = serde_json::from_slice(&std::fs::read(path)?)?;
    let object = |of: Annotation| Instance {
        bounds: of.bbox,
        class: of.category_id,
        mask: Some(InstanceMask::Polygons(of.segmentation)),
    };
    Ok(annotations.into_iter().map(object).collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    tch::set_num_threads(arguments.threads);
    // As deepmim-model does.
    native::keep_freed_memory();
    let config = config(&arguments);
    let vs = nn::VarStore::new(stages::device());
    let detector = Detector::new(&vs.root(), &config)?;
    {
        let weights = Dialect::Detectron2.read(&arguments.weights, None)?.state;
        load_into(&vs, "", &weights, &LoadOptions::default())?;
    }
    native::return_freed_memory();
    let picture = decode_file(&arguments.picture, Orientation::Ignore)?;
    let objects = objects(&arguments.annotations)?;
    let mut optimizer = match arguments.mode {
        Mode::Infer => None,
        Mode::Train => {
            let depth = config.trunk.depth;
            Some(stages::adamw(&vs, WEIGHT_DECAY, |name, shape| {
                vitdet_policy(name, shape, depth, LAYER_DECAY, WEIGHT_DECAY)
            })?)
        }
    };
    let mut stages = Stages::default();
    for round in 0..arguments.rounds {
        let found = stages.round(|stages| match &mut optimizer {
            None => infer(&detector, &picture, stages),
            Some(optimizer) => train(&detector, &picture, &objects, optimizer, stages),
        })?;
        if let (0, Some(path)) = (round, &arguments.record) {
            std::fs::write(path, found.to_string())?;
        }
    }
    println!("{}", stages.report());
    Ok(())
}
