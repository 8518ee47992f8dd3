//! How good features are during pre-training: the votes of nearest neighbours, for the log.

use std::rc::Rc;

use data::{LoadedSet, ProbeData};
use engine::{BatchSource, EvaluateOptions, TaskError, TrainerConfig, World};
use pretraining::{
    Neighbours, Observation, ObserveTask, Pool, PretrainError, PretrainTask, Subject,
};
use tch::{Device, Kind, Tensor};

use crate::session::{Batches, evaluate_options};

/// Pictures that vote are shown so many at a time.
const AT_ONCE: usize = 1024;

/// Opened pictures of a recipe's `[probe]`.
pub struct Probe<'a> {
    config: &'a ProbeData,
    /// Those that vote, and those that are voted on.
    sets: [LoadedSet; 2],
    options: [EvaluateOptions; 2],
}

impl<'a> Probe<'a> {
    /// Gets ready to look at a training on `device`.
    pub fn new(
        config: &'a ProbeData,
        sets: [LoadedSet; 2],
        device: Device,
        trainer: &TrainerConfig,
        world: &Rc<World>,
    ) -> anyhow::Result<Self> {
        let options = |set: &LoadedSet, label: &str| -> anyhow::Result<EvaluateOptions> {
            Ok(EvaluateOptions {
                label: label.to_owned(),
                ..evaluate_options(device, trainer, set, world)?
            })
        };
        Ok(Self {
            options: [
                options(&sets[0], "probe, training set")?,
                options(&sets[1], "probe, validation set")?,
            ],
            config,
            sets,
        })
    }

    /// `knn_layer6`, ...: top-1 in per cent after each block that is looked at. All processes compute features;
    /// rank 0 counts.
    pub fn rows(&self, task: &PretrainTask) -> Result<Vec<(String, f64)>, TaskError> {
        let layers: &[i64] = match self.config.layers.is_empty() {
            true => &task.model().config().taps,
            false => &self.config.layers,
        };
        let subjects = [Subject::after(task.model().trunk(), layers)];
        let extractor = ObserveTask {
            subjects: &subjects,
            pool: Pool::Mean,
            attention: false,
        };
        let width = task.model().config().trunk.width as usize;
        let features = |pictures: &[Observation], place: usize| features(pictures, place, width);
        let look = |at: usize, each: &mut dyn FnMut(Observation)| {
            let batches = Batches(&self.sets[at].loader);
            engine::evaluate(&extractor, batches.epoch(0, 0), &self.options[at], |one| {
                if one.label >= 0 {
                    each(one);
                }
                Ok(())
            })
        };
        // Those that are voted on first: the others then pass by and need not be kept.
        let mut asked = Vec::new();
        look(1, &mut |one| asked.push(one))?;
        let mut neighbours: Vec<Neighbours> = match asked.is_empty() {
            true => Vec::new(),
            false => (0..layers.len())
                .map(|place| {
                    Neighbours::new(&features(&asked, place), self.config.neighbours as i64)
                })
                .collect(),
        };
        let mut waiting = Vec::new();
        let mut show = |waiting: &mut Vec<Observation>| {
            for (place, layer) in neighbours.iter_mut().enumerate() {
                layer.add(&features(waiting, place), &labels(waiting));
            }
            waiting.clear();
        };
        look(0, &mut |one| {
            waiting.push(one);
            if waiting.len() == AT_ONCE {
                show(&mut waiting);
            }
        })?;
        if !waiting.is_empty() {
            show(&mut waiting);
        }
        if !self.options[0].world.is_main() {
            return Ok(Vec::new());
        }
        if neighbours.is_empty() {
            return Err(PretrainError::NoFeatures.into());
        }
        let truth = labels(&asked);
        layers
            .iter()
            .zip(&mut neighbours)
            .map(|(layer, neighbours)| {
                let voted = neighbours.vote(self.config.temperature);
                let right = voted.ok_or(PretrainError::NoFeatures)?.eq_tensor(&truth);
                let top1 =
                    100.0 * right.sum(Kind::Int64).int64_value(&[]) as f64 / asked.len() as f64;
                Ok((format!("knn_layer{layer}"), top1))
            })
            .collect()
    }
}

/// After the `place`-th block that is looked at, `[n, C]`.
fn features(pictures: &[Observation], place: usize, width: usize) -> Tensor {
    let numbers: Vec<f32> = pictures
        .iter()
        .flat_map(|picture| &picture.trunks[0].features[place * width..(place + 1) * width])
        .copied()
        .collect();
    Tensor::from_slice(&numbers).view([pictures.len() as i64, -1])
}

fn labels(pictures: &[Observation]) -> Tensor {
    let labels: Vec<i64> = pictures.iter().map(|picture| picture.label).collect();
    Tensor::from_slice(&labels)
}
