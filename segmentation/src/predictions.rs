//! Evaluation of a segmentor over a data set: label maps to PNG files, the files to numbers.
//!
//! The numbers come from the files, not from the model's memory, so scoring the files again gives the
//! same digits.

use std::path::Path;

use data::{SegmentationSample, write_label_png};
use engine::{EngineError, EvaluateOptions, SampleBatch, TaskError};
use eval::EvalError;
use eval::segmentation::{
    LabelFiles, LabelSpec, SegmentationMeter, SegmentationOptions, evaluate_label_files,
    write_class_scores, write_confused_classes, write_confusion_matrix,
};

use crate::task::{SegmentationTask, SegmentedPicture};

/// Folder of the predicted label maps, in an evaluation's folder.
pub const LABELS_FOLDER: &str = "labels";
/// Folder of the same maps counted from 1, as ADE20K's evaluation server takes them.
pub const SUBMISSION_FOLDER: &str = "submission";

/// The ground truth of an evaluation.
#[derive(Debug, Clone, Copy)]
pub struct GroundTruthLabels<'a> {
    /// Folder of label maps.
    pub folder: &'a Path,
    /// Their paths within it, in the order of the pictures that are evaluated.
    pub files: &'a [&'a str],
    /// What their numbers mean.
    pub spec: LabelSpec,
    /// Names in class order.
    pub names: &'a [String],
}

/// What an evaluation found.
#[derive(Debug)]
pub struct SegmentationEvaluation {
    /// The confusion matrix of all pictures, and every score out of it.
    pub meter: SegmentationMeter,
    /// Pictures seen.
    pub pictures: usize,
    /// Wall-clock time of the model's part.
    pub seconds: f64,
}

/// Runs the segmentor over `batches`, writes label maps (`labels/`, and with `submission` the same counted
/// from 1 in `submission/`), under the paths of the ground truth's, and the tables of their scores into
/// `folder` and returns the scores. Maps of an earlier evaluation in the folder are removed first. `observe`
/// sees each picture's map as it is found.
///
/// # Errors
/// When a picture cannot be read or does not fit the model, a file cannot be written or scored, or the
/// stop flag is raised ([`EngineError::Stopped`]).
pub fn evaluate_segmentor(
    task: &SegmentationTask,
    batches: impl Iterator<Item = SampleBatch<SegmentationSample>>,
    options: &EvaluateOptions,
    truth: GroundTruthLabels<'_>,
    folder: &Path,
    submission: bool,
    observe: &mut dyn FnMut(&SegmentedPicture) -> Result<(), TaskError>,
) -> Result<SegmentationEvaluation, EngineError> {
    let failed = |source: TaskError| EngineError::Task {
        source,
        checkpoint: String::new(),
    };
    let labels = folder.join(LABELS_FOLDER);
    let server = folder.join(SUBMISSION_FOLDER);
    for old in [&labels, &server] {
        empty(old).map_err(|error| failed(error.into()))?;
    }
    let mut files = Vec::with_capacity(truth.files.len());
    let evaluated = engine::evaluate(task, batches, options, |mut picture| {
        let name = truth
            .files
            .get(files.len())
            .ok_or_else(|| format!("{}: there is no label map for it", picture.name))?;
        let prediction = labels.join(name);
        picture.write(&prediction)?;
        observe(&picture)?;
        files.push(LabelFiles {
            name: (*name).to_owned(),
            label: truth.folder.join(name),
            prediction,
        });
        if submission {
            for label in &mut picture.labels {
                *label += 1; // at most 255 classes
            }
            picture.write(&server.join(name))?;
        }
        Ok(())
    })?;
    let scored = evaluate_label_files(
        truth.folder,
        files,
        &SegmentationOptions::new(truth.spec),
        &|_, _| {},
    )
    .map_err(|error| failed(error.into()))?;
    let evaluation = SegmentationEvaluation {
        meter: scored.meter,
        pictures: evaluated.samples,
        seconds: evaluated.seconds,
    };
    evaluation
        .write(folder, truth.names)
        .map_err(|error| failed(error.into()))?;
    Ok(evaluation)
}

/// Removes a folder of an earlier evaluation.
fn empty(folder: &Path) -> Result<(), EvalError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(EvalError::File {
            path: folder.to_owned(),
            problem: format!("the label maps of an earlier evaluation cannot be removed: {error}"),
        }),
        _ => Ok(()),
    }
}

impl SegmentedPicture {
    /// Writes the label map.
    fn write(&self, path: &Path) -> Result<(), TaskError> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .map_err(|error| format!("{} cannot be made: {error}", parent.display()))?;
        }
        Ok(write_label_png(
            path,
            self.width,
            self.height,
            &self.labels,
        )?)
    }
}

impl SegmentationEvaluation {
    /// Writes `summary.csv`, `summary.json`, `per_class.csv`, `confusion.csv` and `confused_classes.csv`.
    fn write(&self, folder: &Path, names: &[String]) -> Result<(), EvalError> {
        let report = self.meter.report();
        report.write_csv(&folder.join("summary.csv"))?;
        report.write_json(&folder.join("summary.json"))?;
        write_class_scores(&folder.join("per_class.csv"), &self.meter, names)?;
        write_confusion_matrix(&folder.join("confusion.csv"), &self.meter, names)?;
        write_confused_classes(&folder.join("confused_classes.csv"), &self.meter, names)
    }
}
