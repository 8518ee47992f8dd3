//! Whether scores are the probabilities that they look like: precision against score.

use std::path::Path;

use super::matching::{Matches, NOT_OVERLAPPING};
use crate::classification::CALIBRATION_BINS;
use crate::error::EvalError;
use crate::file::CsvFile;
use crate::report::Report;

/// How calibration is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrationOptions {
    /// The IoU threshold at which a detection is right; one of the parameters'.
    pub iou: f64,
    /// Bins of equal width, 1 to 1000.
    pub bins: usize,
    /// Detections of lower scores are left out.
    pub min_score: f64,
}

impl Default for CalibrationOptions {
    /// IoU 0.50 and as many bins as in classification; all detections.
    fn default() -> Self {
        Self {
            iou: 0.5,
            bins: CALIBRATION_BINS,
            min_score: 0.0,
        }
    }
}

/// Detections whose scores are greater than `above` and at most `up_to`; the first bin holds 0 too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreBin {
    /// Lower end, which the bin does not hold.
    pub above: f64,
    /// Upper end.
    pub up_to: f64,
    /// Detections.
    pub count: u64,
    /// Of these, right ones.
    pub right: u64,
    /// Mean score; nothing where there are no detections.
    pub score: Option<f64>,
    /// Share of right ones, likewise.
    pub precision: Option<f64>,
}

/// Precision of detections by score.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectionCalibration {
    /// Bins in ascending order of scores.
    pub bins: Vec<ScoreBin>,
    /// Detections outside 0..=1, which are no probabilities and left out.
    pub no_probability: u64,
}

impl Matches<'_> {
    /// Precision of detections by score, all categories together. Detections that match a crowd are
    /// left out, as in AP, and so are those beyond the largest limit per picture and category.
    ///
    /// # Errors
    /// When the IoU is not among the parameters' thresholds, the number of bins is not 1 to 1000, or
    /// the lowest score is no number.
    pub fn calibration(
        &self,
        options: &CalibrationOptions,
    ) -> Result<DetectionCalibration, EvalError> {
        let CalibrationOptions {
            iou,
            bins: count,
            min_score,
        } = *options;
        let thresholds = &self.params().iou_thresholds;
        let Some(threshold) = thresholds.iter().position(|&t| (t - iou).abs() < 1e-9) else {
            return Err(EvalError::Params(format!(
                "calibration at IoU {iou} needs this among the IoU thresholds"
            )));
        };
        if !(1..=1000).contains(&count) || min_score.is_nan() {
            return Err(EvalError::Params(format!(
                "calibration needs 1 to 1000 bins and a lowest score that is a number, not {count} and {min_score}"
            )));
        }
        let ends: Vec<f64> = (1..=count).map(|end| end as f64 / count as f64).collect();
        let mut bins = vec![(0u64, 0u64, 0.0f64); count];
        let mut no_probability = 0;
        let areas = self.params().areas.len();
        let rows = self.detections().rows();
        for group in &self.groups {
            for ((&row, &entry), &outside) in
                group.rows.iter().zip(&group.entries).zip(&group.outside)
            {
                // Of the area ranges the first counts, which is the headline.
                let (right, ignored) = if entry == NOT_OVERLAPPING {
                    (false, outside & 1 == 1)
                } else {
                    let outcome = group.outcomes[entry as usize * areas];
                    let of = |word: u32| word >> threshold & 1 == 1;
                    (of(outcome.matched), of(outcome.ignored))
                };
                let score = rows[row as usize].score;
                if ignored || score < min_score {
                    continue;
                }
                if !(0.0..=1.0).contains(&score) {
                    no_probability += 1;
                    continue;
                }
                let bin = &mut bins[ends.partition_point(|&end| end < score)];
                bin.0 += 1;
                bin.1 += u64::from(right);
                bin.2 += score;
            }
        }
        let bins = bins
            .into_iter()
            .enumerate()
            .map(|(place, (all, right, sum))| {
                let mean = |sum: f64| (all > 0).then(|| sum / all as f64);
                ScoreBin {
                    above: place as f64 / count as f64,
                    up_to: (place + 1) as f64 / count as f64,
                    count: all,
                    right,
                    score: mean(sum),
                    precision: mean(right as f64),
                }
            });
        Ok(DetectionCalibration {
            bins: bins.collect(),
            no_probability,
        })
    }
}

impl DetectionCalibration {
    /// Detections in the bins.
    pub fn count(&self) -> u64 {
        self.bins.iter().map(|bin| bin.count).sum()
    }

    /// Expected calibration error of detections (Küppers, Kronenberger, Shantia and Haselhoff,
    /// "Multivariate Confidence Calibration for Object Detection", CVPR Workshops 2020): the distance
    /// between precision and mean score, averaged over the bins by their counts. This is its form in
    /// the score alone, without position and size. Nothing where there are no detections.
    pub fn error(&self) -> Option<f64> {
        self.averaged(f64::abs)
    }

    /// Mean score minus precision: above 0 where detections promise too much.
    pub fn overconfidence(&self) -> Option<f64> {
        self.averaged(|gap| gap)
    }

    fn averaged(&self, of: impl Fn(f64) -> f64) -> Option<f64> {
        let mut sum = 0.0;
        for bin in &self.bins {
            if let (Some(score), Some(precision)) = (bin.score, bin.precision) {
                sum += bin.count as f64 * of(score - precision);
            }
        }
        let count = self.count();
        (count > 0).then(|| sum / count as f64)
    }

    /// `D-ECE`, `overconfidence`, and the detections behind them; NaN where there are none.
    pub fn report(&self) -> Report {
        let value = |value: Option<f64>| value.unwrap_or(f64::NAN);
        [
            ("D-ECE", value(self.error())),
            ("overconfidence", value(self.overconfidence())),
            ("calibrated_detections", self.count() as f64),
        ]
        .into_iter()
        .collect()
    }

    /// Writes one line per bin; mean score and precision are empty where there are no detections.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_csv(&self, path: &Path) -> Result<(), EvalError> {
        let columns = ["above", "up_to", "count", "right", "score", "precision"];
        let mut csv = CsvFile::create(path, &columns)?;
        let text = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        for bin in &self.bins {
            csv.row([
                bin.above.to_string(),
                bin.up_to.to_string(),
                bin.count.to_string(),
                bin.right.to_string(),
                text(bin.score),
                text(bin.precision),
            ])?;
        }
        csv.finish()
    }
}
