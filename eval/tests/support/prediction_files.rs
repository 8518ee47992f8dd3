//! Files of predictions and labels, recorded or made up.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};

use deepmim_eval::{
    ClassificationComparison, ComparisonOptions, EvalError, PictureLabels, PredictionSet,
    RealLabels, Strictness,
};

use Strictness::Strict;

pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../parity/golden/imagenet_scores")
        .join(name)
}

/// Sums of 150 numbers in another order.
pub const TOLERANCE: f64 = 1e-12;

pub fn score(
    truth: Option<&PictureLabels>,
    files: &[PathBuf],
    real: Option<&RealLabels>,
) -> ClassificationComparison {
    let sets: Vec<PredictionSet> = files
        .iter()
        .map(|path| PredictionSet::read(path, truth, None, Strict).unwrap().0)
        .collect();
    let own;
    let truth = match truth {
        Some(truth) => truth,
        None => {
            own = sets[0].labels();
            &own
        }
    };
    let options = ComparisonOptions {
        real,
        ..ComparisonOptions::default()
    };
    ClassificationComparison::new(truth, sets, &options).unwrap()
}

pub fn labels(path: &Path) -> PictureLabels {
    PictureLabels::read(path, None, None, Strict).unwrap().0
}

/// A folder of made-up files.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The error without the folder's name.
    pub fn message(&self, error: &EvalError) -> String {
        let message = error.to_string();
        assert!(!message.contains('\n'), "{message}");
        message.replace(&format!("{}/", self.0.path().display()), "")
    }
}
