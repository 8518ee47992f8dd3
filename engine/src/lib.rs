//! One training loop and one evaluation loop for every task.
//!
//! A [`Task`] says what a batch, a loss and a prediction are; [`Trainer`] owns optimiser, schedule,
//! clipping, accumulation, averaging, logging and checkpoints. A run that is stopped or killed at
//! any point and resumed ends, on the CPU, bit for bit where an uninterrupted one ends. Several processes can
//! make it together ([`World`]).

mod averaging;
mod checkpoint;
mod config;
mod durable;
mod error;
mod evaluate;
mod kernels;
mod loss_scale;
mod metrics;
mod optimizer;
mod progress;
mod ranks;
mod run;
mod schedule;
mod seed;
mod step;
mod stop;
mod task;
mod tensor_file;
mod tensorboard;
mod timing;
mod trainer;

pub use checkpoint::{Checkpoint, Sums, TrainingState};
pub use config::{Precision, TrainerConfig};
pub use error::EngineError;
pub use evaluate::{EvaluateOptions, Evaluated, evaluate};
pub use loss_scale::LossScale;
pub use optimizer::{Group, Optimizer, OptimizerConfig, Parameter, ParameterGroups};
pub use progress::Progress;
pub use ranks::{Launch, Share, World};
pub use run::{Environment, Existing, RunDir};
pub use schedule::{Schedule, ScheduleConfig};
pub use seed::{micro_seed, step_seed};
pub use stop::StopFlag;
pub use task::{
    BatchSource, FnSource, Losses, ParamPolicy, SampleBatch, StepContext, Task, TaskError,
};
pub use timing::{StepTiming, time_steps};
pub use trainer::{EvaluationPoint, Outcome, Summary, Trainer};
