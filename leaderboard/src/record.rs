//! What an evaluation and a training leave beside their numbers, so that they can be compared later: which
//! ground truth, which recipe, which weights.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::board::Kind;
use crate::error::LeaderboardError;

/// Name of an evaluation's record, in its folder.
pub const EVALUATION_FILE: &str = "evaluation.json";
/// Name of the record of what a training started from, in the run's folder.
pub const START_FILE: &str = "start.json";

/// `evaluation.json`: written last, so that an evaluation that has it is whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationRecord {
    /// What was evaluated.
    pub kind: Kind,
    /// Pictures seen.
    pub pictures: usize,
    /// What predictions were held against.
    pub truth: Truth,
    /// The evaluated weights, where they are not the run's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// The resolved recipe of the evaluation, TOML.
    pub recipe: String,
    /// Program, device, threads and seed.
    pub environment: serde_json::Map<String, serde_json::Value>,
    /// Pictures with ground truth and prediction drawn in.
    pub examples: Vec<ExampleRecord>,
}

/// The ground truth of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Truth {
    /// Labels that stand beside the predictions.
    Classes {
        /// Class names in class order.
        classes: Vec<String>,
        /// Binds names and labels of the pictures: [`crate::classes_sha256`].
        sha256: String,
    },
    /// An annotation file of COCO's form.
    Annotations {
        /// The file.
        file: PathBuf,
        /// Of its bytes.
        sha256: String,
        /// Whether masks were scored.
        masks: bool,
    },
    /// A folder of label maps.
    Labels {
        /// The folder.
        folder: PathBuf,
        /// Class names in class order.
        classes: Vec<String>,
        /// Maps count from 1, and 0 is ignored.
        reduce_zero_label: bool,
        /// Number that is left out, after the former.
        ignore_index: Option<u16>,
        /// Binds names and bytes of the maps: [`crate::labels_sha256`].
        sha256: String,
    },
}

impl Truth {
    /// Binds names and labels of the ground truth.
    pub fn sha256(&self) -> &str {
        match self {
            Self::Classes { sha256, .. }
            | Self::Annotations { sha256, .. }
            | Self::Labels { sha256, .. } => sha256,
        }
    }
}

/// A file of weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weights {
    /// The file.
    pub file: PathBuf,
    /// Its naming scheme.
    pub dialect: String,
    /// Of its bytes.
    pub sha256: String,
    /// The run that it belongs to, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<PathBuf>,
}

/// `start.json`: what a training started from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Pre-trained weights; none where all were drawn at random.
    pub weights: Option<Weights>,
}

/// A picture that is shown, with files relative to the evaluation's folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExampleRecord {
    /// Its name in the data set.
    pub name: String,
    /// The picture with its ground truth.
    pub truth: PathBuf,
    /// The ground truth in words; may be empty.
    #[serde(default)]
    pub truth_caption: String,
    /// The picture with the prediction drawn in, where it can be drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<PathBuf>,
    /// The prediction in words; may be empty.
    #[serde(default)]
    pub caption: String,
    /// Whether it is right, where that can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right: Option<bool>,
}

impl EvaluationRecord {
    /// Reads the record of an evaluation's folder.
    ///
    /// # Errors
    /// When the file cannot be read or is no such record.
    pub fn read(folder: &Path) -> Result<Self, LeaderboardError> {
        read_json(&folder.join(EVALUATION_FILE))
    }

    /// Writes the record, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), LeaderboardError> {
        Ok(eval::write_json(&folder.join(EVALUATION_FILE), self)?)
    }
}

impl Start {
    /// Reads the record of a run's folder; none where it has none.
    ///
    /// # Errors
    /// When the file cannot be read or is no such record.
    pub fn read(run: &Path) -> Result<Option<Self>, LeaderboardError> {
        let path = run.join(START_FILE);
        path.is_file().then(|| read_json(&path)).transpose()
    }

    /// Writes the record, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, run: &Path) -> Result<(), LeaderboardError> {
        Ok(eval::write_json(&run.join(START_FILE), self)?)
    }
}

/// Reads a JSON file of ours.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, LeaderboardError> {
    let text = std::fs::read_to_string(path).map_err(LeaderboardError::read(path))?;
    serde_json::from_str(&text).map_err(|error| {
        LeaderboardError::file(
            path,
            format!("{error}: it is damaged, or of another version; evaluate again"),
        )
    })
}
