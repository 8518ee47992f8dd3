//! Random changes of brightness, contrast, saturation and hue.
//!
//! Source: mmsegmentation `PhotoMetricDistortion`. Each step ends in 8 bits, cut off and not rounded; hue and
//! saturation each go through OpenCV's 8-bit HSV and back.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::pixels::change_hsv;
use crate::error::DataError;
use crate::image::RgbImage;

/// Largest change of brightness, in levels.
const BRIGHTNESS: f64 = 32.0;
/// Factors of contrast and saturation.
const FACTORS: std::ops::Range<f64> = 0.5..1.5;
/// Change of hue in steps of two degrees; the greatest is left out, as numpy's randint leaves it out.
const HUE: std::ops::Range<i32> = -18..18;
/// Steps around the circle of hues.
const HUES: i32 = 180;

/// Changes of colour, in the order in which they are made; what is absent is left alone.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PhotometricChange {
    /// Added to every channel, in levels.
    pub brightness: Option<f32>,
    /// Factor of every channel, before saturation and hue.
    pub contrast_first: Option<f32>,
    /// Factor of the saturation.
    pub saturation: Option<f32>,
    /// Added to the hue, in steps of two degrees.
    pub hue: Option<i32>,
    /// Factor of every channel, after saturation and hue.
    pub contrast_last: Option<f32>,
}

impl PhotometricChange {
    /// Draws changes: each of the four is made half of the time, contrast as often first as last.
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        let mut change = Self::default();
        let factor = |rng: &mut ChaCha8Rng| {
            let is_made: bool = rng.random();
            is_made.then(|| rng.random_range(FACTORS) as f32)
        };
        if rng.random() {
            change.brightness = Some(rng.random_range(-BRIGHTNESS..BRIGHTNESS) as f32);
        }
        let contrast_first = rng.random();
        if contrast_first {
            change.contrast_first = factor(rng);
        }
        change.saturation = factor(rng);
        if rng.random() {
            change.hue = Some(rng.random_range(HUE));
        }
        if !contrast_first {
            change.contrast_last = factor(rng);
        }
        change
    }

    /// Changes a picture.
    ///
    /// # Errors
    /// When OpenCV cannot convert its colours.
    pub fn apply(&self, image: &mut RgbImage) -> Result<(), DataError> {
        if image.pixels.is_empty() {
            return Ok(());
        }
        if let Some(levels) = self.brightness {
            look_up(&mut image.pixels, |value| value + levels);
        }
        if let Some(factor) = self.contrast_first {
            look_up(&mut image.pixels, |value| value * factor);
        }
        if let Some(factor) = self.saturation {
            let table = table(|value| value * factor);
            change_hsv(image, |pixel| pixel[1] = table[usize::from(pixel[1])])?;
        }
        if let Some(steps) = self.hue {
            let table: [u8; 256] =
                std::array::from_fn(|hue| (hue as i32 + steps).rem_euclid(HUES) as u8);
            change_hsv(image, |pixel| pixel[0] = table[usize::from(pixel[0])])?;
        }
        if let Some(factor) = self.contrast_last {
            look_up(&mut image.pixels, |value| value * factor);
        }
        Ok(())
    }
}

/// Cut off to 8 bits: a cast of floats leaves out fractions.
fn table(change: impl Fn(f32) -> f32) -> [u8; 256] {
    std::array::from_fn(|value| change(value as f32).clamp(0.0, 255.0) as u8)
}

fn look_up(values: &mut [u8], change: impl Fn(f32) -> f32) {
    let table = table(change);
    for value in values {
        *value = table[usize::from(*value)];
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn values_are_cut_off_and_not_rounded() {
        let mut image = RgbImage::from_pixels(2, 1, vec![0, 10, 11, 200, 254, 255]);
        let change = PhotometricChange {
            brightness: Some(-10.5),
            contrast_last: Some(1.5),
            ..PhotometricChange::default()
        };
        change.apply(&mut image).unwrap();
        // 11 - 10.5 = 0.5 -> 0; 200 -> 189 -> 283; 254 -> 243.
        assert_eq!(image.pixels, [0, 0, 0, 255, 255, 255]);
        let mut image = RgbImage::from_pixels(1, 1, vec![101, 3, 5]);
        let change = PhotometricChange {
            contrast_first: Some(0.5),
            ..PhotometricChange::default()
        };
        change.apply(&mut image).unwrap();
        assert_eq!(image.pixels, [50, 1, 2]);
    }

    #[test]
    fn a_third_of_a_turn_exchanges_channels_and_no_saturation_is_grey() {
        let mut image = RgbImage::from_pixels(1, 1, vec![255, 0, 0]);
        let mut change = PhotometricChange {
            hue: Some(60),
            ..PhotometricChange::default()
        };
        change.apply(&mut image).unwrap();
        assert_eq!(image.pixels, [0, 255, 0]);
        change.hue = Some(-120);
        change.saturation = Some(0.0);
        change.apply(&mut image).unwrap();
        assert_eq!(image.pixels, [255, 255, 255]);
    }

    #[test]
    fn changes_are_made_as_often_as_said() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let drawn: Vec<PhotometricChange> = (0..4000)
            .map(|_| PhotometricChange::draw(&mut rng))
            .collect();
        let share = |made: fn(&PhotometricChange) -> bool| {
            drawn.iter().filter(|change| made(change)).count() as f64 / 4000.0
        };
        // Standard deviations are at most 0.008.
        assert!((share(|c| c.brightness.is_some()) - 0.5).abs() < 0.04);
        assert!((share(|c| c.saturation.is_some()) - 0.5).abs() < 0.04);
        assert!((share(|c| c.hue.is_some()) - 0.5).abs() < 0.04);
        assert!((share(|c| c.contrast_first.is_some()) - 0.25).abs() < 0.04);
        assert!((share(|c| c.contrast_last.is_some()) - 0.25).abs() < 0.04);
        assert_eq!(
            share(|c| c.contrast_first.is_some() && c.contrast_last.is_some()),
            0.0
        );
        let hues: Vec<i32> = drawn.iter().filter_map(|change| change.hue).collect();
        assert_eq!(hues.iter().min(), Some(&-18));
        assert_eq!(hues.iter().max(), Some(&17));
        let factors = || drawn.iter().filter_map(|change| change.saturation);
        assert!(factors().all(|factor| (0.5..=1.5).contains(&factor)));
        assert!(factors().any(|factor| factor < 0.6) && factors().any(|factor| factor > 1.4));
        let levels = || drawn.iter().filter_map(|change| change.brightness);
        assert!(levels().any(|v| v < -25.0) && levels().any(|v| v > 25.0));
    }
}
