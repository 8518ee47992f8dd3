//! The one evaluation loop: batches in, predictions out, one at a time and in order.

use std::time::Instant;

use tch::Device;

use crate::{
    EngineError, Precision, Progress, SampleBatch, StepContext, StopFlag, Task, TaskError,
};

/// How an evaluation runs.
#[derive(Debug, Clone)]
pub struct EvaluateOptions {
    /// Device of the model.
    pub device: Device,
    /// Number format of the forward pass.
    pub precision: Precision,
    /// Batches to come, for the progress bar.
    pub batches: usize,
    /// Shown beside the bar.
    pub label: String,
    /// Ends the evaluation early when raised.
    pub stop: StopFlag,
}

/// How an evaluation went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluated {
    /// Samples seen.
    pub samples: usize,
    /// Wall-clock time.
    pub seconds: f64,
}

/// Runs `task` over `batches` without gradients and hands each prediction to `each`.
///
/// # Errors
/// When a batch cannot be had, the task fails, `each` fails, or the stop flag is raised
/// ([`EngineError::Stopped`]).
pub fn evaluate<T: Task>(
    task: &T,
    batches: impl Iterator<Item = SampleBatch<T::Sample>>,
    options: &EvaluateOptions,
    mut each: impl FnMut(T::Prediction) -> Result<(), TaskError>,
) -> Result<Evaluated, EngineError> {
    let failed = |source| EngineError::Task {
        source,
        checkpoint: String::new(),
    };
    let started = Instant::now();
    let mut progress = Progress::new(&options.label, options.batches as u64, 0);
    let mut total = 0;
    let context = StepContext::evaluation();
    for samples in batches {
        if options.stop.raised() {
            return Err(EngineError::Stopped);
        }
        let samples = samples.map_err(failed)?;
        let count = samples.len();
        let predictions = {
            let _no_grad = tch::no_grad_guard();
            let batch = task
                .collate(samples, &context, options.device)
                .map_err(failed)?;
            let _autocast = autocast(options.precision, options.device)?;
            task.predict(&batch).map_err(failed)?
        };
        for prediction in predictions {
            each(prediction).map_err(failed)?;
        }
        total += count;
        progress.step(count, String::new);
    }
    Ok(Evaluated {
        samples: total,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// The autocast region of a precision, or none.
pub(crate) fn autocast(
    precision: Precision,
    device: Device,
) -> Result<Option<native::Autocast>, EngineError> {
    Ok(match precision {
        Precision::F32 => None,
        Precision::Bf16 => Some(native::Autocast::bf16(device)?),
    })
}
