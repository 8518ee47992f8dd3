//! What is compared: an evaluated run, the folder of an evaluation, or a bare file of predictions.

use std::path::{Path, PathBuf};

use eval::segmentation::read_class_names;
use eval::{PictureLabels, PredictionSet, Strictness};

use crate::board::Kind;
use crate::error::LeaderboardError;
use crate::fingerprint::{classes_sha256, file_sha256, labels_sha256};
use crate::record::{EVALUATION_FILE, EvaluationRecord, Truth};

/// One thing to compare, as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Run, evaluation folder, or predictions.
    pub path: PathBuf,
    /// The row that it belongs to; the last part of the path where none is given.
    pub system: Option<String>,
    /// What the task is called; its kind where none is given.
    pub task: Option<String>,
}

/// Ground truth that is given rather than found in a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GivenTruth {
    /// Annotation files (`.json`), folders of label maps, files of picture labels; at most one of each.
    pub files: Vec<PathBuf>,
    /// File of class names, for bare label maps.
    pub class_names: Option<PathBuf>,
    /// Number of classes, for bare label maps without class names.
    pub classes: Option<usize>,
    /// Label maps count from 1.
    pub reduce_zero_label: bool,
}

/// One thing to compare, found.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub system: String,
    pub task: Option<String>,
    pub kind: Kind,
    /// CSV file, results file or folder of label maps.
    pub predictions: PathBuf,
    pub truth: Truth,
    /// File of picture labels, where one was given.
    pub labels_file: Option<PathBuf>,
    /// Folder and record of the evaluation, unless the predictions are bare.
    pub evaluation: Option<(PathBuf, EvaluationRecord)>,
    /// The training run, where it is one.
    pub run: Option<PathBuf>,
}

impl GivenTruth {
    fn of(&self, kind: Kind) -> Result<Option<&PathBuf>, LeaderboardError> {
        let mut found = self.files.iter().filter(|path| kind_of(path) == kind);
        match (found.next(), found.next()) {
            (Some(first), Some(second)) => Err(LeaderboardError::Compare(format!(
                "--gt {} and --gt {} are of the same kind: give one ground truth for each task",
                first.display(),
                second.display()
            ))),
            (found, _) => Ok(found),
        }
    }
}

/// What a bare file is about, and what a ground truth is for, told by its form.
fn kind_of(path: &Path) -> Kind {
    let name = path.to_string_lossy();
    if path.is_dir() {
        Kind::Segment
    } else if name.trim_end_matches(".gz").ends_with(".json") {
        Kind::Detect
    } else {
        Kind::Classify
    }
}

/// The last named part of a path, without a file's ending.
fn name_of(path: &Path) -> String {
    let canonical = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = match path.is_dir() {
        true => canonical.file_name(),
        false => canonical.file_stem(),
    };
    name.unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

impl Entry {
    /// Finds what a request is about.
    pub fn find(request: &Request, given: &GivenTruth) -> Result<Self, LeaderboardError> {
        let path = &request.path;
        if !path.exists() {
            return Err(LeaderboardError::file(
                path,
                "it is not there: give a run's folder, an evaluation's folder or a file of predictions",
            ));
        }
        let mut entry = match evaluation_folder(path)? {
            Some((folder, run)) => Self::recorded(folder, run, given)?,
            None => Self::bare(path, given)?,
        };
        entry.system = request.system.clone().unwrap_or_else(|| name_of(path));
        entry.task.clone_from(&request.task);
        Ok(entry)
    }

    fn recorded(
        folder: PathBuf,
        run: Option<PathBuf>,
        given: &GivenTruth,
    ) -> Result<Self, LeaderboardError> {
        let record = EvaluationRecord::read(&folder)?;
        let predictions = folder.join(match record.kind {
            Kind::Classify => "predictions.csv",
            Kind::Detect => "instances.json",
            Kind::Segment => "labels",
        });
        let ground_truth = given.of(record.kind)?;
        let (truth, labels_file) = match (&record.truth, ground_truth) {
            (Truth::Classes { classes, .. }, Some(file)) => {
                let truth = given_classes(&predictions, Some(file), classes.clone())?;
                (truth, Some(file.clone()))
            }
            (recorded, given) => (checked(recorded, given, &folder, &predictions)?, None),
        };
        Ok(Self {
            system: String::new(),
            task: None,
            kind: record.kind,
            predictions,
            truth,
            labels_file,
            evaluation: Some((folder, record)),
            run,
        })
    }

    fn bare(path: &Path, given: &GivenTruth) -> Result<Self, LeaderboardError> {
        let kind = kind_of(path);
        let ground_truth = given.of(kind)?;
        let needed = |what: &str| {
            LeaderboardError::file(
                path,
                format!(
                    "these are bare predictions: name {what} with --gt (a run's folder knows its own)"
                ),
            )
        };
        let (truth, labels_file) = match kind {
            Kind::Classify => {
                let truth = given_classes(path, ground_truth, Vec::new())?;
                (truth, ground_truth.cloned())
            }
            Kind::Detect => {
                let file = ground_truth.ok_or_else(|| needed("the annotation file"))?;
                let truth = Truth::Annotations {
                    sha256: file_sha256(file)?,
                    file: file.clone(),
                    masks: true,
                };
                (truth, None)
            }
            Kind::Segment => {
                label_maps(path)?;
                let folder = ground_truth.ok_or_else(|| needed("the folder of label maps"))?;
                (bare_labels(path, folder, given)?, None)
            }
        };
        Ok(Self {
            system: String::new(),
            task: None,
            kind,
            predictions: path.to_owned(),
            truth,
            labels_file,
            evaluation: None,
            run: None,
        })
    }
}

/// The folder with the record of an evaluation behind a path, and the run it is in; none for bare
/// predictions.
fn evaluation_folder(path: &Path) -> Result<Option<(PathBuf, Option<PathBuf>)>, LeaderboardError> {
    if !path.is_dir() {
        return Ok(None);
    }
    if path.join(EVALUATION_FILE).is_file() {
        let run = path
            .parent()
            .filter(|parent| parent.join("config.toml").is_file());
        return Ok(Some((path.to_owned(), run.map(Path::to_owned))));
    }
    if !path.join("config.toml").is_file() {
        return Ok(None);
    }
    let inner = path.join("eval");
    if inner.join(EVALUATION_FILE).is_file() {
        return Ok(Some((inner, Some(path.to_owned()))));
    }
    Err(LeaderboardError::file(
        path,
        "this run has no evaluation to compare: finish it with --resume, evaluate it with deepmim eval, or, where it is a pre-training run, fine-tune from it first",
    ))
}

/// The recorded ground truth, where it is still what it was.
fn checked(
    recorded: &Truth,
    given: Option<&PathBuf>,
    folder: &Path,
    predictions: &Path,
) -> Result<Truth, LeaderboardError> {
    let mut truth = recorded.clone();
    let now = match &mut truth {
        Truth::Classes { .. } => return Ok(truth),
        Truth::Annotations { file, .. } => {
            if let Some(given) = given {
                file.clone_from(given);
            }
            there(file, folder)?;
            file_sha256(file)?
        }
        Truth::Labels { folder: labels, .. } => {
            if let Some(given) = given {
                labels.clone_from(given);
            }
            there(labels, folder)?;
            labels_sha256(labels, &label_maps(predictions)?)?
        }
    };
    if now == recorded.sha256() {
        return Ok(truth);
    }
    let path = match &truth {
        Truth::Annotations { file, .. } => file,
        Truth::Labels { folder, .. } => folder,
        Truth::Classes { .. } => return Ok(truth),
    };
    Err(LeaderboardError::file(
        path,
        format!(
            "this is not the ground truth that {} was evaluated against (SHA-256 {}… then, {}… now): restore it, name it with --gt, or evaluate again",
            folder.display(),
            &recorded.sha256()[..recorded.sha256().len().min(12)],
            &now[..12]
        ),
    ))
}

fn there(path: &Path, folder: &Path) -> Result<(), LeaderboardError> {
    if path.exists() {
        return Ok(());
    }
    Err(LeaderboardError::file(
        path,
        format!(
            "the ground truth of {} is not there any more: name it with --gt",
            folder.display()
        ),
    ))
}

/// Labels from a given file, or those beside the predictions.
fn given_classes(
    predictions: &Path,
    given: Option<&PathBuf>,
    classes: Vec<String>,
) -> Result<Truth, LeaderboardError> {
    let labels = match given {
        Some(file) => PictureLabels::read(file, None, None, Strictness::Strict)?.0,
        None => PredictionSet::read(predictions, None, None, Strictness::Lenient)?
            .0
            .labels(),
    };
    let pictures = labels.pictures().iter();
    Ok(Truth::Classes {
        classes,
        sha256: classes_sha256(pictures.map(|picture| (picture.name.as_str(), picture.label))),
    })
}

fn bare_labels(
    predictions: &Path,
    folder: &Path,
    given: &GivenTruth,
) -> Result<Truth, LeaderboardError> {
    let classes = match (&given.class_names, given.classes) {
        (Some(file), _) => read_class_names(file)?,
        (None, Some(count)) => (0..count).map(|class| format!("class {class}")).collect(),
        (None, None) => {
            return Err(LeaderboardError::file(
                predictions,
                "bare label maps do not say how many classes there are: give --class-names or --classes",
            ));
        }
    };
    Ok(Truth::Labels {
        folder: folder.to_owned(),
        reduce_zero_label: given.reduce_zero_label,
        ignore_index: Some(if classes.len() <= 255 { 255 } else { u16::MAX }),
        sha256: labels_sha256(folder, &label_maps(predictions)?)?,
        classes,
    })
}

/// Paths of the PNG files in a folder and below, relative to it, sorted.
pub(crate) fn label_maps(folder: &Path) -> Result<Vec<PathBuf>, LeaderboardError> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for file in std::fs::read_dir(&inner).map_err(LeaderboardError::read(&inner))? {
            let path = file.map_err(LeaderboardError::read(&inner))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "png")
                && let Ok(relative) = path.strip_prefix(folder)
            {
                found.push(relative.to_owned());
            }
        }
    }
    if found.is_empty() {
        return Err(LeaderboardError::file(
            folder,
            "it is neither a run, nor an evaluation, nor a folder of label maps: no PNG file is in it",
        ));
    }
    found.sort();
    Ok(found)
}
