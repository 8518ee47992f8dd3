//! The loss of a head, and how many pixels it has right.
//!
//! Source: mmsegmentation `models/losses/{cross_entropy_loss,accuracy,utils}.py` and
//! `decode_heads/decode_head.py::loss_by_feat`. Parity: `upernet`, losses.

use tch::{Kind, Tensor};

/// Label of pixels that are left out.
pub(crate) const IGNORED: i64 = data::IGNORED as i64;

/// A head's loss and its accuracy.
#[derive(Debug)]
pub struct PixelLoss {
    /// Mean cross-entropy.
    pub loss: Tensor,
    /// Percentage of the labelled pixels whose largest logit is their class's; 0 where no pixel is
    /// labelled. Without gradients.
    pub accuracy: Tensor,
}

/// Cross-entropy of logits `[B, classes, h, w]`, enlarged to the size of `labels [B, H, W]` (int64, 255
/// left out), divided by all pixels of the batch; with `labelled_only`, by those that have a class.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, labelled_only: bool) -> PixelLoss {
    let sums = native::enlarged_cross_entropy(logits, labels, IGNORED);
    let labelled = labels.ne(IGNORED).sum(Kind::Float).clamp_min(1.0);
    PixelLoss {
        accuracy: sums.right * 100.0 / &labelled,
        loss: match labelled_only {
            true => sums.loss / labelled,
            false => sums.loss / labels.numel() as f64,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn labels() -> Tensor {
        Tensor::from_slice(&[0i64, 255, 1, 1]).view([1, 2, 2])
    }

    /// By hand: logits (2, 0) have the loss ln(1 + e^-2) for class 0 and 2 more for class 1.
    #[test]
    fn ignored_pixels_count_in_the_mean_unless_told_otherwise() {
        let logits = Tensor::from_slice(&[2f32, 2.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0])
            .view([1, 2, 2, 2])
            .set_requires_grad(true);
        let small = (1.0 + (-2f64).exp()).ln();
        let sum = small + 2.0 * (small + 2.0);
        let all = cross_entropy(&logits, &labels(), false).loss;
        let labelled = cross_entropy(&logits, &labels(), true);
        assert!((all.double_value(&[]) - sum / 4.0).abs() < 1e-6);
        assert!((labelled.loss.double_value(&[]) - sum / 3.0).abs() < 1e-6);
        let found = labelled.accuracy.double_value(&[]);
        assert!((found - 100.0 / 3.0).abs() < 1e-4, "{found}");
    }

    #[test]
    fn nothing_is_learnt_where_all_is_ignored() {
        let logits = Tensor::randn([1, 3, 2, 2], (Kind::Float, Device::Cpu));
        let logits = logits.set_requires_grad(true);
        let labels = Tensor::full([1, 4, 4], 255, (Kind::Int64, Device::Cpu));
        for labelled_only in [false, true] {
            let PixelLoss { loss, accuracy } = cross_entropy(&logits, &labels, labelled_only);
            assert_eq!(accuracy.double_value(&[]), 0.0);
            assert_eq!(loss.double_value(&[]), 0.0);
            let gradient = &Tensor::run_backward(&[loss], &[&logits], false, false)[0];
            assert_eq!(gradient.abs().max().double_value(&[]), 0.0);
        }
    }
}
