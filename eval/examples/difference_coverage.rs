//! How often 95 % intervals cover the truth for scores and for differences of two systems, in simulated data
//! sets whose truth is known: the table in docs/RELIABILITY.md. AP goes through the evaluator itself.
//!
//!     cargo run --release -p deepmim-eval --example difference_coverage

use std::path::Path;

use deepmim_eval::coco::{
    CocoResampler, Geometry, GroundTruth, IouType, Params, ResultsFile, match_images,
};
use deepmim_eval::{
    Bootstrap, BootstrapConfig, BootstrapSize, ClassOverlap, EvalError, ImageOverlaps,
    IntervalMethod, Strictness, bootstrap,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// Simulated data sets for each row.
const SETS: u64 = 300;
/// Pictures from which the truth is measured.
const MANY: usize = 40_000;
/// Categories of objects.
const CATEGORIES: usize = 5;
/// Classes of regions.
const CLASSES: usize = 60;
/// What is tried where resampling moves a score.
const METHODS: [IntervalMethod; 3] = [
    IntervalMethod::Percentile,
    IntervalMethod::Basic,
    IntervalMethod::BiasCorrected,
];

fn config(seed: u64) -> BootstrapConfig {
    BootstrapConfig {
        resamples: 1000,
        seed,
        ..BootstrapConfig::default()
    }
}

/// Counts how often the intervals of both systems and of their difference hold the truth.
#[derive(Default)]
struct Tally {
    scores: u64,
    differences: u64,
    /// Differences called significant.
    significant: u64,
}

impl Tally {
    fn add(&mut self, boot: &Bootstrap, truth: [f64; 2]) {
        for (system, truth) in truth.into_iter().enumerate() {
            self.scores += u64::from(boot.interval(system, 0).covers(truth));
        }
        let difference = boot.compare(1, 0, 0);
        self.differences += u64::from(difference.interval.covers(truth[1] - truth[0]));
        self.significant += u64::from(difference.significant);
    }

    fn print(&self, what: &str, images: usize, truth: [f64; 2]) {
        let share = |count: u64, of: u64| 100.0 * count as f64 / of as f64;
        println!(
            "| {what} | {images} | {:.1} | {:+.2} | {:.1} % | {:.1} % | {:.0} % |",
            100.0 * truth[0],
            100.0 * (truth[1] - truth[0]),
            share(self.scores, 2 * SETS),
            share(self.differences, SETS),
            share(self.significant, SETS)
        );
    }
}

/// Two classifiers that find the same pictures hard: hits of both, for a gain of the second.
fn hits(images: usize, gain: f64, rng: &mut ChaCha8Rng) -> [Vec<f64>; 2] {
    let mut both = [Vec::with_capacity(images), Vec::with_capacity(images)];
    for _ in 0..images {
        // Most pictures are easy or hopeless for both.
        let ease: f64 = rng.random::<f64>();
        for (system, hits) in both.iter_mut().enumerate() {
            let chance = if ease < 0.7 { 0.95 } else { 0.3 } + system as f64 * gain;
            hits.push(f64::from(u8::from(rng.random::<f64>() < chance)));
        }
    }
    both
}

fn top1(images: usize, gain: f64) -> Result<(), EvalError> {
    let truth = [0.7 * 0.95 + 0.3 * 0.3, 0.7 * 0.95 + 0.3 * 0.3 + gain];
    let mut tally = Tally::default();
    for set in 0..SETS {
        let mut rng = ChaCha8Rng::seed_from_u64(1000 + set);
        let systems = hits(images, gain, &mut rng);
        let size = BootstrapSize {
            images,
            systems: 2,
            metrics: 1,
        };
        let score = |system: usize, weights: &[u32], scores: &mut [f64]| {
            let hits = systems[system].iter().zip(weights);
            scores[0] = hits
                .map(|(hit, &weight)| hit * f64::from(weight))
                .sum::<f64>()
                / images as f64;
        };
        tally.add(&bootstrap(size, &config(set), score, &|_, _| ())?, truth);
    }
    tally.print("top-1", images, truth);
    Ok(())
}

/// Pictures with one to four objects, and what two detectors make of them; the second finds `gain` more.
fn detections(images: usize, gain: f64, rng: &mut ChaCha8Rng) -> (Value, [Value; 2]) {
    let mut pictures = Vec::with_capacity(images);
    let mut annotations: Vec<Value> = Vec::new();
    let mut results = [Vec::new(), Vec::new()];
    for image in 1..=images {
        pictures.push(json!({ "id": image, "width": 640, "height": 480 }));
        let ease: f64 = rng.random();
        for place in 0..rng.random_range(1..=4) {
            let category = rng.random_range(1..=CATEGORIES);
            let side = rng.random_range(20.0..140.0_f64);
            // Objects stand apart, so that a detection belongs to one.
            let x = 160.0 * f64::from(place);
            let bounds = [x, rng.random_range(0.0..300.0), side, side];
            annotations.push(json!({
                "id": annotations.len() + 1, "image_id": image, "category_id": category,
                "bbox": bounds, "area": side * side, "iscrowd": 0,
            }));
            for (system, found) in results.iter_mut().enumerate() {
                if rng.random::<f64>() < 0.45 + 0.4 * ease + system as f64 * gain {
                    let shift = side * 0.15 * rng.random::<f64>();
                    found.push(json!({
                        "image_id": image, "category_id": category,
                        "bbox": [bounds[0] + shift, bounds[1], side, side],
                        "score": 0.3 + 0.7 * rng.random::<f64>(),
                    }));
                }
            }
        }
        for found in &mut results {
            if rng.random::<f64>() < 0.6 {
                found.push(json!({
                    "image_id": image, "category_id": rng.random_range(1..=CATEGORIES),
                    "bbox": [600.0, 420.0, 30.0, 50.0], "score": 0.7 * rng.random::<f64>(),
                }));
            }
        }
    }
    let categories: Vec<Value> = (1..=CATEGORIES)
        .map(|id| json!({ "id": id, "name": format!("c{id}") }))
        .collect();
    let truth = json!({ "images": pictures, "annotations": annotations, "categories": categories });
    (truth, results.map(Value::Array))
}

fn resamplers(images: usize, gain: f64, seed: u64) -> Result<Vec<CocoResampler>, EvalError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (truth, results) = detections(images, gain, &mut rng);
    let geometry = Geometry {
        boxes: true,
        masks: false,
    };
    let (name, strict) = (Path::new("simulated"), Strictness::Strict);
    let (truth, _) = GroundTruth::from_json(name, truth.to_string().as_bytes(), geometry, strict)?;
    results
        .into_iter()
        .map(|results| {
            let file = ResultsFile::from_json(name, results.to_string().into_bytes())?;
            let (found, _) = file.read(&truth, strict, &|_| ())?;
            Ok(match_images(&truth, &found, Params::default(), IouType::Bbox)?.resampler())
        })
        .collect()
}

fn average_precision(images: usize, gain: f64) -> Result<(), EvalError> {
    let mut truth = [0.0; 2];
    for (truth, system) in truth.iter_mut().zip(resamplers(MANY, gain, 5)?) {
        let mut scores = [0.0; CocoResampler::METRICS.len()];
        system.scores(&vec![1; MANY], &mut scores);
        *truth = scores[0];
    }
    let mut tallies = METHODS.map(|method| (method, Tally::default()));
    for set in 0..SETS {
        let systems = resamplers(images, gain, 9000 + set)?;
        let size = BootstrapSize {
            images,
            systems: 2,
            metrics: CocoResampler::METRICS.len(),
        };
        let score = |system: usize, weights: &[u32], scores: &mut [f64]| {
            systems[system].scores(weights, scores);
        };
        let boot = bootstrap(size, &config(set), score, &|_, _| ())?;
        for (method, tally) in &mut tallies {
            tally.add(&boot.clone().with_method(0, *method), truth);
        }
    }
    for (method, tally) in &tallies {
        tally.print(&format!("AP, {method:?}"), images, truth);
    }
    Ok(())
}

/// Pictures of a few regions each, and how two segmentors label them. Class k is `1 / (k + 1)` as frequent as
/// the first and the rarer the harder; the second segmentor is better by `gain`.
fn overlaps(
    images: usize,
    gain: f64,
    rng: &mut ChaCha8Rng,
) -> Result<[ImageOverlaps; 2], EvalError> {
    let frequencies: Vec<f64> = (0..CLASSES).map(|class| 1.0 / (class + 1) as f64).collect();
    let all: f64 = frequencies.iter().sum();
    let mut systems = [ImageOverlaps::new(CLASSES), ImageOverlaps::new(CLASSES)];
    for _ in 0..images {
        let ease: f64 = rng.random();
        let mut classes: Vec<usize> = (0..rng.random_range(2..=5))
            .map(|_| {
                let mut left = all * rng.random::<f64>();
                let drawn = frequencies.iter().position(|frequency| {
                    left -= frequency;
                    left < 0.0
                });
                drawn.unwrap_or(0)
            })
            .collect();
        classes.sort_unstable();
        classes.dedup();
        for (system, overlaps) in systems.iter_mut().enumerate() {
            let image: Vec<ClassOverlap> = classes
                .iter()
                .map(|&class| {
                    let mean = 0.3 + 0.4 * ease + system as f64 * gain
                        - 0.3 * class as f64 / CLASSES as f64;
                    let share = (mean + 0.3 * (rng.random::<f64>() - 0.5)).clamp(0.0, 1.0);
                    let labelled = 1000;
                    ClassOverlap {
                        class: class as u32,
                        intersection: (share * labelled as f64) as u64,
                        predicted: labelled,
                        labelled,
                    }
                })
                .collect();
            overlaps.add(image)?;
        }
    }
    Ok(systems)
}

fn mean_iou(images: usize, gain: f64) -> Result<(), EvalError> {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let truth =
        overlaps(MANY, gain, &mut rng)?.map(|system| system.scores(&vec![1; MANY]).mean_iou);
    let mut tallies = METHODS.map(|method| (method, Tally::default()));
    for set in 0..SETS {
        let mut rng = ChaCha8Rng::seed_from_u64(7000 + set);
        let systems = overlaps(images, gain, &mut rng)?;
        let size = BootstrapSize {
            images,
            systems: 2,
            metrics: 1,
        };
        let score = |system: usize, weights: &[u32], scores: &mut [f64]| {
            scores[0] = systems[system].scores(weights).mean_iou;
        };
        let boot = bootstrap(size, &config(set), score, &|_, _| ())?;
        for (method, tally) in &mut tallies {
            tally.add(&boot.clone().with_method(0, *method), truth);
        }
    }
    for (method, tally) in &tallies {
        tally.print(&format!("mean IoU, {method:?}"), images, truth);
    }
    Ok(())
}

fn main() -> Result<(), EvalError> {
    println!(
        "| score | images | % | difference | scores covered | differences covered | called significant |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for (images, gain) in [(200, 0.0), (200, 0.05), (1000, 0.0), (1000, 0.05)] {
        top1(images, gain)?;
    }
    for (images, gain) in [
        (100, 0.0),
        (200, 0.0),
        (200, 0.02),
        (1000, 0.0),
        (1000, 0.02),
    ] {
        mean_iou(images, gain)?;
    }
    for (images, gain) in [(200, 0.0), (200, 0.05), (1000, 0.0), (1000, 0.05)] {
        average_precision(images, gain)?;
    }
    Ok(())
}
