//! How often to resample, what to compare, and which interval to read off.

use crate::error::EvalError;

/// Fewer could not resolve the ends of a 95 % interval.
const FEWEST: usize = 100;
/// More would be a slip of the keyboard.
const MOST: usize = 1_000_000;
/// Values kept at most, over systems, metrics and resamples: 2 GB.
const MOST_VALUES: usize = 1 << 28;

/// How to resample.
#[derive(Debug, Clone, PartialEq)]
pub struct BootstrapConfig {
    /// Resamples; 1000 or more for p-values worth printing.
    pub resamples: usize,
    /// Seed of the draws. The same seed and number of images draw the same images everywhere.
    pub seed: u64,
    /// Share of intervals that cover the truth, between 0 and 1.
    pub confidence: f64,
}

impl Default for BootstrapConfig {
    fn default() -> Self {
        Self {
            resamples: 2000,
            seed: 0,
            confidence: 0.95,
        }
    }
}

/// How an interval is read off the resampled scores.
///
/// Coverage of nominal 95 % intervals in 200 to 500 simulated data sets each
/// (`examples/bootstrap_coverage.rs`):
///
/// | score | images | percentile | basic |
/// |---|---:|---:|---:|
/// | accuracy of 90 % | 50 | 96 % | 89 % |
/// | accuracy of 90 % | 300 | 96 % | 95 % |
/// | mean IoU of 40 classes | 200 | 94 % | 89 % |
/// | mean IoU of 40 classes | 1000 | 95 % | 94 % |
/// | calibration error of 4.4 % | 500 | 37 % | 87 % |
/// | calibration error of 4.4 % | 10,000 | 95 % | 95 % |
/// | calibration error of 1.3 % | 2000 | 0 % | 89 % |
/// | calibration error of 1.3 % | 10,000 | 76 % | 84 % |
///
/// A calibration error near 0 is hard for both: its intervals are to be read with care below some
/// 2 %, or on few images.
///
/// `examples/difference_coverage.rs` compares the methods for average precision and for mean IoU with many
/// rare classes, and for differences (docs/RELIABILITY.md). Classification is read off percentiles, average
/// precision with bias-corrected ends, mean IoU with basic ones, and every difference of these off
/// percentiles.
///
/// BCa intervals would need every score with each image left out in turn, which costs more than
/// the resamples where a score is an average precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IntervalMethod {
    /// The quantiles of the resampled scores.
    #[default]
    Percentile,
    /// The quantiles mirrored at the score itself. For scores that resampling shifts to one side
    /// (the noise of a resample can only raise an expected calibration error), whose percentile
    /// interval may not even hold the score. Its ends may leave the range of the score.
    Basic,
    /// The quantiles of the resampled scores, shifted by as much as the score's own rank among them is off
    /// the middle (Efron, *Nonparametric standard errors and confidence intervals*, 1981, section 6). For
    /// scores that resampling moves, such as average precision: a picture drawn twice brings its detections
    /// twice, one behind the other.
    BiasCorrected,
}

/// What is resampled and scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootstrapSize {
    /// Images to draw from.
    pub images: usize,
    /// Systems under comparison: models, or files of results.
    pub systems: usize,
    /// Scores that each gets per resample.
    pub metrics: usize,
}

impl BootstrapConfig {
    /// Refuses what cannot be resampled.
    pub(super) fn check(&self, size: &BootstrapSize) -> Result<(), EvalError> {
        let wrong = |problem: String| Err(EvalError::Bootstrap { problem });
        if !(FEWEST..=MOST).contains(&self.resamples) {
            return wrong(format!(
                "{} resamples were asked for: use {FEWEST} to {MOST}, 1000 or more for p-values",
                self.resamples
            ));
        }
        // Also refuses NaN.
        if !(self.confidence > 0.0 && self.confidence < 1.0) {
            return wrong(format!(
                "a confidence of {} was asked for: use one between 0 and 1, such as 0.95",
                self.confidence
            ));
        }
        if size.images == 0 || size.systems == 0 || size.metrics == 0 {
            return wrong(format!(
                "there is nothing to resample ({} images, {} systems, {} metrics)",
                size.images, size.systems, size.metrics
            ));
        }
        if u32::try_from(size.images).is_err() {
            return wrong(format!(
                "{} images are more than can be resampled: use at most {}",
                size.images,
                u32::MAX
            ));
        }
        let values = size
            .systems
            .checked_mul(size.metrics)
            .and_then(|values| values.checked_mul(self.resamples));
        if values.is_none_or(|values| values > MOST_VALUES) {
            return wrong(format!(
                "{} resamples of {} metrics of {} systems do not fit in memory: use fewer",
                self.resamples, size.metrics, size.systems
            ));
        }
        Ok(())
    }
}
