//! Prediction files scored on the same pictures.

use std::path::PathBuf;

use super::meter::ClassificationMeter;
use super::outcomes::{ClassificationMetric, Outcomes};
use super::prediction::Prediction;
use super::prediction_set::PredictionSet;
use super::real::RealLabels;
use super::truth::PictureLabels;
use crate::bootstrap::{Bootstrap, BootstrapConfig, BootstrapSize, IntervalMethod, bootstrap};
use crate::error::EvalError;
use crate::strictness::{Skipped, Strictness};

/// More would be a mistaken column.
const MAX_CLASSES: usize = 1_000_000;

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
