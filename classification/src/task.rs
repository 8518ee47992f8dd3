//! Classification as a [`engine::Task`]: samples to batches, batches to the loss or to logits.

use data::ClassificationSample;
use engine::{Losses, ParamPolicy, StepContext, Task, TaskError};
use tch::{Device, Kind, Tensor, nn};

use crate::config::ClassifierConfig;
use crate::error::ClassificationError;
use crate::losses::Target;
use crate::model::Classifier;
use crate::policy::{decays, layer_decay_policy};
use crate::predict::ClassPrediction;

/// A batch on the device.
#[derive(Debug)]
pub struct ClassificationBatch {
    /// `[B, 3, H, W]` float, normalised, mixed where the task mixes.
    pub images: Tensor,
    /// What the batch is trained towards.
    pub target: Target,
    /// Class of each picture before mixing; -1 where unknown.
    pub labels: Vec<i64>,
    /// Pictures, relative to the data set.
    pub names: Vec<String>,
}

/// Fine-tuning or linear probing of one classifier.
#[derive(Debug)]
pub struct ClassificationTask {
    model: Classifier,
    config: ClassifierConfig,
    weight_decay: f64,
}

impl ClassificationTask {
    /// Builds the model in an empty variable store. `weight_decay` is the optimiser's; it applies to
    /// matrices other than positions and class token.
    ///
    /// # Errors
    /// When the configuration contradicts itself.
    pub fn new(
        vs: &nn::VarStore,
        config: &ClassifierConfig,
        weight_decay: f64,
    ) -> Result<Self, ClassificationError> {
        Ok(Self {
            model: Classifier::new(vs, config)?,
            config: config.clone(),
            weight_decay,
        })
    }

    /// The model.
    pub fn model(&self) -> &Classifier {
        &self.model
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &ClassifierConfig {
        &self.config
    }

    fn check_sample(
        &self,
        sample: &ClassificationSample,
        train: bool,
    ) -> Result<(), ClassificationError> {
        let known = (0..self.config.classes).contains(&sample.label);
        if !known && (train || sample.label != -1) {
            return Err(label_error(&sample.name, sample.label, self.config.classes));
        }
        let wanted = self.config.trunk.image_size;
        if sample.size as i64 != wanted || sample.image.len() != 3 * sample.size * sample.size {
            return Err(ClassificationError::Size {
                name: sample.name.clone(),
                found: sample.size,
                wanted,
            });
        }
        Ok(())
    }
}

fn label_error(name: &str, label: i64, classes: i64) -> ClassificationError {
    ClassificationError::Label {
        name: name.to_owned(),
        label,
        classes,
    }
}

impl Task for ClassificationTask {
    type Sample = ClassificationSample;
    type Batch = ClassificationBatch;
    type Prediction = ClassPrediction;

    fn collate(
        &self,
        samples: Vec<ClassificationSample>,
        context: &StepContext,
        device: Device,
    ) -> Result<ClassificationBatch, TaskError> {
        let first = samples.first().ok_or(ClassificationError::EmptyBatch)?;
        let (count, size) = (samples.len(), first.size);
        let mut pixels = Vec::with_capacity(count * first.image.len());
        let mut labels = Vec::with_capacity(count);
        let mut names = Vec::with_capacity(count);
        for sample in samples {
            self.check_sample(&sample, context.train)?;
            pixels.extend_from_slice(&sample.image);
            labels.push(sample.label);
            names.push(sample.name);
        }
        let target = match &self.config.mix {
            Some(mixer) if context.train => {
                if count % 2 != 0 {
                    return Err(ClassificationError::OddBatch { count }.into());
                }
                let classes = self.config.classes;
                let soft = mixer.apply(&mut pixels, &labels, classes as usize, context.seed)?;
                let soft = Tensor::from_slice(&soft).reshape([count as i64, classes]);
                Target::Soft(soft.to_device(device))
            }
            _ => Target::Classes(Tensor::from_slice(&labels).to_device(device)),
        };
        let side = size as i64;
        let images = Tensor::from_slice(&pixels)
            .reshape([count as i64, 3, side, side])
            .to_device(device);
        Ok(ClassificationBatch {
            images,
            target,
            labels,
            names,
        })
    }

    fn batch_names<'a>(&self, batch: &'a ClassificationBatch) -> &'a [String] {
        &batch.names
    }

    fn losses(
        &self,
        batch: &ClassificationBatch,
        context: &StepContext,
    ) -> Result<Losses, TaskError> {
        if let Some(unknown) = batch.labels.iter().position(|label| *label < 0) {
            return Err(label_error(&batch.names[unknown], -1, self.config.classes).into());
        }
        let logits = self.model.logits(&batch.images, context.train);
        // bf16 autocast leaves bf16 logits; the loss is taken in single precision as autocast does.
        let total = batch
            .target
            .loss(&logits.to_kind(Kind::Float), self.config.label_smoothing);
        let parts = vec![("loss".to_owned(), total.detach())];
        Ok(Losses { total, parts })
    }

    fn predict(&self, batch: &ClassificationBatch) -> Result<Vec<ClassPrediction>, TaskError> {
        let logits = tch::no_grad(|| self.model.logits(&batch.images, false))
            .to_kind(Kind::Float)
            .to_device(Device::Cpu)
            .contiguous(); // [B, K]
        let classes = self.config.classes as usize;
        let mut values = vec![0f32; logits.numel()];
        logits.copy_data(&mut values, logits.numel());
        Ok(values
            .chunks_exact(classes)
            .zip(batch.names.iter().zip(&batch.labels))
            .map(|(logits, (name, label))| ClassPrediction {
                name: name.clone(),
                label: *label,
                logits: logits.to_vec(),
            })
            .collect())
    }

    fn policy(&self, name: &str, shape: &[i64]) -> ParamPolicy {
        let config = &self.config;
        if !config.probe {
            return layer_decay_policy(
                name,
                shape,
                config.trunk.depth,
                config.layer_decay,
                self.weight_decay,
            );
        }
        if !name.starts_with("head.") {
            return ParamPolicy::frozen();
        }
        ParamPolicy::decayed(if decays(name, shape) {
            self.weight_decay
        } else {
            0.0
        })
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use backbone::VitConfig;
    use data::augment::Mixer;
    use engine::{
        EvaluateOptions, Optimizer, OptimizerConfig, ParameterGroups, Precision, StopFlag,
    };

    use super::*;
    use crate::config::Pool;
    use crate::evaluate::{EvaluationFiles, evaluate};

    const SIDE: usize = 8;

    fn trunk() -> VitConfig {
        VitConfig {
            width: 16,
            depth: 2,
            heads: 2,
            ..VitConfig::preset(backbone::VitPreset::Tiny, SIDE as i64, 4)
        }
    }

    /// Two classes: stripes along rows, or along columns; `index` decides class and contrast.
    fn sample(index: usize) -> ClassificationSample {
        let label = index / 3 % 2;
        let contrast = 0.5 + 0.1 * (index % 7) as f32;
        let image = (0..3 * SIDE * SIDE)
            .map(|at| {
                let stripe = if label == 0 { at / SIDE } else { at };
                if stripe % 2 == 0 { contrast } else { -contrast }
            })
            .collect();
        ClassificationSample {
            image,
            size: SIDE,
            label: label as i64,
            name: format!("{label}/{index}.png"),
        }
    }

    fn samples(from: usize, count: usize) -> Vec<ClassificationSample> {
        (from..from + count).map(sample).collect()
    }

    fn context(step: u64) -> StepContext {
        StepContext {
            epoch: 0,
            step,
            seed: engine::step_seed(3, step),
            train: true,
        }
    }

    fn build(config: &ClassifierConfig) -> (nn::VarStore, ClassificationTask) {
        tch::manual_seed(0);
        let vs = nn::VarStore::new(Device::Cpu);
        let task = ClassificationTask::new(&vs, config, 0.05).unwrap();
        (vs, task)
    }

    fn train(
        vs: &nn::VarStore,
        task: &ClassificationTask,
        optimizer: &OptimizerConfig,
        lr: f64,
        steps: u64,
    ) {
        let variables = vs.variables().into_iter().collect();
        let policy = |name: &str, shape: &[i64]| task.policy(name, shape);
        let groups = ParameterGroups::new(variables, policy).unwrap();
        let mut optimizer = Optimizer::new(optimizer, groups);
        for step in 0..steps {
            let context = context(step);
            tch::manual_seed(context.seed as i64);
            let batch = task
                .collate(samples(step as usize * 8, 8), &context, Device::Cpu)
                .unwrap();
            optimizer.clear_gradients();
            task.losses(&batch, &context).unwrap().total.backward();
            optimizer.step(lr);
        }
    }

    fn accuracy(task: &ClassificationTask) -> f64 {
        let options = EvaluateOptions {
            device: Device::Cpu,
            precision: Precision::F32,
            batches: 2,
            label: "test".into(),
            stop: StopFlag::default(),
            world: Rc::new(engine::World::alone()),
        };
        let batches = [16, 5].map(|count| Ok(samples(1000, count)));
        let found = evaluate(
            task,
            batches.into_iter(),
            &options,
            &EvaluationFiles::default(),
            &mut |_| Ok(()),
        );
        let found = found.unwrap();
        assert_eq!(found.samples, 21);
        found.report().get("top1").unwrap()
    }

    fn adamw() -> OptimizerConfig {
        OptimizerConfig::Adamw {
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.05,
        }
    }

    #[test]
    fn fine_tuning_with_mixing_learns_two_classes() {
        let mut config = ClassifierConfig::fine_tuning(trunk(), 2, Pool::Mean);
        config.trunk.drop_path = 0.1;
        config.mix = Some(Mixer::default());
        let (vs, task) = build(&config);
        train(&vs, &task, &adamw(), 3e-3, 60);
        assert_eq!(accuracy(&task), 100.0);
    }

    #[test]
    fn probing_learns_the_head_and_nothing_else() {
        let config = ClassifierConfig::probing(trunk(), 2, Pool::ClassToken);
        let (vs, task) = build(&config);
        let copy = |vs: &nn::VarStore| -> Vec<(String, Tensor)> {
            let variables = vs.variables().into_iter();
            variables
                .map(|(name, v)| (name, v.detach().copy()))
                .collect()
        };
        let before = copy(&vs);
        train(&vs, &task, &adamw(), 1e-2, 60);
        let after = vs.variables();
        for (name, value) in before {
            let changed = !value.equal(&after[&name]);
            assert_eq!(changed, name.starts_with("head."), "{name}");
        }
        assert_eq!(accuracy(&task), 100.0);
    }

    #[test]
    fn mixing_is_of_training_alone_and_depends_on_the_seed_alone() {
        let mut config = ClassifierConfig::fine_tuning(trunk(), 2, Pool::Mean);
        config.mix = Some(Mixer::default());
        let (_vs, task) = build(&config);
        let batch =
            |context: &StepContext| task.collate(samples(0, 4), context, Device::Cpu).unwrap();
        let (first, again, other) = (batch(&context(5)), batch(&context(5)), batch(&context(6)));
        assert!(first.images.equal(&again.images));
        assert!(!first.images.equal(&other.images));
        assert!(matches!(&first.target, Target::Soft(t) if t.size() == [4, 2]));
        let plain = batch(&StepContext::evaluation());
        assert!(matches!(&plain.target, Target::Classes(t) if t.size() == [4]));
        assert_eq!(
            Vec::<f32>::try_from(plain.images.get(1).reshape([-1])).unwrap(),
            sample(1).image
        );
    }

    #[test]
    fn bad_batches_are_one_sentence() {
        let mut config = ClassifierConfig::fine_tuning(trunk(), 2, Pool::Mean);
        config.mix = Some(Mixer::default());
        let (_vs, task) = build(&config);
        let collate = |samples, train| {
            let context = StepContext {
                train,
                ..context(0)
            };
            task.collate(samples, &context, Device::Cpu)
                .map_err(|e| e.to_string())
        };
        assert!(
            collate(samples(0, 3), true)
                .unwrap_err()
                .contains("even batch size")
        );
        assert!(collate(Vec::new(), true).unwrap_err().contains("empty"));
        let mut wrong = sample(0);
        wrong.label = 2;
        let sentence = collate(vec![wrong.clone()], false).unwrap_err();
        assert!(sentence.contains("0/0.png: label 2"), "{sentence}");
        wrong.label = -1;
        assert!(collate(vec![wrong.clone(), sample(1)], true).is_err());
        // Unknown classes can be predicted, but have no loss.
        let unknown = collate(vec![wrong], false).unwrap();
        assert_eq!(task.predict(&unknown).unwrap()[0].label, -1);
        assert!(task.losses(&unknown, &StepContext::evaluation()).is_err());
        let mut large = sample(0);
        large.size = 16;
        assert!(collate(vec![large], false).unwrap_err().contains("16 px"));
    }
}
