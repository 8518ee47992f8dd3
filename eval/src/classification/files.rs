//! What is written as CSV: predictions, per-class scores, calibration, confusions.
//!
//! Numbers are written with as many digits as reading them back bit by bit takes.

use std::path::Path;

use super::meter::ClassificationMeter;
use super::prediction::{Prediction, TOP_K};
use crate::error::EvalError;
use crate::file::CsvFile;

/// Columns of a predictions file. `label`, `label_name`, `loss` and the places beyond the number
/// of classes may be empty.
pub(super) const COLUMNS: [&str; 15] = [
    "file",
    "label",
    "label_name",
    "top1",
    "top2",
    "top3",
    "top4",
    "top5",
    "p1",
    "p2",
    "p3",
    "p4",
    "p5",
    "loss",
    "top1_name",
];
/// Columns of a per-class file.
const CLASS_COLUMNS: [&str; 10] = [
    "class",
    "name",
    "count",
    "top1",
    "top5",
    "precision",
    "loss",
    "confused_with",
    "confused_with_name",
    "confused_count",
];
const FIRST_CLASS: usize = 3;
const FIRST_PROBABILITY: usize = FIRST_CLASS + TOP_K;
const LOSS: usize = FIRST_PROBABILITY + TOP_K;

fn name_of(names: &[String], class: usize) -> &str {
    names.get(class).map_or("", String::as_str)
}

/// Writes predictions as they come. The file takes its name when [`PredictionsWriter::finish`] is
/// called; dropped before, it leaves nothing behind.
#[derive(Debug)]
pub struct PredictionsWriter {
    csv: CsvFile,
    names: Vec<String>,
}

impl PredictionsWriter {
    /// Starts a file; `names` are the class names, empty where there are none.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(path: &Path, names: &[String]) -> Result<Self, EvalError> {
        Ok(Self {
            csv: CsvFile::create(path, &COLUMNS)?,
            names: names.to_vec(),
        })
    }

    /// Writes one record.
    ///
    /// # Errors
    /// When writing fails.
    pub fn add(&mut self, prediction: &Prediction) -> Result<(), EvalError> {
        let mut row: [String; COLUMNS.len()] = Default::default();
        row[0].clone_from(&prediction.name);
        if let Some(label) = prediction.label {
            row[1] = label.to_string();
            row[2] = name_of(&self.names, label).to_owned();
        }
        for (place, ranked) in prediction.top.iter().take(TOP_K).enumerate() {
            row[FIRST_CLASS + place] = ranked.class.to_string();
            if let Some(probability) = ranked.probability {
                row[FIRST_PROBABILITY + place] = probability.to_string();
            }
        }
        if let Some(loss) = prediction.loss {
            row[LOSS] = loss.to_string();
        }
        if let Some(best) = prediction.best() {
            row[LOSS + 1] = name_of(&self.names, best.class).to_owned();
        }
        self.csv.row(&row)
    }

    /// Completes the file.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(self) -> Result<(), EvalError> {
        self.csv.finish()
    }
}

/// Writes one line per class: its counts, accuracies and precision in 0..=1 (empty where the class
/// does not occur), mean loss, and the class it is most often taken for.
///
/// # Errors
/// When the file cannot be written.
pub fn write_per_class(
    path: &Path,
    meter: &ClassificationMeter,
    names: &[String],
) -> Result<(), EvalError> {
    let mut csv = CsvFile::create(path, &CLASS_COLUMNS)?;
    let ratio = |sum: f64, count: u64| {
        if count == 0 {
            String::new()
        } else {
            (sum / count as f64).to_string()
        }
    };
    // Most frequent first, so that the first one seen of each class is the one to keep.
    let mut worst = vec![None; meter.num_classes()];
    for confusion in meter.confusions() {
        worst[confusion.label].get_or_insert(confusion);
    }
    for (class, (tally, worst)) in meter.classes().iter().zip(worst).enumerate() {
        let (with, with_name, times) = worst.map_or_else(Default::default, |pair| {
            (
                pair.predicted.to_string(),
                name_of(names, pair.predicted),
                pair.count.to_string(),
            )
        });
        csv.row([
            class.to_string().as_str(),
            name_of(names, class),
            &tally.count.to_string(),
            &ratio(tally.top1 as f64, tally.count),
            &ratio(tally.top5 as f64, tally.count),
            &ratio(tally.top1 as f64, tally.predicted),
            &ratio(tally.loss, tally.count),
            &with,
            with_name,
            &times,
        ])?;
    }
    csv.finish()
}

/// Writes a reliability diagram: one line per bin of the calibration error, with the number of
/// pictures, their mean confidence and their accuracy in 0..=1 (empty where there are none).
///
/// # Errors
/// When the file cannot be written.
pub fn write_calibration(path: &Path, meter: &ClassificationMeter) -> Result<(), EvalError> {
    let columns = ["above", "up_to", "count", "confidence", "accuracy"];
    let mut csv = CsvFile::create(path, &columns)?;
    let text = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    for bin in meter.calibration() {
        csv.row([
            bin.above.to_string(),
            bin.up_to.to_string(),
            bin.count.to_string(),
            text(bin.confidence),
            text(bin.accuracy),
        ])?;
    }
    csv.finish()
}

/// Writes the confusion matrix without its zeros, right answers included, in class order.
///
/// # Errors
/// When the file cannot be written.
pub fn write_confusion(
    path: &Path,
    meter: &ClassificationMeter,
    names: &[String],
) -> Result<(), EvalError> {
    let columns = [
        "label",
        "predicted",
        "count",
        "label_name",
        "predicted_name",
    ];
    let mut csv = CsvFile::create(path, &columns)?;
    for cell in meter.confusion_matrix() {
        csv.row([
            cell.label.to_string().as_str(),
            &cell.predicted.to_string(),
            &cell.count.to_string(),
            name_of(names, cell.label),
            name_of(names, cell.predicted),
        ])?;
    }
    csv.finish()
}
