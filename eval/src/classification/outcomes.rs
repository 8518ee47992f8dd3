//! Scores of weighted pictures from what is known of each: the fast half of the bootstrap.

use super::meter::{CALIBRATION_BINS, bin_of};
use super::prediction::{Prediction, TOP_K};

/// Additions in flight; the sum depends on it, but not on the machine.
const LANES: usize = 8;
/// Bin of a picture without a probability: its sum is thrown away.
const NO_BIN: u8 = CALIBRATION_BINS as u8;

/// All bits set for yes and none for no, so that a picture's weight is masked, not multiplied.
type Mark = i8;

fn mark(yes: bool) -> Mark {
    -Mark::from(yes)
}

/// A score of classification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassificationMetric {
    /// Share of the pictures whose class is ranked first.
    Top1,
    /// Share whose class is among the first five.
    Top5,
    /// Mean cross-entropy.
    Loss,
    /// Expected calibration error, as of
    /// [`ClassificationMeter::calibration_error`](super::ClassificationMeter::calibration_error).
    CalibrationError,
    /// Share of the pictures with reassessed labels whose first class is one of these.
    Real,
}

impl ClassificationMetric {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::Top1,
        Self::Top5,
        Self::Loss,
        Self::CalibrationError,
        Self::Real,
    ];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Top1 => "top1",
            Self::Top5 => "top5",
            Self::Loss => "loss",
            Self::CalibrationError => "calibration_error",
            Self::Real => "real",
        }
    }
}

/// What one system made of each picture.
#[derive(Debug, Clone, Default)]
pub struct Outcomes {
    top1: Vec<Mark>,
    top5: Vec<Mark>,
    /// Some rankings are too short to know.
    top5_unknown: bool,
    /// 0 where there is none.
    loss: Vec<f64>,
    has_loss: Vec<Mark>,
    /// Hit minus confidence.
    gap: Vec<f64>,
    bin: Vec<u8>,
    has_bin: Vec<Mark>,
    real: Vec<Mark>,
    has_real: Vec<Mark>,
}

impl Outcomes {
    /// Adds a picture. `classes` is their number; `real` its reassessed labels, where there are
    /// such labels (all pictures or none).
    ///
    /// Pictures without a label must be left out before.
    pub fn add(&mut self, prediction: &Prediction, classes: usize, real: Option<&[u32]>) {
        let hit = prediction.hit(1) == Some(true);
        self.top1.push(mark(hit));
        self.top5.push(mark(prediction.hit(TOP_K) == Some(true)));
        self.top5_unknown |= prediction.top.len() < TOP_K.min(classes);
        self.loss.push(prediction.loss.unwrap_or(0.0));
        self.has_loss.push(mark(prediction.loss.is_some()));
        let best = prediction.best();
        let confidence = best.and_then(|best| best.probability);
        self.has_bin.push(mark(confidence.is_some()));
        match confidence {
            Some(confidence) => {
                self.gap.push(f64::from(u8::from(hit)) - confidence);
                self.bin.push(bin_of(confidence) as u8);
            }
            None => {
                self.gap.push(0.0);
                self.bin.push(NO_BIN);
            }
        }
        if let Some(labels) = real {
            let class = best.map(|best| best.class);
            let seen = labels.iter().any(|&label| Some(label as usize) == class);
            self.real.push(mark(seen));
            self.has_real.push(mark(!labels.is_empty()));
        }
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.top1.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.top1.is_empty()
    }

    /// A score where picture `i` counts `weights[i]` times; accuracies and the calibration error
    /// are in 0..=1. NaN where no picture that counts has what the score needs.
    pub fn score(&self, metric: ClassificationMetric, weights: &[u32]) -> f64 {
        // 0 / 0 is the NaN that is wanted.
        match metric {
            ClassificationMetric::Top1 => count(&self.top1, weights) / total(weights),
            ClassificationMetric::Top5 if self.top5_unknown => f64::NAN,
            ClassificationMetric::Top5 => count(&self.top5, weights) / total(weights),
            ClassificationMetric::Loss => sum(&self.loss, weights) / count(&self.has_loss, weights),
            ClassificationMetric::CalibrationError => self.calibration_error(weights),
            ClassificationMetric::Real => {
                count(&self.real, weights) / count(&self.has_real, weights)
            }
        }
    }

    fn calibration_error(&self, weights: &[u32]) -> f64 {
        // Neighbouring pictures mostly share a bin; several sums let their additions overlap.
        let mut gaps = [[0.0; CALIBRATION_BINS + 1]; LANES];
        let mut add = |bins: &[u8], gap: &[f64], weights: &[u32]| {
            let rows = bins.iter().zip(gap).zip(weights);
            for (gaps, ((&bin, &gap), &weight)) in gaps.iter_mut().zip(rows) {
                // The bin is in range; the remainder tells the compiler so.
                gaps[usize::from(bin) % (CALIBRATION_BINS + 1)] += f64::from(weight) * gap;
            }
        };
        let (bins, rest_bins) = self.bin.as_chunks::<LANES>();
        let (gap, rest_gap) = self.gap.as_chunks::<LANES>();
        let (whole, rest_weights) = weights.as_chunks::<LANES>();
        for ((bins, gap), weights) in bins.iter().zip(gap).zip(whole) {
            add(bins, gap, weights);
        }
        add(rest_bins, rest_gap, rest_weights);
        let gap = |bin: usize| gaps.iter().map(|sums| sums[bin]).sum::<f64>().abs();
        (0..CALIBRATION_BINS).map(gap).sum::<f64>() / count(&self.has_bin, weights)
    }
}

fn total(weights: &[u32]) -> f64 {
    weights.iter().map(|&weight| u64::from(weight)).sum::<u64>() as f64
}

/// How many of the pictures that count are marked.
fn count(marks: &[Mark], weights: &[u32]) -> f64 {
    let masked = |(&mark, &weight): (&Mark, &u32)| weight & i32::from(mark).cast_unsigned();
    let pairs = marks.iter().zip(weights);
    // Where no partial sum can exceed 32 bits, as in every resample, these are twice as fast.
    if weights.iter().map(|&weight| u64::from(weight)).sum::<u64>() <= u64::from(u32::MAX) {
        f64::from(pairs.map(masked).fold(0_u32, u32::wrapping_add))
    } else {
        pairs.map(|pair| u64::from(masked(pair))).sum::<u64>() as f64
    }
}

fn sum(values: &[f64], weights: &[u32]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    let (whole_weights, rest_weights) = weights.as_chunks::<LANES>();
    for (values, weights) in whole.iter().zip(whole_weights) {
        for lane in 0..LANES {
            lanes[lane] += values[lane] * f64::from(weights[lane]);
        }
    }
    for ((lane, value), &weight) in lanes.iter_mut().zip(rest).zip(rest_weights) {
        *lane += value * f64::from(weight);
    }
    lanes.iter().sum()
}
