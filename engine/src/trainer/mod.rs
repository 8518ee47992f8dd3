//! The trainer: one model, one run directory, and where it is in its training.

mod fit;
mod journal;
mod saving;

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Instant;

use serde::Serialize;
use tch::{Device, Tensor, nn};

use crate::averaging::Ema;
use crate::checkpoint::TrainingState;
use crate::step::Ranks;
use crate::tensor_file::{self, copy_exactly};
use crate::{
    Checkpoint, EngineError, Environment, Optimizer, ParameterGroups, Precision, RunDir, Schedule,
    Share, StopFlag, Task, TrainerConfig, World,
};
use journal::{Found, Journal};

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
    /// Variables that passes change and no gradient does (statistics of BatchNorm), with their values
    /// before the present step.
    buffers: Vec<(Tensor, Tensor)>,
    optimizer: Optimizer,
    ema: Option<Ema>,
    ranks: Ranks,
    /// None in the processes that do not write the run.
    journal: Option<Journal>,
    stop: StopFlag,
    state: TrainingState,
    started: Instant,
    seconds_before: f64,
    last_save: Instant,
}

impl Trainer {
    /// Prepares a training of everything in `vs` that `task`'s policy does not freeze, by this process
    /// alone. Where `run` continues an earlier one, its newest whole checkpoint is loaded into `vs`,
    /// replacing whatever weights are there.
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
        let share = Share::whole(&config);
        let alone = Rc::new(World::alone());
        Self::of_many(vs, task, config, Some(run), stop, alone, share)
    }

    /// As [`Trainer::new`], by all processes of `world`, of which this one makes `share`. Rank 0 has the
    /// run; the others take weights and state from it.
    ///
    /// # Errors
    /// As [`Trainer::new`], in every process when it fails in one.
    pub fn of_many<T: Task>(
        vs: &nn::VarStore,
        task: &T,
        config: TrainerConfig,
        run: Option<RunDir>,
        stop: StopFlag,
        world: Rc<World>,
        share: Share,
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
        let buffers = buffers(vs, &variables);
        let handles = variables
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .collect();
        let groups = ParameterGroups::new(handles, |name, shape| task.policy(name, shape))?;
        let trained: Vec<(String, Tensor)> = groups
            .parameters()
            .map(|parameter| (parameter.name.clone(), parameter.tensor.shallow_clone()))
            .collect();
        let parameters: Vec<Tensor> = trained.iter().map(|(_, at)| at.shallow_clone()).collect();
        let mut optimizer = Optimizer::new(&config.optimizer, groups);
        let mut ema = config.ema_decay.map(|decay| Ema::new(decay, trained));

        // Rank 0 alone reads the run; nobody goes on unless that went well.
        let read = run
            .map(|run| {
                let found = Found::look(run, &config)?;
                let mut state = found.fresh.clone();
                if let Some(newest) = &found.newest {
                    load(newest, &state, &variables, &mut optimizer, ema.as_mut())?;
                    state = newest.state.clone();
                }
                let environment = Environment::current(vs.device(), config.seed, world.size());
                Ok((found.open(&state, &environment)?, state))
            })
            .transpose();
        let problem = read.as_ref().err().map(EngineError::to_string);
        world.all_well(problem)?;
        let (journal, own_state) = read?.unzip();
        let mut state = state_of_main(&world, own_state)?;
        let all: Vec<Tensor> = variables.iter().map(|(_, at)| at.shallow_clone()).collect();
        world.take_from_main(&all)?;
        optimizer.take_from_main(&world)?;
        if let Some(ema) = &ema {
            ema.take_from_main(&world)?;
        }
        if config.precision == Precision::F16 {
            state.loss_scale.get_or_insert_default();
        }
        let ranks = Ranks {
            reducer: world.reducer(&parameters)?,
            world,
            share,
            stop_is_agreed: false,
        };
        let now = Instant::now();
        Ok(Self {
            config,
            schedule,
            device: vs.device(),
            variables,
            buffers,
            optimizer,
            ema,
            ranks,
            journal,
            stop,
            seconds_before: state.seconds,
            state,
            started: now,
            last_save: now,
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
}

/// Rank 0's state, in every process.
fn state_of_main(world: &World, own: Option<TrainingState>) -> Result<TrainingState, EngineError> {
    let unreadable =
        |error: serde_json::Error| EngineError::Torch(format!("rank 0's state: {error}"));
    let text = serde_json::to_string(&own).map_err(unreadable)?;
    let of_main: Option<TrainingState> =
        serde_json::from_str(&world.exchange(&text)?[0]).map_err(unreadable)?;
    of_main.ok_or_else(|| EngineError::Config("rank 0 has no run".into()))
}

/// The variables of `vs` that were never meant to be trained, and copies of them.
fn buffers(vs: &nn::VarStore, variables: &[(String, Tensor)]) -> Vec<(Tensor, Tensor)> {
    let trainable: HashSet<usize> = vs
        .trainable_variables()
        .iter()
        .map(|variable| variable.data_ptr() as usize)
        .collect();
    variables
        .iter()
        .filter(|(_, variable)| !trainable.contains(&(variable.data_ptr() as usize)))
        .map(|(_, variable)| (variable.shallow_clone(), variable.detach().copy()))
        .collect()
}

/// Loads weights, optimiser and averaged weights.
fn load(
    checkpoint: &Checkpoint,
    fresh: &TrainingState,
    variables: &[(String, Tensor)],
    optimizer: &mut Optimizer,
    ema: Option<&mut Ema>,
) -> Result<(), EngineError> {
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
    if let Some(ema) = ema {
        let averages = match checkpoint.ema() {
            Some(file) => read(&file).map_err(failed("the averaged weights"))?,
            None => Vec::new(),
        };
        ema.load(averages).map_err(failed("the averaged weights"))?;
    }
    Ok(())
}

fn mismatch(path: &std::path::Path, reason: &str) -> EngineError {
    EngineError::Mismatch {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}
