//! torchvision's `ColorJitter` on 8-bit pictures: brightness, contrast, saturation and hue by
//! random amounts in random order. MAE uses it only where RandAugment is switched off.

use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::error::{AugmentError, check_range};
use super::{enhance, point};
use crate::RgbImage;

/// Strengths of the four changes; 0 leaves a property alone.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColorJitter {
    /// Factor drawn from `max(0, 1 - brightness)..=1 + brightness`.
    pub brightness: f64,
    /// Factor drawn likewise.
    pub contrast: f64,
    /// Factor drawn likewise.
    pub saturation: f64,
    /// Shift drawn from `-hue..=hue` turns; at most 0.5.
    pub hue: f64,
}

/// One drawn change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum JitterStep {
    /// Brightness by a factor.
    Brightness(f64),
    /// Contrast by a factor.
    Contrast(f64),
    /// Saturation by a factor.
    Saturation(f64),
    /// Hue by turns, -0.5..=0.5.
    Hue(f64),
}

impl ColorJitter {
    /// timm's single number: brightness, contrast and saturation alike, hue unchanged.
    pub fn uniform(strength: f64) -> Self {
        Self {
            brightness: strength,
            contrast: strength,
            saturation: strength,
            hue: 0.0,
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the strength that is negative or too large.
    pub fn check(&self) -> Result<(), AugmentError> {
        for (field, value) in [
            ("color_jitter.brightness", self.brightness),
            ("color_jitter.contrast", self.contrast),
            ("color_jitter.saturation", self.saturation),
        ] {
            check_range(field, value, 0.0, f64::MAX, "at least 0")?;
        }
        check_range("color_jitter.hue", self.hue, 0.0, 0.5, "from 0 to 0.5")
    }

    /// Draws the changes for one picture, in the order in which they are applied.
    pub fn draw(&self, rng: &mut impl Rng) -> Vec<JitterStep> {
        let mut steps = Vec::with_capacity(4);
        let mut factor = |strength: f64, step: fn(f64) -> JitterStep, rng: &mut _| {
            if strength > 0.0 {
                let low = (1.0 - strength).max(0.0);
                steps.push(step(uniform(low, 1.0 + strength, rng)));
            }
        };
        factor(self.brightness, JitterStep::Brightness, rng);
        factor(self.contrast, JitterStep::Contrast, rng);
        factor(self.saturation, JitterStep::Saturation, rng);
        if self.hue > 0.0 {
            steps.push(JitterStep::Hue(uniform(-self.hue, self.hue, rng)));
        }
        steps.shuffle(rng);
        steps
    }

    /// Draws and applies.
    pub fn apply(&self, image: &mut RgbImage, rng: &mut impl Rng) {
        for step in self.draw(rng) {
            step.apply(image);
        }
    }
}

fn uniform<R: Rng>(low: f64, high: f64, rng: &mut R) -> f64 {
    low + rng.random::<f64>() * (high - low)
}

impl JitterStep {
    /// Applies the change in place.
    pub fn apply(self, image: &mut RgbImage) {
        match self {
            Self::Brightness(factor) => point::brightness(image, factor),
            Self::Contrast(factor) => point::contrast(image, factor),
            Self::Saturation(factor) => enhance::color(image, factor),
            Self::Hue(turns) => enhance::hue(image, turns),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn draws_stay_in_range_and_change_order() {
        let jitter = ColorJitter {
            brightness: 0.4,
            contrast: 1.5,
            saturation: 0.0,
            hue: 0.1,
        };
        jitter.check().unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut first_is_hue = 0;
        for _ in 0..3000 {
            let steps = jitter.draw(&mut rng);
            assert_eq!(steps.len(), 3);
            first_is_hue += u32::from(matches!(steps[0], JitterStep::Hue(_)));
            for step in steps {
                match step {
                    JitterStep::Brightness(f) => assert!((0.6..=1.4).contains(&f)),
                    JitterStep::Contrast(f) => assert!((0.0..=2.5).contains(&f)),
                    JitterStep::Hue(t) => assert!((-0.1..=0.1).contains(&t)),
                    JitterStep::Saturation(_) => panic!("saturation is switched off"),
                }
            }
        }
        assert!((900..1100).contains(&first_is_hue), "{first_is_hue}");
    }

    #[test]
    fn a_hue_beyond_half_a_turn_is_refused() {
        let jitter = ColorJitter {
            hue: 0.6,
            ..ColorJitter::uniform(0.4)
        };
        assert_eq!(
            jitter.check().unwrap_err().to_string(),
            "color_jitter.hue is 0.6: it must be from 0 to 0.5"
        );
    }
}
