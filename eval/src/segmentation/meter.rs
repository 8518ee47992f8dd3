//! Sums over images: the confusion matrix, and the areas it holds.

use super::counter::ImageCounts;
use super::scores::SegmentationScores;
use crate::error::EvalError;
use crate::report::Report;

/// Areas of one class in pixels. Ignored pixels are in none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClassAreas {
    /// Pixels of the class predicted as it.
    pub intersection: u64,
    /// Pixels predicted as the class.
    pub predicted: u64,
    /// Pixels of the class.
    pub labelled: u64,
}

impl ClassAreas {
    /// Pixels of the class or predicted as it.
    pub fn union(&self) -> u64 {
        self.predicted + self.labelled - self.intersection
    }
}

impl std::ops::AddAssign<&ClassAreas> for ClassAreas {
    fn add_assign(&mut self, other: &ClassAreas) {
        self.intersection += other.intersection;
        self.predicted += other.predicted;
        self.labelled += other.labelled;
    }
}

/// Areas in one image of the classes that occur in it, labelled or predicted. Sums of tallies over
/// any selection of images give that selection's scores ([`SegmentationScores::new`]).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageTally {
    pub(super) classes: Vec<(u16, ClassAreas)>,
}

impl ImageTally {
    /// Classes with their areas, in class order.
    pub fn classes(&self) -> &[(u16, ClassAreas)] {
        &self.classes
    }

    /// Adds the image to sums with a place for every class.
    pub fn add_to(&self, sums: &mut [ClassAreas]) {
        for (class, areas) in &self.classes {
            if let Some(sum) = sums.get_mut(usize::from(*class)) {
                *sum += areas;
            }
        }
    }
}

/// How often one class was taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfusedClasses {
    /// Class of the ground truth.
    pub label: usize,
    /// Class predicted instead.
    pub predicted: usize,
    /// Pixels.
    pub pixels: u64,
}

/// The confusion matrix of a stream of images; meters of parts can be merged.
///
/// Everything in it is a whole number, so neither order nor threads change a digit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentationMeter {
    /// Pixels by label and prediction, a row per label; the last column is "no class".
    matrix: Vec<u64>,
    classes: usize,
    images: u64,
}

impl SegmentationMeter {
    /// An empty meter.
    pub fn new(classes: usize) -> Self {
        Self {
            matrix: vec![0; classes * (classes + 1)],
            classes,
            images: 0,
        }
    }

    /// Adds an image.
    ///
    /// # Errors
    /// When the image was counted for more classes; the meter is unchanged then.
    pub fn add(&mut self, image: &ImageCounts) -> Result<(), EvalError> {
        let highest = image
            .pairs()
            .iter()
            .map(|pair| pair.label.max(pair.predicted.unwrap_or(0)))
            .max();
        if let Some(highest) = highest.map(usize::from)
            && highest >= self.classes
        {
            return Err(EvalError::Classes {
                left: self.classes,
                right: highest + 1,
            });
        }
        for pair in image.pairs() {
            let column = pair.predicted.map_or(self.classes, usize::from);
            self.matrix[usize::from(pair.label) * (self.classes + 1) + column] += pair.pixels;
        }
        self.images += 1;
        Ok(())
    }

    /// Adds what another meter has seen, as if one meter had seen both.
    ///
    /// # Errors
    /// When the meters count different numbers of classes.
    pub fn merge(&mut self, other: &Self) -> Result<(), EvalError> {
        if self.classes != other.classes {
            return Err(EvalError::Classes {
                left: self.classes,
                right: other.classes,
            });
        }
        for (mine, theirs) in self.matrix.iter_mut().zip(&other.matrix) {
            *mine += theirs;
        }
        self.images += other.images;
        Ok(())
    }

    /// Number of classes.
    pub fn num_classes(&self) -> usize {
        self.classes
    }

    /// Images seen.
    pub fn images(&self) -> u64 {
        self.images
    }

    /// Pixels of each class of the ground truth by what was predicted for them: a row per class, each
    /// with a column per class and a last one for predicted numbers that are no class.
    pub fn matrix(&self) -> impl Iterator<Item = &[u64]> {
        self.matrix.chunks(self.classes + 1).take(self.classes)
    }

    /// Areas per class, in class order.
    pub fn areas(&self) -> Vec<ClassAreas> {
        let mut areas = vec![ClassAreas::default(); self.classes];
        for (label, row) in self.matrix().enumerate() {
            areas[label].labelled = row.iter().sum();
            areas[label].intersection = row[label];
            for (class, pixels) in areas.iter_mut().zip(row) {
                class.predicted += pixels;
            }
        }
        areas
    }

    /// Labelled pixels whose predicted number is no class.
    pub fn unclassified(&self) -> u64 {
        self.matrix().filter_map(|row| row.last()).sum()
    }

    /// Pixels whose prediction is the label's number plus `offset`. More of them than right ones say
    /// that one side counts from 0 and the other from 1.
    pub fn shifted(&self, offset: isize) -> u64 {
        let predicted = |(label, row): (usize, &[u64])| {
            let column = label.checked_add_signed(offset)?;
            row.get(..self.classes)?.get(column).copied()
        };
        self.matrix().enumerate().filter_map(predicted).sum()
    }

    /// Confused pairs, most pixels first, then by class numbers.
    pub fn confusions(&self) -> Vec<ConfusedClasses> {
        let mut pairs = Vec::new();
        for (label, row) in self.matrix().enumerate() {
            for (predicted, &pixels) in row.iter().take(self.classes).enumerate() {
                if predicted != label && pixels > 0 {
                    pairs.push(ConfusedClasses {
                        label,
                        predicted,
                        pixels,
                    });
                }
            }
        }
        // Stable: they are already ordered by class numbers.
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.pixels));
        pairs
    }

    /// The scores.
    pub fn scores(&self) -> SegmentationScores {
        SegmentationScores::new(&self.areas())
    }

    /// The scores as a table in per cent, then how much they were computed from.
    pub fn report(&self) -> Report {
        let mut report = self.scores().report();
        let labelled: u64 = self.matrix.iter().sum();
        report.push("images", self.images as f64);
        report.push("pixels", labelled as f64);
        let unclassified = self.unclassified();
        if unclassified > 0 {
            report.push("unclassified_pixels", unclassified as f64);
        }
        report
    }
}
