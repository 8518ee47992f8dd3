//! Loss scaling: gradients of a loss in float16 would vanish below 6e-8, so the loss is multiplied before the
//! backward pass and the gradients are divided after it (Micikevicius et al., arXiv 1710.03740).
//!
//! Source of the rule and its constants: PyTorch `torch/amp/grad_scaler.py`, which the MAE scripts use.

use serde::{Deserialize, Serialize};

/// Factor of the first step.
const INITIAL: f64 = 65536.0;
/// Growth after [`INTERVAL`] steps without an overflow.
const GROWTH: f64 = 2.0;
/// Steps without an overflow until it grows.
const INTERVAL: u64 = 2000;
/// What an overflow multiplies it by.
const BACKOFF: f64 = 0.5;
/// Below this it is not the format that gradients overflow.
const SMALLEST: f64 = 1.0;

/// The loss's factor, which follows the gradients' size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossScale {
    /// The present factor, a power of two.
    pub factor: f64,
    /// Steps since it last changed.
    pub steps: u64,
}

impl Default for LossScale {
    fn default() -> Self {
        Self {
            factor: INITIAL,
            steps: 0,
        }
    }
}

impl LossScale {
    /// Takes note of a step whose gradients were all finite.
    pub(crate) fn was_finite(&mut self) {
        self.steps += 1;
        if self.steps == INTERVAL {
            self.factor *= GROWTH;
            self.steps = 0;
        }
    }

    /// Takes note of a step whose gradients overflowed, which is to be left out. False when they would without
    /// a factor, too.
    pub(crate) fn overflowed(&mut self) -> bool {
        self.factor *= BACKOFF;
        self.steps = 0;
        self.factor >= SMALLEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `torch.amp.GradScaler()`: 65536, halved by an overflow, doubled after 2000 good steps in a row.
    #[test]
    fn it_falls_at_once_and_grows_slowly() {
        let mut scale = LossScale::default();
        assert!(scale.overflowed());
        assert_eq!(scale.factor, 32768.0);
        for _ in 0..1999 {
            scale.was_finite();
        }
        assert_eq!(scale.factor, 32768.0);
        scale.was_finite();
        assert_eq!((scale.factor, scale.steps), (65536.0, 0));
        scale.was_finite();
        assert!(scale.overflowed());
        assert_eq!((scale.factor, scale.steps), (32768.0, 0));
        for _ in 0..15 {
            assert!(scale.overflowed());
        }
        assert!(!scale.overflowed());
    }
}
