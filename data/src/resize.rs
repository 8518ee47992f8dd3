//! Pillow's `Image.resize`, bit for bit.
//!
//! Source: Pillow's `src/libImaging/Resample.c` (antialiased convolution: the filter widens with the
//! reduction; coefficients as 22-bit fixed point; columns first, rounded to 8 bits, then rows) and
//! `Geometry.c` (nearest). Parity: every level equal on the transforms fixture.
//!
//! The `fast_image_resize` crate convolves the same filters with coefficients of 16 bits and passes in
//! another order: on small noisy pictures a fifth of the samples differ (a test measures it), hence
//! this file. The loops are plain Rust, compiled for several vector widths and chosen at run time;
//! integer sums, so the width changes nothing.

use std::cell::RefCell;

use multiversion::multiversion;
use serde::{Deserialize, Serialize};

use crate::image::RgbImage;

/// Pillow's resampling filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// The one pixel under the output pixel's centre; no antialiasing.
    Nearest,
    /// Mean of the pixels covered.
    Box,
    /// Triangle.
    Bilinear,
    /// Hamming-windowed sinc of radius 1.
    Hamming,
    /// Keys cubic with a = -0.5.
    Bicubic,
    /// Lanczos-windowed sinc of radius 3.
    Lanczos,
}

impl Filter {
    /// Radius in output pixels when reducing, in input pixels when enlarging.
    fn support(self) -> f64 {
        match self {
            Self::Nearest => 0.0,
            Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * std::f64::consts::PI).sin() / (x * std::f64::consts::PI) };
        let r = x.abs();
        match self {
            Self::Nearest => 0.0,
            Self::Box => f64::from(x > -0.5 && x <= 0.5),
            Self::Bilinear => (1.0 - r).max(0.0),
            Self::Hamming if r == 0.0 => 1.0,
            Self::Hamming if r >= 1.0 => 0.0,
            Self::Hamming => {
                let angle = r * std::f64::consts::PI;
                angle.sin() / angle * (0.54 + 0.46 * angle.cos())
            }
            Self::Bicubic if r < 1.0 => ((A + 2.0) * r - (A + 3.0)) * r * r + 1.0,
            Self::Bicubic if r < 2.0 => (((r - 5.0) * r + 8.0) * r - 4.0) * A,
            Self::Bicubic => 0.0,
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Lanczos => 0.0,
        }
    }
}

/// A rectangle of whole pixels inside a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CropBox {
    /// First column.
    pub x: usize,
    /// First row.
    pub y: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl CropBox {
    /// The whole of a picture.
    pub fn whole(image: &RgbImage) -> Self {
        Self { x: 0, y: 0, width: image.width, height: image.height }
    }
}

/// Resizes a picture to `width` by `height` pixels: Pillow's `image.resize((width, height), filter)`.
pub fn resize(image: &RgbImage, width: usize, height: usize, filter: Filter) -> RgbImage {
    resize_crop(image, CropBox::whole(image), width, height, filter)
}

/// Crops, then resizes the crop (pixels around it have no influence): torchvision's `resized_crop`.
///
/// # Panics
/// When the crop does not lie inside the picture or is empty.
pub fn resize_crop(image: &RgbImage, crop: CropBox, width: usize, height: usize, filter: Filter) -> RgbImage {
    let mut out = RgbImage::default();
    resize_crop_into(image, crop, width, height, filter, &mut out);
    out
}

/// As [`resize_crop`], into a picture whose memory is reused.
///
/// # Panics
/// When the crop does not lie inside the picture or is empty.
pub fn resize_crop_into(image: &RgbImage, crop: CropBox, width: usize, height: usize, filter: Filter, out: &mut RgbImage) {
    let window = CropBox { x: 0, y: 0, width, height };
    resize_window_into(image, crop, (width, height), filter, window, out);
}

/// Resizes the crop to `size` = (width, height), but computes only the pixels of `window`, given in the
/// resized picture's coordinates: the same as resizing and cropping to the window, for less work.
///
/// # Panics
/// When the crop does not lie inside the picture or is empty, or the window not inside `size`.
pub fn resize_window_into(
    image: &RgbImage,
    crop: CropBox,
    size: (usize, usize),
    filter: Filter,
    window: CropBox,
    out: &mut RgbImage,
) {
    let (width, height) = size;
    assert!(
        crop.width > 0 && crop.height > 0 && crop.x + crop.width <= image.width && crop.y + crop.height <= image.height,
        "the crop {crop:?} must lie inside the picture of {}x{} pixels",
        image.width,
        image.height
    );
    assert!(
        window.x + window.width <= width && window.y + window.height <= height,
        "the window {window:?} must lie inside {width}x{height}"
    );
    out.width = window.width;
    out.height = window.height;
    out.pixels.resize(3 * window.width * window.height, 0);
    if (crop.width, crop.height) == (width, height) {
        for y in 0..window.height {
            let from = 3 * (crop.x + window.x);
            let source = &image.row(crop.y + window.y + y)[from..from + 3 * window.width];
            out.row_mut(y).copy_from_slice(source);
        }
    } else if filter == Filter::Nearest {
        nearest(image, crop, size, window, out);
    } else {
        SCRATCH.with_borrow_mut(|scratch| scratch.convolve(image, crop, size, filter, window, out));
    }
}

/// Pillow's `ImagingScaleAffine`: positions are summed up, not multiplied, and truncated.
fn nearest(image: &RgbImage, crop: CropBox, size: (usize, usize), window: CropBox, out: &mut RgbImage) {
    let positions = |input: usize, output: usize, first: usize, count: usize| -> Vec<usize> {
        let step = input as f64 / output as f64;
        let mut at = step * 0.5;
        let mut all = Vec::with_capacity(first + count);
        for _ in 0..first + count {
            all.push((at as usize).min(input - 1));
            at += step;
        }
        all.split_off(first)
    };
    let columns = positions(crop.width, size.0, window.x, window.width);
    let rows = positions(crop.height, size.1, window.y, window.height);
    for (y, row) in rows.into_iter().enumerate() {
        let source = image.row(crop.y + row);
        for (to, column) in out.row_mut(y).chunks_exact_mut(3).zip(&columns) {
            to.copy_from_slice(&source[3 * (crop.x + column)..][..3]);
        }
    }
}

/// Bits behind the point of a coefficient: 8 go to the pixel, 2 to overshoot and sign.
const PRECISION: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION - 1);

/// The input pixels an output pixel is made of.
#[derive(Debug, Clone, Copy)]
struct Span {
    first: usize,
    count: usize,
    /// Where its coefficients begin.
    at: usize,
}

#[derive(Debug, Default)]
struct Coefficients {
    spans: Vec<Span>,
    values: Vec<i32>,
}

impl Coefficients {
    /// For output pixels `first..first + count` of `output`, from `input` pixels.
    fn compute(&mut self, input: usize, output: usize, filter: Filter, first: usize, count: usize, weights: &mut Vec<f64>) {
        self.spans.clear();
        self.values.clear();
        let scale = input as f64 / output as f64;
        let filter_scale = scale.max(1.0);
        let support = filter.support() * filter_scale;
        let step = 1.0 / filter_scale;
        for out in first..first + count {
            let centre = (out as f64 + 0.5) * scale;
            let low = ((centre - support + 0.5) as i64).max(0) as usize;
            let high = ((centre + support + 0.5) as usize).min(input);
            weights.clear();
            weights.extend((0..high - low).map(|x| filter.weight((x as f64 + low as f64 - centre + 0.5) * step)));
            let sum: f64 = weights.iter().sum();
            let at = self.values.len();
            self.values.extend(weights.iter().map(|w| {
                let w = if sum == 0.0 { *w } else { w / sum } * f64::from(1 << PRECISION);
                (if w < 0.0 { w - 0.5 } else { w + 0.5 }) as i32
            }));
            self.spans.push(Span { first: low, count: high - low, at });
        }
    }
}

/// Memory reused from picture to picture on one thread.
#[derive(Debug, Default)]
struct Scratch {
    horizontal: Coefficients,
    vertical: Coefficients,
    weights: Vec<f64>,
    /// The rows after the first pass.
    rows: Vec<u8>,
    /// The picture's last row with a byte behind it, so that four bytes can be read at any pixel.
    last_row: Vec<u8>,
    sums: Vec<i32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Scratch {
    fn convolve(
        &mut self,
        image: &RgbImage,
        crop: CropBox,
        (width, height): (usize, usize),
        filter: Filter,
        window: CropBox,
        out: &mut RgbImage,
    ) {
        if window.width == 0 || window.height == 0 {
            return;
        }
        let across = crop.width != width;
        let down = crop.height != height;
        if across {
            self.horizontal.compute(crop.width, width, filter, window.x, window.width, &mut self.weights);
        }
        if down {
            self.vertical.compute(crop.height, height, filter, window.y, window.height, &mut self.weights);
        }
        // Rows of the crop that the second pass reads.
        let (first_row, end_row) = if down {
            let spans = &self.vertical.spans;
            (spans[0].first, spans.iter().map(|s| s.first + s.count).max().unwrap_or(0))
        } else {
            (window.y, window.y + window.height)
        };
        let bytes = 3 * window.width;
        let rows = if down { &mut self.rows } else { &mut out.pixels };
        rows.resize((end_row - first_row) * bytes, 0);
        for (row, to) in (first_row..end_row).zip(rows.chunks_exact_mut(bytes)) {
            let start = 3 * ((crop.y + row) * image.width + crop.x);
            if !across {
                to.copy_from_slice(&image.pixels[start + 3 * window.x..][..bytes]);
                continue;
            }
            let end = start + 3 * crop.width;
            let source = if end < image.pixels.len() {
                &image.pixels[start..=end]
            } else {
                self.last_row.clear();
                self.last_row.extend(&image.pixels[start..end]);
                self.last_row.push(0);
                &self.last_row
            };
            across_row(source, &self.horizontal, to);
        }
        if down {
            for (span, to) in self.vertical.spans.iter().zip(out.pixels.chunks_exact_mut(bytes)) {
                let rows = &self.rows[(span.first - first_row) * bytes..][..span.count * bytes];
                let weights = &self.vertical.values[span.at..span.at + span.count];
                self.sums.resize(bytes, 0);
                down_row(rows, weights, &mut self.sums, to);
            }
        }
    }
}

/// One row of the first pass: `source` is the crop's row and at least one byte more.
#[multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+fma", "x86_64+sse4.2"))]
fn across_row(source: &[u8], coefficients: &Coefficients, to: &mut [u8]) {
    let (pixels, _) = to.as_chunks_mut::<3>();
    for (span, to) in coefficients.spans.iter().zip(pixels) {
        let weights = &coefficients.values[span.at..span.at + span.count];
        let source = &source[3 * span.first..3 * (span.first + span.count) + 1];
        // Four lanes, the fourth being the next pixel's first channel and of no use: three lanes
        // would not be a vector.
        let mut sum = [HALF; 4];
        for (bytes, &weight) in source.windows(4).step_by(3).zip(weights) {
            for lane in 0..4 {
                sum[lane] += i32::from(bytes[lane]) * weight;
            }
        }
        *to = [clip(sum[0]), clip(sum[1]), clip(sum[2])];
    }
}

/// One row of the second pass, from one row of `rows` for each of `weights`.
#[multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+fma", "x86_64+sse4.2"))]
fn down_row(rows: &[u8], weights: &[i32], sums: &mut [i32], to: &mut [u8]) {
    sums.fill(HALF);
    for (row, &weight) in rows.chunks_exact(to.len()).zip(weights) {
        for (sum, &byte) in sums.iter_mut().zip(row) {
            *sum += i32::from(byte) * weight;
        }
    }
    for (to, &sum) in to.iter_mut().zip(sums.iter()) {
        *to = clip(sum);
    }
}

#[inline(always)]
fn clip(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: halving a width of 4 with the box filter takes means of pairs, rounded half up.
    #[test]
    fn box_halving_is_the_rounded_mean() {
        let image = RgbImage::from_pixels(4, 1, vec![0, 10, 20, 1, 11, 22, 255, 0, 7, 254, 255, 8]);
        assert_eq!(resize(&image, 2, 1, Filter::Box).pixels, [1, 11, 21, 255, 128, 8]);
    }

    /// By hand: doubling with the triangle gives weights 3/4, 1/4; ends repeat the border pixel
    /// (its weight 3/4 alone, normalised).
    #[test]
    fn bilinear_doubling_weighs_three_to_one() {
        let image = RgbImage::from_pixels(1, 2, vec![0, 100, 8, 100, 0, 16]);
        let out = resize(&image, 1, 4, Filter::Bilinear);
        assert_eq!(out.pixels, [0, 100, 8, 25, 75, 10, 75, 25, 14, 100, 0, 16]);
    }

    #[test]
    fn a_window_equals_cropping_the_resized_picture() {
        let pixels = (0..3 * 41 * 29).map(|v: usize| (v * v % 253) as u8).collect();
        let image = RgbImage::from_pixels(41, 29, pixels);
        let crop = CropBox { x: 3, y: 2, width: 33, height: 27 };
        for filter in [Filter::Nearest, Filter::Box, Filter::Bilinear, Filter::Hamming, Filter::Bicubic, Filter::Lanczos] {
            for size in [(20, 50), (33, 14), (60, 27), (33, 27)] {
                let whole = resize_crop(&image, crop, size.0, size.1, filter);
                let again = resize(&image.cropped(3, 2, 33, 27), size.0, size.1, filter);
                assert_eq!(whole, again, "{filter:?} {size:?}");
                let window = CropBox { x: 5, y: 4, width: 11, height: 9 };
                let mut out = RgbImage::default();
                resize_window_into(&image, crop, size, filter, window, &mut out);
                assert_eq!(out, whole.cropped(5, 4, 11, 9), "{filter:?} {size:?}");
            }
        }
    }

    #[test]
    fn one_colour_stays_one_colour() {
        let image = RgbImage::filled(17, 9, [255, 0, 129]);
        for filter in [Filter::Box, Filter::Bilinear, Filter::Hamming, Filter::Bicubic, Filter::Lanczos] {
            assert_eq!(resize(&image, 5, 31, filter), RgbImage::filled(5, 31, [255, 0, 129]), "{filter:?}");
        }
    }
}
