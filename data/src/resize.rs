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

use crate::filter::Filter;
use crate::image::RgbImage;

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
        Self {
            x: 0,
            y: 0,
            width: image.width,
            height: image.height,
        }
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
pub fn resize_crop(
    image: &RgbImage,
    crop: CropBox,
    width: usize,
    height: usize,
    filter: Filter,
) -> RgbImage {
    let mut out = RgbImage::default();
    resize_crop_into(image, crop, width, height, filter, &mut out);
    out
}

/// As [`resize_crop`], into a picture whose memory is reused.
///
/// # Panics
/// When the crop does not lie inside the picture or is empty.
pub fn resize_crop_into(
    image: &RgbImage,
    crop: CropBox,
    width: usize,
    height: usize,
    filter: Filter,
    out: &mut RgbImage,
) {
    let window = CropBox {
        x: 0,
        y: 0,
        width,
        height,
    };
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
        crop.width > 0
            && crop.height > 0
            && crop.x + crop.width <= image.width
            && crop.y + crop.height <= image.height,
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

/// The pixel that Pillow's NEAREST picks for each of `count` pixels from `first` on, of `output` made from
/// `input`. As in `ImagingScaleAffine`, positions are summed up, not multiplied, and truncated.
pub(crate) fn nearest_positions(
    input: usize,
    output: usize,
    first: usize,
    count: usize,
) -> Vec<usize> {
    let step = input as f64 / output as f64;
    let mut at = step * 0.5;
    let mut all = Vec::with_capacity(first + count);
    for _ in 0..first + count {
        all.push((at as usize).min(input - 1));
        at += step;
    }
    all.split_off(first)
}

fn nearest(
    image: &RgbImage,
    crop: CropBox,
    size: (usize, usize),
    window: CropBox,
    out: &mut RgbImage,
) {
    let columns = nearest_positions(crop.width, size.0, window.x, window.width);
    let rows = nearest_positions(crop.height, size.1, window.y, window.height);
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
    fn compute(
        &mut self,
        input: usize,
        output: usize,
        filter: Filter,
        first: usize,
        count: usize,
        weights: &mut Vec<f64>,
    ) {
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
            weights.extend(
                (0..high - low)
                    .map(|x| filter.weight((x as f64 + low as f64 - centre + 0.5) * step)),
            );
            let sum: f64 = weights.iter().sum();
            let at = self.values.len();
            self.values.extend(weights.iter().map(|w| {
                let w = if sum == 0.0 { *w } else { w / sum } * f64::from(1 << PRECISION);
                (if w < 0.0 { w - 0.5 } else { w + 0.5 }) as i32
            }));
            self.spans.push(Span {
                first: low,
                count: high - low,
                at,
            });
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
            self.horizontal.compute(
                crop.width,
                width,
                filter,
                window.x,
                window.width,
                &mut self.weights,
            );
        }
        if down {
            self.vertical.compute(
                crop.height,
                height,
                filter,
                window.y,
                window.height,
                &mut self.weights,
            );
        }
        // Rows of the crop that the second pass reads.
        let (first_row, end_row) = if down {
            let spans = &self.vertical.spans;
            (
                spans[0].first,
                spans.iter().map(|s| s.first + s.count).max().unwrap_or(0),
            )
        } else {
            (window.y, window.y + window.height)
        };
        let bytes = 3 * window.width;
        let count = end_row - first_row;
        let stride = bytes + 1;
        // A few rows more than there are, so that the first pass always writes whole groups.
        self.rows.resize(count.next_multiple_of(GROUP) * stride, 0);
        self.last_row.clear();
        self.last_row
            .extend(&image.row(image.height - 1)[3 * crop.x..3 * (crop.x + crop.width)]);
        self.last_row.push(0);
        for (group, to) in self.rows.chunks_exact_mut(GROUP * stride).enumerate() {
            let source = |row: usize| -> &[u8] {
                let row = crop.y + (first_row + GROUP * group + row).min(end_row - 1);
                if row + 1 == image.height {
                    &self.last_row
                } else {
                    &image.pixels[3 * (row * image.width + crop.x)
                        ..=3 * (row * image.width + crop.x + crop.width)]
                }
            };
            let sources: [&[u8]; GROUP] = std::array::from_fn(source);
            if across {
                across_rows(sources, &self.horizontal, to);
            } else {
                for (source, to) in sources.iter().zip(to.chunks_exact_mut(stride)) {
                    to[..bytes].copy_from_slice(&source[3 * window.x..][..bytes]);
                }
            }
        }
        if down {
            for (span, to) in self
                .vertical
                .spans
                .iter()
                .zip(out.pixels.chunks_exact_mut(bytes))
            {
                let rows = &self.rows[(span.first - first_row) * stride..][..span.count * stride];
                let weights = &self.vertical.values[span.at..span.at + span.count];
                self.sums.resize(bytes, 0);
                down_row(rows, weights, &mut self.sums, to);
            }
        } else {
            for (row, to) in self
                .rows
                .chunks_exact(stride)
                .zip(out.pixels.chunks_exact_mut(bytes))
            {
                to.copy_from_slice(&row[..bytes]);
            }
        }
    }
}

/// Rows the first pass works on together: independent sums keep the processor's multipliers busy.
const GROUP: usize = 4;

/// A group of rows of the first pass: each source is a crop's row and one byte more, the results lie one
/// behind the other in `to`, each with a byte of padding.
///
/// Four lanes for three channels, the fourth being the next pixel's first channel: it is written and then
/// overwritten by the next pixel (or falls into the padding), because three lanes would not be a vector.
#[multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+fma", "x86_64+sse4.2"))]
fn across_rows(sources: [&[u8]; GROUP], coefficients: &Coefficients, to: &mut [u8]) {
    let stride = 3 * coefficients.spans.len() + 1;
    for (column, span) in coefficients.spans.iter().enumerate() {
        let weights = &coefficients.values[span.at..span.at + span.count];
        let (from, end) = (3 * span.first, 3 * (span.first + span.count) + 1);
        let mut sums = [[HALF; 4]; GROUP];
        for (sum, source) in sums.iter_mut().zip(sources) {
            let source = &source[from..end];
            for (tap, &weight) in weights.iter().enumerate() {
                let Some(bytes) = source[3 * tap..].first_chunk::<4>() else {
                    break;
                };
                for lane in 0..4 {
                    sum[lane] += i32::from(bytes[lane]) * weight;
                }
            }
        }
        for (row, sum) in sums.into_iter().enumerate() {
            let at = row * stride + 3 * column;
            to[at..at + 4].copy_from_slice(&sum.map(clip));
        }
    }
}

/// One row of the second pass, from one (padded) row of `rows` for each of `weights`.
#[multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+fma", "x86_64+sse4.2"))]
fn down_row(rows: &[u8], weights: &[i32], sums: &mut [i32], to: &mut [u8]) {
    sums.fill(HALF);
    for (row, &weight) in rows.chunks_exact(to.len() + 1).zip(weights) {
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
        assert_eq!(
            resize(&image, 2, 1, Filter::Box).pixels,
            [1, 11, 21, 255, 128, 8]
        );
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
        let pixels = (0..3 * 41 * 29)
            .map(|v: usize| (v * v % 253) as u8)
            .collect();
        let image = RgbImage::from_pixels(41, 29, pixels);
        let crop = CropBox {
            x: 3,
            y: 2,
            width: 33,
            height: 27,
        };
        for filter in [
            Filter::Nearest,
            Filter::Box,
            Filter::Bilinear,
            Filter::Hamming,
            Filter::Bicubic,
            Filter::Lanczos,
        ] {
            for size in [(20, 50), (33, 14), (60, 27), (33, 27)] {
                let whole = resize_crop(&image, crop, size.0, size.1, filter);
                let again = resize(&image.cropped(3, 2, 33, 27), size.0, size.1, filter);
                assert_eq!(whole, again, "{filter:?} {size:?}");
                let window = CropBox {
                    x: 5,
                    y: 4,
                    width: 11,
                    height: 9,
                };
                let mut out = RgbImage::default();
                resize_window_into(&image, crop, size, filter, window, &mut out);
                assert_eq!(out, whole.cropped(5, 4, 11, 9), "{filter:?} {size:?}");
            }
        }
    }

    #[test]
    fn one_colour_stays_one_colour() {
        let image = RgbImage::filled(17, 9, [255, 0, 129]);
        for filter in [
            Filter::Box,
            Filter::Bilinear,
            Filter::Hamming,
            Filter::Bicubic,
            Filter::Lanczos,
        ] {
            assert_eq!(
                resize(&image, 5, 31, filter),
                RgbImage::filled(5, 31, [255, 0, 129]),
                "{filter:?}"
            );
        }
    }
}
