//! What an evaluation leaves beside its predictions, so that it can be compared later.

use std::path::{Path, PathBuf};

use anyhow::Context;
use engine::Environment;
use leaderboard::{
    EVALUATION_FILE, EvaluationRecord, ExampleRecord, Kind, Truth, classes_sha256, file_sha256,
    labels_sha256,
};
use serde::Serialize;
use tch::Device;

use crate::weights::Weights;

/// What an evaluation was made with.
pub struct Setting<'a> {
    /// The resolved recipe, TOML.
    pub recipe: String,
    /// Where it computed.
    pub device: Device,
    /// The recipe's seed.
    pub seed: u64,
    /// Processes that evaluate together.
    pub processes: usize,
    /// The evaluated weights, where they are not the end of the run that evaluates.
    pub weights: Option<&'a Weights>,
}

impl<'a> Setting<'a> {
    /// Of a typed recipe.
    pub fn new(
        recipe: &impl Serialize,
        device: Device,
        seed: u64,
        processes: usize,
        weights: Option<&'a Weights>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            recipe: toml::to_string_pretty(recipe).context("the recipe cannot be written out")?,
            device,
            seed,
            processes,
            weights,
        })
    }

    /// Writes the record of a finished evaluation into its folder.
    pub fn record(
        &self,
        folder: &Path,
        kind: Kind,
        pictures: usize,
        truth: Truth,
        examples: Vec<ExampleRecord>,
    ) -> anyhow::Result<()> {
        let environment =
            serde_json::to_value(Environment::current(self.device, self.seed, self.processes))?;
        let record = EvaluationRecord {
            kind,
            pictures,
            truth,
            weights: self.weights.map(Weights::record).transpose()?,
            recipe: self.recipe.clone(),
            environment: environment.as_object().cloned().unwrap_or_default(),
            examples,
        };
        Ok(record.write(folder)?)
    }
}

/// Removes the record of an earlier evaluation: from now on the folder's predictions are another's.
pub fn forget(folder: &Path) -> anyhow::Result<()> {
    let path = folder.join(EVALUATION_FILE);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The labels in a file of predictions; pictures without one do not count.
pub fn classes_truth(predictions: &Path, classes: &[String]) -> anyhow::Result<Truth> {
    let (set, _) = eval::PredictionSet::read(predictions, None, None, eval::Strictness::Lenient)?;
    let labels = set.labels();
    let pictures = labels.pictures().iter();
    Ok(Truth::Classes {
        classes: classes.to_vec(),
        sha256: classes_sha256(pictures.map(|picture| (picture.name.as_str(), picture.label))),
    })
}

/// An annotation file.
pub fn annotations_truth(file: &Path, masks: bool) -> anyhow::Result<Truth> {
    Ok(Truth::Annotations {
        file: absolute(file)?,
        sha256: file_sha256(file)?,
        masks,
    })
}

/// A folder's label maps at these paths.
pub fn labels_truth(
    folder: &Path,
    maps: &[&str],
    classes: &[String],
    spec: &eval::segmentation::LabelSpec,
) -> anyhow::Result<Truth> {
    let maps: Vec<PathBuf> = maps.iter().map(PathBuf::from).collect();
    Ok(Truth::Labels {
        folder: absolute(folder)?,
        classes: classes.to_vec(),
        reduce_zero_label: spec.reduce_zero_label,
        ignore_index: spec.ignore_index,
        sha256: labels_sha256(folder, &maps)?,
    })
}

/// The same place from wherever a leaderboard is made.
pub fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} has no absolute path", path.display()))
}
