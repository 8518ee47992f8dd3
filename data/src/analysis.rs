//! `[data]` of an analysis: pictures that are looked at, and pictures that teach.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::classification::ClassificationConfig;
use crate::error::DataError;
use crate::loader::{LoaderConfig, Shard};
use crate::recipe::{LoadedSet, check_prefetch, default_eval_batch, default_prefetch, loaded};
use crate::transform::Transform;
use crate::transform_config::EvalTransformConfig;

/// Pictures of an analysis.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnalysisData {
    /// Folder of the data set; paths in the sources are relative to it.
    pub root: PathBuf,
    /// Labelled pictures that teach probes and vote; without them nothing is probed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<ClassificationConfig>,
    /// Pictures that are looked at.
    pub val: ClassificationConfig,
    /// How both are prepared; each checkpoint's own colours replace these.
    pub transform: EvalTransformConfig,
    /// Pictures that are looked at, at most, evenly spaced over the set. Their features are kept in memory: one
    /// number for each layer and channel of every checkpoint.
    #[serde(default = "default_pictures")]
    pub pictures: usize,
    /// Pictures per forward pass.
    #[serde(default = "default_eval_batch")]
    pub batch_size: usize,
    /// Loader threads; 0 means one per core.
    #[serde(default)]
    pub threads: usize,
    /// Batches kept ready.
    #[serde(default = "default_prefetch")]
    pub prefetch: usize,
}

fn default_pictures() -> usize {
    5000
}

impl AnalysisData {
    /// With the defaults of what is not given.
    pub fn new(
        root: PathBuf,
        train: ClassificationConfig,
        val: ClassificationConfig,
        transform: EvalTransformConfig,
    ) -> Self {
        Self {
            root,
            train: Some(train),
            val,
            transform,
            pictures: default_pictures(),
            batch_size: default_eval_batch(),
            threads: 0,
            prefetch: default_prefetch(),
        }
    }

    /// Checks values that the types leave open.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn check(&self) -> Result<(), DataError> {
        check_prefetch(self.prefetch)?;
        for (key, value) in [
            ("data.pictures", self.pictures),
            ("data.batch_size", self.batch_size),
        ] {
            if value == 0 {
                return Err(DataError::config(key, "0 must be 1 or more"));
            }
        }
        self.transform.check("data.transform")
    }

    /// Opens the pictures that are looked at, `shard` of them, in their own order.
    ///
    /// # Errors
    /// When a folder cannot be read or is empty.
    pub fn open_val(&self, shard: Shard) -> Result<LoadedSet, DataError> {
        let thinned = Some(self.pictures);
        self.open(
            &self.val,
            thinned,
            LoaderConfig {
                shard,
                ..self.loader()
            },
        )
    }

    /// Opens the pictures that teach, `shard` of them, in a random order.
    ///
    /// # Errors
    /// As [`AnalysisData::open_val`].
    pub fn open_train(&self, seed: u64, shard: Shard) -> Result<Option<LoadedSet>, DataError> {
        let config = LoaderConfig {
            shuffle: true,
            seed,
            shard,
            ..self.loader()
        };
        let train = self.train.as_ref();
        train
            .map(|train| self.open(train, None, config))
            .transpose()
    }

    fn loader(&self) -> LoaderConfig {
        LoaderConfig {
            batch_size: self.batch_size,
            threads: self.threads,
            prefetch: self.prefetch,
            ..LoaderConfig::default()
        }
    }

    fn open(
        &self,
        set: &ClassificationConfig,
        thinned: Option<usize>,
        loader: LoaderConfig,
    ) -> Result<LoadedSet, DataError> {
        let transform = Transform::eval(&self.transform)?;
        loaded(&set.under(&self.root), transform, thinned, loader)
    }
}
