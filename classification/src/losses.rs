//! Training losses of classification: `[B, K]` logits in, the batch mean as a scalar out.
//!
//! Sources: timm 0.3.2 `timm/loss/cross_entropy.py`; MAE `main_finetune.py` chooses between them.

use tch::{Kind, Reduction, Tensor};

/// libtorch's marker of "no target is ignored"; labels are checked long before they come here.
const IGNORE_NOTHING: i64 = -100;

/// What a batch is trained towards.
#[derive(Debug)]
pub enum Target {
    /// Class numbers, `[B]` int64.
    Classes(Tensor),
    /// Distributions over the classes, `[B, K]` float, as mixup and CutMix make them (label
    /// smoothing is already in them).
    Soft(Tensor),
}

/// Cross-entropy against class numbers `[B]`.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Tensor {
    label_smoothing_cross_entropy(logits, labels, 0.0)
}

/// Cross-entropy against class numbers `[B]` in which every target is `1 - smoothing` of its class
/// plus `smoothing / K` of every class (timm's `LabelSmoothingCrossEntropy`).
pub fn label_smoothing_cross_entropy(logits: &Tensor, labels: &Tensor, smoothing: f64) -> Tensor {
    logits.cross_entropy_loss::<Tensor>(labels, None, Reduction::Mean, IGNORE_NOTHING, smoothing)
}

/// Cross-entropy against distributions `[B, K]` (timm's `SoftTargetCrossEntropy`). Rows need not
/// sum to one.
pub fn soft_target_cross_entropy(logits: &Tensor, targets: &Tensor) -> Tensor {
    let log_probabilities = logits.log_softmax(-1, Kind::Float); // [B, K]
    -(targets * log_probabilities)
        .sum_dim_intlist(-1, false, Kind::Float)
        .mean(Kind::Float)
}

impl Target {
    /// The training loss: soft targets as they are, class numbers with `smoothing`.
    pub fn loss(&self, logits: &Tensor, smoothing: f64) -> Tensor {
        match self {
            Self::Classes(labels) => label_smoothing_cross_entropy(logits, labels, smoothing),
            Self::Soft(targets) => soft_target_cross_entropy(logits, targets),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits() -> Tensor {
        Tensor::from_slice(&[1.0f32, 2.0, 0.5, -1.0, 0.0, 3.0]).reshape([2, 3])
    }

    /// ln(e^1 + e^2 + e^0.5) and ln(e^-1 + e^0 + e^3).
    const LOG_SUMS: [f64; 2] = [2.464_368_8, 3.065_883_9];

    #[test]
    fn plain_cross_entropy_by_hand() {
        let got = cross_entropy(&logits(), &Tensor::from_slice(&[1i64, 2])).double_value(&[]);
        let want = ((LOG_SUMS[0] - 2.0) + (LOG_SUMS[1] - 3.0)) / 2.0;
        assert!((got - want).abs() < 1e-6, "{got} {want}");
    }

    #[test]
    fn smoothing_by_hand() {
        let got = label_smoothing_cross_entropy(&logits(), &Tensor::from_slice(&[1i64, 2]), 0.3)
            .double_value(&[]);
        let hard = [LOG_SUMS[0] - 2.0, LOG_SUMS[1] - 3.0];
        let even = [LOG_SUMS[0] - 3.5 / 3.0, LOG_SUMS[1] - 2.0 / 3.0];
        let want = (0..2).map(|i| 0.7 * hard[i] + 0.3 * even[i]).sum::<f64>() / 2.0;
        assert!((got - want).abs() < 1e-6, "{got} {want}");
    }

    #[test]
    fn soft_targets_by_hand() {
        let targets = Tensor::from_slice(&[0.2f32, 0.5, 0.3, 0.0, 0.0, 1.0]).reshape([2, 3]);
        let got = soft_target_cross_entropy(&logits(), &targets).double_value(&[]);
        let first = LOG_SUMS[0] - (0.2 * 1.0 + 0.5 * 2.0 + 0.3 * 0.5);
        let want = (first + (LOG_SUMS[1] - 3.0)) / 2.0;
        assert!((got - want).abs() < 1e-6, "{got} {want}");
    }
}
