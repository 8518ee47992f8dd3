//! Training checkpoints: everything needed to go on exactly where a run stopped.
//!
//! A checkpoint is a folder `step-00001234/` (`step-00001234-unevaluated/` when the run was stopped
//! between the end of an epoch and its evaluation) with `weights.safetensors`, `optimizer.safetensors`,
//! `ema.safetensors` (with weight averaging) and `state.json`, which holds the checksums of the
//! others and its own. It is written under a temporary name, every file and the folder are synced,
//! and only then it gets its name; older ones go after that. A process killed anywhere in between
//! leaves the older checkpoint whole.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::tensor_file::{self, Checksum, sha256};
use crate::{EngineError, LossScale, durable};

/// Layout of the files below; raised when an older program could not read them.
const SCHEMA: u32 = 1;
const WEIGHTS: &str = "weights.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const EMA: &str = "ema.safetensors";
const STATE: &str = "state.json";
const PREFIX: &str = "step-";
/// Ends the name of a checkpoint whose epoch is still to be evaluated, so that the one saved after
/// the evaluation has a name of its own and never has to replace a whole checkpoint.
const UNEVALUATED: &str = "-unevaluated";
/// Names of folders that are being written or deleted start with this.
const TEMPORARY: &str = ".partial-";

/// Sums of losses over some steps, from which the log's means are made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sums {
    /// Optimiser steps added up.
    pub steps: u64,
    /// Sum of each named value.
    pub values: Vec<(String, f64)>,
    /// Steps without a value that others had: the gradient norm of one that overflowed, say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<String, u64>,
}

impl Sums {
    pub(crate) fn add(&mut self, values: &[(String, f64)]) {
        let before = self.steps;
        self.steps += 1;
        for (name, value) in values {
            match self.values.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += value,
                None => {
                    self.values.push((name.clone(), *value));
                    if before > 0 {
                        self.missing.insert(name.clone(), before);
                    }
                }
            }
        }
        for (name, _) in &self.values {
            if !values.iter().any(|(given, _)| given == name) {
                *self.missing.entry(name.clone()).or_default() += 1;
            }
        }
    }

    pub(crate) fn means(&self) -> Vec<(String, f64)> {
        let steps = |name| self.steps - self.missing.get(name).copied().unwrap_or(0);
        self.values
            .iter()
            .map(|(name, sum)| (name.clone(), sum / steps(name).max(1) as f64))
            .collect()
    }
}

/// Where a run is, beside its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingState {
    /// Layout version of the checkpoint.
    pub schema: u32,
    /// Version of the program that wrote it.
    pub program: String,
    /// Optimiser steps done.
    pub step: u64,
    /// Epoch the next step belongs to, from 0.
    pub epoch: u64,
    /// Seed of the run.
    pub seed: u64,
    /// SHA-256 of the run's configuration.
    pub config_sha256: String,
    /// Batches in an epoch of the training set.
    pub batches_per_epoch: u64,
    /// Whether the state after `step` is still to be evaluated, or the epoch that ended there to be logged.
    pub evaluation_pending: bool,
    /// Length of `metrics.csv`; what comes after it belongs to steps that will be repeated.
    pub metrics_bytes: u64,
    /// Seconds of training so far, over all starts.
    pub seconds: f64,
    /// Losses since the last row of metrics.
    pub window: Sums,
    /// Losses since the epoch began.
    pub epoch_sums: Sums,
    /// Values of the last evaluation; those that were not finite are null.
    pub evaluation: Vec<(String, Option<f64>)>,
    /// The loss's factor, with float16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
}

impl TrainingState {
    pub(crate) fn fresh(seed: u64, config_sha256: String) -> Self {
        Self {
            schema: SCHEMA,
            program: env!("CARGO_PKG_VERSION").into(),
            step: 0,
            epoch: 0,
            seed,
            config_sha256,
            batches_per_epoch: 0,
            evaluation_pending: false,
            metrics_bytes: 0,
            seconds: 0.0,
            window: Sums::default(),
            epoch_sums: Sums::default(),
            evaluation: Vec::new(),
            loss_scale: None,
        }
    }
}

/// The tensors of a checkpoint about to be written.
pub(crate) struct Content {
    pub weights: Vec<(String, Tensor)>,
    pub optimizer: Vec<(String, Tensor)>,
    pub ema: Option<Vec<(String, Tensor)>>,
}

/// `state.json` without its own checksum.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    state: TrainingState,
    files: BTreeMap<String, Checksum>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    /// Of `body`, written compactly.
    sha256: String,
    body: Body,
}

/// A whole checkpoint on the disk.
#[derive(Debug)]
pub struct Checkpoint {
    /// Its folder.
    pub path: PathBuf,
    /// Where the run was.
    pub state: TrainingState,
    has_ema: bool,
}

impl Checkpoint {
    /// Reads `state.json` and checks every file against its checksum.
    ///
    /// # Errors
    /// A half sentence saying what is missing or broken.
    pub fn open(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path.join(STATE))
            .map_err(|error| format!("{STATE} cannot be read: {error}"))?;
        let sealed: Sealed =
            serde_json::from_str(&text).map_err(|error| format!("{STATE} is broken: {error}"))?;
        let body = serde_json::to_string(&sealed.body)
            .map_err(|error| format!("{STATE} is broken: {error}"))?;
        if sha256(body.as_bytes()) != sealed.sha256 {
            return Err(format!(
                "{STATE} does not have the checksum it was written with"
            ));
        }
        let Body { state, files } = sealed.body;
        if state.schema != SCHEMA {
            return Err(format!(
                "it has layout {}, this program reads layout {SCHEMA}",
                state.schema
            ));
        }
        for name in [WEIGHTS, OPTIMIZER] {
            if !files.contains_key(name) {
                return Err(format!("{STATE} does not list {name}"));
            }
        }
        for (name, wanted) in &files {
            let found = tensor_file::checksum(&path.join(name))
                .map_err(|error| format!("{name} cannot be read: {error}"))?;
            if found != *wanted {
                return Err(format!(
                    "{name} does not have the checksum it was written with"
                ));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            state,
            has_ema: files.contains_key(EMA),
        })
    }

    /// The newest whole checkpoint in `folder`, and one warning for each broken one passed over.
    /// None when there is no checkpoint at all.
    ///
    /// # Errors
    /// When the folder cannot be read, or it holds checkpoints but no whole one.
    pub fn latest(folder: &Path) -> Result<(Option<Self>, Vec<String>), EngineError> {
        let mut warnings = Vec::new();
        let steps = steps(folder).map_err(EngineError::io("cannot read", folder))?;
        for (.., path) in steps.iter().rev() {
            match Self::open(path) {
                Ok(checkpoint) => return Ok((Some(checkpoint), warnings)),
                Err(reason) => warnings.push(format!(
                    "passing over the checkpoint {}: {reason}",
                    path.display()
                )),
            }
        }
        match warnings.first() {
            None => Ok((None, warnings)),
            Some(first) => Err(EngineError::NoWholeCheckpoint {
                path: folder.to_owned(),
                count: steps.len(),
                reason: first
                    .rsplit_once(": ")
                    .map_or(first.as_str(), |(_, r)| r)
                    .into(),
            }),
        }
    }

    /// The weights' file.
    pub fn weights(&self) -> PathBuf {
        self.path.join(WEIGHTS)
    }

    /// The averaged weights' file, where the run averages; the ones to evaluate with.
    pub fn ema(&self) -> Option<PathBuf> {
        self.has_ema.then(|| self.path.join(EMA))
    }

    pub(crate) fn optimizer(&self) -> PathBuf {
        self.path.join(OPTIMIZER)
    }
}

/// Step number, whether its epoch was evaluated, and folder of everything named like a checkpoint;
/// oldest first.
fn steps(folder: &Path) -> io::Result<Vec<(u64, bool, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        let evaluated = !name.ends_with(UNEVALUATED);
        if let Ok(step) = name.strip_suffix(UNEVALUATED).unwrap_or(name).parse() {
            found.push((step, evaluated, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// The checkpoints of one run, newest `keep` kept.
#[derive(Debug)]
pub(crate) struct CheckpointStore {
    folder: PathBuf,
    keep: usize,
}

impl CheckpointStore {
    /// Makes the folder and removes what a killed process left half written.
    pub fn open(folder: PathBuf, keep: usize) -> Result<Self, EngineError> {
        fs::create_dir_all(&folder).map_err(EngineError::io("cannot make", &folder))?;
        let store = Self { folder, keep };
        store
            .remove_partial()
            .map_err(EngineError::io("cannot clean up", &store.folder))?;
        Ok(store)
    }

    fn remove_partial(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// Writes a checkpoint, then removes those beyond the newest `keep`. A whole one of the same
    /// step is left as it is: the state after a step is always the same.
    pub fn save(&self, state: &TrainingState, content: &Content) -> Result<PathBuf, EngineError> {
        let suffix = if state.evaluation_pending {
            UNEVALUATED
        } else {
            ""
        };
        let name = format!("{PREFIX}{:08}{suffix}", state.step);
        let path = self.folder.join(&name);
        if path.exists() && Checkpoint::open(&path).is_ok() {
            return Ok(path);
        }
        let temporary = self.folder.join(format!("{TEMPORARY}{name}"));
        if let Err(error) = self.write(&temporary, &path, state, content) {
            // Best effort: gives the room back; the error that matters is the first one.
            let _ = fs::remove_dir_all(&temporary);
            return Err(self.failure(state.step, &error));
        }
        // Old checkpoints that cannot be deleted are no reason to stop a training.
        let _ = self.prune();
        Ok(path)
    }

    fn write(
        &self,
        temporary: &Path,
        path: &Path,
        state: &TrainingState,
        content: &Content,
    ) -> io::Result<()> {
        if temporary.exists() {
            fs::remove_dir_all(temporary)?;
        }
        fs::create_dir(temporary)?;
        let mut files = BTreeMap::new();
        let mut add = |name: &str, tensors| -> io::Result<()> {
            let checksum = tensor_file::write(&temporary.join(name), tensors)?;
            files.insert(name.to_owned(), checksum);
            Ok(())
        };
        add(WEIGHTS, &content.weights)?;
        add(OPTIMIZER, &content.optimizer)?;
        if let Some(ema) = &content.ema {
            add(EMA, ema)?;
        }
        let body = Body {
            state: state.clone(),
            files,
        };
        let sealed = Sealed {
            sha256: sha256(serde_json::to_string(&body)?.as_bytes()),
            body,
        };
        durable::write_new(
            &temporary.join(STATE),
            serde_json::to_string_pretty(&sealed)?.as_bytes(),
        )?;
        durable::sync_folder(temporary)?;
        if path.exists() {
            // Broken, or `save` would have left it.
            self.remove(path)?;
        }
        fs::rename(temporary, path)?;
        durable::sync_folder(&self.folder)
    }

    /// Removes a checkpoint so that a kill in the middle leaves no half one under its name.
    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut name = std::ffi::OsString::from(format!("{TEMPORARY}old-"));
        name.push(path.file_name().unwrap_or_default());
        let doomed = self.folder.join(name);
        fs::rename(path, &doomed)?;
        fs::remove_dir_all(doomed)
    }

    fn prune(&self) -> io::Result<()> {
        let steps = steps(&self.folder)?;
        for (.., path) in &steps[..steps.len().saturating_sub(self.keep)] {
            self.remove(path)?;
        }
        Ok(())
    }

    fn failure(&self, step: u64, error: &io::Error) -> EngineError {
        let kept = match Checkpoint::latest(&self.folder) {
            Ok((Some(last), _)) => format!("the one of step {} is untouched", last.state.step),
            _ => "there is none yet".into(),
        };
        EngineError::SaveFailed {
            step,
            path: self.folder.clone(),
            reason: error.to_string(),
            kept,
        }
    }
}
