//! Affine warps: shear, shift and rotation.
//!
//! Pixels equal Pillow's `Image.transform(size, AFFINE, …)` and `Image.rotate` with bilinear or
//! bicubic (a = -1) interpolation: double precision, neighbours clamped at the border, cut (not
//! rounded) to a byte, and the fill colour wherever the pixel's centre maps outside the picture.
//! A shear or shift along one axis interpolates along that axis only; the other one's fraction is
//! exactly zero, so the result is the same and costs a quarter.

use multiversion::multiversion;

use crate::RgbImage;

/// How a warp interpolates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AffineFilter {
    /// 2×2 neighbours.
    Bilinear,
    /// 4×4 neighbours.
    Bicubic,
}

/// Maps an output pixel to where its value is read: `x' = m0 x + m1 y + m2`, `y' = m3 x + m4 y + m5`,
/// pixel centres at half integers.
pub type AffineMatrix = [f64; 6];

/// `x' = x + factor * y`.
pub fn shear_x(image: &mut RgbImage, factor: f64, filter: AffineFilter, fill: [u8; 3]) {
    warp(image, [1.0, factor, 0.0, 0.0, 1.0, 0.0], filter, fill);
}

/// `y' = y + factor * x`.
pub fn shear_y(image: &mut RgbImage, factor: f64, filter: AffineFilter, fill: [u8; 3]) {
    warp(image, [1.0, 0.0, 0.0, factor, 1.0, 0.0], filter, fill);
}

/// Moves the content left by `pixels`.
pub fn translate_x(image: &mut RgbImage, pixels: f64, filter: AffineFilter, fill: [u8; 3]) {
    warp(image, [1.0, 0.0, pixels, 0.0, 1.0, 0.0], filter, fill);
}

/// Moves the content up by `pixels`.
pub fn translate_y(image: &mut RgbImage, pixels: f64, filter: AffineFilter, fill: [u8; 3]) {
    warp(image, [1.0, 0.0, 0.0, 0.0, 1.0, pixels], filter, fill);
}

/// Turns the picture counter-clockwise about its centre, keeping its size.
pub fn rotate(image: &mut RgbImage, degrees: f64, filter: AffineFilter, fill: [u8; 3]) {
    // Into [0, 360), as Python's % does: sin and cos of the two representatives differ in the
    // last bit.
    let degrees = degrees - (degrees / 360.0).floor() * 360.0;
    if degrees == 0.0 {
        return;
    }
    let (sin, cos) = (-degrees.to_radians()).sin_cos();
    let [sin, cos] = [sin, cos].map(round_15);
    let (cx, cy) = (image.width as f64 / 2.0, image.height as f64 / 2.0);
    let dx = cos * -cx + sin * -cy + 0.0 + cx;
    let dy = -sin * -cx + cos * -cy + 0.0 + cy;
    warp(image, [cos, sin, dx, -sin, cos, dy], filter, fill);
}

/// The value rounded to 15 decimals, so that multiples of 90 degrees are exact.
fn round_15(value: f64) -> f64 {
    // Through decimal digits: scaling by 1e15 and back would round twice.
    format!("{value:.15}").parse().unwrap_or(value)
}

/// Applies the inverse mapping `matrix` to the whole picture.
pub fn warp(image: &mut RgbImage, matrix: AffineMatrix, filter: AffineFilter, fill: [u8; 3]) {
    let source = Padded::new(image);
    let row_kernel = match filter {
        AffineFilter::Bilinear => bilinear_row,
        AffineFilter::Bicubic if matrix[3..] == [0.0, 1.0, 0.0] => cubic_along_x_row,
        AffineFilter::Bicubic if matrix[..3] == [1.0, 0.0, 0.0] => cubic_along_y_row,
        AffineFilter::Bicubic => cubic_row,
    };
    // One byte more than a row: pixels are written with their unused fourth lane.
    let mut line = vec![0; image.width * 3 + 1];
    let rows = image.pixels.chunks_exact_mut((image.width * 3).max(1));
    for (row, output) in rows.enumerate() {
        row_kernel(&source, &matrix, row, fill, &mut line);
        output.copy_from_slice(&line[..output.len()]);
    }
}

/// A copy of a picture with its border repeated, so that neighbours need no clamping.
struct Padded {
    pixels: Vec<u8>,
    width: usize,
    height: usize,
    /// Bytes per row.
    stride: usize,
}

/// Neighbours needed on each side.
const PAD: usize = 2;
/// Bytes read per row of neighbours: four pixels and one byte for the unused fourth lane.
const SPAN: usize = 13;
/// Values of one pixel in double precision. The fourth lane holds the next pixel's first channel
/// and is of no use but to fill the vector.
type Lanes = [f64; 4];

impl Padded {
    fn new(image: &RgbImage) -> Self {
        let (width, height) = (image.width, image.height);
        let stride = (width + 2 * PAD) * 3;
        let mut pixels = Vec::with_capacity(stride * (height + 2 * PAD) + SPAN);
        if width > 0 && height > 0 {
            for y in 0..height + 2 * PAD {
                let y = y.saturating_sub(PAD).min(height - 1);
                let line = &image.pixels[y * width * 3..][..width * 3];
                for _ in 0..PAD {
                    pixels.extend_from_slice(&line[..3]);
                }
                pixels.extend_from_slice(line);
                for _ in 0..PAD {
                    pixels.extend_from_slice(&line[line.len() - 3..]);
                }
            }
        }
        pixels.resize(pixels.len() + SPAN, 0);
        Self {
            pixels,
            width,
            height,
            stride,
        }
    }

    /// The bytes from pixel `(x, y)` on; both may lie `PAD` outside the picture.
    #[inline(always)]
    fn span(&self, place: Place, down: usize) -> &[u8] {
        &self.pixels[place.at + down * self.stride..][..SPAN]
    }
}

/// Where a value is read: the byte of the neighbour one before and above the one whose centre lies
/// before and above, and the fractions beyond that centre.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    dx: f64,
    dy: f64,
}

/// One output row: samples where the mapping hits the picture, the fill colour elsewhere. `line`
/// has one byte more than the row.
#[inline(always)]
fn warp_row(
    source: &Padded,
    matrix: &AffineMatrix,
    row: usize,
    fill: [u8; 3],
    line: &mut [u8],
    sample: impl Fn(Place) -> Lanes,
) {
    let [a, b, c, d, e, f] = *matrix;
    let (width, height) = (source.width as f64, source.height as f64);
    let y_out = row as f64 + 0.5;
    let fill = [fill[0], fill[1], fill[2], 0];
    for column in 0..source.width {
        let x_out = column as f64 + 0.5;
        // In this order of operations: a different one rounds differently.
        let x_in = a * x_out + b * y_out + c;
        let y_in = d * x_out + e * y_out + f;
        let pixel = if x_in >= 0.0 && x_in < width && y_in >= 0.0 && y_in < height {
            let (x, y) = (x_in - 0.5, y_in - 0.5);
            let (left, above) = (x.floor(), y.floor());
            // Both are at least -1, and one pixel before that is still in the padding.
            let at = whole(above + 1.0) * source.stride + whole(left + 1.0) * 3;
            narrow(sample(Place {
                at,
                dx: x - left,
                dy: y - above,
            }))
        } else {
            fill
        };
        // All four lanes, the next pixel overwrites the last one: a lane that nobody reads would
        // be left out of the sums, and three lanes are no vector.
        line[column * 3..column * 3 + 4].copy_from_slice(&pixel);
    }
}

#[multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+fma", "x86_64+sse4.2"))]
fn bilinear_row(
    source: &Padded,
    matrix: &AffineMatrix,
    row: usize,
    fill: [u8; 3],
    line: &mut [u8],
) {
    warp_row(source, matrix, row, fill, line, |place| {
        let above = linear_bytes(&source.span(place, 1)[3..], place.dx);
        let below = linear_bytes(&source.span(place, 2)[3..], place.dx);
        linear(above, below, place.dy)
    });
}

#[multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+fma", "x86_64+sse4.2"))]
fn cubic_row(source: &Padded, matrix: &AffineMatrix, row: usize, fill: [u8; 3], line: &mut [u8]) {
    warp_row(source, matrix, row, fill, line, |place| {
        let first = cubic_span(source.span(place, 0), place.dx);
        let second = cubic_span(source.span(place, 1), place.dx);
        let third = cubic_span(source.span(place, 2), place.dx);
        let fourth = cubic_span(source.span(place, 3), place.dx);
        cubic(first, second, third, fourth, place.dy)
    });
}

#[multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+fma", "x86_64+sse4.2"))]
fn cubic_along_x_row(
    source: &Padded,
    matrix: &AffineMatrix,
    row: usize,
    fill: [u8; 3],
    line: &mut [u8],
) {
    warp_row(source, matrix, row, fill, line, |place| {
        cubic_span(source.span(place, 1), place.dx)
    });
}

#[multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+fma", "x86_64+sse4.2"))]
fn cubic_along_y_row(
    source: &Padded,
    matrix: &AffineMatrix,
    row: usize,
    fill: [u8; 3],
    line: &mut [u8],
) {
    warp_row(source, matrix, row, fill, line, |place| {
        let row = |down| &source.span(place, down)[3..];
        cubic_bytes(row(0), row(1), row(2), row(3), place.dy)
    });
}

/// A whole number of at least 0 as an index. Adding 2^52 leaves it in the lowest bits, which costs
/// less than a cast that looks after everything a float can be.
#[inline(always)]
fn whole(value: f64) -> usize {
    (value + SHIFT).to_bits() as u32 as usize
}

const SHIFT: f64 = (1_u64 << 52) as f64;

/// One pixel as whole numbers.
#[inline(always)]
fn widen(bytes: &[u8]) -> [i32; 4] {
    let mut wide = [0; 4];
    for (wide, byte) in wide.iter_mut().zip(&bytes[..4]) {
        *wide = i32::from(*byte);
    }
    wide
}

/// Levels cut (not rounded) to bytes.
#[inline(always)]
fn narrow(values: Lanes) -> [u8; 4] {
    let mut bits = [0; 4];
    for (bits, value) in bits.iter_mut().zip(values) {
        *bits = (value.clamp(0.0, 255.0).floor() + SHIFT).to_bits();
    }
    bits.map(|bits| bits as u8)
}

// The loops below run over the lanes of fixed arrays: that is what the compiler makes vectors of.

/// Between the pixel at the start of `bytes` and the next one.
#[inline(always)]
fn linear_bytes(bytes: &[u8], t: f64) -> Lanes {
    let (from, to) = (widen(bytes), widen(&bytes[3..]));
    let mut values = [0.0; 4];
    for k in 0..4 {
        values[k] = f64::from(from[k]) + f64::from(to[k] - from[k]) * t;
    }
    values
}

/// Between two values that are no longer whole.
#[inline(always)]
fn linear(from: Lanes, to: Lanes, t: f64) -> Lanes {
    let mut values = [0.0; 4];
    for k in 0..4 {
        values[k] = from[k] + (to[k] - from[k]) * t;
    }
    values
}

/// Cubic convolution with a = -1 of four pixels, in the nested form whose rounding Pillow's pixels
/// show. The coefficients are whole numbers, so it does not matter that they are computed as such.
#[inline(always)]
fn cubic_bytes(v1: &[u8], v2: &[u8], v3: &[u8], v4: &[u8], t: f64) -> Lanes {
    let (v1, v2, v3, v4) = (widen(v1), widen(v2), widen(v3), widen(v4));
    let mut values = [0.0; 4];
    for k in 0..4 {
        let p2 = f64::from(v3[k] - v1[k]);
        let p3 = f64::from(2 * (v1[k] - v2[k]) + v3[k] - v4[k]);
        let p4 = f64::from(v2[k] - v1[k] + v4[k] - v3[k]);
        values[k] = f64::from(v2[k]) + t * (p2 + t * (p3 + t * p4));
    }
    values
}

/// Along the row whose first neighbour is the first pixel of `span`.
#[inline(always)]
fn cubic_span(span: &[u8], t: f64) -> Lanes {
    cubic_bytes(span, &span[3..], &span[6..], &span[9..], t)
}

/// Cubic convolution of four values that are no longer whole.
#[inline(always)]
fn cubic(v1: Lanes, v2: Lanes, v3: Lanes, v4: Lanes, t: f64) -> Lanes {
    let mut values = [0.0; 4];
    for k in 0..4 {
        let p2 = -v1[k] + v3[k];
        let p3 = 2.0 * (v1[k] - v2[k]) + v3[k] - v4[k];
        let p4 = -v1[k] + v2[k] - v3[k] + v4[k];
        values[k] = v2[k] + t * (p2 + t * (p3 + t * p4));
    }
    values
}
