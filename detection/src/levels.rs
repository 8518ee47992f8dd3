//! Which level of the pyramid a box is pooled from. Source: detectron2 `modeling/poolers.py`,
//! `assign_boxes_to_levels` (equation 1 of the FPN paper).

use crate::boxes::{BoxF, area};

/// Keeps the logarithm of an empty box finite.
const EPSILON: f32 = 1e-8;

/// For each box a level, counted from `min_level` (0 is `min_level` itself): boxes as large as a square
/// of `canonical_size` pixels belong to `canonical_level`, boxes half as wide to the level below. A box
/// without a size belongs to the lowest.
pub fn assign_levels(
    boxes: &[BoxF],
    min_level: i64,
    max_level: i64,
    canonical_size: f64,
    canonical_level: i64,
) -> Vec<usize> {
    let (lowest, highest) = (min_level as f32, max_level as f32);
    let (size, level) = (canonical_size as f32, canonical_level as f32);
    boxes
        .iter()
        .map(|of| {
            let assigned = (level + (area(of).sqrt() / size + EPSILON).log2()).floor();
            // `max` before `min` takes what is not a number for the lowest.
            (assigned.max(lowest).min(highest) - lowest) as usize
        })
        .collect()
}
