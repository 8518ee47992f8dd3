//! Scores from areas: the formulas of mmsegmentation's `IoUMetric.total_area_to_metrics`, in double
//! precision (mmsegmentation computes in single precision and prints two digits).

use super::meter::ClassAreas;
use crate::report::Report;

/// Scores of one class, 0..=1; NaN where they have no value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassScores {
    /// Intersection over union; NaN for a class that is neither labelled nor predicted, 0 for one
    /// that is only predicted.
    pub iou: f64,
    /// Share of the class's pixels that are predicted as it, which is its recall too; NaN where it
    /// has none.
    pub accuracy: f64,
    /// Twice the intersection over the sum of labelled and predicted area.
    pub dice: f64,
    /// Harmonic mean of precision and recall. It equals Dice where both exist and are not both 0,
    /// and is NaN elsewhere.
    pub f_score: f64,
    /// Share of the pixels predicted as the class that are; NaN where there are none.
    pub precision: f64,
    /// Share of the class's pixels that are predicted as it.
    pub recall: f64,
}

impl ClassScores {
    /// Scores of a class with these areas.
    pub fn new(areas: &ClassAreas) -> Self {
        let [intersection, union, predicted, labelled] = [
            areas.intersection,
            areas.union(),
            areas.predicted,
            areas.labelled,
        ]
        .map(|pixels| pixels as f64);
        // 0 / 0 is the NaN that is wanted.
        let precision = intersection / predicted;
        let recall = intersection / labelled;
        Self {
            iou: intersection / union,
            accuracy: recall,
            dice: 2.0 * intersection / (predicted + labelled),
            f_score: 2.0 * precision * recall / (precision + recall),
            precision,
            recall,
        }
    }
}

/// Scores of a data set, 0..=1; NaN where they have no value. Means are over the classes that have
/// the score.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentationScores {
    /// Mean intersection over union.
    pub mean_iou: f64,
    /// Mean of the classes' accuracies.
    pub mean_accuracy: f64,
    /// Share of all labelled pixels that are right.
    pub pixel_accuracy: f64,
    /// Intersections over unions, weighted by the classes' shares of the labelled pixels.
    pub frequency_weighted_iou: f64,
    /// Mean Dice.
    pub mean_dice: f64,
    /// Mean F-score.
    pub mean_f_score: f64,
    /// Mean precision.
    pub mean_precision: f64,
    /// Mean recall.
    pub mean_recall: f64,
    /// Each class's.
    pub classes: Vec<ClassScores>,
}

impl SegmentationScores {
    /// Scores of a data set whose classes have these areas in total.
    pub fn new(areas: &[ClassAreas]) -> Self {
        let classes: Vec<ClassScores> = areas.iter().map(ClassScores::new).collect();
        let mean = |score: fn(&ClassScores) -> f64| {
            let (mut sum, mut count) = (0.0, 0u32);
            for value in classes.iter().map(score).filter(|value| !value.is_nan()) {
                sum += value;
                count += 1;
            }
            sum / f64::from(count)
        };
        let right: u64 = areas.iter().map(|class| class.intersection).sum();
        let labelled: u64 = areas.iter().map(|class| class.labelled).sum();
        let weighted: f64 = areas
            .iter()
            .zip(&classes)
            .filter(|(areas, _)| areas.labelled > 0)
            .map(|(areas, scores)| areas.labelled as f64 * scores.iou)
            .sum();
        Self {
            mean_iou: mean(|class| class.iou),
            mean_accuracy: mean(|class| class.accuracy),
            pixel_accuracy: right as f64 / labelled as f64,
            frequency_weighted_iou: weighted / labelled as f64,
            mean_dice: mean(|class| class.dice),
            mean_f_score: mean(|class| class.f_score),
            mean_precision: mean(|class| class.precision),
            mean_recall: mean(|class| class.recall),
            classes,
        }
    }

    /// The scores as a table, in per cent and under mmsegmentation's names.
    pub fn report(&self) -> Report {
        [
            ("mIoU", self.mean_iou),
            ("mAcc", self.mean_accuracy),
            ("aAcc", self.pixel_accuracy),
            ("fwIoU", self.frequency_weighted_iou),
            ("mDice", self.mean_dice),
            ("mFscore", self.mean_f_score),
            ("mPrecision", self.mean_precision),
            ("mRecall", self.mean_recall),
        ]
        .into_iter()
        .map(|(name, value)| (name, 100.0 * value))
        .collect()
    }
}
