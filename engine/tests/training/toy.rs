//! A regression small enough to train in milliseconds, with dropout so that its result depends on
//! every seed, and with ways to go wrong.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use deepmim_engine::{
    Checkpoint, EngineError, EvaluateOptions, Existing, FnSource, Losses, Outcome, ParamPolicy,
    Precision, RunDir, SampleBatch, StepContext, StopFlag, Task, TaskError, Trainer, TrainerConfig,
    World, evaluate, step_seed,
};
use tch::{Device, Kind, Tensor, nn, nn::Module};

/// What to train, and what is to happen on the way.
#[derive(Debug, Clone)]
pub struct Toy {
    pub width: i64,
    pub batch: usize,
    pub batches: usize,
    pub accumulate: usize,
    pub epochs: u64,
    pub dropout: f64,
    pub precision: Precision,
    pub lars: bool,
    pub save_every_steps: Option<u64>,
    pub evaluate_every_steps: Option<u64>,
    pub max_steps: Option<u64>,
    pub keep: usize,
    /// Milliseconds that a step takes at least, so that it can be killed in the middle.
    pub slow: u64,
    /// Asks for a stop while this step runs.
    pub stop_at: Option<u64>,
    /// Asks for a stop in the evaluation of this epoch.
    pub stop_in_evaluation: Option<u64>,
    /// The loss of this step is not a number.
    pub poisoned: Option<u64>,
    /// The loss of this step is so large that its gradients overflow once it is scaled.
    pub huge: Option<u64>,
    /// A sample of this step cannot be read.
    pub unreadable: Option<u64>,
    pub stop: StopFlag,
}

impl Default for Toy {
    /// Three epochs of five batches, two of which make a step: six steps, one batch an epoch left.
    fn default() -> Self {
        Self {
            width: 8,
            batch: 4,
            batches: 5,
            accumulate: 2,
            epochs: 3,
            dropout: 0.3,
            precision: Precision::F32,
            lars: false,
            save_every_steps: None,
            evaluate_every_steps: None,
            max_steps: None,
            keep: 2,
            slow: 0,
            stop_at: None,
            stop_in_evaluation: None,
            poisoned: None,
            huge: None,
            unreadable: None,
            stop: StopFlag::new(),
        }
    }
}

/// How a training ended, and after how many steps.
#[derive(Debug, PartialEq)]
pub struct Ending {
    outcome: Outcome,
    step: u64,
}

impl Ending {
    pub fn of(outcome: Outcome, step: u64) -> Self {
        Self { outcome, step }
    }
}

#[derive(Debug, Clone)]
pub struct Sample {
    pub name: String,
    pub x: Vec<f32>,
    pub y: f32,
}

pub struct Batch {
    names: Vec<String>,
    x: Tensor,
    y: Tensor,
}

#[derive(Debug)]
pub struct Regression {
    hidden: nn::Linear,
    output: nn::Linear,
    toy: Toy,
}

impl Toy {
    fn config(&self) -> TrainerConfig {
        let optimizer = if self.lars {
            "{ name = \"lars\" }"
        } else {
            "{ name = \"adamw\", weight_decay = 0.1 }"
        };
        let save = self
            .save_every_steps
            .map_or(String::new(), |n| format!("save_every_steps = {n}"));
        let text = format!(
            "epochs = {}\nbatch_size = {}\naccumulate = {}\noptimizer = {optimizer}\n\
             schedule = {{ shape = \"cosine\", lr = 0.05, warmup_epochs = 0.5 }}\n\
             clip_grad = 1.0\nema_decay = 0.9\nlog_every = 2\nkeep = {}\nseed = 5\n{save}\n",
            self.epochs, self.batch, self.accumulate, self.keep
        );
        let mut config: TrainerConfig = toml::from_str(&text).unwrap();
        config.precision = self.precision;
        config.evaluate_every_steps = self.evaluate_every_steps;
        config.max_steps = self.max_steps;
        config
    }

    /// A model whose initial weights are always the same.
    pub fn model(&self) -> (nn::VarStore, Regression) {
        let vs = nn::VarStore::new(Device::Cpu);
        let root = vs.root();
        let task = Regression {
            hidden: nn::linear(&root / "hidden", 3, self.width, Default::default()),
            output: nn::linear(&root / "output", self.width, 1, Default::default()),
            toy: self.clone(),
        };
        tch::no_grad(|| {
            for (_, mut variable) in vs.variables() {
                let count = variable.numel() as i64;
                let wave = Tensor::arange(count, (Kind::Float, Device::Cpu)).sin() * 0.5;
                variable.copy_(&wave.reshape(variable.size()));
            }
        });
        (vs, task)
    }

    pub fn initial_weights(&self) -> BTreeMap<String, Tensor> {
        let (vs, _task) = self.model();
        vs.variables()
            .into_iter()
            .map(|(name, tensor)| (name, tensor.detach().copy()))
            .collect()
    }

    /// The batches of an epoch, in an order of its own.
    pub fn epoch(
        &self,
        epoch: u64,
        skip: usize,
    ) -> impl Iterator<Item = SampleBatch<Sample>> + 'static {
        let toy = self.clone();
        let steps_per_epoch = toy.batches / toy.accumulate;
        (skip..toy.batches).map(move |batch| {
            let step = epoch * steps_per_epoch as u64 + (batch / toy.accumulate) as u64;
            if toy.unreadable == Some(step) {
                return Err(format!("sample-{batch}.jpg cannot be read").into());
            }
            Ok((0..toy.batch)
                .map(|at| {
                    let index = (batch * toy.batch + at) as u64;
                    let seed = step_seed(epoch, index);
                    let x: Vec<f32> = (0..3)
                        .map(|k| ((seed >> (8 * k)) & 255) as f32 / 128.0 - 1.0)
                        .collect();
                    let poison = if toy.poisoned == Some(step) {
                        f32::NAN
                    } else {
                        0.0
                    };
                    Sample {
                        name: format!("sample-{index}.jpg"),
                        y: x[0] * x[1] + x[2] + poison,
                        x,
                    }
                })
                .collect())
        })
    }

    /// Trains in `run` from a fresh model.
    pub fn train(&self, run: &Path, existing: Existing) -> Result<Ending, EngineError> {
        // libtorch has one random generator for all threads, and tests run in several.
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let config = self.config();
        let run = RunDir::open(run, existing, "toy = true\n")?;
        let (vs, task) = self.model();
        if run.resuming() {
            // What is loaded must be all that counts.
            for mut variable in vs.trainable_variables() {
                tch::no_grad(|| {
                    let _ = variable.fill_(0.5);
                });
            }
        }
        let stop = self.stop.clone();
        let mut trainer = Trainer::new(&vs, &task, config, run, stop.clone())?;
        let source = FnSource::new(self.batches, |epoch, skip| self.epoch(epoch, skip));
        let outcome = trainer.fit(&task, &source, |point, task| {
            let options = EvaluateOptions {
                device: Device::Cpu,
                precision: Precision::F32,
                batches: self.batches,
                label: "eval".into(),
                stop: stop.clone(),
                world: Rc::new(World::alone()),
            };
            if self.stop_in_evaluation == Some(point.epoch) {
                stop.raise();
            }
            let mut error = 0.0;
            evaluate(task, self.epoch(1000, 0), &options, |(got, wanted)| {
                error += (got - wanted).abs();
                Ok(())
            })?;
            Ok(vec![("error".into(), error)])
        })?;
        Ok(Ending {
            outcome,
            step: trainer.step(),
        })
    }
}

impl Regression {
    fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let hidden = self
            .hidden
            .forward(x)
            .tanh()
            .dropout(self.toy.dropout, train);
        self.output.forward(&hidden).squeeze_dim(1)
    }
}

impl Task for Regression {
    type Sample = Sample;
    type Batch = Batch;
    /// Predicted and true value.
    type Prediction = (f64, f64);

    fn collate(
        &self,
        samples: Vec<Sample>,
        context: &StepContext,
        device: Device,
    ) -> Result<Batch, TaskError> {
        if context.train && self.toy.stop_at == Some(context.step) {
            self.toy.stop.raise();
        }
        let x: Vec<f32> = samples.iter().flat_map(|sample| sample.x.clone()).collect();
        let y: Vec<f32> = samples.iter().map(|sample| sample.y).collect();
        let noise = (context.seed % 1000) as f64 / 3e4 * self.toy.dropout;
        Ok(Batch {
            x: Tensor::from_slice(&x).reshape([-1, 3]).to_device(device) + noise,
            y: Tensor::from_slice(&y).to_device(device),
            names: samples.into_iter().map(|sample| sample.name).collect(),
        })
    }

    fn batch_names<'a>(&self, batch: &'a Batch) -> &'a [String] {
        &batch.names
    }

    fn losses(&self, batch: &Batch, context: &StepContext) -> Result<Losses, TaskError> {
        std::thread::sleep(std::time::Duration::from_millis(self.toy.slow));
        let got = self.forward(&batch.x, context.train).to_kind(Kind::Float);
        let mut squared = (got - &batch.y).square().mean(Kind::Float);
        if context.train && self.toy.huge == Some(context.step) {
            squared *= 1e36;
        }
        Ok(Losses {
            parts: vec![("squared".into(), squared.detach())],
            total: squared,
        })
    }

    fn predict(&self, batch: &Batch) -> Result<Vec<(f64, f64)>, TaskError> {
        let got = Vec::<f32>::try_from(self.forward(&batch.x, false))?;
        let wanted = Vec::<f32>::try_from(&batch.y)?;
        Ok(got
            .into_iter()
            .zip(wanted)
            .map(|(got, wanted)| (f64::from(got), f64::from(wanted)))
            .collect())
    }

    fn policy(&self, name: &str, shape: &[i64]) -> ParamPolicy {
        ParamPolicy {
            lr_scale: if name.starts_with("hidden") { 0.5 } else { 1.0 },
            weight_decay: if shape.len() > 1 { 0.1 } else { 0.0 },
            frozen: false,
        }
    }
}

pub fn read(path: &Path) -> BTreeMap<String, Tensor> {
    Tensor::read_safetensors(path)
        .unwrap()
        .into_iter()
        .collect()
}

/// The weights of a run's newest checkpoint.
pub fn weights(run: &Path) -> BTreeMap<String, Tensor> {
    let (newest, _) = Checkpoint::latest(&run.join("checkpoints")).unwrap();
    read(&newest.unwrap().weights())
}
