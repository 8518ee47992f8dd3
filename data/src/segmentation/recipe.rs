//! `[data]` of a segmentation recipe.

use std::path::PathBuf;
use std::sync::Arc;

use eval::segmentation::LabelSpec;
use serde::{Deserialize, Serialize};

use super::config::{SegmentationEvalTransform, SegmentationTrainTransform};
use super::dataset::SegmentationDataset;
use super::numbering::SegmentationLabels;
use super::pairs::SegmentationSource;
use crate::error::DataError;
use crate::loader::{Loader, LoaderConfig, Shard};
use crate::recipe::{LoadedSet, check_prefetch, default_prefetch, training_loader};

/// Pictures with label maps: `[data]` of a segmentation recipe.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentationData {
    /// Folder of the data set; paths in the sources and the file of names are relative to it.
    pub root: PathBuf,
    /// Training pictures.
    pub train: SegmentationSource,
    /// Validation pictures.
    pub val: SegmentationSource,
    /// What label numbers mean, in both parts.
    pub classes: SegmentationLabels,
    /// How training pictures are prepared.
    pub train_transform: SegmentationTrainTransform,
    /// How validation pictures are prepared.
    #[serde(default)]
    pub eval_transform: SegmentationEvalTransform,
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

fn default_eval_batch() -> usize {
    1
}

impl SegmentationData {
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
    /// As [`SegmentationDataset::open_train`], and when it holds fewer pictures than a batch.
    pub fn open_train(
        &self,
        batch_size: usize,
        seed: u64,
        shard: Shard,
    ) -> Result<LoadedSet<SegmentationDataset>, DataError> {
        let dataset = SegmentationDataset::open_train(
            &self.train.under(&self.root),
            &self.classes.under(&self.root),
            &self.train_transform,
        )?;
        let loader = training_loader(batch_size, seed, shard, self.threads, self.prefetch);
        loaded(dataset, loader)
    }

    /// Opens the validation set, `shard` of it, in the order of the pictures' paths and to the last picture.
    ///
    /// # Errors
    /// As [`SegmentationDataset::open_eval`].
    pub fn open_val(&self, shard: Shard) -> Result<LoadedSet<SegmentationDataset>, DataError> {
        let dataset = SegmentationDataset::open_eval(
            &self.val.under(&self.root),
            &self.classes.under(&self.root),
            &self.eval_transform,
        )?;
        let loader = LoaderConfig {
            batch_size: self.eval_batch_size,
            threads: self.threads,
            prefetch: self.prefetch,
            shard,
            ..LoaderConfig::default()
        };
        loaded(dataset, loader)
    }

    /// The class names in class order, without opening either part.
    ///
    /// # Errors
    /// As [`SegmentationLabels::class_names`].
    pub fn class_names(&self) -> Result<Vec<String>, DataError> {
        self.classes.under(&self.root).class_names()
    }

    /// How the evaluation reads the label maps.
    ///
    /// # Errors
    /// When there is no class.
    pub fn label_spec(&self, classes: usize) -> Result<LabelSpec, DataError> {
        self.classes.label_spec(classes)
    }
}

fn loaded(
    dataset: SegmentationDataset,
    loader: LoaderConfig,
) -> Result<LoadedSet<SegmentationDataset>, DataError> {
    let dataset = Arc::new(dataset);
    let loader = Loader::new(dataset.clone(), loader)?;
    Ok(LoadedSet { dataset, loader })
}
