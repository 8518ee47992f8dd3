//! Matching anchors and proposals to ground truth. Source: detectron2 `modeling/matcher.py` over
//! `pairwise_iou`.
//!
//! The reference fills a matrix of all overlaps, 100 MB for the anchors of one large picture. Here the
//! boxes are gone through in chunks, and of the matrix only each row's and each column's best is kept.

use rayon::prelude::*;

use crate::boxes::{BoxF, area, iou_with_areas};

/// Boxes a thread goes through at once: what is kept of them fits the nearest cache.
const CHUNK: usize = 1024;

/// How overlap decides what a box is.
#[derive(Debug, Clone, PartialEq)]
pub struct Matcher {
    /// Ascending overlaps (IoU) at which the label changes.
    pub thresholds: Vec<f64>,
    /// One label more than thresholds: 0 negative, 1 positive, -1 ignored. The first is for boxes
    /// below all thresholds.
    pub labels: Vec<i8>,
    /// Makes positive also the boxes that overlap a ground-truth box most, however little that is.
    pub allow_low_quality: bool,
}

/// What boxes were matched to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched {
    /// For each box the ground-truth box that it overlaps most, the first of equals; 0 where there
    /// is no ground truth.
    pub index: Vec<u32>,
    /// For each box its label.
    pub label: Vec<i8>,
}

/// Best overlaps within one chunk of boxes.
struct ChunkBest {
    /// For each box the largest overlap.
    overlap: Vec<f32>,
    /// For each ground-truth box the largest overlap with a box of the chunk.
    per_ground_truth: Vec<f32>,
}

impl Matcher {
    /// Matches each box with one ground-truth box.
    ///
    /// Without ground truth every box has the first label. As in the reference, a ground-truth box
    /// that no box overlaps has a best overlap of 0, and with `allow_low_quality` makes positive every
    /// box that does not overlap it.
    ///
    /// # Panics
    /// When there are no labels.
    pub fn match_boxes(&self, ground_truth: &[BoxF], boxes: &[BoxF]) -> Matched {
        let mut index = vec![0u32; boxes.len()];
        let mut label = vec![self.labels[0]; boxes.len()];
        if ground_truth.is_empty() || boxes.is_empty() {
            return Matched { index, label };
        }
        let areas: Vec<f32> = ground_truth.iter().map(area).collect();
        let best: Vec<ChunkBest> = boxes
            .par_chunks(CHUNK)
            .zip(index.par_chunks_mut(CHUNK))
            .zip(label.par_chunks_mut(CHUNK))
            .map(|((boxes, index), label)| {
                let best = best_of_chunk(ground_truth, &areas, boxes, index);
                for (label, &overlap) in label.iter_mut().zip(&best.overlap) {
                    *label = self.label(overlap);
                }
                best
            })
            .collect();
        if self.allow_low_quality {
            add_low_quality(ground_truth, &areas, boxes, &best, &mut label);
        }
        Matched { index, label }
    }

    /// The label of a largest overlap.
    fn label(&self, overlap: f32) -> i8 {
        // The reference compares in single precision.
        let passed = self
            .thresholds
            .iter()
            .filter(|&&threshold| overlap >= threshold as f32)
            .count();
        self.labels[passed.min(self.labels.len() - 1)]
    }
}

/// Finds for each box of a chunk its ground-truth box, written to `index`, and both kinds of best
/// overlap.
fn best_of_chunk(
    ground_truth: &[BoxF],
    areas: &[f32],
    boxes: &[BoxF],
    index: &mut [u32],
) -> ChunkBest {
    let columns = Columns::new(boxes);
    // Below every overlap, so that the first ground-truth box is taken where all are 0.
    let mut overlap = vec![-1f32; boxes.len()];
    let mut row = vec![0f32; boxes.len()];
    let mut per_ground_truth = Vec::with_capacity(ground_truth.len());
    for (position, (truth, &area)) in ground_truth.iter().zip(areas).enumerate() {
        columns.overlaps(truth, area, &mut row);
        for ((&found, overlap), index) in row.iter().zip(&mut overlap).zip(&mut *index) {
            let better = found > *overlap;
            *overlap = if better { found } else { *overlap };
            *index = if better { position as u32 } else { *index };
        }
        per_ground_truth.push(largest(&row));
    }
    ChunkBest {
        overlap,
        per_ground_truth,
    }
}

/// Makes positive every box whose overlap with a ground-truth box equals the best of all boxes. Only
/// chunks that hold such a box are gone through again.
fn add_low_quality(
    ground_truth: &[BoxF],
    areas: &[f32],
    boxes: &[BoxF],
    best: &[ChunkBest],
    label: &mut [i8],
) {
    let highest: Vec<f32> = (0..ground_truth.len())
        .map(|truth| {
            let chunks = best.iter().map(|chunk| chunk.per_ground_truth[truth]);
            chunks.fold(0.0, f32::max)
        })
        .collect();
    boxes
        .par_chunks(CHUNK)
        .zip(label.par_chunks_mut(CHUNK))
        .zip(best)
        .for_each(|((boxes, label), best)| {
            for (truth, &highest) in highest.iter().enumerate() {
                if best.per_ground_truth[truth] < highest {
                    continue;
                }
                for (of, label) in boxes.iter().zip(&mut *label) {
                    if iou_with_areas(&ground_truth[truth], areas[truth], of, area(of)) == highest {
                        *label = 1;
                    }
                }
            }
        });
}

/// Boxes by coordinate, so that several are compared at once.
struct Columns {
    x0: Vec<f32>,
    y0: Vec<f32>,
    x1: Vec<f32>,
    y1: Vec<f32>,
    area: Vec<f32>,
}

impl Columns {
    fn new(boxes: &[BoxF]) -> Self {
        let column = |at: usize| boxes.iter().map(|of| of[at]).collect();
        Self {
            x0: column(0),
            y0: column(1),
            x1: column(2),
            y1: column(3),
            area: boxes.iter().map(area).collect(),
        }
    }

    /// The overlaps of all boxes with one other.
    fn overlaps(&self, other: &BoxF, other_area: f32, into: &mut [f32]) {
        let count = into.len();
        let [x0, y0, x1, y1, areas] =
            [&self.x0, &self.y0, &self.x1, &self.y1, &self.area].map(|column| &column[..count]);
        for at in 0..count {
            let of = [x0[at], y0[at], x1[at], y1[at]];
            into[at] = iou_with_areas(other, other_area, &of, areas[at]);
        }
    }
}

/// The largest of numbers that are not negative, or 0.
fn largest(numbers: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut lanes = [0f32; LANES];
    let (chunks, rest) = numbers.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &number) in lanes.iter_mut().zip(chunk) {
            *lane = if number > *lane { number } else { *lane };
        }
    }
    lanes.iter().chain(rest).copied().fold(0.0, f32::max)
}
