//! Overlap of masks and of boxes.

use super::{Extent, Rle};

/// A mask made ready to be compared with many others: area and bounding box are known, and its
/// runs are positions that a comparison can start among.
#[derive(Debug, Clone, PartialEq)]
pub struct PreparedMask {
    height: u32,
    width: u32,
    /// First position inside, first position behind it, and so on: pairs, in order.
    bounds: Vec<u32>,
    area: u64,
    bounding_box: [f64; 4],
}

impl From<Rle> for PreparedMask {
    /// Reuses the memory of the runs.
    fn from(mask: Rle) -> Self {
        let Rle {
            height,
            width,
            counts: mut bounds,
        } = mask;
        // Background behind the last pixel inside bounds nothing.
        bounds.truncate(bounds.len() & !1);
        let mut extent = Extent::new(height);
        let mut area = 0;
        let mut at = 0;
        for pair in bounds.as_chunks_mut::<2>().0 {
            let [background, inside] = *pair;
            extent.skip(background);
            extent.take(inside);
            let start = at + background;
            at = start + inside;
            *pair = [start, at];
            area += u64::from(inside);
        }
        Self {
            height,
            width,
            bounds,
            area,
            bounding_box: extent.bounding_box(),
        }
    }
}

impl From<&Rle> for PreparedMask {
    fn from(mask: &Rle) -> Self {
        mask.clone().into()
    }
}

impl From<&PreparedMask> for Rle {
    fn from(mask: &PreparedMask) -> Self {
        let mut counts = Vec::with_capacity(mask.bounds.len() + 1);
        let mut at = 0;
        for &bound in &mask.bounds {
            counts.push(bound - at);
            at = bound;
        }
        counts.push(mask.height * mask.width - at);
        Self {
            height: mask.height,
            width: mask.width,
            counts,
        }
    }
}

impl PreparedMask {
    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Columns.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Pixels inside.
    pub fn area(&self) -> u64 {
        self.area
    }

    /// As [`Rle::bounding_box`].
    pub fn bounding_box(&self) -> [f64; 4] {
        self.bounding_box
    }

    /// [`mask_iou`] of this detection.
    pub fn iou(&self, ground_truth: &PreparedMask, crowd: bool) -> f64 {
        if box_iou(&self.bounding_box, &ground_truth.bounding_box, crowd) <= 0.0 {
            return 0.0;
        }
        if (self.height, self.width) != (ground_truth.height, ground_truth.width) {
            return -1.0;
        }
        let intersection = self.intersection(ground_truth);
        if intersection == 0 {
            return 0.0;
        }
        let union = if crowd {
            self.area
        } else {
            self.area + ground_truth.area - intersection
        };
        intersection as f64 / union as f64
    }

    /// Pixels inside both masks, which are of the same size.
    fn intersection(&self, other: &PreparedMask) -> u64 {
        let (mut a, mut b) = (self.pairs(), other.pairs());
        if let (Some(&[first_a, _]), Some(&[first_b, _])) = (a.first(), b.first()) {
            // Whatever ends before the other mask begins cannot overlap it.
            let begin = first_a.max(first_b);
            a = &a[a.partition_point(|&[_, end]| end <= begin)..];
            b = &b[b.partition_point(|&[_, end]| end <= begin)..];
        }
        let (mut a, mut b) = (a.iter(), b.iter());
        let (Some(mut one), Some(mut other)) = (a.next(), b.next()) else {
            return 0;
        };
        let mut sum = 0;
        loop {
            let ([start_a, end_a], [start_b, end_b]) = (*one, *other);
            let (start, end) = (start_a.max(start_b), end_a.min(end_b));
            sum += u64::from(end.saturating_sub(start));
            // Which of them ends first is mostly as it was a column earlier: a branch, which the
            // processor foresees, is three times as fast as choosing without one.
            if end_a < end_b {
                let Some(next) = a.next() else { break };
                one = next;
            } else {
                let Some(next) = b.next() else { break };
                other = next;
            }
        }
        sum
    }

    fn pairs(&self) -> &[[u32; 2]] {
        self.bounds.as_chunks().0
    }
}

/// Intersection over union of two masks, or over the detection's area when `crowd`.
///
/// As in pycocotools: 0 where the bounding boxes do not overlap, -1 where they do and the masks
/// are of different sizes. To compare a mask with several, make it a [`PreparedMask`].
pub fn mask_iou(detection: &Rle, ground_truth: &Rle, crowd: bool) -> f64 {
    PreparedMask::from(detection).iou(&ground_truth.into(), crowd)
}

/// Intersection over union of two boxes `[x, y, width, height]`, or over the detection's area
/// when `crowd`; 0 where they do not overlap.
#[inline]
pub fn box_iou(detection: &[f64; 4], ground_truth: &[f64; 4], crowd: bool) -> f64 {
    let ([dx, dy, dw, dh], [gx, gy, gw, gh]) = (*detection, *ground_truth);
    // The order of these operations decides the last digit, and a threshold may hang on it.
    let width = (dw + dx).min(gw + gx) - dx.max(gx);
    let height = (dh + dy).min(gh + gy) - dy.max(gy);
    let intersection = width * height;
    let union = if crowd {
        dw * dh
    } else {
        dw * dh + gw * gh - intersection
    };
    // Divided in any case: a loop over boxes then needs no branch.
    let iou = intersection / union;
    if width <= 0.0 || height <= 0.0 {
        0.0
    } else {
        iou
    }
}
