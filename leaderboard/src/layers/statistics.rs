//! Scores of systems with their intervals, and differences.
//!
//! A system of several checkpoints has intervals over its trainings: Student's t for a mean, Welch's for a
//! difference. One of a single checkpoint has intervals over pictures; a difference is then of the same pictures,
//! pair by pair. No interval is adjusted for the number of layers and measures.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

use super::measure::{LayerMeasure, LayerSet};
use super::{CheckpointFindings, LayerScore, MeasuredLayers, Over};

/// Share of intervals that are to cover the truth.
pub(crate) const CONFIDENCE: f64 = 0.95;

/// A measure of one checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// What is measured.
    pub measure: LayerMeasure,
    /// The numbers.
    pub values: Values,
}

/// Numbers of layers.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// `[layers][pictures]`, the pictures in one order in every checkpoint; a measure is their mean.
    OfPictures(Vec<Vec<f64>>),
    /// Layer, from 1, and value.
    OfLayers(Vec<(usize, f64)>),
}

impl Measured {
    /// Means over pictures.
    pub(super) fn by_layer(&self) -> MeasuredLayers {
        let values = match &self.values {
            Values::OfLayers(values) => values.clone(),
            Values::OfPictures(layers) => (1..)
                .zip(layers.iter().map(|pictures| mean(pictures)))
                .collect(),
        };
        MeasuredLayers {
            measure: self.measure,
            values: values
                .into_iter()
                .filter(|(_, value)| value.is_finite())
                .collect(),
        }
    }

    /// Its value on a set of layers, and what each picture says where pictures do.
    fn on(&self, set: LayerSet, depth: usize) -> Option<(f64, Option<Vec<f64>>)> {
        let value = match &self.values {
            Values::OfLayers(values) => {
                let chosen: Vec<f64> = values
                    .iter()
                    .filter(|(layer, _)| set.holds(*layer, depth))
                    .map(|(_, value)| *value)
                    .collect();
                (mean(&chosen), None)
            }
            Values::OfPictures(layers) => {
                let chosen: Vec<&Vec<f64>> = (1..)
                    .zip(layers)
                    .filter(|(layer, _)| set.holds(*layer, depth))
                    .map(|(_, pictures)| pictures)
                    .collect();
                let pictures = chosen.first().map_or(0, |first| first.len());
                let of_picture = |at: usize| {
                    chosen.iter().map(|layer| layer[at]).sum::<f64>() / chosen.len() as f64
                };
                let each: Vec<f64> = (0..pictures).map(of_picture).collect();
                (mean(&each), Some(each))
            }
        };
        value.0.is_finite().then_some(value)
    }
}

/// A system's checkpoints on one measure and set of layers.
struct Sample {
    values: Vec<f64>,
    /// Of the only checkpoint.
    pictures: Option<Vec<f64>>,
}

/// All scores, and all differences from the first system.
pub(super) fn scores(
    systems: &[String],
    findings: &[CheckpointFindings],
) -> (Vec<LayerScore>, Vec<LayerScore>) {
    let depth = |found: &CheckpointFindings| found.checkpoint.layers;
    let deepest = findings.iter().map(depth).max().unwrap_or(0);
    let sets: Vec<LayerSet> = [LayerSet::All, LayerSet::Shallow]
        .into_iter()
        .chain((1..=deepest).map(LayerSet::One))
        .collect();
    let (mut scores, mut differences) = (Vec::new(), Vec::new());
    for measure in LayerMeasure::ALL {
        for set in &sets {
            let samples: Vec<Option<Sample>> = systems
                .iter()
                .map(|system| sample(system, measure, *set, findings))
                .collect();
            let score =
                |system: &String, base: Option<&String>, sample: &Sample, judged: Judged| {
                    LayerScore {
                        measure,
                        layers: *set,
                        system: system.clone(),
                        base: base.cloned(),
                        value: judged.value,
                        interval: judged.interval,
                        over: judged.over,
                        checkpoints: sample.values.len(),
                    }
                };
            for (system, own) in systems.iter().zip(&samples) {
                if let Some(own) = own {
                    scores.push(score(system, None, own, own.judged()));
                }
            }
            let Some((base, Some(first))) = systems
                .first()
                .zip(samples.first())
                .map(|(name, of)| (name, of.as_ref()))
            else {
                continue;
            };
            for (system, own) in systems.iter().zip(&samples).skip(1) {
                if let Some(own) = own {
                    differences.push(score(system, Some(base), own, own.minus(first)));
                }
            }
        }
    }
    (scores, differences)
}

fn sample(
    system: &str,
    measure: LayerMeasure,
    set: LayerSet,
    findings: &[CheckpointFindings],
) -> Option<Sample> {
    let mut found: Vec<(f64, Option<Vec<f64>>)> = findings
        .iter()
        .filter(|found| found.checkpoint.system == system)
        .filter_map(|found| {
            let measured = found.measured.iter().find(|one| one.measure == measure)?;
            measured.on(set, found.checkpoint.layers)
        })
        .collect();
    let pictures = match &mut found[..] {
        [] => return None,
        [(_, pictures)] => pictures.take(),
        _ => None,
    };
    Some(Sample {
        values: found.into_iter().map(|(value, _)| value).collect(),
        pictures,
    })
}

/// A value with its interval.
struct Judged {
    value: f64,
    interval: Option<[f64; 2]>,
    over: Over,
}

impl Judged {
    fn new(value: f64, error: Option<f64>, quantile: f64, over: Over) -> Self {
        let error = error.filter(|error| error.is_finite());
        Self {
            value,
            interval: error.map(|error| [value - quantile * error, value + quantile * error]),
            over: match error {
                Some(_) => over,
                None => Over::Nothing,
            },
        }
    }
}

impl Sample {
    fn judged(&self) -> Judged {
        let value = mean(&self.values);
        if self.values.len() > 1 {
            let error = squared_error(&self.values).sqrt();
            let freedom = self.values.len() as f64 - 1.0;
            return Judged::new(value, Some(error), student(freedom), Over::Seeds);
        }
        let error = self
            .pictures
            .as_deref()
            .map(|each| squared_error(each).sqrt());
        Judged::new(value, error, normal(), Over::Pictures)
    }

    fn minus(&self, base: &Self) -> Judged {
        let value = mean(&self.values) - mean(&base.values);
        if self.values.len() > 1 && base.values.len() > 1 {
            let parts = [self, base].map(|sample| squared_error(&sample.values));
            let together = parts[0] + parts[1];
            // Welch and Satterthwaite.
            let spent: f64 = [self, base]
                .iter()
                .zip(parts)
                .map(|(sample, part)| part * part / (sample.values.len() as f64 - 1.0))
                .sum();
            let quantile = match together > 0.0 {
                true => student(together * together / spent),
                false => 0.0,
            };
            return Judged::new(value, Some(together.sqrt()), quantile, Over::Seeds);
        }
        let (Some(own), Some(others)) = (&self.pictures, &base.pictures) else {
            return Judged::new(value, None, 0.0, Over::Nothing);
        };
        if own.len() != others.len() {
            return Judged::new(value, None, 0.0, Over::Nothing);
        }
        let each: Vec<f64> = own.iter().zip(others).map(|(a, b)| a - b).collect();
        Judged::new(
            value,
            Some(squared_error(&each).sqrt()),
            normal(),
            Over::Pictures,
        )
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Of the mean; NaN of fewer than two values.
fn squared_error(values: &[f64]) -> f64 {
    let (mean, count) = (mean(values), values.len() as f64);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    squares / (count - 1.0) / count
}

fn normal() -> f64 {
    Normal::standard().inverse_cdf(0.5 + CONFIDENCE / 2.0)
}

/// NaN without a degree of freedom.
fn student(freedom: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::NAN, |t| t.inverse_cdf(0.5 + CONFIDENCE / 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64], pictures: Option<&[f64]>) -> Sample {
        Sample {
            values: values.to_vec(),
            pictures: pictures.map(<[f64]>::to_vec),
        }
    }

    fn near(judged: &Judged, value: f64, half: f64, over: Over) {
        let [low, high] = judged.interval.unwrap();
        assert!((judged.value - value).abs() < 1e-9);
        assert!(
            (judged.value - low - half).abs() < 1e-3,
            "{}",
            judged.value - low
        );
        assert!((high - judged.value - half).abs() < 1e-3);
        assert_eq!(judged.over, over);
    }

    /// By hand. Of 1, 2, 3 the standard error is 1 / √3 and t(2) = 4.3027. Against 11, 12, 16 (mean 13, variance 7)
    /// Welch's error is √(1/3 + 7/3) with (8/3)² / (1/18 + 49/18) = 2.56 degrees of freedom, t = 3.5154.
    #[test]
    fn trainings_make_intervals_by_student_and_welch() {
        near(
            &of(&[1.0, 2.0, 3.0], None).judged(),
            2.0,
            4.3027 / 3f64.sqrt(),
            Over::Seeds,
        );
        let gap = of(&[11.0, 12.0, 16.0], None).minus(&of(&[1.0, 2.0, 3.0], None));
        near(&gap, 11.0, 3.5154 * (8f64 / 3.0).sqrt(), Over::Seeds);
    }

    /// By hand: differences 1, 1, 0, 0 have mean 1/2 and standard error √(1/3 / 4).
    #[test]
    fn one_training_has_intervals_over_its_pictures_in_pairs() {
        let (a, b) = ([1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0]);
        let gap = of(&[0.75], Some(&a)).minus(&of(&[0.25], Some(&b)));
        near(&gap, 0.5, 1.95996 * (1f64 / 12.0).sqrt(), Over::Pictures);
        let alone = of(&[0.75], None).minus(&of(&[0.25], Some(&b)));
        assert!(alone.interval.is_none() && alone.over == Over::Nothing);
    }

    #[test]
    fn sets_of_layers_average_within_pictures() {
        let measured = Measured {
            measure: LayerMeasure::Knn,
            values: Values::OfPictures(vec![
                vec![1.0, 0.0],
                vec![0.0, 0.0],
                vec![1.0, 1.0],
                vec![1.0, 0.0],
            ]),
        };
        let (value, each) = measured.on(LayerSet::Shallow, 4).unwrap();
        assert_eq!((value, each.unwrap()), (0.25, vec![0.5, 0.0]));
        assert_eq!(measured.on(LayerSet::All, 4).unwrap().0, 0.5);
        assert_eq!(measured.on(LayerSet::One(3), 4).unwrap().0, 1.0);
        assert!(measured.on(LayerSet::One(5), 4).is_none());
    }
}
