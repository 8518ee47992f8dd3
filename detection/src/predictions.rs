//! Evaluation of a detector over a data set: detections to a COCO results file, the file to numbers.
//!
//! The numbers come from the file, not from the model's memory, so scoring the file again gives the
//! same digits.

use std::path::Path;

use data::{DetectionCategory, DetectionSample};
use engine::{EngineError, EvaluateOptions, SampleBatch, TaskError};

use crate::evaluate::{CocoScores, evaluate_results};
use crate::results::{DetectionResult, RESULTS_FILE, ResultsWriter};
use crate::task::{DetectedPicture, DetectionTask};

/// What an evaluation found.
#[derive(Debug)]
pub struct DetectionEvaluation {
    /// Average precision and recall of boxes and masks.
    pub scores: CocoScores,
    /// Pictures seen.
    pub pictures: usize,
    /// Wall-clock time of the model's part.
    pub seconds: f64,
}

impl DetectedPicture {
    /// The picture's detections as rows of a results file; `categories` in class order.
    ///
    /// # Panics
    /// When there are fewer categories than the model has classes.
    pub fn results<'a>(
        &'a self,
        categories: &'a [DetectionCategory],
    ) -> impl Iterator<Item = DetectionResult> + 'a {
        let found = &self.detections;
        (0..found.len()).map(move |at| DetectionResult {
            image_id: self.image_id.clone(),
            category_id: categories[found.classes[at]].id.clone(),
            bbox: DetectionResult::bbox_of(found.boxes[at]),
            score: found.scores[at],
            mask: self.masks.as_ref().map(|masks| masks[at].clone()),
        })
    }
}

/// Runs the detector over `batches`, writes the results file and the tables of its scores into `folder`
/// and returns the scores. `observe` sees each picture's detections as they are found.
///
/// # Errors
/// When a picture cannot be read or does not fit the model, a file cannot be written or scored, or the
/// stop flag is raised ([`EngineError::Stopped`]).
pub fn evaluate_detector(
    task: &DetectionTask,
    batches: impl Iterator<Item = SampleBatch<DetectionSample>>,
    options: &EvaluateOptions,
    categories: &[DetectionCategory],
    annotations: &Path,
    folder: &Path,
    observe: &mut dyn FnMut(&DetectedPicture) -> Result<(), TaskError>,
) -> Result<DetectionEvaluation, EngineError> {
    let failed = |source: TaskError| EngineError::Task {
        source,
        checkpoint: String::new(),
    };
    let path = folder.join(RESULTS_FILE);
    let mut writer = ResultsWriter::create(&path).map_err(|error| failed(error.into()))?;
    let evaluated = engine::evaluate(task, batches, options, |picture| {
        for result in picture.results(categories) {
            writer.add(&result)?;
        }
        observe(&picture)
    })?;
    writer.finish().map_err(|error| failed(error.into()))?;
    let scores = evaluate_results(&path, annotations, task.detector().config().masks)
        .map_err(|error| failed(error.into()))?;
    scores.write(folder).map_err(|error| failed(error.into()))?;
    Ok(DetectionEvaluation {
        scores,
        pictures: evaluated.samples,
        seconds: evaluated.seconds,
    })
}
