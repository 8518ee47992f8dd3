//! Mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899) on a batch in host memory.
//!
//! Source: timm 0.3.2 `data/mixup.py`, mode "batch" as MAE uses it: one coefficient and one box for
//! the whole batch, the partner of row `i` is row `B - 1 - i`. timm asks for an even batch; here the
//! middle row of an odd one is mixed with itself, that is, kept.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Beta;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::error::{AugmentError, check_range};

/// Settings of mixup, CutMix and label smoothing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mixer {
    /// Both parameters of mixup's Beta distribution; 0 switches mixup off.
    pub mixup: f64,
    /// Both parameters of CutMix's; 0 switches it off.
    pub cutmix: f64,
    /// Probability that a batch is mixed at all.
    pub probability: f64,
    /// Where both are on: probability of CutMix rather than mixup.
    pub switch_probability: f64,
    /// Label smoothing: `s / K` on every class, the rest on the true one.
    pub label_smoothing: f64,
}

impl Default for Mixer {
    /// MAE's fine-tuning recipe.
    fn default() -> Self {
        Self {
            mixup: 0.8,
            cutmix: 1.0,
            probability: 1.0,
            switch_probability: 0.5,
            label_smoothing: 0.1,
        }
    }
}

/// A box of pixels, ends excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutBox {
    /// First row.
    pub top: usize,
    /// One past the last row.
    pub bottom: usize,
    /// First column.
    pub left: usize,
    /// One past the last column.
    pub right: usize,
}

impl CutBox {
    /// The box around a centre that covers `1 - lam` of the picture before it is cut to it.
    pub fn around(
        (center_y, center_x): (usize, usize),
        lam: f64,
        height: usize,
        width: usize,
    ) -> Self {
        let ratio = (1.0 - lam).sqrt();
        let half = |side: usize| (side as f64 * ratio) as usize / 2;
        let (half_h, half_w) = (half(height), half(width));
        Self {
            top: center_y.saturating_sub(half_h),
            bottom: (center_y + half_h).min(height),
            left: center_x.saturating_sub(half_w),
            right: (center_x + half_w).min(width),
        }
    }

    /// Share of the picture that stays: the coefficient that the targets are mixed with.
    pub fn kept(&self, height: usize, width: usize) -> f64 {
        let area = (self.bottom - self.top) * (self.right - self.left);
        1.0 - area as f64 / (height * width) as f64
    }
}

/// What happens to one batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mix {
    /// Nothing.
    Keep,
    /// `lam` of the row plus `1 - lam` of its partner.
    Mixup {
        /// Share of the row itself.
        lam: f64,
    },
    /// The partner's pixels inside the box.
    Cutmix {
        /// The box, equal for all rows.
        cut: CutBox,
        /// Share of the row that stays, after the box was cut to the picture.
        lam: f64,
    },
}

impl Mix {
    /// Share of a row's own label in its target.
    pub fn lam(&self) -> f64 {
        match *self {
            Self::Keep => 1.0,
            Self::Mixup { lam } | Self::Cutmix { lam, .. } => lam,
        }
    }

    /// Mixes `images`, `[rows, C, height, width]`, in place.
    ///
    /// # Panics
    /// When the values are not `rows` pictures of that size.
    pub fn apply(&self, images: &mut [f32], rows: usize, height: usize, width: usize) {
        if rows == 0 || matches!(self, Self::Keep) {
            return;
        }
        let plane = height * width;
        assert!(
            images.len().is_multiple_of(rows * plane),
            "the batch is not {rows} pictures of {height} by {width}"
        );
        let length = images.len() / rows;
        // Row i of the front half meets row B - 1 - i; the middle row of an odd batch is its own
        // partner and stays out.
        let (front, rest) = images.split_at_mut(rows / 2 * length);
        let back = &mut rest[rows % 2 * length..];
        let pairs = front
            .par_chunks_exact_mut(length)
            .zip(back.par_chunks_exact_mut(length).rev());
        match *self {
            Self::Keep => {}
            Self::Mixup { lam } => {
                let (own, other) = (lam as f32, (1.0 - lam) as f32);
                pairs.for_each(|(first, second)| {
                    for (a, b) in first.iter_mut().zip(second) {
                        (*a, *b) = (*a * own + *b * other, *b * own + *a * other);
                    }
                });
            }
            Self::Cutmix { cut, .. } => pairs.for_each(|(first, second)| {
                let planes = first
                    .chunks_exact_mut(plane)
                    .zip(second.chunks_exact_mut(plane));
                for (first, second) in planes {
                    for row in cut.top..cut.bottom {
                        let span = row * width + cut.left..row * width + cut.right;
                        first[span.clone()].swap_with_slice(&mut second[span]);
                    }
                }
            }),
        }
    }
}

impl Mixer {
    /// No mixing: targets are the smoothed labels.
    pub fn smoothing_only(label_smoothing: f64) -> Self {
        Self {
            mixup: 0.0,
            cutmix: 0.0,
            label_smoothing,
            ..Self::default()
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the setting that is out of range.
    pub fn check(&self) -> Result<(), AugmentError> {
        for (field, value) in [("mixup", self.mixup), ("cutmix", self.cutmix)] {
            check_range(field, value, 0.0, 1e6, "at least 0")?;
        }
        for (field, value) in [
            ("mixup probability", self.probability),
            ("mixup switch_probability", self.switch_probability),
            ("label_smoothing", self.label_smoothing),
        ] {
            check_range(field, value, 0.0, 1.0, "from 0 to 1")?;
        }
        Ok(())
    }

    /// Draws what happens to one batch of pictures of the given size.
    pub fn draw(&self, height: usize, width: usize, rng: &mut impl Rng) -> Mix {
        let (mixup, cutmix) = (self.mixup > 0.0, self.cutmix > 0.0);
        if !(mixup || cutmix) || !rng.random_bool(self.probability) {
            return Mix::Keep;
        }
        let cut = cutmix && (!mixup || rng.random_bool(self.switch_probability));
        let alpha = if cut { self.cutmix } else { self.mixup };
        // `check` has made sure that the parameter is positive and finite.
        let Ok(beta) = Beta::new(alpha, alpha) else {
            return Mix::Keep;
        };
        let lam: f64 = rng.sample(beta);
        if !cut {
            return Mix::Mixup { lam };
        }
        let center = (rng.random_range(0..height), rng.random_range(0..width));
        let cut = CutBox::around(center, lam, height, width);
        Mix::Cutmix {
            cut,
            lam: cut.kept(height, width),
        }
    }

    /// Draws from `seed` and mixes a batch of square pictures `[B, 3, S, S]` in place; returns the
    /// soft targets `[B, classes]`.
    ///
    /// # Errors
    /// When a label is no class, or the pixels are not `labels.len()` square pictures of three
    /// channels; the pictures are untouched then.
    pub fn apply(
        &self,
        images: &mut [f32],
        labels: &[i64],
        classes: usize,
        seed: u64,
    ) -> Result<Vec<f32>, AugmentError> {
        let rows = labels.len();
        let wrong = AugmentError::Shape {
            values: images.len(),
            rows,
        };
        if rows == 0 {
            return if images.is_empty() {
                Ok(Vec::new())
            } else {
                Err(wrong)
            };
        }
        let side = (images.len() / (rows * 3)).isqrt();
        if side == 0 || side * side * 3 * rows != images.len() {
            return Err(wrong);
        }
        let mix = self.draw(side, side, &mut ChaCha8Rng::seed_from_u64(seed));
        let targets = soft_targets(labels, classes, mix.lam(), self.label_smoothing)?;
        mix.apply(images, rows, side, side);
        Ok(targets)
    }
}

/// Targets `[B, classes]`: `smoothing / classes` everywhere, `1 - smoothing` more on the true class;
/// `lam` of the row's own plus `1 - lam` of its partner's, row `B - 1 - i`.
///
/// # Errors
/// When a label is not in `0..classes`.
pub fn soft_targets(
    labels: &[i64],
    classes: usize,
    lam: f64,
    smoothing: f64,
) -> Result<Vec<f32>, AugmentError> {
    let mut indices = Vec::with_capacity(labels.len());
    for (row, &label) in labels.iter().enumerate() {
        match usize::try_from(label) {
            Ok(index) if index < classes => indices.push(index),
            _ => {
                return Err(AugmentError::Label {
                    row,
                    label,
                    classes,
                });
            }
        }
    }
    let off = smoothing / classes as f64;
    let on = (1.0 - smoothing + off) as f32;
    let off = off as f32;
    // Single precision in the reference's order, so that the values agree to the last bit.
    let (own, other) = (lam as f32, (1.0 - lam) as f32);
    let mut targets = vec![off * own + off * other; labels.len() * classes];
    let rows = targets.chunks_exact_mut(classes.max(1));
    for (row, (&mine, &partners)) in rows.zip(indices.iter().zip(indices.iter().rev())) {
        if mine == partners {
            row[mine] = on * own + on * other;
        } else {
            row[mine] = on * own + off * other;
            row[partners] = off * own + on * other;
        }
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half of the batches are cut; mixup's coefficient is Beta(0.8, 0.8) (variance 1 / (4 · 2.6)),
    /// CutMix's box covers as much as its coefficient says.
    #[test]
    fn draws_follow_the_recipe() {
        let mixer = Mixer::default();
        mixer.check().unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut lams = Vec::new();
        let mut cuts = 0;
        for _ in 0..20_000 {
            match mixer.draw(224, 224, &mut rng) {
                Mix::Keep => panic!("every batch is mixed"),
                Mix::Mixup { lam } => lams.push(lam),
                Mix::Cutmix { cut, lam } => {
                    cuts += 1;
                    assert!(cut.bottom <= 224 && cut.right <= 224);
                    assert_eq!(lam, cut.kept(224, 224));
                }
            }
        }
        assert!((cuts - 10_000_i32).abs() < 300, "{cuts}");
        let n = lams.len() as f64;
        let mean = lams.iter().sum::<f64>() / n;
        let variance = lams.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / n;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        assert!((variance - 1.0 / 10.4).abs() < 0.003, "{variance}");
    }

    #[test]
    fn the_middle_row_of_an_odd_batch_stays() {
        let mut images: Vec<f32> = (0..3 * 3 * 4).map(|v| v as f32).collect();
        Mix::Mixup { lam: 0.25 }.apply(&mut images, 3, 2, 2);
        assert_eq!(images[0], 0.25 * 0.0 + 0.75 * 24.0);
        assert_eq!(
            images[12..24],
            (12..24).map(|v| v as f32).collect::<Vec<_>>()
        );
        assert_eq!(images[24], 0.25 * 24.0 + 0.75 * 0.0);
    }

    #[test]
    fn the_seed_decides() {
        let labels = [0, 1, 2, 3];
        let run = |seed| {
            let mut images: Vec<f32> = (0..4 * 3 * 64).map(|v| v as f32).collect();
            let targets = Mixer::default()
                .apply(&mut images, &labels, 5, seed)
                .unwrap();
            for row in targets.chunks_exact(5) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            }
            (images, targets)
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn smoothing_alone_keeps_the_pictures() {
        let mut images = vec![1.5; 2 * 3 * 4];
        let targets = Mixer::smoothing_only(0.1)
            .apply(&mut images, &[1, 0], 2, 9)
            .unwrap();
        assert!(images.iter().all(|&v| v == 1.5));
        assert_eq!(targets, [0.05, 0.95, 0.95, 0.05]);
    }

    #[test]
    fn bad_labels_and_shapes_are_refused() {
        let mixer = Mixer::default();
        let mut images = vec![0.0; 2 * 3 * 4];
        let error = mixer.apply(&mut images, &[0, -1], 10, 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "row 1 of the batch has label -1, but there are 10 classes (0 to 9): \
             check the label file or the class folders"
        );
        assert!(matches!(
            mixer.apply(&mut images[1..], &[0, 1], 10, 0),
            Err(AugmentError::Shape { .. })
        ));
    }
}
