//! Point operations: every output byte depends on one input byte through a table.
//!
//! Pixels equal Pillow's `ImageOps` (autocontrast, equalize, invert, posterize, solarize) and the
//! `ImageEnhance` blends whose other picture is one flat colour (brightness, contrast).
//! All work in place.

use super::enhance::{blend_flat, luma};
use crate::RgbImage;

/// One output level per input level.
type Table = [u8; 256];

fn table(f: impl Fn(u8) -> u8) -> Table {
    let mut table = [0; 256];
    for (level, slot) in (0..=u8::MAX).zip(&mut table) {
        *slot = f(level);
    }
    table
}

fn map(image: &mut RgbImage, table: &Table) {
    for value in &mut image.pixels {
        *value = table[usize::from(*value)];
    }
}

fn map_channels(image: &mut RgbImage, [red, green, blue]: &[Table; 3]) {
    for pixel in image.pixels.chunks_exact_mut(3) {
        pixel[0] = red[usize::from(pixel[0])];
        pixel[1] = green[usize::from(pixel[1])];
        pixel[2] = blue[usize::from(pixel[2])];
    }
}

/// How often each level occurs, per channel.
fn histogram(image: &RgbImage) -> [[u32; 256]; 3] {
    // Two sets, for every other pixel: neighbours are often equal, and adding to the same counter
    // twice in a row waits for memory.
    let mut counts = [[0_u32; 256]; 3];
    let mut others = [[0_u32; 256]; 3];
    let mut pairs = image.pixels.chunks_exact(6);
    for pair in &mut pairs {
        for channel in 0..3 {
            counts[channel][usize::from(pair[channel])] += 1;
            others[channel][usize::from(pair[channel + 3])] += 1;
        }
    }
    for (channel, &value) in pairs.remainder().iter().enumerate() {
        counts[channel][usize::from(value)] += 1;
    }
    for (count, other) in counts.iter_mut().flatten().zip(others.iter().flatten()) {
        *count += other;
    }
    counts
}

/// Stretches each channel so that its darkest level becomes 0 and its brightest 255.
pub fn auto_contrast(image: &mut RgbImage) {
    let tables = histogram(image).map(|counts| {
        let darkest = counts.iter().position(|&n| n > 0).unwrap_or(0);
        let brightest = counts.iter().rposition(|&n| n > 0).unwrap_or(0);
        if brightest <= darkest {
            return table(|level| level);
        }
        let scale = 255.0 / (brightest - darkest) as f64;
        let offset = -(darkest as f64) * scale;
        // A float-to-int cast truncates and saturates, which is Pillow's rule here.
        table(|level| (f64::from(level) * scale + offset) as u8)
    });
    map_channels(image, &tables);
}

/// Flattens the histogram of each channel.
pub fn equalize(image: &mut RgbImage) {
    let tables = histogram(image).map(|counts| {
        let used = counts.iter().filter(|&&n| n > 0).count();
        let total: u32 = counts.iter().sum();
        let last = counts.iter().rev().find(|&&n| n > 0).copied().unwrap_or(0);
        let step = (total - last) / 255;
        if used <= 1 || step == 0 {
            return table(|level| level);
        }
        let mut below = step / 2;
        let mut levels = [0; 256];
        for (slot, count) in levels.iter_mut().zip(counts) {
            *slot = (below / step).min(255) as u8;
            below += count;
        }
        levels
    });
    map_channels(image, &tables);
}

/// Replaces every level by 255 minus it.
pub fn invert(image: &mut RgbImage) {
    for value in &mut image.pixels {
        *value = 255 - *value;
    }
}

/// Keeps the `bits` highest bits of every level: 8 changes nothing, 0 leaves a black picture (as
/// Pillow did when MAE was trained; releases since 11 refuse it).
pub fn posterize(image: &mut RgbImage, bits: u32) {
    let mask = (0xff00_u32 >> bits.min(8)) as u8;
    for value in &mut image.pixels {
        *value &= mask;
    }
}

/// Inverts the levels at or above `threshold` (0..=256).
pub fn solarize(image: &mut RgbImage, threshold: u32) {
    map(
        image,
        &table(|level| {
            if u32::from(level) < threshold {
                level
            } else {
                255 - level
            }
        }),
    );
}

/// Adds `amount` to the levels below 128, up to 255.
pub fn solarize_add(image: &mut RgbImage, amount: u8) {
    map(
        image,
        &table(|level| {
            if level < 128 {
                level.saturating_add(amount)
            } else {
                level
            }
        }),
    );
}

/// Multiplies the levels by `factor`: 0 is black, 1 the picture itself.
pub fn brightness(image: &mut RgbImage, factor: f64) {
    blend_flat(0, &mut image.pixels, factor as f32);
}

/// Moves the levels away from (factor above 1) or towards (below 1) the mean grey of the picture.
pub fn contrast(image: &mut RgbImage, factor: f64) {
    let pixels = (image.pixels.len() / 3).max(1);
    let sum: u64 = image
        .pixels
        .chunks_exact(3)
        .map(|pixel| u64::from(luma(pixel)))
        .sum();
    let grey = (sum as f64 / pixels as f64 + 0.5) as u8;
    blend_flat(grey, &mut image.pixels, factor as f32);
}
