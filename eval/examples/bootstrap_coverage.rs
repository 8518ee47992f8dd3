//! How often 95 % intervals cover the truth, in simulated data sets whose truth is known: the table
//! in the documentation of `IntervalMethod`.
//!
//!     cargo run --release -p deepmim-eval --example bootstrap_coverage

use deepmim_eval::{BootstrapConfig, BootstrapSize, EvalError, IntervalMethod, bootstrap};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Bins of the calibration error, and classes of the mean IoU.
const BINS: usize = 15;
const CLASSES: usize = 40;

/// What is known of one image: confidence and hit, or class and share of it that is found.
type Image = (f64, f64);

struct Study<'a> {
    name: &'a str,
    truth: f64,
    image: &'a dyn Fn(&mut ChaCha8Rng) -> Image,
    score: &'a (dyn Fn(&[Image], &[u32]) -> f64 + Sync),
}

impl Study<'_> {
    fn run(&self, images: usize, sets: u64) -> Result<(), EvalError> {
        let (mut percentile, mut basic) = (0_u32, 0_u32);
        for set in 0..sets {
            let mut rng = ChaCha8Rng::seed_from_u64(set + 77);
            let drawn: Vec<Image> = (0..images).map(|_| (self.image)(&mut rng)).collect();
            let size = BootstrapSize {
                images,
                systems: 1,
                metrics: 1,
            };
            let config = BootstrapConfig {
                resamples: 1000,
                seed: set,
                ..BootstrapConfig::default()
            };
            let score = |_: usize, weights: &[u32], scores: &mut [f64]| {
                scores[0] = (self.score)(&drawn, weights);
            };
            let boot = bootstrap(size, &config, score, &|_, _| ())?;
            percentile += u32::from(boot.interval(0, 0).covers(self.truth));
            let boot = boot.with_method(0, IntervalMethod::Basic);
            basic += u32::from(boot.interval(0, 0).covers(self.truth));
        }
        let share = |count: u32| 100.0 * f64::from(count) / sets as f64;
        println!(
            "{} of {:.2} %, {images} images: percentile {:.1} %, basic {:.1} %",
            self.name,
            100.0 * self.truth,
            share(percentile),
            share(basic)
        );
        Ok(())
    }
}

fn calibration_error(images: &[Image], weights: &[u32]) -> f64 {
    let mut gaps = [0.0; BINS];
    let mut total = 0.0;
    for (&(confidence, hit), &weight) in images.iter().zip(weights) {
        let bin = (confidence * BINS as f64).ceil() as usize;
        let weight = f64::from(weight);
        gaps[bin.saturating_sub(1).min(BINS - 1)] += weight * (hit - confidence);
        total += weight;
    }
    gaps.iter().map(|gap| gap.abs()).sum::<f64>() / total
}

fn accuracy(images: &[Image], weights: &[u32]) -> f64 {
    let hits = images
        .iter()
        .zip(weights)
        .map(|(image, &weight)| image.1 * f64::from(weight));
    hits.sum::<f64>() / images.len() as f64
}

fn mean_iou(images: &[Image], weights: &[u32]) -> f64 {
    let (mut found, mut all) = ([0.0; CLASSES], [0.0; CLASSES]);
    for (&(class, share), &weight) in images.iter().zip(weights) {
        found[class as usize] += f64::from(weight) * share;
        all[class as usize] += f64::from(weight);
    }
    let occurring = (0..CLASSES).filter(|&class| all[class] > 0.0);
    let shares: Vec<f64> = occurring.map(|class| found[class] / all[class]).collect();
    shares.iter().sum::<f64>() / shares.len() as f64
}

/// Confidences pile up near 1; `excess` makes the model that much too sure of the uncertain ones.
fn confidence_and_accuracy(rng: &mut ChaCha8Rng, excess: f64) -> Image {
    let confidence = 1.0 - 0.85 * rng.random::<f64>().powi(3);
    let accuracy = confidence - excess * 4.0 * confidence * (1.0 - confidence);
    (confidence, accuracy.clamp(0.0, 1.0))
}

fn coin(rng: &mut ChaCha8Rng, probability: f64) -> f64 {
    f64::from(u8::from(rng.random::<f64>() < probability))
}

fn main() -> Result<(), EvalError> {
    let study = Study {
        name: "accuracy",
        truth: 0.9,
        image: &|rng| (0.0, coin(rng, 0.9)),
        score: &accuracy,
    };
    study.run(50, 500)?;
    study.run(300, 500)?;
    let study = Study {
        name: "mean IoU",
        truth: 0.5,
        // Rare and frequent classes.
        image: &|rng| {
            let class = (CLASSES as f64 * rng.random::<f64>().powi(2)).floor();
            (class, rng.random::<f64>())
        },
        score: &mean_iou,
    };
    study.run(200, 300)?;
    study.run(1000, 300)?;
    for excess in [0.1, 0.03] {
        // The truth: accuracies in place of hits, over so many images that noise is gone.
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let many: Vec<Image> = (0..4_000_000)
            .map(|_| confidence_and_accuracy(&mut rng, excess))
            .collect();
        let study = Study {
            name: "calibration error",
            truth: calibration_error(&many, &vec![1; many.len()]),
            image: &|rng| {
                let (confidence, accuracy) = confidence_and_accuracy(rng, excess);
                (confidence, coin(rng, accuracy))
            },
            score: &calibration_error,
        };
        study.run(500, 300)?;
        study.run(2000, 300)?;
        study.run(10_000, 200)?;
    }
    Ok(())
}
