//! Pictures a second of the training pipeline, for `benches/compare_pipeline.py`.
//!
//! ```text
//! pipeline_throughput FOLDER THREADS REPETITIONS (pretrain | finetune)
//! ```
//! FOLDER holds class folders. One repetition is an epoch; the best of them counts. Prints one JSON object.

use std::sync::Arc;
use std::time::Instant;

use deepmim_data::augment::RandomErasing;
use deepmim_data::{
    ClassificationConfig, ClassificationDataset, Dataset, Loader, LoaderConfig, TrainCrop,
    TrainTransformConfig, Transform,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, threads, repetitions, recipe] = arguments.as_slice() else {
        return Err(
            "usage: pipeline_throughput FOLDER THREADS REPETITIONS (pretrain | finetune)".into(),
        );
    };
    let mut config = TrainTransformConfig::new(224, TrainCrop::random_resized(0.2));
    if recipe == "finetune" {
        config.crop = TrainCrop::random_resized(0.08);
        config.rand_augment = Some("rand-m9-mstd0.5-inc1".parse()?);
        config.random_erasing = Some(RandomErasing::default());
    }
    let dataset = Arc::new(ClassificationDataset::open(
        &ClassificationConfig::folders(folder),
        Transform::train(&config)?,
    )?);
    let pictures = dataset.len();
    let threads = threads.parse()?;
    let loader = Loader::new(
        dataset,
        LoaderConfig {
            batch_size: 32,
            shuffle: true,
            threads,
            prefetch: 2 * threads,
            ..LoaderConfig::default()
        },
    )?;
    let mut best = 0.0_f64;
    for epoch in 0..repetitions.parse()? {
        let start = Instant::now();
        for batch in loader.epoch(epoch, 0) {
            std::hint::black_box(batch?);
        }
        best = best.max(pictures as f64 / start.elapsed().as_secs_f64());
    }
    println!(
        "{}",
        serde_json::json!({ "recipe": recipe, "threads": threads, "pictures_per_second": best })
    );
    Ok(())
}
