//! Folders of label maps to scores.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::counter::{ImageCounter, ImageCounts, LabelFault};
use super::label_png::LabelPngReader;
use super::label_spec::LabelSpec;
use super::meter::{ImageTally, SegmentationMeter};
use super::pairing::{LabelPair, LabelPairs, pair_folders};
use crate::error::EvalError;
use crate::strictness::{Skipped, Strictness};

/// How folders are scored.
#[derive(Debug, Clone, Copy)]
pub struct SegmentationOptions {
    /// What the numbers mean.
    pub labels: LabelSpec,
    /// What happens to images that cannot be scored. Under [`Strictness::Lenient`], a predicted
    /// number that is no class makes its pixel wrong, and the image is scored.
    pub strictness: Strictness,
}

impl SegmentationOptions {
    /// Strict.
    pub fn new(labels: LabelSpec) -> Self {
        Self {
            labels,
            strictness: Strictness::Strict,
        }
    }
}

/// A scored image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoredImage {
    /// Its path within the folder of the ground truth, without extension.
    pub name: String,
    /// Its areas per class.
    pub tally: ImageTally,
}

/// What two folders gave.
#[derive(Debug)]
pub struct SegmentationResult {
    /// Sums over all images.
    pub meter: SegmentationMeter,
    /// Each image that was scored, by name.
    pub images: Vec<ScoredImage>,
    /// Images left out and predictions without ground truth.
    pub skipped: Skipped,
}

/// Scores a folder of predicted label maps against a folder of ground truth, PNG files both.
///
/// Files are paired by their path within the folder, without extension (by file name alone where
/// one folder has no subfolders). `progress` is called with the images done and all images, from any
/// thread. Work is spread over the surrounding rayon pool, with two maps per thread in memory; how
/// many threads there are changes no digit.
///
/// # Errors
/// When a folder cannot be listed or holds no PNG, no image can be scored, or, under
/// [`Strictness::Strict`], for the first image by name that cannot be scored.
pub fn evaluate_label_folders(
    ground_truth: &Path,
    predictions: &Path,
    options: &SegmentationOptions,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<SegmentationResult, EvalError> {
    let folders = pair_folders(ground_truth, predictions)?;
    score(folders, ground_truth, options, progress)
}

/// A label map of the ground truth and the prediction for it, PNG files both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelFiles {
    /// What the image is called.
    pub name: String,
    /// The ground truth.
    pub label: PathBuf,
    /// The prediction.
    pub prediction: PathBuf,
}

/// As [`evaluate_label_folders`], for files that are paired already; `ground_truth` is the folder that a
/// message about all of them names.
///
/// # Errors
/// When no image can be scored, or, under [`Strictness::Strict`], for the first that cannot.
pub fn evaluate_label_files(
    ground_truth: &Path,
    files: Vec<LabelFiles>,
    options: &SegmentationOptions,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<SegmentationResult, EvalError> {
    let pair = |files: LabelFiles| LabelPair {
        name: files.name,
        label: files.label,
        prediction: Ok(files.prediction),
    };
    let folders = LabelPairs {
        pairs: files.into_iter().map(pair).collect(),
        extra: Vec::new(),
    };
    score(folders, ground_truth, options, progress)
}

fn score(
    folders: LabelPairs,
    ground_truth: &Path,
    options: &SegmentationOptions,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<SegmentationResult, EvalError> {
    let total = folders.pairs.len() as u64;
    let strict = options.strictness == Strictness::Strict;
    let meter = Mutex::new(SegmentationMeter::new(options.labels.classes()));
    let done = AtomicU64::new(0);
    // Images behind one that fails need not be read; those before it are, so that the error does
    // not depend on which thread was first.
    let first_failed = AtomicUsize::new(usize::MAX);
    let outcomes: Vec<Option<Result<ImageTally, EvalError>>> = folders
        .pairs
        .par_iter()
        .enumerate()
        .map_init(
            || Worker::new(options),
            |worker, (place, pair)| {
                if first_failed.load(Ordering::Relaxed) < place {
                    return None;
                }
                let outcome = worker.count(pair).and_then(|counts| {
                    let mut meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
                    meter.add(&counts)?;
                    Ok(counts.tally())
                });
                if strict && outcome.is_err() {
                    first_failed.fetch_min(place, Ordering::Relaxed);
                }
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
                Some(outcome)
            },
        )
        .collect();

    let mut skipped = Skipped::default();
    let mut images = Vec::with_capacity(outcomes.len());
    for (pair, outcome) in folders.pairs.into_iter().zip(outcomes) {
        match (outcome, pair.prediction) {
            (Some(Ok(tally)), _) => images.push(ScoredImage {
                name: pair.name,
                tally,
            }),
            (_, Err(error)) | (Some(Err(error)), _) => skipped.meet(options.strictness, error)?,
            (None, _) => {}
        }
    }
    for error in folders.extra {
        skipped.meet(options.strictness, error)?;
    }
    if images.is_empty() {
        let reason = skipped.first().map_or_else(String::new, |first| {
            format!(", and the first one because: {first}")
        });
        let problem = format!("no label map could be scored, {total} were left out{reason}");
        return Err(EvalError::file(ground_truth, problem));
    }
    Ok(SegmentationResult {
        meter: meter.into_inner().unwrap_or_else(PoisonError::into_inner),
        images,
        skipped,
    })
}

/// What a thread keeps between images.
struct Worker {
    labels: LabelPngReader,
    predictions: LabelPngReader,
    counter: ImageCounter,
}

impl Worker {
    fn new(options: &SegmentationOptions) -> Self {
        Self {
            labels: LabelPngReader::default(),
            predictions: LabelPngReader::default(),
            counter: ImageCounter::new(options.labels, options.strictness),
        }
    }

    fn count(&mut self, pair: &LabelPair) -> Result<ImageCounts, EvalError> {
        let Ok(prediction_path) = &pair.prediction else {
            // The pair itself holds the error.
            return Err(EvalError::file(&pair.label, "has no prediction"));
        };
        let label = self.labels.read(&pair.label)?;
        let prediction = self.predictions.read(prediction_path)?;
        let counts = self.counter.count(&label, &prediction).map_err(|fault| {
            let at_fault = match &fault {
                LabelFault::Label { .. } => &pair.label,
                LabelFault::Size { .. } | LabelFault::Prediction { .. } => prediction_path,
            };
            EvalError::file(at_fault, fault.to_string())
        });
        self.labels.recycle(label);
        self.predictions.recycle(prediction);
        counts
    }
}
