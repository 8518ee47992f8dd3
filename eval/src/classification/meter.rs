//! Accuracy, loss, per-class scores, confusions and calibration from a stream of predictions.

use std::collections::BTreeMap;

use super::prediction::{Prediction, TOP_K, check_label};
use crate::error::EvalError;
use crate::report::Report;

/// Bins of the expected calibration error.
pub const CALIBRATION_BINS: usize = 15;

/// Counts of one class.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ClassTally {
    /// Pictures of this class.
    pub count: u64,
    /// Of these, with the class ranked first.
    pub top1: u64,
    /// Of these, with the class among the first five.
    pub top5: u64,
    /// Labelled pictures of any class for which this one was ranked first.
    pub predicted: u64,
    /// Sum of the losses of this class's pictures.
    pub loss: f64,
}

/// How often one class was taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confusion {
    /// True class.
    pub label: usize,
    /// Class ranked first instead.
    pub predicted: usize,
    /// Pictures.
    pub count: u64,
}

/// One bar of a reliability diagram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrationBin {
    /// Confidences of the bin are greater than this.
    pub above: f64,
    /// And at most this.
    pub up_to: f64,
    /// Pictures.
    pub count: u64,
    /// Mean probability of the class ranked first; nothing where there are no pictures.
    pub confidence: Option<f64>,
    /// Share for which that class is right, likewise.
    pub accuracy: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Bin {
    count: u64,
    hits: u64,
    confidence: f64,
}

/// Scores a stream of predictions; meters of parts can be merged.
///
/// Pictures without a label are counted and otherwise left out. The loss is the mean over the
/// pictures that carry one (MAE's log averages batch means, which differs where the last batch is
/// smaller).
#[derive(Debug, Clone, PartialEq)]
pub struct ClassificationMeter {
    tallies: Vec<ClassTally>,
    confusions: BTreeMap<(usize, usize), u64>,
    bins: [Bin; CALIBRATION_BINS],
    unlabelled: u64,
    losses: u64,
    loss: f64,
}

impl ClassificationMeter {
    /// An empty meter.
    pub fn new(classes: usize) -> Self {
        Self {
            tallies: vec![ClassTally::default(); classes],
            confusions: BTreeMap::new(),
            bins: [Bin::default(); CALIBRATION_BINS],
            unlabelled: 0,
            losses: 0,
            loss: 0.0,
        }
    }

    /// Adds one prediction.
    ///
    /// # Errors
    /// When a class of the prediction does not exist, nothing is ranked, or a probability or loss
    /// is no number; the meter is unchanged then.
    pub fn add(&mut self, prediction: &Prediction) -> Result<(), EvalError> {
        let classes = self.tallies.len();
        let wrong = |problem: String| Err(EvalError::prediction(&prediction.name, problem));
        check_label(&prediction.name, prediction.label, classes)?;
        let Some(best) = prediction.best() else {
            return wrong("no class is ranked".to_owned());
        };
        for ranked in &prediction.top {
            if ranked.class >= classes {
                return wrong(format!(
                    "class {} is ranked, but there are {classes} classes (from 0)",
                    ranked.class
                ));
            }
            if let Some(probability) = ranked.probability
                && !is_probability(probability)
            {
                return wrong(format!(
                    "class {} has probability {probability}, which is not between 0 and 1",
                    ranked.class
                ));
            }
        }
        if let Some(loss) = prediction.loss.filter(|loss| !loss.is_finite()) {
            return wrong(format!("its loss is {loss}"));
        }

        let Some(label) = prediction.label else {
            self.unlabelled += 1;
            return Ok(());
        };
        let hit = best.class == label;
        self.tallies[best.class].predicted += 1;
        let tally = &mut self.tallies[label];
        tally.count += 1;
        tally.top1 += u64::from(hit);
        tally.top5 += u64::from(prediction.hit(TOP_K) == Some(true));
        if let Some(loss) = prediction.loss {
            tally.loss += loss;
            self.loss += loss;
            self.losses += 1;
        }
        if !hit {
            *self.confusions.entry((label, best.class)).or_default() += 1;
        }
        if let Some(confidence) = best.probability {
            let bin = &mut self.bins[bin_of(confidence)];
            bin.count += 1;
            bin.hits += u64::from(hit);
            bin.confidence += confidence;
        }
        Ok(())
    }

    /// Adds what another meter has seen. Counts are as if one meter had seen both; sums of floats
    /// agree up to rounding.
    ///
    /// # Errors
    /// When the meters count different numbers of classes.
    pub fn merge(&mut self, other: &Self) -> Result<(), EvalError> {
        let (left, right) = (self.tallies.len(), other.tallies.len());
        if left != right {
            return Err(EvalError::Classes { left, right });
        }
        for (mine, theirs) in self.tallies.iter_mut().zip(&other.tallies) {
            mine.count += theirs.count;
            mine.top1 += theirs.top1;
            mine.top5 += theirs.top5;
            mine.predicted += theirs.predicted;
            mine.loss += theirs.loss;
        }
        for (pair, count) in &other.confusions {
            *self.confusions.entry(*pair).or_default() += count;
        }
        for (mine, theirs) in self.bins.iter_mut().zip(&other.bins) {
            mine.count += theirs.count;
            mine.hits += theirs.hits;
            mine.confidence += theirs.confidence;
        }
        self.unlabelled += other.unlabelled;
        self.losses += other.losses;
        self.loss += other.loss;
        Ok(())
    }

    /// Number of classes.
    pub fn num_classes(&self) -> usize {
        self.tallies.len()
    }

    /// Labelled pictures seen.
    pub fn count(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.count).sum()
    }

    /// Pictures seen that carry no label.
    pub fn unlabelled(&self) -> u64 {
        self.unlabelled
    }

    /// Share of the labelled pictures whose class was ranked first, 0..=1.
    pub fn top1(&self) -> Option<f64> {
        let hits: u64 = self.tallies.iter().map(|tally| tally.top1).sum();
        share(hits as f64, self.count())
    }

    /// Share whose class was among the first five.
    pub fn top5(&self) -> Option<f64> {
        let hits: u64 = self.tallies.iter().map(|tally| tally.top5).sum();
        share(hits as f64, self.count())
    }

    /// Mean of the classes' top-1 shares, over classes that occur.
    pub fn mean_class_accuracy(&self) -> Option<f64> {
        let shares: Vec<f64> = self
            .tallies
            .iter()
            .filter_map(|tally| share(tally.top1 as f64, tally.count))
            .collect();
        share(shares.iter().sum(), shares.len() as u64)
    }

    /// Mean cross-entropy over the pictures that carry a loss.
    pub fn mean_loss(&self) -> Option<f64> {
        share(self.loss, self.losses)
    }

    /// Pictures that carry a loss.
    pub fn losses(&self) -> u64 {
        self.losses
    }

    /// Labelled pictures whose first class carries a probability.
    pub fn confidences(&self) -> u64 {
        self.bins.iter().map(|bin| bin.count).sum()
    }

    /// Expected calibration error (Guo et al., arXiv 1706.04599, equation 5): the distance between
    /// accuracy and mean confidence, averaged over 15 bins of equal width in the probability of
    /// the class ranked first, weighted by their counts. A bin holds its upper end, not its lower. Pictures without a
    /// probability are left out.
    pub fn calibration_error(&self) -> Option<f64> {
        let gap = |bin: &Bin| (bin.hits as f64 - bin.confidence).abs();
        share(self.bins.iter().map(gap).sum(), self.confidences())
    }

    /// The reliability diagram behind [`ClassificationMeter::calibration_error`].
    pub fn calibration(&self) -> [CalibrationBin; CALIBRATION_BINS] {
        std::array::from_fn(|place| {
            let bin = &self.bins[place];
            CalibrationBin {
                above: place as f64 / CALIBRATION_BINS as f64,
                up_to: (place + 1) as f64 / CALIBRATION_BINS as f64,
                count: bin.count,
                confidence: share(bin.confidence, bin.count),
                accuracy: share(bin.hits as f64, bin.count),
            }
        })
    }

    /// Counts per class, in class order.
    pub fn classes(&self) -> &[ClassTally] {
        &self.tallies
    }

    /// Confused pairs, most frequent first, then by class numbers.
    pub fn confusions(&self) -> Vec<Confusion> {
        let mut pairs: Vec<Confusion> = self
            .confusions
            .iter()
            .map(|(&(label, predicted), &count)| Confusion {
                label,
                predicted,
                count,
            })
            .collect();
        // Stable: the map is already ordered by class numbers.
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.count));
        pairs
    }

    /// The confusion matrix without its zeros, right answers included, in class order.
    pub fn confusion_matrix(&self) -> Vec<Confusion> {
        let mut cells = self.confusions();
        let right = self.tallies.iter().enumerate();
        cells.extend(
            right
                .filter(|(_, t)| t.top1 > 0)
                .map(|(class, tally)| Confusion {
                    label: class,
                    predicted: class,
                    count: tally.top1,
                }),
        );
        cells.sort_by_key(|cell| (cell.label, cell.predicted));
        cells
    }

    /// The scores as a table: accuracies and the calibration error in per cent. Scores that need
    /// labels are left out where there are none.
    pub fn report(&self) -> Report {
        let percent = |value: Option<f64>| value.map(|v| 100.0 * v);
        let mut report = Report::new();
        for (name, value) in [
            ("top1", percent(self.top1())),
            ("top5", percent(self.top5())),
            ("mean_class_top1", percent(self.mean_class_accuracy())),
            ("loss", self.mean_loss()),
            ("calibration_error", percent(self.calibration_error())),
            ("pictures", Some(self.count() as f64)),
            (
                "unlabelled",
                Some(self.unlabelled as f64).filter(|n| *n > 0.0),
            ),
        ] {
            if let Some(value) = value {
                report.push(name, value);
            }
        }
        report
    }
}

fn share(sum: f64, count: u64) -> Option<f64> {
    (count > 0).then(|| sum / count as f64)
}

/// Softmaxes in single precision may exceed 1 by a rounding error.
pub(super) fn is_probability(value: f64) -> bool {
    (0.0..=1.0 + 1e-6).contains(&value)
}

/// Bins `(i / 15, (i + 1) / 15]`.
pub(super) fn bin_of(confidence: f64) -> usize {
    let place = (confidence * CALIBRATION_BINS as f64).ceil() as usize;
    place.saturating_sub(1).min(CALIBRATION_BINS - 1)
}
