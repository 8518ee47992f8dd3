//! Masks as pixels: mirrored, resized and cropped as detectron2 does it with RLE annotations.

use crate::resize::{CropBox, nearest_positions};

/// One byte a pixel, row by row, 0 or 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bitmap {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<u8>,
}

impl Bitmap {
    /// Mirrors left to right where asked, resizes to `size` (width, height) and cuts out `window`. Pixels are
    /// picked as Pillow's NEAREST picks them, and only those of the window.
    pub(super) fn viewed(&self, mirrored: bool, size: (usize, usize), window: CropBox) -> Self {
        let columns = nearest_positions(self.width, size.0, window.x, window.width);
        let rows = nearest_positions(self.height, size.1, window.y, window.height);
        let last = self.width.saturating_sub(1);
        let mut pixels = Vec::with_capacity(columns.len() * rows.len());
        for row in rows {
            let source = &self.pixels[row * self.width..][..self.width];
            pixels.extend(
                columns
                    .iter()
                    .map(|&column| source[if mirrored { last - column } else { column }]),
            );
        }
        Self {
            width: window.width,
            height: window.height,
            pixels,
        }
    }

    /// The smallest box around the object, `x0, y0, x1, y1` from the first pixel's corner to the last one's;
    /// none where there is no object.
    pub(super) fn bounds(&self) -> Option<[f32; 4]> {
        let (mut left, mut right) = (self.width, 0);
        let (mut top, mut bottom) = (None, 0);
        for (y, row) in self.pixels.chunks_exact(self.width.max(1)).enumerate() {
            let Some(first) = row.iter().position(|&v| v != 0) else {
                continue;
            };
            let last = row.iter().rposition(|&v| v != 0).unwrap_or(first);
            left = left.min(first);
            right = right.max(last + 1);
            top.get_or_insert(y);
            bottom = y + 1;
        }
        top.map(|top| [left, top, right, bottom].map(|v| v as f32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Filter;
    use crate::image::RgbImage;
    use crate::resize::resize_crop;

    fn ramp() -> Bitmap {
        let pixels = (0..7 * 5).map(|i| u8::from(i * i % 11 < 4)).collect();
        Bitmap {
            width: 7,
            height: 5,
            pixels,
        }
    }

    #[test]
    fn a_view_is_what_a_picture_of_the_mask_would_be() {
        let mask = ramp();
        let picture =
            RgbImage::from_pixels(7, 5, mask.pixels.iter().flat_map(|&v| [v; 3]).collect());
        for (mirrored, size, window) in [
            (false, (7, 5), (0, 0, 7, 5)),
            (true, (3, 9), (1, 2, 2, 6)),
            (true, (20, 11), (6, 0, 13, 11)),
        ] {
            let source = if mirrored {
                picture.flipped()
            } else {
                picture.clone()
            };
            let resized = resize_crop(
                &source,
                CropBox::whole(&source),
                size.0,
                size.1,
                Filter::Nearest,
            );
            let (x, y, width, height) = window;
            let expected = resized.cropped(x as isize, y as isize, width, height);
            let window = CropBox {
                x,
                y,
                width,
                height,
            };
            let seen = mask.viewed(mirrored, size, window);
            let expected: Vec<u8> = expected.pixels.chunks(3).map(|p| p[0]).collect();
            assert_eq!(seen.pixels, expected);
        }
    }

    #[test]
    fn bounds_reach_from_corner_to_corner() {
        let mut mask = Bitmap {
            width: 4,
            height: 3,
            pixels: vec![0; 12],
        };
        assert_eq!(mask.bounds(), None);
        mask.pixels[4 + 1] = 1;
        mask.pixels[8 + 3] = 1;
        assert_eq!(mask.bounds(), Some([1.0, 1.0, 4.0, 3.0]));
    }
}
