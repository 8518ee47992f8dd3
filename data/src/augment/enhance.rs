//! Blends of a picture with a filtered copy of itself: saturation and sharpness, and hue.
//!
//! Pixels equal Pillow's `ImageEnhance.Color`, `ImageEnhance.Sharpness` (the 3×3 SMOOTH kernel) and
//! torchvision's `adjust_hue` on Pillow pictures.

use multiversion::multiversion;

use crate::RgbImage;

/// Grey level of one pixel: ITU-R 601-2 weights in 16-bit fixed point, rounded.
#[inline(always)]
pub(super) fn luma(rgb: &[u8]) -> u8 {
    let [red, green, blue] = [rgb[0], rgb[1], rgb[2]].map(u32::from);
    ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16) as u8
}

/// `from + factor * (to - from)` in single precision, cut to a byte (not rounded), as Pillow blends.
#[inline(always)]
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let step = f32::from(i16::from(to) - i16::from(from));
    let value = f32::from(from) + factor * step;
    // Adding 2^23 leaves the whole number in the lowest bits: unlike a cast, this is done for many
    // bytes at once.
    (value.clamp(0.0, 255.0).floor() + 8_388_608.0).to_bits() as u8
}

/// Blends every byte of `from` with the one of `to`, into `to`.
#[multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+fma", "x86_64+sse4.2"))]
fn blend_bytes(from: &[u8], to: &mut [u8], factor: f32) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = blend(from, *to, factor);
    }
}

/// Blends a flat grey with every byte of `to`, in place.
#[multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+fma", "x86_64+sse4.2"))]
pub(super) fn blend_flat(grey: u8, to: &mut [u8], factor: f32) {
    for to in to {
        *to = blend(grey, *to, factor);
    }
}

/// The luma of each pixel, once per channel, so that blending is the same step for every byte.
#[multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+fma", "x86_64+sse4.2"))]
fn grey_row(line: &[u8], grey: &mut [u8]) {
    let (pixels, _) = line.as_chunks::<3>();
    let (greys, _) = grey.as_chunks_mut::<3>();
    for (grey, pixel) in greys.iter_mut().zip(pixels) {
        *grey = [luma(pixel); 3];
    }
}

/// Saturation: 0 is the grey picture, 1 the picture itself, above 1 more colourful.
pub fn color(image: &mut RgbImage, factor: f64) {
    let row = (image.width * 3).max(1);
    let mut grey = vec![0; row];
    for line in image.pixels.chunks_exact_mut(row) {
        grey_row(line, &mut grey);
        blend_bytes(&grey, line, factor as f32);
    }
}

/// Sharpness: 0 is the smoothed picture, 1 the picture itself, above 1 sharper.
///
/// The outermost pixels keep their value: the kernel does not fit there.
pub fn sharpness(image: &mut RgbImage, factor: f64) {
    let row = image.width * 3;
    if image.width < 3 || image.height < 3 {
        return;
    }
    // The row above the one being written is needed in its old state.
    let mut above = image.pixels[..row].to_vec();
    let mut here = vec![0; row];
    let mut columns = vec![0; row];
    let mut smooth = vec![0; row - 6];
    for y in 1..image.height - 1 {
        let (head, below) = image.pixels.split_at_mut((y + 1) * row);
        let line = &mut head[y * row..];
        here.copy_from_slice(line);
        smooth_row([&above, &here, &below[..row]], &mut columns, &mut smooth);
        blend_bytes(&smooth, &mut line[3..row - 3], factor as f32);
        std::mem::swap(&mut above, &mut here);
    }
}

/// Weights 1 around 5 in a 3×3 window, over 13: one row without its first and last pixel.
/// `columns` is scratch space of a row's length.
#[multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+fma", "x86_64+sse4.2"))]
fn smooth_row([above, here, below]: [&[u8]; 3], columns: &mut [u16], smooth: &mut [u8]) {
    for (sum, ((a, h), b)) in columns.iter_mut().zip(above.iter().zip(here).zip(below)) {
        *sum = u16::from(*a) + u16::from(*h) + u16::from(*b);
    }
    let sums = columns.iter().zip(&columns[3..]).zip(&columns[6..]);
    for ((smooth, old), ((left, middle), right)) in smooth.iter_mut().zip(&here[3..]).zip(sums) {
        let sum = left + middle + right + 4 * u16::from(*old);
        // Nearest whole number to sum / 13; a tie is impossible as 13 is odd.
        *smooth = ((sum + 6) / 13) as u8;
    }
}

/// Turns the hue by `shift` turns (-0.5..=0.5) in Pillow's 8-bit HSV.
pub fn hue(image: &mut RgbImage, shift: f64) {
    // The shift is cut to whole steps of 1/255 turn, then the addition wraps at 256.
    let steps = (shift * 255.0) as i32 as u8;
    let sectors: Vec<(u8, f32)> = (0..=u8::MAX)
        .map(|level| {
            let position = f64::from(level) * 6.0 / 255.0;
            let sector = position as u8;
            (sector % 6, (position - f64::from(sector)) as f32)
        })
        .collect();
    for pixel in image.pixels.chunks_exact_mut(3) {
        let [hue, saturation, value] = to_hsv([pixel[0], pixel[1], pixel[2]]);
        let (sector, fraction) = sectors[usize::from(hue.wrapping_add(steps))];
        pixel.copy_from_slice(&to_rgb(sector, fraction, saturation, value));
    }
}

fn to_hsv([red, green, blue]: [u8; 3]) -> [u8; 3] {
    let most = red.max(green).max(blue);
    let least = red.min(green).min(blue);
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let saturation = range / f32::from(most);
    let distance = |level: u8| f32::from(most - level) / range;
    let (r, g, b) = (distance(red), distance(green), distance(blue));
    // Single and double precision alternate as in Pillow: the truncation below sees the difference.
    let sixths = if red == most {
        b - g
    } else if green == most {
        (2.0 + f64::from(r) - f64::from(b)) as f32
    } else {
        (4.0 + f64::from(g) - f64::from(r)) as f32
    };
    let turn = ((f64::from(sixths) / 6.0 + 1.0) % 1.0) as f32;
    [
        (f64::from(turn) * 255.0) as u8,
        (f64::from(saturation) * 255.0) as u8,
        most,
    ]
}

fn to_rgb(sector: u8, fraction: f32, saturation: u8, value: u8) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let strength = f32::from(saturation) / 255.0;
    let scale = |by: f64| (f64::from(value) * by).round() as u8;
    let low = scale(1.0 - f64::from(strength));
    let falling = scale(1.0 - f64::from(strength * fraction));
    let rising = scale(1.0 - f64::from(strength) * (1.0 - f64::from(fraction)));
    match sector {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}
