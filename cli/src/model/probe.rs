//! How good features are during pre-training: the votes of nearest neighbours, for the log.

use std::rc::Rc;

use data::{LoadedSet, ProbeData};
use engine::{BatchSource, EngineError, EvaluateOptions, TaskError, TrainerConfig, World};
use pretraining::{FeatureTask, LabelledFeatures, PictureFeatures, PretrainTask};
use tch::Device;

use crate::session::{Batches, evaluate_options};

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

    /// `knn_tap6`, ...: top-1 in per cent at each tap. All processes compute features; rank 0 counts.
    pub fn rows(&self, task: &PretrainTask) -> Result<Vec<(String, f64)>, TaskError> {
        let features = |at: usize| -> Result<Vec<PictureFeatures>, EngineError> {
            let mut all = Vec::new();
            let batches = Batches(&self.sets[at].loader);
            let extractor = FeatureTask(task.model());
            engine::evaluate(&extractor, batches.epoch(0, 0), &self.options[at], |one| {
                all.push(one);
                Ok(())
            })?;
            Ok(all)
        };
        let (train, val) = (features(0)?, features(1)?);
        if !self.options[0].world.is_main() {
            return Ok(Vec::new());
        }
        let neighbours = self.config.neighbours as i64;
        task.loss_names()
            .iter()
            .enumerate()
            .map(|(place, tap)| {
                let known = LabelledFeatures::at(place, &train)?;
                let asked = LabelledFeatures::at(place, &val)?;
                let top1 = known.vote(&asked, neighbours, self.config.temperature);
                Ok((format!("knn_{tap}"), top1))
            })
            .collect()
    }
}
