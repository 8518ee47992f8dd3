//! The trainer: one model, one run directory, and where it is in its training.

mod fit;
mod saving;

use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;
use tch::{Device, Tensor, nn};

use crate::averaging::Ema;
use crate::checkpoint::{CheckpointStore, TrainingState};
use crate::metrics::Metrics;
use crate::tensor_file::{self, copy_exactly};
use crate::tensorboard::EventWriter;
use crate::{
    Checkpoint, EngineError, Environment, Optimizer, ParameterGroups, RunDir, Schedule, StopFlag,
    Task, TrainerConfig,
};

pub use fit::EvaluationPoint;
pub use saving::Summary;

/// How a training ended, when it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All steps are done.
    Finished,
    /// Stopped on request, with a checkpoint to go on from.
    Interrupted,
}

/// Trains one model for one run directory.
#[derive(Debug)]
pub struct Trainer {
    config: TrainerConfig,
    schedule: Schedule,
    device: Device,
    /// Every variable of the model by name, sorted.
    variables: Vec<(String, Tensor)>,
    optimizer: Optimizer,
    ema: Option<Ema>,
    run: RunDir,
    store: CheckpointStore,
    metrics: Metrics,
    events: EventWriter,
    stop: StopFlag,
    state: TrainingState,
    started: Instant,
    seconds_before: f64,
    last_save: Instant,
    last_checkpoint: Option<PathBuf>,
}

impl Trainer {
    /// Prepares a training of everything in `vs` that `task`'s policy does not freeze. Where `run`
    /// continues an earlier one, its newest whole checkpoint is loaded into `vs`, replacing
    /// whatever weights are there.
    ///
    /// # Errors
    /// When the configuration cannot work, the checkpoint does not fit the model, or the run's
    /// files cannot be written.
    pub fn new<T: Task>(
        vs: &nn::VarStore,
        task: &T,
        config: TrainerConfig,
        run: RunDir,
        stop: StopFlag,
    ) -> Result<Self, EngineError> {
        config.check()?;
        let schedule = config.resolve_schedule()?;
        if let Some(threads) = config.threads {
            let threads = i32::try_from(threads)
                .map_err(|_| EngineError::Config(format!("threads is {threads}: too many")))?;
            tch::set_num_threads(threads);
        }
        let mut variables: Vec<(String, Tensor)> = vs.variables().into_iter().collect();
        variables.sort_by(|a, b| a.0.cmp(&b.0));
        let handles = variables
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .collect();
        let groups = ParameterGroups::new(handles, |name, shape| task.policy(name, shape))?;
        let trained = groups
            .parameters()
            .map(|parameter| (parameter.name.clone(), parameter.tensor.shallow_clone()))
            .collect();
        let mut optimizer = Optimizer::new(&config.optimizer, groups);
        let store = CheckpointStore::open(run.checkpoints(), config.keep)?;
        let mut state = TrainingState::fresh(config.seed, run.config_sha256());
        let mut last_checkpoint = None;
        let mut averages = None;
        if run.resuming() {
            let (newest, warnings) = Checkpoint::latest(&run.checkpoints())?;
            for warning in warnings {
                eprintln!("warning: {warning}");
            }
            if let Some(newest) = newest {
                averages = load(&newest, &state, &variables, &mut optimizer)?;
                last_checkpoint = Some(newest.path.clone());
                state = newest.state;
            }
        }
        let mut ema = config.ema_decay.map(|decay| Ema::new(decay, trained));
        if let (Some(ema), Some(path)) = (&mut ema, &last_checkpoint) {
            let averages = averages.unwrap_or_default();
            ema.load(averages)
                .map_err(|reason| mismatch(path, &format!("the averaged weights: {reason}")))?;
        }
        let metrics = Metrics::open(&run.metrics(), state.metrics_bytes)?;
        let restart = run.resuming().then_some(state.step);
        let events = EventWriter::create(&run.tensorboard(), restart)?;
        run.write_environment(&Environment::current(vs.device(), config.seed))?;
        let now = Instant::now();
        Ok(Self {
            config,
            schedule,
            device: vs.device(),
            variables,
            optimizer,
            ema,
            run,
            store,
            metrics,
            events,
            stop,
            seconds_before: state.seconds,
            state,
            started: now,
            last_save: now,
            last_checkpoint,
        })
    }

    /// The trained parameters with their policies.
    pub fn groups(&self) -> &ParameterGroups {
        self.optimizer.groups()
    }

    /// Optimiser steps done, those before a resume included.
    pub fn step(&self) -> u64 {
        self.state.step
    }

    /// The run's folder.
    pub fn run(&self) -> &RunDir {
        &self.run
    }
}

/// Loads weights and optimiser; returns the averaged weights' entries, where there are any.
fn load(
    checkpoint: &Checkpoint,
    fresh: &TrainingState,
    variables: &[(String, Tensor)],
    optimizer: &mut Optimizer,
) -> Result<Option<Vec<(String, Tensor)>>, EngineError> {
    let path = &checkpoint.path;
    let state = &checkpoint.state;
    if state.seed != fresh.seed || state.config_sha256 != fresh.config_sha256 {
        return Err(mismatch(
            path,
            "it was made with another configuration; start a new run",
        ));
    }
    let read = |file: &std::path::Path| tensor_file::read(file);
    let failed =
        |what: &'static str| move |reason: String| mismatch(path, &format!("{what}: {reason}"));
    let weights = read(&checkpoint.weights()).map_err(failed("the weights"))?;
    copy_exactly(variables, weights).map_err(failed("the weights"))?;
    let moments = read(&checkpoint.optimizer()).map_err(failed("the optimiser's state"))?;
    optimizer
        .load_state(moments)
        .map_err(failed("the optimiser's state"))?;
    match checkpoint.ema() {
        Some(file) => read(&file)
            .map(Some)
            .map_err(failed("the averaged weights")),
        None => Ok(None),
    }
}

fn mismatch(path: &std::path::Path, reason: &str) -> EngineError {
    EngineError::Mismatch {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}
