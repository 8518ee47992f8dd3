//! An 8-bit RGB picture in memory.

use std::path::Path;

use crate::codec::{self, Orientation};
use crate::error::DataError;

/// An RGB picture, 8 bits a channel: `pixels` holds `height` rows of `width` interleaved `R, G, B`
/// triples, top row first, without padding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RgbImage {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `3 * width * height` bytes.
    pub pixels: Vec<u8>,
}

impl RgbImage {
    /// A black picture.
    pub fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            pixels: vec![0; 3 * width * height],
        }
    }

    /// A picture of one colour.
    pub fn filled(width: usize, height: usize, colour: [u8; 3]) -> Self {
        Self {
            width,
            height,
            pixels: colour.repeat(width * height),
        }
    }

    /// Wraps existing pixels.
    ///
    /// # Panics
    /// When `pixels` does not hold `3 * width * height` bytes.
    pub fn from_pixels(width: usize, height: usize, pixels: Vec<u8>) -> Self {
        assert_eq!(
            pixels.len(),
            3 * width * height,
            "an RGB picture of {width}x{height} has 3 bytes a pixel"
        );
        Self {
            width,
            height,
            pixels,
        }
    }

    /// Reads a picture as torchvision's image folder does: converted to RGB, EXIF orientation ignored.
    ///
    /// # Errors
    /// When the file cannot be read or is not a whole picture.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        codec::decode_file(path, Orientation::Ignore)
    }

    /// Writes an 8-bit PNG.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_png(&self, path: &Path) -> Result<(), DataError> {
        codec::write_png(self, path)
    }

    /// The colour at column `x`, row `y`.
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        let at = 3 * (y * self.width + x);
        [self.pixels[at], self.pixels[at + 1], self.pixels[at + 2]]
    }

    /// Row `y` as interleaved bytes.
    pub fn row(&self, y: usize) -> &[u8] {
        &self.pixels[3 * y * self.width..3 * (y + 1) * self.width]
    }

    /// Row `y` as interleaved bytes, to be written.
    pub fn row_mut(&mut self, y: usize) -> &mut [u8] {
        &mut self.pixels[3 * y * self.width..3 * (y + 1) * self.width]
    }

    /// The picture mirrored left to right.
    pub fn flipped(&self) -> Self {
        let mut out = self.clone();
        out.flip();
        out
    }

    /// Mirrors the picture left to right in place.
    pub fn flip(&mut self) {
        for row in self.pixels.chunks_exact_mut(3 * self.width.max(1)) {
            let (triples, _) = row.as_chunks_mut::<3>();
            triples.reverse();
        }
    }

    /// The part of `width` by `height` pixels whose top-left pixel is `(x, y)`; what lies outside the
    /// picture is black, as in Pillow's `crop`.
    pub fn cropped(&self, x: isize, y: isize, width: usize, height: usize) -> Self {
        let mut out = Self::new(width, height);
        let from = x.max(0);
        let to = (x + width as isize).min(self.width as isize);
        if from >= to {
            return out;
        }
        let bytes = 3 * (to - from) as usize;
        for row in 0..height {
            let source = y + row as isize;
            if source < 0 || source >= self.height as isize {
                continue;
            }
            let at = 3 * (from - x) as usize;
            let source = &self.row(source as usize)[3 * from as usize..][..bytes];
            out.row_mut(row)[at..at + bytes].copy_from_slice(source);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: usize, height: usize) -> RgbImage {
        RgbImage::from_pixels(
            width,
            height,
            (0..3 * width * height).map(|v| v as u8).collect(),
        )
    }

    #[test]
    fn flipping_reverses_columns_and_keeps_channels() {
        let flipped = ramp(2, 2).flipped();
        assert_eq!(flipped.pixels, [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]);
    }

    #[test]
    fn cropping_outside_fills_with_black() {
        let cropped = ramp(2, 2).cropped(-1, 1, 3, 2);
        assert_eq!(
            cropped.pixels,
            [0, 0, 0, 6, 7, 8, 9, 10, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(ramp(2, 2).cropped(5, 0, 1, 1).pixels, [0, 0, 0]);
    }
}
