//! `[data]` of a recipe: which pictures, how they are prepared, how they are loaded.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::classification::{ClassificationConfig, ClassificationDataset, ClassificationSource};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::loader::{Loader, LoaderConfig, Shard};
use crate::transform::Transform;
use crate::transform_config::{EvalTransformConfig, TrainTransformConfig};

/// Pictures whose classes do not matter: `[data]` of a pre-training recipe.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PictureData {
    /// Folder of the data set; paths in the sources are relative to it.
    pub root: PathBuf,
    /// Training pictures.
    pub train: ClassificationConfig,
    /// How they are prepared.
    pub transform: TrainTransformConfig,
    /// Loader threads; 0 means one per core.
    #[serde(default)]
    pub threads: usize,
    /// Batches kept ready.
    #[serde(default = "default_prefetch")]
    pub prefetch: usize,
}

/// Pictures with classes that a pre-training is looked at with: `[probe]` of its recipe. Paths are relative to
/// the data section's root. Features of those that are voted on are in memory at once, one number for each channel
/// and layer: of a large set `limit_per_class` leaves some out. Those that vote pass by.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeData {
    /// Pictures that vote.
    pub train: ClassificationConfig,
    /// Pictures that are voted on.
    pub val: ClassificationConfig,
    /// How both are prepared.
    pub transform: EvalTransformConfig,
    /// Pictures per forward pass.
    #[serde(default = "default_eval_batch")]
    pub batch_size: usize,
    /// Neighbours that vote.
    #[serde(default = "default_neighbours")]
    pub neighbours: usize,
    /// Weights of votes are `exp(similarity / temperature)`.
    #[serde(default = "default_temperature")]
    pub temperature: f64,
    /// Blocks whose output is looked at, from 1 and ascending; none: the taps of the model.
    #[serde(default)]
    pub layers: Vec<i64>,
}

fn default_neighbours() -> usize {
    20
}

fn default_temperature() -> f64 {
    0.07
}

impl ProbeData {
    /// Checks values that the types leave open.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn check(&self) -> Result<(), DataError> {
        for (key, value) in [
            ("probe.batch_size", self.batch_size),
            ("probe.neighbours", self.neighbours),
        ] {
            if value == 0 {
                return Err(DataError::config(key, "0 must be 1 or more"));
            }
        }
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            return Err(DataError::config(
                "probe.temperature",
                format!("{} must be above 0; usual is 0.07", self.temperature),
            ));
        }
        self.transform.check("probe.transform")
    }

    /// Opens both sets as evaluation sees them, `shard` of each, with the threads of `data`.
    ///
    /// # Errors
    /// When a folder cannot be read or is empty.
    pub fn open(&self, data: &PictureData, shard: Shard) -> Result<[LoadedSet; 2], DataError> {
        let open = |part: &ClassificationConfig| {
            let loader = LoaderConfig {
                batch_size: self.batch_size,
                threads: data.threads,
                prefetch: data.prefetch,
                shard,
                ..LoaderConfig::default()
            };
            let transform = Transform::eval(&self.transform)?;
            loaded(&part.under(&data.root), transform, None, loader)
        };
        Ok([open(&self.train)?, open(&self.val)?])
    }
}

impl PictureData {
    /// Opens the whole training set in its own order, prepared as in training.
    ///
    /// # Errors
    /// As [`PictureData::open`].
    pub fn open_in_order(&self) -> Result<LoadedSet, DataError> {
        let config = LoaderConfig {
            batch_size: default_eval_batch(),
            threads: self.threads,
            prefetch: self.prefetch,
            ..LoaderConfig::default()
        };
        let transform = Transform::train(&self.transform)?;
        loaded(&self.train.under(&self.root), transform, None, config)
    }
}

/// Pictures with classes: `[data]` of a classification recipe.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassificationData {
    /// Folder of the data set; paths in the sources are relative to it.
    pub root: PathBuf,
    /// Training pictures.
    pub train: ClassificationConfig,
    /// Validation pictures.
    pub val: ClassificationConfig,
    /// How training pictures are prepared.
    pub train_transform: TrainTransformConfig,
    /// How validation pictures are prepared.
    pub eval_transform: EvalTransformConfig,
    /// Pictures per forward pass in evaluation.
    #[serde(default = "default_eval_batch")]
    pub eval_batch_size: usize,
    /// Loader threads; 0 means one per core.
    #[serde(default)]
    pub threads: usize,
    /// Batches kept ready.
    #[serde(default = "default_prefetch")]
    pub prefetch: usize,
}

pub(crate) fn default_prefetch() -> usize {
    4
}

pub(crate) fn default_eval_batch() -> usize {
    64
}

/// A data set behind a loader.
#[derive(Debug)]
pub struct LoadedSet<D: Dataset = ClassificationDataset> {
    /// The pictures.
    pub dataset: Arc<D>,
    /// Its batches.
    pub loader: Loader<D>,
}

impl PictureData {
    /// Checks values that the types leave open.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn check(&self) -> Result<(), DataError> {
        check_prefetch(self.prefetch)?;
        self.transform.check("data.transform")
    }

    /// Opens the training set, `shard` of it.
    ///
    /// # Errors
    /// When the folder cannot be read or holds fewer pictures than a batch.
    pub fn open(&self, batch_size: usize, seed: u64, shard: Shard) -> Result<LoadedSet, DataError> {
        let config = training_loader(batch_size, seed, shard, self.threads, self.prefetch);
        loaded(
            &self.train.under(&self.root),
            Transform::train(&self.transform)?,
            None,
            config,
        )
    }
}

impl ClassificationData {
    /// Checks values that the types leave open.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn check(&self) -> Result<(), DataError> {
        check_prefetch(self.prefetch)?;
        if self.eval_batch_size == 0 {
            return Err(DataError::config(
                "data.eval_batch_size",
                "0 must be 1 or more",
            ));
        }
        self.train_transform.check("data.train_transform")?;
        self.eval_transform.check("data.eval_transform")
    }

    /// Opens the training set, `shard` of it.
    ///
    /// # Errors
    /// As [`PictureData::open`].
    pub fn open_train(
        &self,
        batch_size: usize,
        seed: u64,
        shard: Shard,
    ) -> Result<LoadedSet, DataError> {
        let config = training_loader(batch_size, seed, shard, self.threads, self.prefetch);
        loaded(
            &self.train.under(&self.root),
            Transform::train(&self.train_transform)?,
            None,
            config,
        )
    }

    /// Opens the validation set, `shard` of it, in its own order and to the last picture.
    ///
    /// # Errors
    /// When the folder cannot be read or is empty.
    pub fn open_val(&self, shard: Shard) -> Result<LoadedSet, DataError> {
        let config = LoaderConfig {
            batch_size: self.eval_batch_size,
            threads: self.threads,
            prefetch: self.prefetch,
            shard,
            ..LoaderConfig::default()
        };
        loaded(
            &self.val.under(&self.root),
            Transform::eval(&self.eval_transform)?,
            None,
            config,
        )
    }
}

pub(crate) fn check_prefetch(prefetch: usize) -> Result<(), DataError> {
    if prefetch == 0 {
        return Err(DataError::config(
            "data.prefetch",
            "0 must be 1 or more batches",
        ));
    }
    Ok(())
}

/// Shuffled, whole batches only: the last incomplete one of an epoch is left out, as in the references.
pub(crate) fn training_loader(
    batch_size: usize,
    seed: u64,
    shard: Shard,
    threads: usize,
    prefetch: usize,
) -> LoaderConfig {
    LoaderConfig {
        batch_size,
        shuffle: true,
        drop_last: true,
        threads,
        prefetch,
        seed,
        shard,
    }
}

/// Opens a set behind a loader; of a larger one than `most` only so many pictures, evenly spaced.
pub(crate) fn loaded(
    config: &ClassificationConfig,
    transform: Transform,
    most: Option<usize>,
    loader: LoaderConfig,
) -> Result<LoadedSet, DataError> {
    let dataset = ClassificationDataset::open(config, transform)?;
    let dataset = Arc::new(match most {
        Some(most) => dataset.thinned(most),
        None => dataset,
    });
    let loader = Loader::new(dataset.clone(), loader)?;
    Ok(LoadedSet { dataset, loader })
}

impl ClassificationConfig {
    /// The same data set with its paths under `root`; absolute ones stay.
    pub fn under(&self, root: &Path) -> Self {
        let join = |path: &Path| root.join(path);
        Self {
            source: match &self.source {
                ClassificationSource::Folders { root } => {
                    ClassificationSource::Folders { root: join(root) }
                }
                ClassificationSource::Ilsvrc {
                    root,
                    ground_truth,
                    synsets,
                } => ClassificationSource::Ilsvrc {
                    root: join(root),
                    ground_truth: join(ground_truth),
                    synsets: join(synsets),
                },
                ClassificationSource::Csv { root, labels } => ClassificationSource::Csv {
                    root: join(root),
                    labels: join(labels),
                },
                ClassificationSource::Unlabelled { root } => {
                    ClassificationSource::Unlabelled { root: join(root) }
                }
            },
            classes: self.classes.as_deref().map(join),
            limit_per_class: self.limit_per_class,
        }
    }
}
