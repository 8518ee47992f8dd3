//! Random masking: which patches the encoder sees.
//!
//! Source: facebookresearch/mae `models_mae.py::random_masking`: per-sample noise, ascending sort,
//! the first `int(L * (1 - ratio))` stay visible.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

/// Patches that stay visible of `tokens`.
pub(crate) fn visible(tokens: i64, ratio: f64) -> i64 {
    (tokens as f64 * (1.0 - ratio)) as i64
}

/// Uniform noise in `[0, 1)`, `[batch, tokens]`, from a generator of its own: the same seed gives the
/// same noise whatever else was drawn, and on every device.
pub fn masking_noise(seed: u64, batch: i64, tokens: i64, device: Device) -> Tensor {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let noise: Vec<f32> = (0..batch * tokens).map(|_| generator.random()).collect();
    Tensor::from_slice(&noise)
        .view([batch, tokens])
        .to_device(device)
}

/// The split of a batch's patches into visible and hidden ones.
#[derive(Debug)]
pub struct Masking {
    /// Patch numbers by ascending noise, `[B, L]`.
    order: Tensor,
    visible: i64,
}

impl Masking {
    /// Splits by `noise [B, L]`, hiding the share `ratio` of the patches.
    pub fn new(noise: &Tensor, ratio: f64) -> Self {
        let (_, tokens) = noise.size2().expect("masking noise comes as [B, L]");
        Self {
            order: noise.argsort_stable(true, 1, false),
            visible: visible(tokens, ratio),
        }
    }

    /// Patch numbers in the order the decoder holds them: visible ones, then hidden ones; `[B, L]`.
    pub fn order(&self) -> &Tensor {
        &self.order
    }

    /// Number of visible patches `K`, the same in every sample.
    pub fn visible_count(&self) -> i64 {
        self.visible
    }

    /// Patch numbers of the visible patches, `[B, K]`.
    pub fn visible(&self) -> Tensor {
        self.order.narrow(1, 0, self.visible)
    }

    /// Patch numbers of the hidden patches, `[B, L - K]`.
    pub fn hidden(&self) -> Tensor {
        let tokens = self.order.size()[1];
        self.order.narrow(1, self.visible, tokens - self.visible)
    }

    /// Place of every patch in [`Masking::order`], `[B, L]` (the reference's `ids_restore`).
    pub fn restore(&self) -> Tensor {
        self.order.argsort_stable(true, 1, false)
    }

    /// 1 where a patch is hidden, 0 where it is visible, `[B, L]` in picture order.
    pub fn mask(&self) -> Tensor {
        self.restore().ge(self.visible).to_kind(Kind::Float)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: of 0.4, 0.1, 0.9, 0.3 the smallest is patch 1.
    #[test]
    fn the_patches_of_least_noise_stay() {
        let noise = Tensor::from_slice(&[0.4f32, 0.1, 0.9, 0.3]).view([1, 4]);
        let masking = Masking::new(&noise, 0.75);
        let numbers = |t: &Tensor| Vec::<i64>::try_from(t.reshape([-1])).unwrap();
        assert_eq!(numbers(&masking.visible()), [1]);
        assert_eq!(numbers(&masking.hidden()), [3, 0, 2]);
        assert_eq!(numbers(&masking.restore()), [2, 0, 3, 1]);
        assert_eq!(numbers(&masking.mask().to_kind(Kind::Int64)), [1, 0, 1, 1]);
    }

    #[test]
    fn noise_depends_on_the_seed_alone() {
        let draw = |seed| masking_noise(seed, 3, 50, Device::Cpu);
        let first = draw(7);
        tch::manual_seed(99);
        assert!(draw(7).equal(&first));
        assert!(!draw(8).equal(&first));
        assert!(first.min().double_value(&[]) >= 0.0 && first.max().double_value(&[]) < 1.0);
        assert!((first.mean(Kind::Double).double_value(&[]) - 0.5).abs() < 0.1);
    }

    #[test]
    fn the_visible_count_is_truncated() {
        assert_eq!(visible(196, 0.75), 49);
        assert_eq!(visible(196, 0.6), 78);
        assert_eq!(visible(64, 0.75), 16);
    }
}
