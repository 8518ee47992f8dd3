//! Detections of one picture seen in several ways, merged. Source: detectron2
//! `modeling/test_time_augmentation.py`, `GeneralizedRCNNWithTTA`.
//!
//! The order of things: boxes are detected in every view and merged in the picture ([`merge_views`]);
//! the merged boxes go back into every view ([`View::from_picture`]), where masks are predicted for
//! them; these are averaged ([`mean_masks`]) and pasted into the picture.

use crate::boxes::BoxF;
use crate::inference::{Detections, filter_detections};

/// Scores up to here are none: classes that a detection is not of have 0.
const NO_SCORE: f64 = 1e-8;

/// How the network saw a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The picture's size on disk, `(height, width)`.
    pub picture_size: (usize, usize),
    /// Its size before the network, without padding.
    pub network_size: (usize, usize),
    /// Mirrored left to right, after resizing.
    pub flipped: bool,
}

impl View {
    /// A box of the network's input as one of the picture.
    pub fn to_picture(&self, of: BoxF) -> BoxF {
        scale(self.mirror(of), self.network_size, self.picture_size)
    }

    /// A box of the picture as one of the network's input.
    pub fn from_picture(&self, of: BoxF) -> BoxF {
        self.mirror(scale(of, self.picture_size, self.network_size))
    }

    fn mirror(&self, [x0, y0, x1, y1]: BoxF) -> BoxF {
        if self.flipped {
            let width = self.network_size.1 as f32;
            [width - x1, y0, width - x0, y1]
        } else {
            [x0, y0, x1, y1]
        }
    }
}

/// A box of a picture of size `from` in the same picture of size `to`.
fn scale([x0, y0, x1, y1]: BoxF, from: (usize, usize), to: (usize, usize)) -> BoxF {
    let down = (to.0 as f64 / from.0 as f64) as f32;
    let across = (to.1 as f64 / from.1 as f64) as f32;
    [x0 * across, y0 * down, x1 * across, y1 * down]
}

/// Merges what was found in views of one picture: boxes in the picture's pixels, suppressed class by
/// class, the `max_detections` best of them. [`Detections::rows`] counts the detections of all views
/// one after the other.
///
/// # Panics
/// When a class is not below `classes`, or the views are of pictures of several sizes.
pub fn merge_views(
    views: &[(View, &Detections)],
    classes: usize,
    nms_threshold: f64,
    max_detections: usize,
) -> Detections {
    let Some(picture_size) = views.first().map(|(view, _)| view.picture_size) else {
        return Detections::default();
    };
    let count = views.iter().map(|(_, found)| found.len()).sum();
    let mut boxes: Vec<BoxF> = Vec::with_capacity(count);
    let mut scores = vec![0f32; count * (classes + 1)];
    for (view, found) in views {
        assert_eq!(view.picture_size, picture_size, "views of one picture");
        for (at, of) in found.boxes.iter().enumerate() {
            assert!(found.classes[at] < classes, "class {}", found.classes[at]);
            scores[boxes.len() * (classes + 1) + found.classes[at]] = found.scores[at];
            boxes.push(view.to_picture(*of));
        }
    }
    filter_detections(
        boxes.as_flattened(),
        &scores,
        classes,
        picture_size,
        NO_SCORE,
        nms_threshold,
        max_detections,
    )
}

/// The mean of the mask probabilities `[N, size, size]` that views predict for the same N boxes,
/// mirrored back where a view is.
///
/// # Panics
/// When the views do not all have equally many numbers, whole rows of `size`.
pub fn mean_masks(views: &[(View, &[f32])], size: usize) -> Vec<f32> {
    let Some((_, first)) = views.first() else {
        return Vec::new();
    };
    let mut mean = vec![0f32; first.len()];
    if size == 0 {
        return mean;
    }
    for (view, masks) in views {
        assert_eq!(masks.len(), mean.len(), "masks of the same boxes");
        assert_eq!(masks.len() % size, 0, "rows of {size} cells");
        for (mean, row) in mean.chunks_exact_mut(size).zip(masks.chunks_exact(size)) {
            for (at, mean) in mean.iter_mut().enumerate() {
                *mean += if view.flipped {
                    row[size - 1 - at]
                } else {
                    row[at]
                };
            }
        }
    }
    let views = views.len() as f32;
    mean.iter_mut().for_each(|sum| *sum /= views);
    mean
}
