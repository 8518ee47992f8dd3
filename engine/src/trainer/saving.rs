//! What a training leaves behind when it saves, stops, fails or ends.

use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;
use tch::Tensor;

use super::journal::Journal;
use super::{Outcome, Trainer};
use crate::checkpoint::Content;
use crate::step::{StepFailure, StepPlan};
use crate::tensor_file;
use crate::{EngineError, Progress, TaskError};

/// What `summary.json` says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// How it ended.
    pub outcome: Outcome,
    /// Optimiser steps done.
    pub steps: u64,
    /// Epochs completed.
    pub epochs: u64,
    /// Trained numbers in the model.
    pub parameters: usize,
    /// Seconds of training over all starts.
    pub seconds: f64,
    /// The last checkpoint, relative to the run's folder.
    pub checkpoint: PathBuf,
    /// SHA-256 of its `weights.safetensors`.
    pub weights_sha256: String,
    /// Values of the last evaluation; null where not finite.
    pub evaluation: serde_json::Map<String, serde_json::Value>,
}

impl Trainer {
    /// Saves the state before a failed step and says what failed.
    pub(super) fn fail(&mut self, failure: StepFailure, plan: &StepPlan, lr: f64) -> EngineError {
        // After an error of libtorch the weights may be half updated: nothing is saved then.
        if let StepFailure::Engine(error) = failure {
            return error;
        }
        // Passes of the step have moved statistics already.
        tch::no_grad(|| {
            for (buffer, before) in &self.buffers {
                buffer.shallow_clone().copy_(before);
            }
        });
        let checkpoint = self.saved("the state before it is saved in");
        match failure {
            StepFailure::Engine(error) => error,
            StepFailure::Peer(error) => error.with_checkpoint(checkpoint),
            StepFailure::Ended => EngineError::DataEnded {
                wanted: self.state.batches_per_epoch,
                epoch: plan.epoch,
                checkpoint,
            },
            StepFailure::Task(source) => EngineError::Task { source, checkpoint },
            StepFailure::NonFinite { name, value, files } => EngineError::NonFinite {
                name,
                value,
                step: plan.step,
                epoch: plan.epoch,
                lr,
                files: shorten(&files),
                checkpoint,
            },
        }
    }

    /// Saves the present state and wraps an error that is not about it.
    pub(super) fn save_after(&mut self, source: TaskError) -> EngineError {
        let checkpoint = self.saved("the training so far is saved in");
        EngineError::Task { source, checkpoint }
    }

    /// Saves the present state and says where, after `lead`; nothing in the processes that do not save.
    fn saved(&mut self, lead: &str) -> String {
        match self.save() {
            Ok(Some(path)) => format!("{lead} {}", path.display()),
            Ok(None) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    pub(super) fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    /// Saves the present state, unless a checkpoint of it is there. Does nothing in the processes that do
    /// not write the run.
    pub(super) fn save(&mut self) -> Result<Option<PathBuf>, EngineError> {
        self.last_save = Instant::now();
        let seconds = self.seconds();
        let Some(journal) = &mut self.journal else {
            return Ok(None);
        };
        self.state.metrics_bytes = journal.metrics.sync()?;
        self.state.seconds = seconds;
        let weights: Vec<(String, Tensor)> = self
            .variables
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .collect();
        let ema = self.ema.as_ref().map(|ema| ema.model(&weights));
        let content = Content {
            weights,
            optimizer: self.optimizer.state(),
            ema,
        };
        let path = journal.store.save(&self.state, &content)?;
        journal.last_checkpoint = Some(path.clone());
        self.last_save = Instant::now();
        Ok(Some(path))
    }

    pub(super) fn interrupt(&mut self, progress: &Progress) -> Result<Outcome, EngineError> {
        let path = self.save()?;
        self.summarize(Outcome::Interrupted)?;
        if let Some(path) = path {
            progress.say(&format!(
                "stopped after step {}; the state is saved in {}, continue with --resume",
                self.state.step,
                path.display()
            ));
        }
        Ok(Outcome::Interrupted)
    }

    pub(super) fn summarize(&self, outcome: Outcome) -> Result<(), EngineError> {
        match &self.journal {
            Some(journal) => journal.run.write_summary(&self.summary(journal, outcome)?),
            None => Ok(()),
        }
    }

    /// What `summary.json` says now; the last checkpoint is the present state's.
    fn summary(&self, journal: &Journal, outcome: Outcome) -> Result<Summary, EngineError> {
        let path = journal.last_checkpoint.clone().unwrap_or_default();
        let weights = path.join("weights.safetensors");
        let checksum =
            tensor_file::checksum(&weights).map_err(EngineError::io("cannot read", &weights))?;
        let number = |value: Option<f64>| value.map_or(serde_json::Value::Null, Into::into);
        Ok(Summary {
            outcome,
            steps: self.state.step,
            epochs: self.state.epoch,
            parameters: self.optimizer.groups().trained(),
            seconds: self.seconds(),
            checkpoint: journal.relative(&path),
            weights_sha256: checksum.sha256,
            evaluation: self
                .state
                .evaluation
                .iter()
                .map(|(name, value)| (name.clone(), number(*value)))
                .collect(),
        })
    }
}

/// The first names of a long list, and how many more there are.
fn shorten(files: &[String]) -> String {
    const SHOWN: usize = 16;
    let mut text = files
        .iter()
        .take(SHOWN)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    if files.len() > SHOWN {
        text.push_str(&format!(" and {} more", files.len() - SHOWN));
    }
    text
}
