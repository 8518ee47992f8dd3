//! What the mask head learns: outlines of objects, cut out by boxes and resampled to a small square.
//! Source: detectron2 `structures/masks.py`, `rasterize_polygons_within_box` and
//! `BitMasks.crop_and_resize`.

use data::InstanceMask;
use eval::{PolygonRasterizer, RleError};
use rayon::prelude::*;

use crate::boxes::BoxF;
use crate::roi_align::{AxisSamples, Sample};

/// Shorter sides count as this long, so that nothing is divided by almost nothing.
const SHORTEST_SIDE: f64 = 0.1;

/// A share of a cell from which on it is inside.
const INSIDE: f32 = 0.5;

/// An outline that cannot be rasterised.
#[derive(Debug, thiserror::Error)]
#[error("object {instance} of the picture has an outline that is no mask: {source}")]
pub struct MaskTargetError {
    /// Position of the object among those given.
    pub instance: usize,
    /// What is wrong with it.
    pub source: RleError,
}

/// For each mask and its box a square of `size` × `size` cells, row by row, 1 inside and 0 outside:
/// `[N, size, size]`.
///
/// Polygons are moved, stretched and rasterised as COCO does it; bitmaps are averaged over each cell
/// (ROIAlign with adaptive sampling) and are inside from one half on.
///
/// # Errors
/// When a polygon has fewer than three corners or lies more than a million cells away.
///
/// # Panics
/// When there are not as many boxes as masks.
pub fn mask_targets(
    masks: &[&InstanceMask],
    boxes: &[BoxF],
    size: usize,
) -> Result<Vec<u8>, MaskTargetError> {
    assert_eq!(masks.len(), boxes.len(), "boxes of masks");
    let cells = size * size;
    let mut targets = vec![0; masks.len() * cells];
    if cells == 0 {
        return Ok(targets);
    }
    targets
        .par_chunks_exact_mut(cells)
        .zip(masks.par_iter().zip(boxes))
        .enumerate()
        .try_for_each_init(
            PolygonRasterizer::default,
            |rasterizer, (instance, (target, (mask, bounds)))| {
                match mask {
                    InstanceMask::Polygons(polygons) => {
                        let inside = polygon_target(rasterizer, polygons, bounds, size);
                        let inside =
                            inside.map_err(|source| MaskTargetError { instance, source })?;
                        target.copy_from_slice(&inside);
                    }
                    InstanceMask::Bitmap {
                        width,
                        height,
                        pixels,
                    } => {
                        let bitmap = Bitmap {
                            width: *width,
                            height: *height,
                            pixels,
                        };
                        bitmap.target(bounds, size, target);
                    }
                }
                Ok(())
            },
        )?;
    Ok(targets)
}

fn polygon_target(
    rasterizer: &mut PolygonRasterizer,
    polygons: &[Vec<f64>],
    bounds: &BoxF,
    size: usize,
) -> Result<Vec<u8>, RleError> {
    if polygons.is_empty() {
        return Ok(vec![0; size * size]);
    }
    let scale = [0, 1].map(|axis| cells_per_pixel(bounds[axis + 2] - bounds[axis], size));
    let moved: Vec<Vec<f64>> = polygons
        .iter()
        .map(|polygon| {
            let axes = [0, 1].into_iter().cycle();
            let numbers = polygon.iter().zip(axes);
            numbers
                .map(|(at, axis)| (at - f64::from(bounds[axis])) * scale[axis])
                .collect()
        })
        .collect();
    let rows = size as u32;
    let mask = rasterizer.polygons(rows, rows, moved.iter().map(Vec::as_slice))?;
    Ok(mask.decode_row_major())
}

/// Cells of the target per pixel of a box's side.
fn cells_per_pixel(side: f32, size: usize) -> f64 {
    // NumPy divides by a single-precision side in single precision.
    if SHORTEST_SIDE as f32 > side {
        size as f64 / SHORTEST_SIDE
    } else {
        f64::from(size as f32 / side)
    }
}

/// A mask of the whole picture.
struct Bitmap<'a> {
    width: usize,
    height: usize,
    pixels: &'a [u8],
}

impl Bitmap<'_> {
    fn target(&self, bounds: &BoxF, size: usize, target: &mut [u8]) {
        let axis = |at: usize| AxisSamples::new(bounds[at], bounds[at + 2], size, 1.0, 0, true);
        let (across, down) = (axis(0), axis(1));
        if across.per_bin == 0 || down.per_bin == 0 || self.pixels.is_empty() {
            return;
        }
        let columns = samples(&across, size, self.width);
        let rows = samples(&down, size, self.height);
        for (rows, target) in rows.iter().zip(target.chunks_exact_mut(size)) {
            for (columns, cell) in columns.iter().zip(target) {
                *cell = match self.uniform(rows, columns) {
                    Some(pixel) => pixel,
                    None => u8::from(self.average(rows, columns) >= INSIDE),
                };
            }
        }
    }

    /// What all pixels that a cell looks at are, where they are all the same and none is outside of
    /// the picture. Most cells are like that, and their average is known.
    fn uniform(&self, rows: &[Option<Sample>], columns: &[Option<Sample>]) -> Option<u8> {
        let (top, bottom) = reach(rows)?;
        let (left, right) = reach(columns)?;
        let pixel = self.pixels[top * self.width + left];
        let all = (top..=bottom).all(|row| {
            let row = &self.pixels[row * self.width..][left..=right];
            row.iter().all(|&other| other == pixel)
        });
        all.then_some(pixel)
    }

    /// The average over the samples of a cell, added up in the reference's order.
    fn average(&self, rows: &[Option<Sample>], columns: &[Option<Sample>]) -> f32 {
        let mut sum = 0f32;
        for row in rows.iter().flatten() {
            let low = &self.pixels[row.low * self.width..][..self.width];
            let high = &self.pixels[row.high * self.width..][..self.width];
            for column in columns.iter().flatten() {
                let value = |line: &[u8], at: usize| f32::from(line[at]);
                sum += row.low_weight * column.low_weight * value(low, column.low)
                    + row.low_weight * column.high_weight * value(low, column.high)
                    + row.high_weight * column.low_weight * value(high, column.low)
                    + row.high_weight * column.high_weight * value(high, column.high);
            }
        }
        sum / (rows.len() * columns.len()) as f32
    }
}

/// The samples of each bin.
fn samples(axis: &AxisSamples, bins: usize, places: usize) -> Vec<Vec<Option<Sample>>> {
    let samples = |bin| (0..axis.per_bin).map(move |sample| axis.sample(bin, sample, places));
    (0..bins).map(|bin| samples(bin).collect()).collect()
}

/// First and last place that samples look at; none where a sample is outside.
fn reach(samples: &[Option<Sample>]) -> Option<(usize, usize)> {
    let first = samples.first().copied().flatten()?;
    let last = samples.last().copied().flatten()?;
    Some((first.low, last.high))
}
