//! Prediction files scored on the same pictures.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::class_list::ClassList;
use super::meter::ClassificationMeter;
use super::outcomes::{ClassificationMetric, Outcomes};
use super::prediction::Prediction;
use super::reader::{PredictionsReader, without_name};
use super::real::RealLabels;
use super::truth::{LabelledPicture, PictureLabels};
use crate::bootstrap::{Bootstrap, BootstrapConfig, BootstrapSize, IntervalMethod, bootstrap};
use crate::error::EvalError;
use crate::strictness::{Skipped, Strictness};

/// More would be a mistaken column.
const MAX_CLASSES: usize = 1_000_000;

/// One file of predictions, each found in the ground truth.
#[derive(Debug)]
pub struct PredictionSet {
    path: PathBuf,
    rows: Vec<Row>,
    classes: Option<usize>,
}

#[derive(Debug)]
struct Row {
    /// Place in the ground truth.
    picture: usize,
    line: u64,
    prediction: Prediction,
}

impl PredictionSet {
    /// Reads a file that [`PredictionsReader`] understands. With a ground truth, labels come from
    /// there, and a row's own label must agree; without one, every row needs its own.
    ///
    /// # Errors
    /// When the file cannot be read or has no row that can be scored; under
    /// [`Strictness::Strict`] also when a record cannot be used, a picture occurs twice, is not in
    /// the ground truth or has no label.
    pub fn read(
        path: &Path,
        truth: Option<&PictureLabels>,
        classes: Option<&ClassList>,
        strictness: Strictness,
    ) -> Result<(Self, Skipped), EvalError> {
        let mut reader = PredictionsReader::with_classes(path, classes)?;
        let mut set = Self {
            path: reader.path().to_owned(),
            rows: Vec::new(),
            classes: reader.num_classes(),
        };
        let mut skipped = Skipped::default();
        let mut names = HashMap::new();
        let mut lines = HashMap::new();
        while let Some(record) = reader.next_record() {
            if reader.is_broken() {
                // What follows is unknown, which no leniency mends.
                record?;
                break;
            }
            let line = reader.line();
            let wrong = |problem: String| EvalError::record(reader.path(), line, problem);
            let row = record.and_then(|record| {
                if record.name.is_empty() {
                    return Err(wrong("column file is empty: name the picture".to_owned()));
                }
                let picture = match truth {
                    Some(truth) => truth.find(&record.name).ok_or_else(|| {
                        wrong(format!(
                            "picture \"{}\" is not in {}: predict the pictures that are labelled \
                             there",
                            record.name,
                            truth.path().display()
                        ))
                    })?,
                    None => {
                        let next = names.len();
                        *names.entry(record.name.clone()).or_insert(next)
                    }
                };
                if let Some(first) = lines.get(&picture) {
                    return Err(wrong(format!(
                        "picture \"{}\" is predicted already on line {first}: predict it once",
                        record.name
                    )));
                }
                let label = match (truth, record.label) {
                    (None, None) => {
                        return Err(wrong(format!(
                            "picture \"{}\" has no label: fill column label, or give a ground truth",
                            record.name
                        )));
                    }
                    (None, Some(label)) => label,
                    (Some(truth), own) => {
                        let known = truth.pictures()[picture].label;
                        if let Some(own) = own.filter(|&own| own != known) {
                            return Err(wrong(format!(
                                "label {own} disagrees with {}, line {}, which says {known}: \
                                 number the classes in one order, or remove column label",
                                truth.path().display(),
                                truth.pictures()[picture].line
                            )));
                        }
                        known
                    }
                };
                let prediction = record
                    .prediction(Some(label))
                    .map_err(|error| wrong(without_name(error)))?;
                Ok(Row {
                    picture,
                    line,
                    prediction,
                })
            });
            match row {
                Ok(row) => {
                    lines.insert(row.picture, line);
                    set.rows.push(row);
                }
                Err(error) => skipped.meet(strictness, error)?,
            }
        }
        if set.rows.is_empty() {
            let problem = match skipped.first() {
                Some(first) => format!("no prediction in it can be scored; the first: {first}"),
                None => "no prediction is in it: the file may have been cut off".to_owned(),
            };
            return Err(EvalError::file(&set.path, problem));
        }
        if truth.is_none() {
            // Rows left out have used up places, too.
            for (place, row) in set.rows.iter_mut().enumerate() {
                row.picture = place;
            }
        }
        Ok((set, skipped))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The labels of a set that was read without a ground truth, as ground truth of this and other
    /// sets.
    pub fn labels(&self) -> PictureLabels {
        let picture = |row: &Row| LabelledPicture {
            name: row.prediction.name.clone(),
            label: row.prediction.label.unwrap_or(usize::MAX),
            line: row.line,
        };
        let pictures = self.rows.iter().map(picture).collect();
        PictureLabels::new(self.path.clone(), pictures, false)
    }
}

/// What is scored, and how.
#[derive(Debug, Clone, Copy, Default)]
pub struct ComparisonOptions<'a> {
    /// Number of classes; by default what the files tell, at least the highest that occurs.
    pub classes: Option<usize>,
    /// Reassessed labels.
    pub real: Option<&'a RealLabels>,
    /// What happens where a picture cannot be scored for every set.
    pub strictness: Strictness,
}

/// Scores of one set of predictions.
#[derive(Debug)]
pub struct ScoredSet {
    /// The file.
    pub path: PathBuf,
    /// Accuracies, confusions and calibration.
    pub meter: ClassificationMeter,
    /// What was made of each picture.
    pub outcomes: Outcomes,
}

/// Sets of predictions scored on the same pictures.
#[derive(Debug)]
pub struct ClassificationComparison {
    /// One per set, in the order given.
    pub systems: Vec<ScoredSet>,
    /// Pictures scored.
    pub pictures: usize,
    /// Number of classes.
    pub classes: usize,
    /// Pictures left out because not every set can be scored on them.
    pub skipped: Skipped,
}

impl ClassificationComparison {
    /// Scores sets that were read with this ground truth, on the pictures that all of them predict.
    ///
    /// # Errors
    /// When the files tell different numbers of classes or share no picture, or reassessed labels
    /// do not fit; under [`Strictness::Strict`] also when a set misses a picture or a class number
    /// is too high.
    pub fn new(
        truth: &PictureLabels,
        sets: Vec<PredictionSet>,
        options: &ComparisonOptions<'_>,
    ) -> Result<Self, EvalError> {
        let known = known_classes(&sets, options.classes)?;
        let most = known.unwrap_or(MAX_CLASSES);
        let mut skipped = Skipped::default();
        let mut usable = vec![true; truth.pictures().len()];
        for (usable, picture) in usable.iter_mut().zip(truth.pictures()) {
            if picture.label >= most {
                let problem = format!(
                    "label {} of \"{}\" is no class from 0 to {}: correct it, or the number of \
                     classes",
                    picture.label,
                    picture.name,
                    most - 1
                );
                let error = EvalError::record(truth.path(), picture.line, problem);
                skipped.meet(options.strictness, error)?;
                *usable = false;
            }
        }
        let mut systems = Vec::with_capacity(sets.len());
        for set in sets {
            let rows = set.in_order(truth, &usable, most, options.strictness, &mut skipped)?;
            for (usable, row) in usable.iter_mut().zip(&rows) {
                *usable &= row.is_some();
            }
            systems.push((set.path, rows));
        }
        let common: Vec<usize> = (0..usable.len()).filter(|&at| usable[at]).collect();
        if common.is_empty() {
            let problem = "none of its pictures can be scored with every file of predictions";
            return Err(EvalError::file(truth.path(), problem));
        }
        let classes = known.unwrap_or_else(|| highest_class(&systems, &common) + 1);
        let real = match options.real {
            Some(real) => {
                let of = |&at: &usize| real.of(&truth.pictures()[at].name, classes);
                Some(common.iter().map(of).collect::<Result<Vec<_>, _>>()?)
            }
            None => None,
        };
        let mut scored = Vec::with_capacity(systems.len());
        for (path, rows) in systems {
            let mut meter = ClassificationMeter::new(classes);
            let mut outcomes = Outcomes::default();
            for (place, &at) in common.iter().enumerate() {
                if let Some(prediction) = &rows[at] {
                    meter.add(prediction)?;
                    let real = real.as_ref().map(|labels| labels[place]);
                    outcomes.add(prediction, classes, real);
                }
            }
            scored.push(ScoredSet {
                path,
                meter,
                outcomes,
            });
        }
        Ok(Self {
            systems: scored,
            pictures: common.len(),
            classes,
            skipped,
        })
    }

    /// Resamples the pictures. Metrics are those of [`ClassificationMetric::ALL`], in this order.
    /// The calibration error, which resampling can only raise, gets basic intervals.
    ///
    /// # Errors
    /// As of [`bootstrap`].
    pub fn bootstrap(
        &self,
        config: &BootstrapConfig,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Bootstrap, EvalError> {
        let size = BootstrapSize {
            images: self.pictures,
            systems: self.systems.len(),
            metrics: ClassificationMetric::ALL.len(),
        };
        let score = |system: usize, weights: &[u32], scores: &mut [f64]| {
            for (score, metric) in scores.iter_mut().zip(ClassificationMetric::ALL) {
                *score = self.systems[system].outcomes.score(metric, weights);
            }
        };
        let boot = bootstrap(size, config, score, progress)?;
        let methods = ClassificationMetric::ALL.iter().enumerate();
        Ok(methods.fold(boot, |boot, (at, metric)| match metric {
            ClassificationMetric::CalibrationError => boot.with_method(at, IntervalMethod::Basic),
            _ => boot,
        }))
    }
}

impl PredictionSet {
    /// The predictions in order of the ground truth; nothing where there is none.
    fn in_order(
        &self,
        truth: &PictureLabels,
        wanted: &[bool],
        classes: usize,
        strictness: Strictness,
        skipped: &mut Skipped,
    ) -> Result<Vec<Option<Prediction>>, EvalError> {
        let mut rows: Vec<Option<Prediction>> = vec![None; wanted.len()];
        let mut met = vec![false; wanted.len()];
        for row in &self.rows {
            let highest = row.prediction.top.iter().map(|ranked| ranked.class).max();
            let (Some(place), Some(met)) = (rows.get_mut(row.picture), met.get_mut(row.picture))
            else {
                continue;
            };
            *met = true;
            match highest.filter(|&class| class >= classes) {
                Some(class) => {
                    let problem = format!(
                        "class {class} is ranked, but there are {classes} classes (from 0): \
                         correct it, or the number of classes"
                    );
                    let error = EvalError::record(&self.path, row.line, problem);
                    skipped.meet(strictness, error)?;
                }
                None => *place = Some(row.prediction.clone()),
            }
        }
        let missing: Vec<&LabelledPicture> = (truth.pictures().iter().zip(wanted).zip(&met))
            .filter(|((_, wanted), met)| **wanted && !**met)
            .map(|((picture, _), _)| picture)
            .collect();
        for picture in &missing {
            let problem = format!(
                "{} of the {} pictures of {} have no prediction, the first is \"{}\" (line {} \
                 there): predict them all",
                missing.len(),
                wanted.len(),
                truth.path().display(),
                picture.name,
                picture.line
            );
            skipped.meet(strictness, EvalError::file(&self.path, problem))?;
        }
        Ok(rows)
    }
}

/// The number of classes that is asked for, or that files with one column per class have.
fn known_classes(sets: &[PredictionSet], asked: Option<usize>) -> Result<Option<usize>, EvalError> {
    let mut known = asked;
    for set in sets {
        let Some(classes) = set.classes else { continue };
        match known {
            Some(other) if other != classes => {
                let problem = format!(
                    "it tells of {classes} classes, but there are {other}: score models of the same classes"
                );
                return Err(EvalError::file(&set.path, problem));
            }
            _ => known = Some(classes),
        }
    }
    Ok(known)
}

fn highest_class(systems: &[(PathBuf, Vec<Option<Prediction>>)], common: &[usize]) -> usize {
    let predictions = systems
        .iter()
        .flat_map(|(_, rows)| common.iter().filter_map(|&at| rows[at].as_ref()));
    predictions
        .flat_map(|prediction| {
            let ranked = prediction.top.iter().map(|ranked| ranked.class);
            ranked.chain(prediction.label)
        })
        .max()
        .unwrap_or(0)
}
