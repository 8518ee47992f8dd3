//! Run-length encoded masks, with the semantics of COCO's `maskApi.c`.
//!
//! A mask of `height` × `width` pixels is read column by column and cut into runs of equal
//! pixels, the first of them background (its length is 0 where the first pixel is inside).
//! Polygons, boxes, bitmaps and COCO's compressed strings become masks; masks have an area, a
//! bounding box, unions, intersections and an overlap.
//!
//! Every result equals that of pycocotools 2.0.11 on x86-64, except on masks that it mistreats:
//! empty runs in the middle of a mask end its merges and overlaps early, and give an empty mask a
//! bounding box of 2³² pixels. Here they are runs like any other.

mod bitmap;
mod error;
mod iou;
mod merge;
mod polygon;
mod string;

use serde::{Deserialize, Serialize};

pub use error::RleError;
pub use iou::{PreparedMask, box_iou, mask_iou};
pub use polygon::{MAX_COORDINATE, MAX_CROSSINGS, PolygonRasterizer};

/// A binary mask as the lengths of its runs, column by column, beginning with background.
///
/// The runs cover exactly `height` × `width` pixels, which are at most `u32::MAX`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rle {
    height: u32,
    width: u32,
    counts: Vec<u32>,
}

/// Pixels of a picture, where run lengths of 32 bits can count them.
fn pixels(height: u32, width: u32) -> Result<u32, RleError> {
    height
        .checked_mul(width)
        .ok_or(RleError::TooManyPixels { height, width })
}

impl Rle {
    /// A mask from the lengths of its runs (COCO's uncompressed form). They are kept as given,
    /// runs of length 0 included.
    ///
    /// # Errors
    /// When the runs do not cover exactly `height` × `width` pixels, or these are more than
    /// `u32::MAX`.
    pub fn from_counts(height: u32, width: u32, counts: Vec<u32>) -> Result<Self, RleError> {
        let expected = pixels(height, width)?;
        let found = counts.iter().map(|&run| u64::from(run)).sum();
        if found != u64::from(expected) {
            return Err(RleError::Coverage {
                height,
                width,
                found,
            });
        }
        Ok(Self {
            height,
            width,
            counts,
        })
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Columns.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Lengths of the runs: background, inside, background, …
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// Pixels inside.
    pub fn area(&self) -> u64 {
        let runs = self.counts.as_chunks().0;
        runs.iter().map(|&[_, inside]| u64::from(inside)).sum()
    }

    /// The smallest box around the pixels inside, as `[x, y, width, height]` in pixels; all 0
    /// for a mask without any.
    pub fn bounding_box(&self) -> [f64; 4] {
        let mut extent = Extent::new(self.height);
        for [background, inside] in self.counts.as_chunks::<2>().0 {
            extent.skip(*background);
            extent.take(*inside);
        }
        extent.bounding_box()
    }
}

/// Bounding box of runs as they pass by: keeps the position as column and row, so that no run
/// within two columns costs a division.
struct Extent {
    height: u32,
    column: u32,
    row: u32,
    left: u32,
    top: u32,
    right: u32,
    bottom: u32,
}

impl Extent {
    fn new(height: u32) -> Self {
        Self {
            height,
            column: 0,
            row: 0,
            left: u32::MAX,
            top: u32::MAX,
            right: 0,
            bottom: 0,
        }
    }

    /// Passes `count` pixels.
    #[inline]
    fn skip(&mut self, count: u32) {
        // Two columns may be more rows than 32 bits hold: compare without adding.
        let left_in_column = self.height - self.row;
        if count < left_in_column {
            self.row += count;
            return;
        }
        let beyond = count - left_in_column;
        self.column += 1;
        if beyond < self.height {
            self.row = beyond;
        } else if let Some(columns) = beyond.checked_div(self.height) {
            self.column += columns;
            self.row = beyond % self.height;
        }
    }

    /// Passes `count` pixels that are inside.
    #[inline]
    fn take(&mut self, count: u32) {
        if count == 0 {
            return;
        }
        let (column, row) = (self.column, self.row);
        self.left = self.left.min(column);
        let rows_below = self.height - row;
        if count <= rows_below {
            self.top = self.top.min(row);
            self.bottom = self.bottom.max(row + count - 1);
            self.right = self.right.max(column);
            self.skip(count);
        } else {
            // Over the end of a column: all rows.
            self.top = 0;
            self.bottom = self.height - 1;
            self.skip(count - 1);
            self.right = self.right.max(self.column);
            self.skip(1);
        }
    }

    fn bounding_box(&self) -> [f64; 4] {
        if self.left > self.right {
            return [0.0; 4];
        }
        [
            f64::from(self.left),
            f64::from(self.top),
            f64::from(self.right - self.left + 1),
            f64::from(self.bottom - self.top + 1),
        ]
    }
}
