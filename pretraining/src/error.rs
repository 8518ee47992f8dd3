//! What can go wrong before and between pre-training steps.

use std::path::PathBuf;

use backbone::BackboneError;
use backbone::weights::WeightsError;

/// Errors of the pre-training task.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PretrainError {
    /// A value of the configuration, or a combination of values, that cannot be trained.
    #[error("pre-training: {field} = {value} {problem}")]
    Config {
        /// The key in the configuration.
        field: &'static str,
        /// Its value as the user wrote it.
        value: String,
        /// What is wrong, and what to write instead.
        problem: String,
    },
    /// The trunk's or the teacher's own configuration is wrong.
    #[error("{place}: {source}")]
    Trunk {
        /// Which trunk: `trunk` or `target`.
        place: &'static str,
        /// What is wrong with it.
        source: BackboneError,
    },
    /// The teacher's weights could not be read, or do not fit the configured tower.
    #[error("target (CLIP tower): {0}")]
    Teacher(#[source] WeightsError),
    /// The frozen transformer's weights could not be read, or do not fit the configured trunk.
    #[error("target (features): {0}")]
    FeatureTeacher(#[source] WeightsError),
    /// A folder of tokens that cannot be used.
    #[error("target (tokens): {path}: {problem}")]
    Tokens {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A picture without tokens.
    #[error(
        "{0}: the target's names.txt has no such line: make tokens for every training picture, under the names \
         that the data set gives them"
    )]
    NoTokens(String),
    /// A probe without labelled pictures.
    #[error(
        "probe: no picture has a known class: point probe.train and probe.val to class folders"
    )]
    NoFeatures,
    /// A training of what only looks at features.
    #[error("features are looked at, not trained: this task is for evaluation")]
    OnlyEvaluated,
    /// A file of features that cannot be written or read back.
    #[error("{}: features of the training pictures cannot be kept there ({source}): free space, or give another folder", .path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Colour statistics that cannot be meant, or a picture that cannot be written.
    #[error(transparent)]
    Data(#[from] data::DataError),
    /// A batch without samples.
    #[error("an empty batch cannot be trained on: the data set holds fewer pictures than a batch")]
    EmptyBatch,
    /// A sample whose picture does not have the trunk's size.
    #[error(
        "{name}: the picture is {found} x {found} pixels but the trunk takes {wanted} x {wanted}; let \
         the size that pictures are cropped to equal trunk.image_size"
    )]
    Size {
        /// Name of the sample.
        name: String,
        /// The picture's side, in pixels.
        found: usize,
        /// The trunk's picture side, in pixels.
        wanted: i64,
    },
}

impl PretrainError {
    pub(crate) fn config(
        field: &'static str,
        value: impl ToString,
        problem: impl Into<String>,
    ) -> Self {
        Self::Config {
            field,
            value: value.to_string(),
            problem: problem.into(),
        }
    }
}
