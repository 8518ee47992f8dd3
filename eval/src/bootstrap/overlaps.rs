//! Segmentation scores of weighted images, from the areas of the classes that occur in each.

use crate::error::EvalError;

/// Areas of one class in one image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClassOverlap {
    /// Class number, from 0.
    pub class: u32,
    /// Pixels of the class predicted as it.
    pub intersection: u64,
    /// Pixels predicted as the class.
    pub predicted: u64,
    /// Pixels of the class.
    pub labelled: u64,
}

/// Scores of a selection of images, 0..=1, NaN where undefined; means are over the classes that
/// have the score, as mmsegmentation's `IoUMetric` takes them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OverlapScores {
    /// Mean intersection over union, over the classes labelled or predicted.
    pub mean_iou: f64,
    /// Mean share of a class's pixels predicted as it, over the classes labelled.
    pub mean_accuracy: f64,
    /// Share of all labelled pixels that are right.
    pub pixel_accuracy: f64,
}

/// The overlaps of a data set's images, image after image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageOverlaps {
    classes: usize,
    overlaps: Vec<ClassOverlap>,
    /// Where each image's end.
    ends: Vec<usize>,
}

impl ImageOverlaps {
    /// Of no image, for this number of classes.
    pub fn new(classes: usize) -> Self {
        Self {
            classes,
            ..Self::default()
        }
    }

    /// Adds an image by the classes that occur in it.
    ///
    /// # Errors
    /// When a class is none of the classes or its areas contradict each other; nothing is added
    /// then.
    pub fn add(&mut self, image: impl IntoIterator<Item = ClassOverlap>) -> Result<(), EvalError> {
        let start = self.overlaps.len();
        self.overlaps.extend(image);
        let sound = |overlap: &ClassOverlap| {
            (overlap.class as usize) < self.classes
                && overlap.intersection <= overlap.predicted.min(overlap.labelled)
        };
        if let Some(&overlap) = self.overlaps[start..].iter().find(|o| !sound(o)) {
            self.overlaps.truncate(start);
            let problem = format!(
                "image {} cannot be scored: {overlap:?} among {} classes",
                self.ends.len(),
                self.classes
            );
            return Err(EvalError::Bootstrap { problem });
        }
        self.ends.push(self.overlaps.len());
        Ok(())
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Scores where image `i` counts `weights[i]` times.
    pub fn scores(&self, weights: &[u32]) -> OverlapScores {
        // Areas of real data sets stay far below 2^53, up to which these sums are exact.
        let mut sums = vec![[0.0_f64; 3]; self.classes];
        let mut start = 0;
        for (&end, &weight) in self.ends.iter().zip(weights) {
            if weight > 0 {
                let weight = f64::from(weight);
                for overlap in &self.overlaps[start..end] {
                    let areas = [overlap.intersection, overlap.predicted, overlap.labelled];
                    let sum = &mut sums[overlap.class as usize];
                    for (sum, area) in sum.iter_mut().zip(areas) {
                        *sum += weight * area as f64;
                    }
                }
            }
            start = end;
        }
        let (mut iou, mut accuracy) = (Mean::default(), Mean::default());
        let (mut right, mut pixels) = (0.0, 0.0);
        for [intersection, predicted, labelled] in sums {
            iou.add(intersection / (predicted + labelled - intersection));
            accuracy.add(intersection / labelled);
            right += intersection;
            pixels += labelled;
        }
        OverlapScores {
            mean_iou: iou.value(),
            mean_accuracy: accuracy.value(),
            pixel_accuracy: right / pixels,
        }
    }
}

/// Mean of the numbers that are none of 0 / 0.
#[derive(Default)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    fn add(&mut self, value: f64) {
        if !value.is_nan() {
            self.sum += value;
            self.count += 1;
        }
    }

    fn value(&self) -> f64 {
        self.sum / f64::from(self.count)
    }
}
