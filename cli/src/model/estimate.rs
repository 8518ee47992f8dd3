//! `--estimate`: how long a training or an evaluation will take.

use data::{Dataset, LoadedSet};
use deepmim_cli::{Failure, print_json};
use engine::{BatchSource, EngineError, EvaluateOptions, Task, TrainerConfig, time_steps};
use serde::Serialize;
use tch::nn;

use crate::session::Batches;

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

/// Times a few steps and batches of a training that is about to start, and prints what follows. The validation
/// set comes with how it is evaluated; pre-training has none.
pub fn estimate<D: Dataset + 'static, T: Task<Sample = D::Sample>>(
    vs: &nn::VarStore,
    task: &T,
    config: &TrainerConfig,
    train: &LoadedSet<D>,
    validation: Option<(&LoadedSet<D>, &EvaluateOptions)>,
) -> Result<(), Failure> {
    let seconds_per_evaluation = match validation {
        Some((val, options)) => evaluation_seconds(task, val, options)?,
        None => 0.0,
    };
    let timing = time_steps(vs, task, config, &Batches(&train.loader), STEPS)?;
    Ok(print_json(&Estimate {
        steps: timing.steps,
        seconds_per_step: timing.seconds_per_step,
        evaluations: timing.evaluations,
        seconds_per_evaluation,
        total_seconds: timing.steps as f64 * timing.seconds_per_step
            + timing.evaluations as f64 * seconds_per_evaluation,
    })?)
}

/// Times a few batches of an evaluation and prints how long the whole will take.
pub fn estimate_evaluation<D: Dataset + 'static, T: Task<Sample = D::Sample>>(
    task: &T,
    val: &LoadedSet<D>,
    options: &EvaluateOptions,
) -> Result<(), Failure> {
    let seconds = evaluation_seconds(task, val, options)?;
    Ok(print_json(&Estimate {
        steps: 0,
        seconds_per_step: 0.0,
        evaluations: 1,
        seconds_per_evaluation: seconds,
        total_seconds: seconds,
    })?)
}

fn evaluation_seconds<D: Dataset + 'static, T: Task<Sample = D::Sample>>(
    task: &T,
    val: &LoadedSet<D>,
    options: &EvaluateOptions,
) -> Result<f64, EngineError> {
    let source = Batches(&val.loader);
    let batches = source.epoch(0, 0).take(BATCHES);
    let evaluated = engine::evaluate(task, batches, options, |_| Ok(()))?;
    Ok(evaluated.seconds * val.dataset.len() as f64 / evaluated.samples.max(1) as f64)
}
