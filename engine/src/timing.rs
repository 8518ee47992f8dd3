//! How long a training would take, from a few steps of it.

use std::rc::Rc;
use std::time::Instant;

use tch::{Tensor, nn};

use crate::optimizer::{Optimizer, ParameterGroups};
use crate::step::{self, Ranks, StepFailure, StepPlan};
use crate::{BatchSource, EngineError, LossScale, Precision, Share, Task, TrainerConfig, World};

/// What a training consists of and how long its parts take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepTiming {
    /// Optimiser steps of the whole training.
    pub steps: u64,
    /// Seconds of one: the median of those that were timed, data included.
    pub seconds_per_step: f64,
    /// Evaluations on the way and at the end.
    pub evaluations: u64,
}

/// Makes one step unmeasured and then up to `count` measured ones. The model's weights change; nothing is
/// written.
///
/// # Errors
/// As of a training.
pub fn time_steps<T: Task>(
    vs: &nn::VarStore,
    task: &T,
    config: &TrainerConfig,
    source: &impl BatchSource<Sample = T::Sample>,
    count: usize,
) -> Result<StepTiming, EngineError> {
    config.check()?;
    let per_epoch = (source.batches() / config.accumulate) as u64;
    if per_epoch == 0 {
        return Err(EngineError::Config(format!(
            "the training set has {} batches an epoch, fewer than one step of accumulate = {} takes: lower batch_size or accumulate",
            source.batches(),
            config.accumulate
        )));
    }
    let mut variables: Vec<(String, Tensor)> = vs.variables().into_iter().collect();
    variables.sort_by(|a, b| a.0.cmp(&b.0));
    let groups = ParameterGroups::new(variables, |name, shape| task.policy(name, shape))?;
    let mut optimizer = Optimizer::new(&config.optimizer, groups);
    let steps = config.total_steps(per_epoch);
    let mut times = Vec::with_capacity(count);
    let mut batches = source.epoch(0, 0);
    let mut scale = (config.precision == Precision::F16).then(LossScale::default);
    let alone = Ranks {
        world: Rc::new(World::alone()),
        share: Share::whole(config),
        reducer: None,
        stop_is_agreed: false,
    };
    for step in 0..per_epoch.min(count as u64 + 1) {
        let plan = StepPlan {
            epoch: 0,
            step,
            lr: 0.0,
            device: vs.device(),
            stop: false,
        };
        let started = Instant::now();
        step::make(
            task,
            &mut *batches,
            &mut optimizer,
            config,
            &plan,
            &alone,
            scale.as_mut(),
        )
        .map_err(refused)?;
        times.push(started.elapsed().as_secs_f64());
    }
    // The first one warms libtorch up, unless it is the only one.
    if times.len() > 1 {
        times.remove(0);
    }
    times.sort_by(f64::total_cmp);
    Ok(StepTiming {
        steps,
        seconds_per_step: times[times.len() / 2],
        evaluations: (1..=steps)
            .filter(|step| config.evaluates_after(*step, per_epoch))
            .count() as u64,
    })
}

fn refused(failure: StepFailure) -> EngineError {
    let task = |source| EngineError::Task {
        source,
        checkpoint: String::new(),
    };
    match failure {
        StepFailure::Engine(error) | StepFailure::Peer(error) => error,
        StepFailure::Task(source) => task(source),
        StepFailure::Ended => task("the data ended before its epoch did".into()),
        StepFailure::NonFinite { name, value, .. } => {
            task(format!("{name} is {value} in the first steps").into())
        }
    }
}
