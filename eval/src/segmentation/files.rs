//! Results as CSV files: scores per class, the confusion matrix, confused classes.

use std::path::Path;

use super::meter::SegmentationMeter;
use crate::error::EvalError;
use crate::file::CsvFile;

/// Columns of a per-class file, named as in mmsegmentation's table.
const CLASS_COLUMNS: [&str; 12] = [
    "class",
    "name",
    "IoU",
    "Acc",
    "Dice",
    "Fscore",
    "Precision",
    "Recall",
    "intersection",
    "union",
    "predicted",
    "labelled",
];

/// Columns of a file of confused classes.
const CONFUSED_COLUMNS: [&str; 6] = [
    "class",
    "name",
    "predicted",
    "predicted_name",
    "pixels",
    "share",
];

fn name_of(names: &[String], class: usize) -> &str {
    names.get(class).map_or("", String::as_str)
}

/// Writes one line per class: scores in 0..=1 with all digits (empty where they have no value) and
/// areas in pixels. `names` are the class names, empty where there are none.
///
/// # Errors
/// When the file cannot be written.
pub fn write_class_scores(
    path: &Path,
    meter: &SegmentationMeter,
    names: &[String],
) -> Result<(), EvalError> {
    let mut csv = CsvFile::create(path, &CLASS_COLUMNS)?;
    let areas = meter.areas();
    let scores = meter.scores().classes;
    for (class, (areas, scores)) in areas.iter().zip(scores).enumerate() {
        let mut row = vec![class.to_string(), name_of(names, class).to_owned()];
        row.extend(
            [
                scores.iou,
                scores.accuracy,
                scores.dice,
                scores.f_score,
                scores.precision,
                scores.recall,
            ]
            .map(|score| {
                if score.is_nan() {
                    String::new()
                } else {
                    score.to_string()
                }
            }),
        );
        row.extend(
            [
                areas.intersection,
                areas.union(),
                areas.predicted,
                areas.labelled,
            ]
            .map(|pixels| pixels.to_string()),
        );
        csv.row(row)?;
    }
    csv.finish()
}

/// Writes the confusion matrix: a line per class of the ground truth, a column with the pixels for
/// each predicted class, and a last one for predicted numbers that are no class.
///
/// # Errors
/// When the file cannot be written.
pub fn write_confusion_matrix(
    path: &Path,
    meter: &SegmentationMeter,
    names: &[String],
) -> Result<(), EvalError> {
    let mut columns = vec!["class".to_owned(), "name".to_owned()];
    columns.extend((0..meter.num_classes()).map(|class| class.to_string()));
    columns.push("no_class".to_owned());
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut csv = CsvFile::create(path, &columns)?;
    for (class, pixels) in meter.matrix().enumerate() {
        let mut row = vec![class.to_string(), name_of(names, class).to_owned()];
        row.extend(pixels.iter().map(u64::to_string));
        csv.row(row)?;
    }
    csv.finish()
}

/// Writes pairs of class and class predicted instead, most pixels first, with the share of the
/// class's pixels in 0..=1.
///
/// # Errors
/// When the file cannot be written.
pub fn write_confused_classes(
    path: &Path,
    meter: &SegmentationMeter,
    names: &[String],
) -> Result<(), EvalError> {
    let mut csv = CsvFile::create(path, &CONFUSED_COLUMNS)?;
    let areas = meter.areas();
    for pair in meter.confusions() {
        let share = pair.pixels as f64 / areas[pair.label].labelled as f64;
        csv.row([
            pair.label.to_string().as_str(),
            name_of(names, pair.label),
            &pair.predicted.to_string(),
            name_of(names, pair.predicted),
            &pair.pixels.to_string(),
            &share.to_string(),
        ])?;
    }
    csv.finish()
}
