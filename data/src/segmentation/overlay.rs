//! Classes drawn onto their picture.

use super::numbering::IGNORED;
use crate::image::RgbImage;

/// Lays each pixel's class colour over a picture: `opacity` 0 leaves the picture, 1 covers it. Borders between
/// classes are drawn stronger. Pixels that are ignored, or whose class has no colour, stay as they are.
///
/// # Panics
/// When there is not one label for each pixel of the picture.
pub fn draw_labels(image: &mut RgbImage, labels: &[u8], palette: &[[u8; 3]], opacity: f64) {
    let (width, height) = (image.width, image.height);
    assert_eq!(
        labels.len(),
        width * height,
        "there is a label for each pixel of the picture"
    );
    if labels.is_empty() {
        return;
    }
    let opacity = opacity.clamp(0.0, 1.0);
    // Half of the way to full cover.
    let [share, border] = [
        opacity,
        if opacity > 0.0 {
            0.5 + opacity / 2.0
        } else {
            0.0
        },
    ]
    .map(|v| (v * 256.0).round() as u32);
    let pixels = image.pixels.as_chunks_mut::<3>().0;
    for y in 0..height {
        let row = &labels[y * width..][..width];
        let below = labels.get((y + 1) * width..(y + 2) * width).unwrap_or(row);
        for x in 0..width {
            let label = row[x];
            let Some(colour) = palette.get(usize::from(label)).filter(|_| label != IGNORED) else {
                continue;
            };
            let next = row[(x + 1).min(width - 1)];
            let share = if next == label && below[x] == label {
                share
            } else {
                border
            };
            for (value, &colour) in pixels[y * width + x].iter_mut().zip(colour) {
                let mixed = u32::from(*value) * (256 - share) + u32::from(colour) * share;
                *value = ((mixed + 128) >> 8) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_tinted_and_ignored_pixels_left() {
        let grey = RgbImage::filled(4, 2, [100; 3]);
        let palette = [[200, 0, 100], [0, 0, 0]];
        let labels = [0, 0, 1, IGNORED, 0, 0, 7, 1];
        let mut image = grey.clone();
        draw_labels(&mut image, &labels, &palette, 0.5);
        assert_eq!(image.pixel(0, 0), [150, 50, 100]);
        assert_eq!(image.pixel(1, 0), [175, 25, 100], "a border");
        assert_eq!(image.pixel(2, 0), [25, 25, 25], "a border");
        assert_eq!(image.pixel(3, 0), [100; 3], "ignored");
        assert_eq!(image.pixel(2, 1), [100; 3], "no colour");
        let mut image = grey.clone();
        draw_labels(&mut image, &labels, &palette, 0.0);
        assert_eq!(image, grey);
        draw_labels(&mut image, &labels, &palette, 1.0);
        assert_eq!(image.pixel(0, 0), palette[0]);
    }
}
