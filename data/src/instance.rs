//! Detection samples: a picture with its objects, in one geometry.

use eval::coco::Id;

use crate::image::RgbImage;

/// The outline of one object, in pixels of the picture it belongs to; the corner of the first pixel is
/// `(0, 0)`.
#[derive(Debug, Clone, PartialEq)]
pub enum InstanceMask {
    /// Closed outlines `x0, y0, x1, y1, ..`, at least three points each; their union is the object.
    Polygons(Vec<Vec<f64>>),
    /// One byte a pixel, row by row, 1 on the object.
    Bitmap {
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
        /// `width * height` bytes, each 0 or 1.
        pixels: Vec<u8>,
    },
}

/// One object that training may learn from.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// `x0, y0, x1, y1` in pixels of the picture.
    pub bounds: [f32; 4],
    /// Class index, from 0, in the data set's order of categories.
    pub class: usize,
    /// Its outline; absent where the data set has boxes only.
    pub mask: Option<InstanceMask>,
}

/// One picture for detection, after resizing, flipping and cropping.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectionSample {
    /// The pixels, not normalised and not padded.
    pub image: RgbImage,
    /// Its objects, crowds left out; empty for a picture without any, and in evaluation.
    pub instances: Vec<Instance>,
    /// The annotation file's id of the picture.
    pub image_id: Id,
    /// Size of the picture as it is on disk (orientation applied), `(height, width)` in pixels.
    pub original_size: (usize, usize),
    /// Path relative to the data set's folder, for messages.
    pub name: String,
}
