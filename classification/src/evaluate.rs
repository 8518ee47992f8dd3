//! Evaluation of a classifier over a data set: top-1, top-5, loss, calibration, and the files that
//! scoring them again needs.

use std::path::Path;

use engine::{EngineError, EvaluateOptions, SampleBatch, TaskError};
use eval::{ClassificationMeter, PredictionsWriter, Report};

use crate::task::ClassificationTask;

/// What an evaluation writes beside its numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct EvaluationFiles<'a> {
    /// One line per picture: label, best five classes, probabilities, loss.
    pub predictions: Option<&'a Path>,
    /// One line per class: accuracy, loss, what it is confused with.
    pub per_class: Option<&'a Path>,
    /// Class names for both files, in class order; may be empty.
    pub class_names: &'a [String],
}

/// What an evaluation found.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// Hits and losses, in all and per class.
    pub meter: ClassificationMeter,
    /// Pictures seen.
    pub samples: usize,
    /// Wall-clock time.
    pub seconds: f64,
}

impl Evaluation {
    /// The numbers as a table: `top1`, `top5`, `mean_class_top1` and `calibration_error` in per cent,
    /// `loss` as the mean cross-entropy, `pictures`.
    pub fn report(&self) -> Report {
        self.meter.report()
    }
}

/// Runs the model over `batches` as in evaluation. Pictures of unknown class get predictions but do
/// not count. `observe` sees each prediction as it is made.
///
/// # Errors
/// When a picture cannot be read or does not fit the model, a logit is not finite, a file cannot be
/// written, or the stop flag is raised ([`EngineError::Stopped`]). Files are written whole or not at
/// all.
pub fn evaluate(
    task: &ClassificationTask,
    batches: impl Iterator<Item = SampleBatch<data::ClassificationSample>>,
    options: &EvaluateOptions,
    files: &EvaluationFiles,
    observe: &mut dyn FnMut(&eval::Prediction) -> Result<(), TaskError>,
) -> Result<Evaluation, EngineError> {
    let mut meter = ClassificationMeter::new(task.config().classes as usize);
    let mut writer = files
        .predictions
        .map(|path| PredictionsWriter::create(path, files.class_names))
        .transpose()
        .map_err(failed)?;
    let evaluated = engine::evaluate(
        task,
        batches,
        options,
        |prediction| -> Result<(), TaskError> {
            let prediction = prediction.ranked()?;
            meter.add(&prediction)?;
            if let Some(writer) = &mut writer {
                writer.add(&prediction)?;
            }
            observe(&prediction)
        },
    )?;
    if let Some(writer) = writer {
        writer.finish().map_err(failed)?;
    }
    if let Some(path) = files.per_class {
        eval::write_per_class(path, &meter, files.class_names).map_err(failed)?;
    }
    Ok(Evaluation {
        meter,
        samples: evaluated.samples,
        seconds: evaluated.seconds,
    })
}

fn failed(error: eval::EvalError) -> EngineError {
    EngineError::Task {
        source: error.into(),
        checkpoint: String::new(),
    }
}
