//! RandAugment (arXiv 1909.13719) with timm's magnitude noise: `rand-m9-mstd0.5-inc1`.
//!
//! Source: timm 0.3.2 `data/auto_augment.py`, called as MAE's `util/datasets.py` does (bicubic
//! warps, fill = the mean colour in bytes). Known differences: `inc0` is refused (timm reads the
//! text "0" as true), so are the experimental choice weights (`w0`); `p` (each operation's
//! probability) is taken over from later timm.

use std::fmt;
use std::str::FromStr;

use rand::Rng;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use super::error::AugmentError;
use super::op::{Interpolation, MAX_MAGNITUDE, Op, OpKind, OpParams};
use crate::RgbImage;

/// A RandAugment policy as written in configurations: `rand-m9-mstd0.5-inc1[-n2][-p0.5]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RandAugmentPolicy {
    /// `m`: mean magnitude, 0..=10.
    pub magnitude: f64,
    /// `mstd`: standard deviation of the magnitude; the draw is clipped to 0..=10.
    pub magnitude_std: f64,
    /// `inc1`: operations that grow with the magnitude.
    pub increasing: bool,
    /// `n`: operations drawn per picture, with replacement.
    pub layers: usize,
    /// `p`: probability that a drawn operation is applied.
    pub probability: f64,
}

impl Default for RandAugmentPolicy {
    /// timm's `rand`: magnitude 10, no noise, plain operations, two layers, one in two applied.
    fn default() -> Self {
        Self {
            magnitude: MAX_MAGNITUDE,
            magnitude_std: 0.0,
            increasing: false,
            layers: 2,
            probability: 0.5,
        }
    }
}

impl FromStr for RandAugmentPolicy {
    type Err = AugmentError;

    fn from_str(text: &str) -> Result<Self, AugmentError> {
        let wrong = |section: &str, reason: &str| AugmentError::Policy {
            text: text.to_owned(),
            section: section.to_owned(),
            reason: reason.to_owned(),
        };
        let mut sections = text.split('-');
        let head = sections.next().unwrap_or_default();
        if head != "rand" {
            return Err(wrong(head, "the first section must be \"rand\""));
        }
        let mut policy = Self::default();
        let mut seen = Vec::new();
        for section in sections {
            let split = section
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(section.len());
            let (key, value) = section.split_at(split);
            if seen.contains(&key) {
                return Err(wrong(section, "the setting occurs twice"));
            }
            seen.push(key);
            let number: f64 = value
                .parse()
                .map_err(|_| wrong(section, "a number must follow the letters"))?;
            match key {
                "m" if number <= MAX_MAGNITUDE => policy.magnitude = number,
                "m" => return Err(wrong(section, "the magnitude goes from 0 to 10")),
                "mstd" => policy.magnitude_std = number,
                "inc" if number == 1.0 => policy.increasing = true,
                "inc" => {
                    return Err(wrong(section, "leave \"inc\" out for the plain operations"));
                }
                "n" if number.fract() == 0.0 && number <= 100.0 => policy.layers = number as usize,
                "n" => return Err(wrong(section, "the number of layers is a whole number")),
                "p" if number <= 1.0 => policy.probability = number,
                "p" => return Err(wrong(section, "a probability is at most 1")),
                _ => {
                    return Err(wrong(
                        section,
                        "the known settings are m, mstd, inc, n and p",
                    ));
                }
            }
        }
        Ok(policy)
    }
}

impl TryFrom<String> for RandAugmentPolicy {
    type Error = AugmentError;

    fn try_from(text: String) -> Result<Self, AugmentError> {
        text.parse()
    }
}

impl fmt::Display for RandAugmentPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rand-m{}", self.magnitude)?;
        let default = Self::default();
        if self.magnitude_std != default.magnitude_std {
            write!(f, "-mstd{}", self.magnitude_std)?;
        }
        if self.increasing {
            f.write_str("-inc1")?;
        }
        if self.layers != default.layers {
            write!(f, "-n{}", self.layers)?;
        }
        if self.probability != default.probability {
            write!(f, "-p{}", self.probability)?;
        }
        Ok(())
    }
}

impl From<RandAugmentPolicy> for String {
    fn from(policy: RandAugmentPolicy) -> Self {
        policy.to_string()
    }
}

/// A policy ready to be applied to pictures of one size and colour statistic.
#[derive(Debug, Clone)]
pub struct RandAugment {
    policy: RandAugmentPolicy,
    params: OpParams,
    interpolation: Interpolation,
}

impl RandAugment {
    /// timm's set-up for square training pictures of `image_size` pixels that are normalised by
    /// `mean` (0..=1 per channel): the fill colour is the mean in bytes.
    pub fn new(
        policy: RandAugmentPolicy,
        image_size: usize,
        mean: [f32; 3],
        interpolation: Interpolation,
    ) -> Self {
        Self {
            policy,
            params: OpParams {
                fill: mean.map(|v| (f64::from(v) * 255.0).round_ties_even() as u8),
                // timm cuts this one to whole pixels.
                translate_const: (image_size as f64 * 0.45).floor(),
                translate_pct: 0.45,
            },
            interpolation,
        }
    }

    /// Fill colour, and the two translations' ranges.
    pub fn params(&self) -> &OpParams {
        &self.params
    }

    /// Draws the operations for one picture: those of the policy's layers that are to be applied.
    pub fn draw(&self, rng: &mut impl Rng) -> Vec<Op> {
        let kinds = if self.policy.increasing {
            &OpKind::INCREASING
        } else {
            &OpKind::PLAIN
        };
        let mut ops = Vec::with_capacity(self.policy.layers);
        for _ in 0..self.policy.layers {
            let kind = kinds[rng.random_range(0..kinds.len())];
            if !rng.random_bool(self.policy.probability) {
                continue;
            }
            let noise: f64 = rng.sample(StandardNormal);
            let magnitude = self.policy.magnitude + noise * self.policy.magnitude_std;
            ops.push(kind.at(
                magnitude.clamp(0.0, MAX_MAGNITUDE),
                rng.random(),
                &self.params,
            ));
        }
        ops
    }

    /// Draws and applies.
    pub fn apply(&self, image: &mut RgbImage, rng: &mut impl Rng) {
        for op in self.draw(rng) {
            op.apply(image, self.interpolation.draw(rng), self.params.fill);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn the_recipe_string_is_read_and_written_back() {
        let policy: RandAugmentPolicy = "rand-m9-mstd0.5-inc1".parse().unwrap();
        let expected = RandAugmentPolicy {
            magnitude: 9.0,
            magnitude_std: 0.5,
            increasing: true,
            layers: 2,
            probability: 0.5,
        };
        assert_eq!(policy, expected);
        assert_eq!(policy.to_string(), "rand-m9-mstd0.5-inc1");
        let full = "rand-m7-mstd0.25-inc1-n3-p0.75";
        assert_eq!(full.parse::<RandAugmentPolicy>().unwrap().to_string(), full);
        assert_eq!(
            "rand".parse::<RandAugmentPolicy>().unwrap(),
            RandAugmentPolicy::default()
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (text, section) in [
            ("augmix-m5", "augmix"),
            ("rand-m11", "m11"),
            ("rand-m9-inc0", "inc0"),
            ("rand-w0", "w0"),
            ("rand-m9-m8", "m8"),
            ("rand-mstd", "mstd"),
            ("rand-m9x", "m9x"),
            ("rand-p1.5", "p1.5"),
            ("rand-n1.5", "n1.5"),
            ("rand-m9-", ""),
        ] {
            match text.parse::<RandAugmentPolicy>() {
                Err(AugmentError::Policy { section: found, .. }) => assert_eq!(found, section),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    /// Two layers at probability 0.5: 1 operation per picture on average, each kind equally often,
    /// magnitudes around 9 with deviation 0.5 cut at 10.
    #[test]
    fn draws_follow_the_policy() {
        let policy = "rand-m9-mstd0.5-inc1".parse().unwrap();
        let mean = [0.485, 0.456, 0.406];
        let augment = RandAugment::new(policy, 224, mean, Interpolation::Bicubic);
        assert_eq!(augment.params().fill, [124, 116, 104]);
        assert_eq!(augment.params().translate_const, 100.0);
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let pictures = 30_000;
        let ops: Vec<Op> = (0..pictures).flat_map(|_| augment.draw(&mut rng)).collect();
        assert!((ops.len() as f64 / f64::from(pictures) - 1.0).abs() < 0.02);
        let degrees: Vec<f64> = ops
            .iter()
            .filter_map(|op| match op {
                Op::Rotate { degrees } => Some(*degrees),
                _ => None,
            })
            .collect();
        let count = degrees.len() as f64;
        assert!((count - ops.len() as f64 / 15.0).abs() < 150.0);
        let mean = degrees.iter().map(|d| d.abs()).sum::<f64>() / count;
        // Clipping N(9, 0.5) at 10 lowers the mean by 0.0043; three degrees per unit.
        assert!((mean - 26.987).abs() < 0.15, "{mean}");
        let clipped = degrees.iter().filter(|d| d.abs() == 30.0).count() as f64;
        assert!((clipped / count - 0.0228).abs() < 0.012, "{clipped}");
        let left = degrees.iter().filter(|d| **d < 0.0).count() as f64;
        assert!((left / count - 0.5).abs() < 0.04);
    }
}
