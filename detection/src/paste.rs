//! Small squares of mask probabilities, pasted into the picture. Source: detectron2
//! `layers/mask_ops.py`, `paste_masks_in_image` on a CPU; torch's `grid_sample` (bilinear, zeros
//! outside, corners not aligned).

use eval::{Rle, RleError};
use rayon::prelude::*;

use crate::boxes::BoxF;

/// A part of a picture: whole pixels from `left`, `top` on, within its borders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First column.
    pub left: usize,
    /// First row.
    pub top: usize,
    /// Columns; 0 where a box is outside of the picture.
    pub width: usize,
    /// Rows; 0 where a box is outside of the picture.
    pub height: usize,
}

impl Window {
    /// The pixels that a mask pasted into `bounds` can reach in a picture of `height` × `width`.
    pub fn around(bounds: &BoxF, height: usize, width: usize) -> Self {
        let axis = |from: f32, to: f32, end: usize| {
            // A cast ends at 0 and takes what is not a number for 0.
            let first = ((from.floor() - 1.0) as usize).min(end);
            let behind = ((to.ceil() + 1.0) as usize).min(end);
            (first, behind.saturating_sub(first))
        };
        let (left, across) = axis(bounds[0], bounds[2], width);
        let (top, down) = axis(bounds[1], bounds[3], height);
        Self {
            left,
            top,
            width: across,
            height: down,
        }
    }
}

/// A mask in a picture; outside of its window there is nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastedMask {
    /// Where the pixels are.
    pub window: Window,
    /// The window's pixels row by row, 1 inside and 0 outside.
    pub pixels: Vec<u8>,
    /// Rows of the whole picture.
    pub picture_height: usize,
    /// Columns of the whole picture.
    pub picture_width: usize,
}

/// Pastes a square of `size` × `size` `probabilities`, row by row, into the box `bounds` of a picture
/// of `height` × `width` pixels. A pixel is inside where the probability in its middle is at least
/// `threshold`.
pub fn paste_mask(
    probabilities: &[f32],
    size: usize,
    bounds: BoxF,
    height: usize,
    width: usize,
    threshold: f32,
) -> PastedMask {
    let window = Window::around(&bounds, height, width);
    let mut pixels = Vec::with_capacity(window.width * window.height);
    sample(probabilities, size, &bounds, window, |probability| {
        pixels.push(u8::from(probability >= threshold));
    });
    PastedMask {
        window,
        pixels,
        picture_height: height,
        picture_width: width,
    }
}

/// The probability in the middle of each pixel of the box's window, row by row: [`paste_mask`] before
/// the threshold, for drawing soft outlines.
pub fn paste_probabilities(
    probabilities: &[f32],
    size: usize,
    bounds: BoxF,
    height: usize,
    width: usize,
) -> (Window, Vec<f32>) {
    let window = Window::around(&bounds, height, width);
    let mut pixels = Vec::with_capacity(window.width * window.height);
    sample(probabilities, size, &bounds, window, |probability| {
        pixels.push(probability);
    });
    (window, pixels)
}

/// [`paste_mask`] for many masks on all cores: `probabilities` is `[N, size, size]`.
///
/// # Panics
/// When there are not as many squares as boxes.
pub fn paste_masks(
    probabilities: &[f32],
    size: usize,
    boxes: &[BoxF],
    height: usize,
    width: usize,
    threshold: f32,
) -> Vec<PastedMask> {
    squares(probabilities, size, boxes)
        .map(|(square, bounds)| paste_mask(square, size, *bounds, height, width, threshold))
        .collect()
}

/// [`paste_masks`] as runs; no more than one bitmap a thread is held.
///
/// # Errors
/// When the picture has more than `u32::MAX` pixels.
///
/// # Panics
/// When there are not as many squares as boxes.
pub fn paste_rles(
    probabilities: &[f32],
    size: usize,
    boxes: &[BoxF],
    height: usize,
    width: usize,
    threshold: f32,
) -> Result<Vec<Rle>, RleError> {
    squares(probabilities, size, boxes)
        .map(|(square, bounds)| {
            paste_mask(square, size, *bounds, height, width, threshold).to_rle()
        })
        .collect()
}

fn squares<'a>(
    probabilities: &'a [f32],
    size: usize,
    boxes: &'a [BoxF],
) -> impl IndexedParallelIterator<Item = (&'a [f32], &'a BoxF)> {
    assert_eq!(
        probabilities.len(),
        boxes.len() * size * size,
        "probabilities of boxes"
    );
    probabilities
        .par_chunks_exact((size * size).max(1))
        .zip(boxes)
}

/// Where a pixel's middle lies in the square along one axis.
#[derive(Clone, Copy)]
struct Place {
    /// The cell before it, possibly outside.
    low: i64,
    low_weight: f32,
    high_weight: f32,
}

impl Place {
    fn all(first: usize, count: usize, from: f32, to: f32, size: usize) -> Vec<Self> {
        let half = size as f32 / 2.0;
        (first..first + count)
            .map(|pixel| {
                let middle = pixel as f32 + 0.5;
                // To -1..1 and back, rounded in between as the reference.
                let normalised = (middle - from) / (to - from) * 2.0 - 1.0;
                let at = (normalised + 1.0) * half - 0.5;
                let low = at.floor();
                let high_weight = at - low;
                Self {
                    // Beyond the range of the type is outside too.
                    low: if low.is_finite() {
                        low as i64
                    } else {
                        i64::MIN
                    },
                    low_weight: 1.0 - high_weight,
                    high_weight,
                }
            })
            .collect()
    }
}

/// Calls `each` with the probability at each pixel of the window, row by row.
fn sample(
    probabilities: &[f32],
    size: usize,
    bounds: &BoxF,
    window: Window,
    mut each: impl FnMut(f32),
) {
    let [x0, y0, x1, y1] = *bounds;
    let columns = Place::all(window.left, window.width, x0, x1, size);
    let rows = Place::all(window.top, window.height, y0, y1, size);
    // A border of zeros spares the inner loop all questions: the row before the first cell, the cells,
    // and the row behind the last; the same for columns.
    let stride = size + 2;
    let mut padded = vec![0f32; stride * stride];
    for (row, cells) in probabilities.chunks_exact(size.max(1)).enumerate() {
        padded[(row + 1) * stride + 1..][..size].copy_from_slice(cells);
    }
    let first_cell = |low: i64| (-1..size as i64).contains(&low).then(|| (low + 1) as usize);
    for row in &rows {
        let Some(top) = first_cell(row.low) else {
            columns.iter().for_each(|_| each(0.0));
            continue;
        };
        let above = &padded[top * stride..][..stride];
        let below = &padded[(top + 1) * stride..][..stride];
        for column in &columns {
            let Some(left) = first_cell(column.low) else {
                each(0.0);
                continue;
            };
            each(
                above[left] * (column.low_weight * row.low_weight)
                    + above[left + 1] * (column.high_weight * row.low_weight)
                    + below[left] * (column.low_weight * row.high_weight)
                    + below[left + 1] * (column.high_weight * row.high_weight),
            );
        }
    }
}

impl PastedMask {
    /// The mask of the whole picture as runs.
    ///
    /// # Errors
    /// When the picture has more than `u32::MAX` pixels.
    pub fn to_rle(&self) -> Result<Rle, RleError> {
        let side = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let (height, width) = (side(self.picture_height), side(self.picture_width));
        let pixels = height
            .checked_mul(width)
            .ok_or(RleError::TooManyPixels { height, width })?;
        let window = self.window;
        let mut counts = Vec::new();
        if window.height > 0 {
            let part =
                Rle::from_row_major(window.height as u32, window.width as u32, &self.pixels)?;
            counts = self.in_picture(part.counts());
        }
        let covered: u32 = counts.iter().sum();
        // Runs end with background unless the last pixel is inside.
        match counts.len() % 2 {
            0 if covered < pixels || counts.is_empty() => counts.push(pixels - covered),
            _ => {}
        }
        Rle::from_counts(height, width, counts)
    }

    /// Runs up to the last pixel inside, from the runs of the window.
    fn in_picture(&self, window_counts: &[u32]) -> Vec<u32> {
        let window = self.window;
        let mut counts = Vec::with_capacity(window_counts.len() + 1);
        let mut behind = 0;
        let mut at = 0;
        for &[background, inside] in window_counts.as_chunks::<2>().0 {
            at += background as usize;
            let end = at + inside as usize;
            while at < end {
                let (column, row) = (at / window.height, at % window.height);
                let length = (window.height - row).min(end - at);
                let start = (window.left + column) * self.picture_height + window.top + row;
                // Where the window is as high as the picture, a run may go on in the next column.
                match counts.last_mut() {
                    Some(last) if start == behind && behind > 0 => *last += length as u32,
                    _ => counts.extend([(start - behind) as u32, length as u32]),
                }
                behind = start + length;
                at += length;
            }
        }
        counts
    }
}
