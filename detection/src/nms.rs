//! Non-maximum suppression. Source: torchvision `ops/boxes.py`, `csrc/ops/cpu/nms_kernel.cpp`, which
//! detectron2's `layers/nms.py` calls with float32 boxes.

use std::cmp::Ordering;

use rayon::prelude::*;

use crate::boxes::{BoxF, area, iou_with_areas};

/// With more boxes than these torchvision goes through the classes one by one (on a CPU; 4,000
/// numbers); up to here it moves the classes apart and goes through all boxes at once.
const TOGETHER: usize = 1000;

/// Suppressed boxes are cleared away whenever this many boxes have been kept.
const COMPACT_AFTER: usize = 16;

/// Goes through boxes in descending order of score, equals in the given order, and drops each that
/// overlaps a kept one by more than `threshold` (IoU). Returns the positions of kept boxes in that
/// order. A score that is not a number comes first, as torch sorts.
pub fn nms(boxes: &[BoxF], scores: &[f32], threshold: f64) -> Vec<usize> {
    let mut order: Vec<u32> = (0..boxes.len() as u32).collect();
    order.sort_by(|&a, &b| descending(scores[a as usize], scores[b as usize]));
    suppress(boxes, order, threshold)
        .into_iter()
        .map(|position| position as usize)
        .collect()
}

/// [`nms`] within each class; kept boxes of all classes in descending order of score.
///
/// Small sets are moved apart by class, as torchvision does it: then rounding of the moved coordinates
/// may decide about an overlap at the threshold, and negative coordinates can let classes touch.
pub fn batched_nms(boxes: &[BoxF], scores: &[f32], classes: &[i64], threshold: f64) -> Vec<usize> {
    if boxes.len() > TOGETHER {
        return class_by_class(boxes, scores, classes, threshold);
    }
    let largest = boxes
        .as_flattened()
        .iter()
        .copied()
        .fold(f32::MIN, f32::max);
    let moved: Vec<BoxF> = boxes
        .iter()
        .zip(classes)
        .map(|(of, &class)| {
            let offset = class as f32 * (largest + 1.0);
            of.map(|coordinate| coordinate + offset)
        })
        .collect();
    nms(&moved, scores, threshold)
}

fn class_by_class(boxes: &[BoxF], scores: &[f32], classes: &[i64], threshold: f64) -> Vec<usize> {
    let mut order: Vec<u32> = (0..boxes.len() as u32).collect();
    order.par_sort_by(|&a, &b| {
        let (a, b) = (a as usize, b as usize);
        (classes[a].cmp(&classes[b])).then_with(|| descending(scores[a], scores[b]))
    });
    let mut kept: Vec<u32> = order
        .chunk_by(|&a, &b| classes[a as usize] == classes[b as usize])
        .collect::<Vec<_>>()
        .into_par_iter()
        .flat_map_iter(|class| suppress(boxes, class.to_vec(), threshold))
        .collect();
    kept.par_sort_unstable_by(|&a, &b| {
        descending(scores[a as usize], scores[b as usize]).then(a.cmp(&b))
    });
    kept.into_iter().map(|position| position as usize).collect()
}

/// Descending, what is not a number first.
fn descending(a: f32, b: f32) -> Ordering {
    b.partial_cmp(&a)
        .unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// The largest single-precision number not above `threshold`: what is above the one is above the other.
fn single_precision(threshold: f64) -> f32 {
    let rounded = threshold as f32;
    if f64::from(rounded) > threshold {
        rounded.next_down()
    } else {
        rounded
    }
}

/// The positions of `order` that are not suppressed by an earlier one.
fn suppress(boxes: &[BoxF], order: Vec<u32>, threshold: f64) -> Vec<u32> {
    // The reference compares a single-precision overlap with a double-precision threshold.
    let threshold = single_precision(threshold);
    let mut kept = Vec::new();
    let mut left = Candidates::new(boxes, order);
    let mut at = 0;
    while at < left.order.len() {
        if left.suppressed[at] != 0 {
            at += 1;
            continue;
        }
        kept.push(left.order[at]);
        left.suppress_behind(at, threshold);
        at += 1;
        if kept.len().is_multiple_of(COMPACT_AFTER) {
            left.compact(at);
            at = 0;
        }
    }
    kept
}

/// Boxes still in question, in descending order of score, by coordinate: one box is compared with
/// several at once.
struct Candidates {
    order: Vec<u32>,
    x0: Vec<f32>,
    y0: Vec<f32>,
    x1: Vec<f32>,
    y1: Vec<f32>,
    area: Vec<f32>,
    /// Not 0 for boxes that are out.
    suppressed: Vec<u8>,
}

impl Candidates {
    fn new(boxes: &[BoxF], order: Vec<u32>) -> Self {
        let column = |at: usize| order.iter().map(|&of| boxes[of as usize][at]).collect();
        Self {
            x0: column(0),
            y0: column(1),
            x1: column(2),
            y1: column(3),
            area: order.iter().map(|&of| area(&boxes[of as usize])).collect(),
            suppressed: vec![0; order.len()],
            order,
        }
    }

    /// Marks the boxes behind `at` that overlap it too much.
    fn suppress_behind(&mut self, at: usize, threshold: f32) {
        let kept = [self.x0[at], self.y0[at], self.x1[at], self.y1[at]];
        let kept_area = self.area[at];
        let suppressed = &mut self.suppressed[at + 1..];
        let count = suppressed.len();
        let [x0, y0, x1, y1, areas] = [&self.x0, &self.y0, &self.x1, &self.y1, &self.area]
            .map(|column| &column[at + 1..][..count]);
        for at in 0..count {
            let of = [x0[at], y0[at], x1[at], y1[at]];
            let overlap = iou_with_areas(&kept, kept_area, &of, areas[at]);
            suppressed[at] |= u8::from(overlap > threshold);
        }
    }

    /// Removes the boxes before `from`, and those that are out.
    fn compact(&mut self, from: usize) {
        let mut to = 0;
        for at in from..self.order.len() {
            if self.suppressed[at] != 0 {
                continue;
            }
            self.order[to] = self.order[at];
            for column in [
                &mut self.x0,
                &mut self.y0,
                &mut self.x1,
                &mut self.y1,
                &mut self.area,
            ] {
                column[to] = column[at];
            }
            to += 1;
        }
        self.order.truncate(to);
        self.suppressed.clear();
        self.suppressed.resize(to, 0);
    }
}
