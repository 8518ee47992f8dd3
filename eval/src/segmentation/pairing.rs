//! Which prediction belongs to which ground truth.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::EvalError;

/// A label map of the ground truth and what belongs to it.
#[derive(Debug)]
pub(super) struct LabelPair {
    /// Path within the folder, without extension.
    pub name: String,
    pub label: PathBuf,
    /// The prediction, or why there is none.
    pub prediction: Result<PathBuf, EvalError>,
}

/// The pairs of two folders, and predictions that belong to nothing.
#[derive(Debug)]
pub(super) struct LabelPairs {
    /// By name.
    pub pairs: Vec<LabelPair>,
    /// An error for each, by name.
    pub extra: Vec<EvalError>,
}

/// PNG files of a folder by their path within it, without extension.
type Files = BTreeMap<PathBuf, PathBuf>;

/// Pairs the PNG files of two folders and their subfolders by path within the folder, without
/// extension; by file name alone where one of them has no subfolders.
///
/// # Errors
/// When a folder cannot be listed or holds no PNG, or names are ambiguous.
pub(super) fn pair_folders(labels: &Path, predictions: &Path) -> Result<LabelPairs, EvalError> {
    let mut label_files = list(labels)?;
    let mut prediction_files = list(predictions)?;
    let nested = |files: &Files| files.keys().any(|name| name.components().count() > 1);
    match (nested(&label_files), nested(&prediction_files)) {
        (true, false) => label_files = by_file_name(label_files)?,
        (false, true) => prediction_files = by_file_name(prediction_files)?,
        _ => {}
    }
    let total = label_files.len();
    let missing = label_files
        .keys()
        .filter(|name| !prediction_files.contains_key(*name))
        .count();
    let pairs = label_files
        .iter()
        .map(|(name, label)| LabelPair {
            name: name.display().to_string(),
            label: label.clone(),
            prediction: prediction_files.remove(name).ok_or_else(|| {
                let mut file = predictions.join(name).into_os_string();
                file.push(".png");
                let problem = format!(
                    "missing, the prediction for {}; {missing} of {total} label maps have none",
                    label.display()
                );
                EvalError::file(Path::new(&file), problem)
            }),
        })
        .collect();
    let count = prediction_files.len();
    let extra = prediction_files
        .values()
        .map(|path| {
            let problem = format!(
                "a prediction without ground truth in {}, one of {count}: are both folders of the \
                 same data?",
                labels.display()
            );
            EvalError::file(path, problem)
        })
        .collect();
    Ok(LabelPairs { pairs, extra })
}

fn by_file_name(files: Files) -> Result<Files, EvalError> {
    let mut named = Files::new();
    for (name, path) in files {
        let name = PathBuf::from(name.file_name().unwrap_or_default());
        if let Some(other) = named.insert(name, path.clone()) {
            let problem = format!(
                "has the same name as {}: use the same subfolders for ground truth and predictions",
                other.display()
            );
            return Err(EvalError::file(&path, problem));
        }
    }
    Ok(named)
}

fn list(folder: &Path) -> Result<Files, EvalError> {
    let mut files = Files::new();
    let mut visited = HashSet::new();
    let mut open = vec![PathBuf::new()];
    while let Some(within) = open.pop() {
        let path = folder.join(&within);
        let failed = |source| EvalError::Read {
            path: path.clone(),
            source,
        };
        // A link may lead back up.
        if !visited.insert(fs::canonicalize(&path).map_err(failed)?) {
            continue;
        }
        for entry in fs::read_dir(&path).map_err(failed)? {
            let file_name = entry.map_err(failed)?.file_name();
            // ".DS_Store", "._x.png" and the like.
            if file_name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let name = within.join(&file_name);
            let path = folder.join(&name);
            if path.is_dir() {
                open.push(name);
            } else if path
                .extension()
                .is_some_and(|extension| extension.eq_ignore_ascii_case(OsStr::new("png")))
                && let Some(other) = files.insert(name.with_extension(""), path.clone())
            {
                let problem = format!("has the same name as {}: remove one", other.display());
                return Err(EvalError::file(&path, problem));
            }
        }
    }
    if files.is_empty() {
        let problem = "holds no PNG label maps (*.png, in it or its subfolders)";
        return Err(EvalError::file(folder, problem));
    }
    Ok(files)
}
