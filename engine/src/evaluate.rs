//! The one evaluation loop: batches in, predictions out, one at a time and in order.

use std::rc::Rc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tch::Device;

use crate::{
    EngineError, Precision, Progress, SampleBatch, StepContext, StopFlag, Task, TaskError, World,
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
    /// The processes that share the batches.
    pub world: Rc<World>,
}

/// How an evaluation went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluated {
    /// Samples seen.
    pub samples: usize,
    /// Wall-clock time.
    pub seconds: f64,
}

/// Runs `task` over `batches` without gradients and hands each prediction to `each`, in order. With several
/// processes `batches` are this one's, every `n`-th of all, and `each` is called in rank 0 alone, with every
/// process's predictions.
///
/// # Errors
/// When a batch cannot be had, the task fails, `each` fails, or the stop flag is raised
/// ([`EngineError::Stopped`]).
pub fn evaluate<T: Task>(
    task: &T,
    mut batches: impl Iterator<Item = SampleBatch<T::Sample>>,
    options: &EvaluateOptions,
    mut each: impl FnMut(T::Prediction) -> Result<(), TaskError>,
) -> Result<Evaluated, EngineError> {
    let started = Instant::now();
    let world = &options.world;
    let mut progress = match world.is_main() {
        true => Progress::new(&options.label, options.batches as u64, 0),
        false => Progress::silent(),
    };
    let mut total = 0;
    loop {
        let batches = match world.size() {
            1 => next_alone(task, &mut batches, options)?,
            _ => next_of_all(task, &mut batches, options)?,
        };
        if batches.is_empty() {
            break;
        }
        for (samples, predictions) in batches {
            for prediction in predictions {
                each(prediction).map_err(failed)?;
            }
            total += samples;
            progress.step(samples, String::new);
        }
    }
    Ok(Evaluated {
        samples: total,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// A batch's number of samples and its predictions.
type Predicted<P> = (usize, Vec<P>);

/// The next batch; none at the end.
fn next_alone<T: Task>(
    task: &T,
    batches: &mut impl Iterator<Item = SampleBatch<T::Sample>>,
    options: &EvaluateOptions,
) -> Result<Vec<Predicted<T::Prediction>>, EngineError> {
    if options.stop.raised() {
        return Err(EngineError::Stopped);
    }
    match batches.next() {
        Some(samples) => Ok(vec![predict(task, samples, options).map_err(failed)?]),
        None => Ok(Vec::new()),
    }
}

/// What a process tells the others about one of its batches.
#[derive(Serialize, Deserialize)]
struct Told {
    samples: usize,
    /// Predictions, or why there are none.
    predictions: Result<Vec<u8>, String>,
    stop: bool,
}

/// The next batch of every process that has one; none at the end. Predictions are for rank 0 alone.
fn next_of_all<T: Task>(
    task: &T,
    batches: &mut impl Iterator<Item = SampleBatch<T::Sample>>,
    options: &EvaluateOptions,
) -> Result<Vec<Predicted<T::Prediction>>, EngineError> {
    let world = &options.world;
    let made = batches.next().map(|samples| {
        let (samples, predictions) = predict(task, samples, options)?;
        Ok::<_, TaskError>((samples, postcard::to_allocvec(&predictions)?))
    });
    let (samples, predictions, failure) = match made {
        None => (0, Ok(Vec::new()), None),
        Some(Ok((samples, bytes))) => (samples, Ok(bytes), None),
        Some(Err(error)) => (0, Err(error.to_string()), Some(error)),
    };
    let all = world.exchange(&Told {
        samples,
        predictions,
        stop: options.stop.raised(),
    })?;
    if let Some(error) = failure {
        return Err(failed(error));
    }
    let mut round = Vec::new();
    for (rank, told) in all.into_iter().enumerate() {
        if told.stop {
            return Err(EngineError::Stopped);
        }
        let bytes = told
            .predictions
            .map_err(|message| EngineError::PeerFailed {
                rank,
                message,
                checkpoint: String::new(),
            })?;
        if told.samples > 0 {
            let predictions = match world.is_main() {
                true => postcard::from_bytes(&bytes).map_err(|error| failed(error.into()))?,
                false => Vec::new(),
            };
            round.push((told.samples, predictions));
        }
    }
    Ok(round)
}

fn failed(source: TaskError) -> EngineError {
    EngineError::Task {
        source,
        checkpoint: String::new(),
    }
}

/// Number and predictions of one batch.
fn predict<T: Task>(
    task: &T,
    samples: SampleBatch<T::Sample>,
    options: &EvaluateOptions,
) -> Result<(usize, Vec<T::Prediction>), TaskError> {
    let samples = samples?;
    let count = samples.len();
    let _no_grad = tch::no_grad_guard();
    let batch = task.collate(samples, &StepContext::evaluation(), options.device)?;
    let _autocast = autocast(options.precision, options.device)?;
    Ok((count, task.predict(&batch)?))
}

/// The autocast region of a precision, or none.
pub(crate) fn autocast(
    precision: Precision,
    device: Device,
) -> Result<Option<native::Autocast>, EngineError> {
    Ok(match precision {
        Precision::F32 => None,
        Precision::Bf16 => Some(native::Autocast::bf16(device)?),
        Precision::F16 => Some(native::Autocast::f16(device)?),
    })
}
