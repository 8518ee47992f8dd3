//! Random erasing (arXiv 1708.04896): noise over a random rectangle of a normalised picture.
//!
//! Source: timm 0.3.2 `data/random_erasing.py`, run per picture after normalisation as MAE does.

use rand::Rng;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use super::error::{AugmentError, check_range};

/// What an erased rectangle is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErasingMode {
    /// Zero: the mean colour.
    Const,
    /// One standard normal value per channel.
    Rand,
    /// A standard normal value per pixel and channel.
    #[default]
    Pixel,
}

/// Settings of random erasing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomErasing {
    /// Probability that a picture is touched.
    pub probability: f64,
    /// Filling.
    pub mode: ErasingMode,
    /// Smallest share of the picture's area erased.
    pub min_area: f64,
    /// Largest share.
    pub max_area: f64,
    /// Smallest height over width; the largest is its inverse. Drawn log-uniformly.
    pub min_aspect: f64,
    /// Most rectangles per picture: 1 to this many are drawn, the area shared among them.
    pub max_count: usize,
}

impl Default for RandomErasing {
    /// MAE's recipe: one picture in four, per-pixel noise on 2 % to 33 % of it.
    fn default() -> Self {
        Self {
            probability: 0.25,
            mode: ErasingMode::Pixel,
            min_area: 0.02,
            max_area: 1.0 / 3.0,
            min_aspect: 0.3,
            max_count: 1,
        }
    }
}

/// A rectangle of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patch {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl RandomErasing {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the setting that is out of range.
    pub fn check(&self) -> Result<(), AugmentError> {
        let share = "from 0 to 1";
        check_range(
            "random_erasing.probability",
            self.probability,
            0.0,
            1.0,
            share,
        )?;
        check_range("random_erasing.min_area", self.min_area, 0.0, 1.0, share)?;
        check_range(
            "random_erasing.max_area",
            self.max_area,
            self.min_area,
            1.0,
            "from min_area to 1",
        )?;
        check_range(
            "random_erasing.min_aspect",
            self.min_aspect,
            f64::MIN_POSITIVE,
            1.0,
            "above 0 and at most 1",
        )?;
        check_range(
            "random_erasing.max_count",
            self.max_count as f64,
            1.0,
            1000.0,
            "from 1 to 1000",
        )
    }

    /// Draws the rectangles for one picture: none with probability `1 - probability`.
    pub fn draw(&self, height: usize, width: usize, rng: &mut impl Rng) -> Vec<Patch> {
        if !rng.random_bool(self.probability) {
            return Vec::new();
        }
        let count = if self.max_count > 1 {
            rng.random_range(1..=self.max_count)
        } else {
            1
        };
        (0..count)
            .filter_map(|_| self.draw_patch(height, width, count, rng))
            .collect()
    }

    /// Ten tries, as in timm: a rectangle must be smaller than the picture on both sides.
    fn draw_patch(
        &self,
        height: usize,
        width: usize,
        count: usize,
        rng: &mut impl Rng,
    ) -> Option<Patch> {
        let area = (height * width) as f64 / count as f64;
        let log_aspect = -self.min_aspect.ln();
        (0..10).find_map(|_| {
            let target = area * rng.random_range(self.min_area..=self.max_area);
            let aspect = rng.random_range(-log_aspect..=log_aspect).exp();
            // Python's round: halves to even.
            let h = (target * aspect).sqrt().round_ties_even() as usize;
            let w = (target / aspect).sqrt().round_ties_even() as usize;
            (h < height && w < width).then(|| Patch {
                top: rng.random_range(0..=height - h),
                left: rng.random_range(0..=width - w),
                height: h,
                width: w,
            })
        })
    }

    /// Draws and applies: `image` is `[C, height, width]`, normalised.
    pub fn apply(&self, image: &mut [f32], height: usize, width: usize, rng: &mut impl Rng) {
        for patch in self.draw(height, width, rng) {
            erase(image, height, width, patch, self.mode, rng);
        }
    }
}

/// Fills `patch` of the planar picture `[C, height, width]`.
pub fn erase(
    image: &mut [f32],
    height: usize,
    width: usize,
    patch: Patch,
    mode: ErasingMode,
    rng: &mut impl Rng,
) {
    let rows = patch.top..patch.top + patch.height;
    let columns = patch.left..patch.left + patch.width;
    for plane in image.chunks_exact_mut((height * width).max(1)) {
        let colour: f32 = match mode {
            ErasingMode::Rand => rng.sample(StandardNormal),
            ErasingMode::Const | ErasingMode::Pixel => 0.0,
        };
        for row in rows.clone() {
            let line = &mut plane[row * width..][columns.clone()];
            if mode == ErasingMode::Pixel {
                line.fill_with(|| rng.sample(StandardNormal));
            } else {
                line.fill(colour);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// One in four pictures; areas uniform over 2 % to 33 % (mean 17.7 %, less what is refused for
    /// not fitting); both orientations alike.
    #[test]
    fn rectangles_follow_the_recipe() {
        let erasing = RandomErasing::default();
        erasing.check().unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let (mut count, mut area, mut tall) = (0_i32, 0.0, 0);
        for _ in 0..20_000 {
            for patch in erasing.draw(224, 224, &mut rng) {
                assert!(patch.top + patch.height <= 224 && patch.left + patch.width <= 224);
                let share = (patch.height * patch.width) as f64 / (224.0 * 224.0);
                assert!((0.018..0.34).contains(&share), "{patch:?}");
                let aspect = patch.height as f64 / patch.width as f64;
                assert!((0.28..3.6).contains(&aspect), "{patch:?}");
                count += 1;
                area += share;
                tall += i32::from(patch.height > patch.width);
            }
        }
        assert!((count - 5000).abs() < 200, "{count}");
        let mean = area / f64::from(count);
        assert!((0.165..0.180).contains(&mean), "{mean}");
        assert!((f64::from(tall) / f64::from(count) - 0.5).abs() < 0.03);
    }

    #[test]
    fn each_mode_fills_the_rectangle_and_nothing_else() {
        let patch = Patch {
            top: 1,
            left: 2,
            height: 20,
            width: 30,
        };
        for mode in [ErasingMode::Const, ErasingMode::Rand, ErasingMode::Pixel] {
            let mut image = vec![9.0; 3 * 24 * 40];
            let mut rng = ChaCha8Rng::seed_from_u64(5);
            erase(&mut image, 24, 40, patch, mode, &mut rng);
            for (c, plane) in image.chunks_exact(24 * 40).enumerate() {
                let mut inside = Vec::new();
                for (i, &value) in plane.iter().enumerate() {
                    let (y, x) = (i / 40, i % 40);
                    if (1..21).contains(&y) && (2..32).contains(&x) {
                        inside.push(value);
                    } else {
                        assert_eq!(value, 9.0, "{mode:?} channel {c} row {y} column {x}");
                    }
                }
                let n = inside.len() as f32;
                let mean = inside.iter().sum::<f32>() / n;
                let spread = inside.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n;
                match mode {
                    ErasingMode::Const => assert!(inside.iter().all(|&v| v == 0.0)),
                    ErasingMode::Rand => assert!(mean != 0.0 && spread < 1e-9),
                    ErasingMode::Pixel => {
                        assert!(mean.abs() < 0.15 && (spread - 1.0).abs() < 0.2);
                    }
                }
            }
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let erasing = RandomErasing {
            max_area: 0.01,
            ..RandomErasing::default()
        };
        assert_eq!(
            erasing.check().unwrap_err().to_string(),
            "random_erasing.max_area is 0.01: it must be from min_area to 1"
        );
    }
}
