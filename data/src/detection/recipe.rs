//! `[data]` of a detection recipe.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::config::{DetectionEvalTransform, DetectionTrainTransform};
use super::dataset::{DetectionDataset, DetectionSource};
use crate::error::DataError;
use crate::loader::{Loader, LoaderConfig, Shard};
use crate::recipe::{LoadedSet, check_prefetch, default_prefetch, training_loader};

/// Pictures with objects: `[data]` of a detection recipe.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectionData {
    /// Folder of the data set; paths in the sources are relative to it.
    pub root: PathBuf,
    /// Training pictures.
    pub train: DetectionSource,
    /// Validation pictures.
    pub val: DetectionSource,
    /// How training pictures are prepared.
    pub train_transform: DetectionTrainTransform,
    /// How validation pictures are prepared.
    pub eval_transform: DetectionEvalTransform,
    /// Train without the pictures that have no object, or crowds only.
    #[serde(default = "yes")]
    pub skip_pictures_without_objects: bool,
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

fn yes() -> bool {
    true
}

fn default_eval_batch() -> usize {
    1
}

impl DetectionData {
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

    /// Opens the training set: shuffled, whole batches only.
    ///
    /// # Errors
    /// As [`DetectionDataset::open_train`], and when it holds fewer pictures than a batch.
    pub fn open_train(
        &self,
        batch_size: usize,
        seed: u64,
        shard: Shard,
    ) -> Result<LoadedSet<DetectionDataset>, DataError> {
        let dataset = DetectionDataset::open_train(
            &self.train.under(&self.root),
            &self.train_transform,
            self.skip_pictures_without_objects,
        )?;
        let loader = training_loader(batch_size, seed, shard, self.threads, self.prefetch);
        loaded(dataset, loader)
    }

    /// Opens the validation set, `shard` of it, in the file's order and to the last picture.
    ///
    /// # Errors
    /// As [`DetectionDataset::open_eval`].
    pub fn open_val(&self, shard: Shard) -> Result<LoadedSet<DetectionDataset>, DataError> {
        let dataset =
            DetectionDataset::open_eval(&self.val.under(&self.root), &self.eval_transform)?;
        let loader = LoaderConfig {
            batch_size: self.eval_batch_size,
            threads: self.threads,
            prefetch: self.prefetch,
            shard,
            ..LoaderConfig::default()
        };
        loaded(dataset, loader)
    }
}

fn loaded(
    dataset: DetectionDataset,
    loader: LoaderConfig,
) -> Result<LoadedSet<DetectionDataset>, DataError> {
    let dataset = Arc::new(dataset);
    let loader = Loader::new(dataset.clone(), loader)?;
    Ok(LoadedSet { dataset, loader })
}
