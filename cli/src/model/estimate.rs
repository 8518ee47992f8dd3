//! `--estimate`: how long a training will take.

use deepmim_cli::{Failure, print_json};
use engine::{BatchSource, EvaluateOptions, Task, TrainerConfig, time_steps};
use serde::Serialize;
use tch::nn;

/// Steps that are timed, after one that is not.
const STEPS: usize = 5;
/// Batches of the evaluation that are timed.
const BATCHES: usize = 3;

/// What is printed.
#[derive(Serialize)]
struct Estimate {
    steps: u64,
    seconds_per_step: f64,
    evaluations: u64,
    seconds_per_evaluation: f64,
    total_seconds: f64,
}

/// The validation set of a task, where it has one.
pub struct Validation<'a, B> {
    /// Its batches.
    pub source: B,
    /// Number of pictures.
    pub pictures: usize,
    /// As for the evaluation itself.
    pub options: &'a EvaluateOptions,
}

/// Times a few steps and batches of a training that is about to start, and prints what follows.
pub fn estimate<T: Task, B: BatchSource<Sample = T::Sample>>(
    vs: &nn::VarStore,
    task: &T,
    config: &TrainerConfig,
    train: &B,
    validation: Option<Validation<'_, B>>,
) -> Result<(), Failure> {
    let seconds_per_evaluation = match validation {
        Some(Validation {
            source,
            pictures,
            options,
        }) => {
            let batches = source.epoch(0, 0).take(BATCHES);
            let evaluated = engine::evaluate(task, batches, options, |_| Ok(()))?;
            evaluated.seconds * pictures as f64 / evaluated.samples.max(1) as f64
        }
        None => 0.0,
    };
    let timing = time_steps(vs, task, config, train, STEPS)?;
    Ok(print_json(&Estimate {
        steps: timing.steps,
        seconds_per_step: timing.seconds_per_step,
        evaluations: timing.evaluations,
        seconds_per_evaluation,
        total_seconds: timing.steps as f64 * timing.seconds_per_step
            + timing.evaluations as f64 * seconds_per_evaluation,
    })?)
}
