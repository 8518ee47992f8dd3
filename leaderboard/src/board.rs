//! A leaderboard, computed: what every form of output shows.
//!
//! Numbers are in the units that are shown (per cent where [`Metric::title`] says so) and unrounded. A
//! number that is not defined is NaN, and null in JSON.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::layers::LayerAnalysis;

/// What a run is evaluated on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One class per picture.
    Classify,
    /// Boxes and masks of objects.
    Detect,
    /// A class per pixel.
    Segment,
}

/// Systems on tasks, with everything a page about them shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Board {
    /// What stands on top.
    pub title: String,
    /// What is compared, in the order in which it was given: checkpoints, mostly.
    pub systems: Vec<String>,
    /// Resamples of every bootstrap.
    pub resamples: usize,
    /// Share of intervals that are to cover the truth.
    pub confidence: f64,
    /// One per task and ground truth.
    pub tasks: Vec<TaskBoard>,
    /// Every run that went in, the pre-training runs behind them included.
    pub runs: Vec<RunFacts>,
    /// What the layers of checkpoints have learnt, where that was analysed.
    pub analyses: Vec<LayerAnalysis>,
    /// What a reader must know before comparing, such as recipes that differ.
    pub notes: Vec<String>,
}

impl Board {
    /// One that shows nothing but an analysis of layers.
    pub fn of_analysis(title: String, analysis: LayerAnalysis) -> Self {
        Self {
            title,
            systems: Vec::new(),
            resamples: 0,
            confidence: 0.95,
            tasks: Vec::new(),
            runs: Vec::new(),
            analyses: vec![analysis],
            notes: Vec::new(),
        }
    }
}

/// All systems that were evaluated on one task and ground truth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskBoard {
    /// "detection", or what a suite calls it.
    pub name: String,
    /// What is measured.
    pub kind: Kind,
    /// The ground truth in a few words: pictures, classes, file.
    pub data: String,
    /// SHA-256 that binds names and labels of the ground truth.
    pub truth_sha256: String,
    /// Validation pictures.
    pub pictures: usize,
    /// What is measured, the most important first.
    pub metrics: Vec<Metric>,
    /// One per system, in the order of [`Board::systems`]; a system may lack.
    pub systems: Vec<SystemScores>,
    /// Every pair of systems on the headline metrics, judged together per metric.
    pub differences: Vec<Gap>,
    /// Numbers of papers on the same data set, never resampled.
    pub published: Vec<PublishedRow>,
    /// The headline metric class by class.
    pub classes: ClassScores,
    /// Precision over recall of every system, for detection; else empty.
    pub precision_recall: Vec<PrecisionRecall>,
    /// The same pictures under every system.
    pub examples: Vec<Example>,
}

/// A number that is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metric {
    /// Its name where a script reads it: "top1", "box_ap", "mask_ap", "miou".
    pub key: String,
    /// Its name in tables, with the unit: "AP-box %".
    pub title: String,
    /// Decimals in tables.
    pub decimals: usize,
    /// Whether it stands in the leaderboard itself.
    pub headline: bool,
    /// False for losses and calibration errors.
    pub higher_is_better: bool,
}

/// One system on one task: means over its seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SystemScores {
    /// Its name.
    pub system: String,
    /// Trainings with different seeds that went into the means.
    pub seeds: usize,
    /// Places of its runs in [`Board::runs`]; empty for bare prediction files.
    pub runs: Vec<usize>,
    /// One per metric.
    pub scores: Vec<Score>,
}

/// A score with its interval over pictures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// On the pictures as they are.
    pub value: f64,
    /// Ends of the interval over the choice of pictures.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Standard deviation over seeds, where there are several.
    pub seed_deviation: Option<f64>,
}

/// How much one system's score exceeds another's, on the same pictures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gap {
    /// Place of the metric in [`TaskBoard::metrics`].
    pub metric: usize,
    /// The system.
    pub system: String,
    /// The one that it is compared with.
    pub base: String,
    /// Score of the system minus score of the base, with its interval.
    pub difference: Score,
    /// Two-sided p-value, adjusted for the pairs of this metric (Holm).
    pub p_value: f64,
    /// Whether it is at most one minus the confidence.
    pub significant: bool,
}

/// A result of a paper.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PublishedRow {
    /// The model.
    pub name: String,
    /// Metric keys and values; others were not published.
    pub scores: Vec<(String, f64)>,
    /// Where it stands.
    pub source: String,
}

/// A metric class by class.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ClassScores {
    /// The metric, with the unit: "IoU %".
    pub title: String,
    /// Class names in class order.
    pub names: Vec<String>,
    /// Pictures, objects or pixels of each class in the ground truth.
    pub support: Vec<u64>,
    /// What `support` counts.
    pub support_of: String,
    /// Per system of the task one number per class, means over seeds.
    pub values: Vec<Vec<f64>>,
}

/// Precision over recall, averaged over the categories that have objects.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PrecisionRecall {
    /// "boxes" or "masks".
    pub of: String,
    /// The system.
    pub system: String,
    /// Recalls, 0..=1.
    pub recall: Vec<f64>,
    /// Precision at IoU 0.50, 0..=1.
    pub at_50: Vec<f64>,
    /// At IoU 0.75.
    pub at_75: Vec<f64>,
}

/// One picture under every system.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Example {
    /// The picture's name in its data set.
    pub name: String,
    /// The picture with its ground truth drawn in, as a JPEG or PNG file.
    pub truth: PathBuf,
    /// The truth in words, such as a class name; may be empty.
    pub truth_caption: String,
    /// One per system of the task; none where a system lacks it.
    pub answers: Vec<Option<Answer>>,
}

/// What a system says about a picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The picture with the prediction drawn in, where it can be drawn.
    pub picture: Option<PathBuf>,
    /// The prediction in words; may be empty.
    pub caption: String,
    /// Whether it is right, where that can be said.
    pub right: Option<bool>,
}

/// What is known of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunFacts {
    /// Its folder.
    pub path: PathBuf,
    /// The system that it belongs to.
    pub system: String,
    /// The task's name, or "pre-training".
    pub task: String,
    /// Seed of the training.
    pub seed: Option<u64>,
    /// What it started from, in a few words.
    pub start: String,
    /// Environment and cost as pairs of name and value, in order.
    pub facts: Vec<(String, String)>,
    /// The resolved recipe, TOML.
    pub recipe: String,
    /// Logged values over epochs.
    pub curves: Vec<Curve>,
    /// Pictures of reconstructions, for pre-training; the last ones written.
    pub reconstructions: Vec<PathBuf>,
}

/// A logged value over the epochs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Curve {
    /// Its name in the run's metrics: "train/loss", "eval/top1".
    pub name: String,
    /// Epoch and value.
    pub points: Vec<[f64; 2]>,
}
