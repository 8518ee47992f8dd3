//! From scored boxes of one picture to detections. Source: detectron2 `modeling/roi_heads/fast_rcnn.py`,
//! `fast_rcnn_inference_single_image`; `modeling/postprocessing.py`, `detector_postprocess`.

use serde::{Deserialize, Serialize};

use crate::boxes::{BoxF, clip, is_nonempty};
use crate::nms::batched_nms;

/// What was found in one picture, in descending order of score. All lists are equally long.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Detections {
    /// Boxes in pixels.
    pub boxes: Vec<BoxF>,
    /// Probabilities.
    pub scores: Vec<f32>,
    /// Class indices from 0.
    pub classes: Vec<usize>,
    /// Rows of the input that they come from.
    pub rows: Vec<usize>,
}

impl Detections {
    /// Their number.
    pub fn len(&self) -> usize {
        self.boxes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.boxes.is_empty()
    }

    /// The detections at `positions`, in that order.
    ///
    /// # Panics
    /// When there is no such position.
    pub fn select(&self, positions: &[usize]) -> Self {
        Self {
            boxes: positions.iter().map(|&at| self.boxes[at]).collect(),
            scores: positions.iter().map(|&at| self.scores[at]).collect(),
            classes: positions.iter().map(|&at| self.classes[at]).collect(),
            rows: positions.iter().map(|&at| self.rows[at]).collect(),
        }
    }
}

/// Picks the detections among R scored rows of one picture of `image_size` (height, width).
///
/// `boxes` has four numbers a row, or four for each of `classes`; `scores` has `classes` + 1 a row, the
/// background last. A row with a number that is not finite is left out. Boxes are clipped, those with
/// a score strictly above `score_threshold` stay, are suppressed class by class (`nms_threshold`), and
/// the `max_detections` best remain. [`Detections::rows`] counts all rows given (the reference counts
/// those with finite numbers only).
///
/// # Panics
/// When `boxes` and `scores` do not have equally many rows of those lengths.
pub fn filter_detections(
    boxes: &[f32],
    scores: &[f32],
    classes: usize,
    image_size: (usize, usize),
    score_threshold: f64,
    nms_threshold: f64,
    max_detections: usize,
) -> Detections {
    let rows = scores.len() / (classes + 1);
    assert_eq!(scores.len(), rows * (classes + 1), "scores of a row");
    let per_row = boxes.len().checked_div(rows).unwrap_or(4);
    assert!(
        boxes.len() == rows * per_row && (per_row == 4 || per_row == 4 * classes),
        "{} numbers are not boxes of {rows} rows and {classes} classes",
        boxes.len()
    );
    // The reference compares in single precision.
    let score_threshold = score_threshold as f32;
    let finite = |row: &[f32]| row.iter().all(|number| number.is_finite());

    let mut found = Detections::default();
    let mut class_of = Vec::new();
    let each_row = boxes
        .chunks_exact(per_row)
        .zip(scores.chunks_exact(classes + 1));
    for (row, (boxes, scores)) in each_row.enumerate() {
        if !finite(boxes) || !finite(scores) {
            continue;
        }
        let boxes = boxes.as_chunks::<4>().0;
        for (class, &score) in scores[..classes].iter().enumerate() {
            if score > score_threshold {
                found.boxes.push(boxes[class.min(boxes.len() - 1)]);
                found.scores.push(score);
                found.classes.push(class);
                found.rows.push(row);
                class_of.push(class as i64);
            }
        }
    }
    clip(&mut found.boxes, image_size);
    let mut kept = batched_nms(&found.boxes, &found.scores, &class_of, nms_threshold);
    kept.truncate(max_detections);
    found.select(&kept)
}

/// Brings detections from the size of the network's input without padding to that of the picture on
/// disk, both (height, width): scaled, clipped, and without those that have become empty. Also returns
/// the positions that stay, with which to choose their masks.
pub fn rescale_to_original(
    detections: &Detections,
    network_size: (usize, usize),
    original_size: (usize, usize),
) -> (Detections, Vec<usize>) {
    let scale = |original: usize, network: usize| (original as f64 / network as f64) as f32;
    let down = scale(original_size.0, network_size.0);
    let across = scale(original_size.1, network_size.1);
    let mut boxes: Vec<BoxF> = detections
        .boxes
        .iter()
        .map(|[x0, y0, x1, y1]| [x0 * across, y0 * down, x1 * across, y1 * down])
        .collect();
    clip(&mut boxes, original_size);
    let kept: Vec<usize> = (0..boxes.len())
        .filter(|&at| is_nonempty(&boxes[at], 0.0))
        .collect();
    let mut rescaled = detections.select(&kept);
    rescaled.boxes = kept.iter().map(|&at| boxes[at]).collect();
    (rescaled, kept)
}
