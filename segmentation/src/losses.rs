//! The loss of a head, and how many pixels it has right.
//!
//! Source: mmsegmentation `models/losses/{cross_entropy_loss,accuracy,utils}.py` and
//! `decode_heads/decode_head.py::loss_by_feat`. Parity: `upernet`, losses.

use tch::{Kind, Reduction, Tensor};

use crate::conv::resize;

/// Label of pixels that are left out.
pub(crate) const IGNORED: i64 = data::IGNORED as i64;

/// Cross-entropy of logits `[B, classes, h, w]`, enlarged to the size of `labels [B, H, W]` (int64, 255
/// left out), divided by all pixels of the batch; with `labelled_only`, by those that have a class.
///
/// In training only the small logits are kept for the backward pass: the enlarged ones, several
/// hundred megabytes at 150 classes and 512 pixels, are made again, one picture at a time.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, labelled_only: bool, train: bool) -> Tensor {
    let (batch, height, width) = labels.size3().expect("labels are [B, H, W]");
    let pixels = match labelled_only {
        true => labels.ne(IGNORED).sum(Kind::Float).clamp_min(1.0),
        false => Tensor::from(labels.numel() as f32).to_device(labels.device()),
    };
    let sum = (0..batch)
        .map(|picture| {
            let labels = labels.narrow(0, picture, 1);
            let of_picture = move |logits: &Tensor| {
                resize(logits, (height, width))
                    .to_kind(Kind::Float)
                    .cross_entropy_loss::<Tensor>(&labels, None, Reduction::Sum, IGNORED, 0.0)
            };
            let logits = logits.narrow(0, picture, 1);
            match train {
                true => native::checkpoint(&logits, of_picture),
                false => of_picture(&logits),
            }
        })
        .reduce(|sum, loss| sum + loss)
        .expect("a batch has a picture");
    sum / pixels
}

/// Percentage of the labelled pixels whose largest enlarged logit is their class's; 0 where no pixel is
/// labelled. Without gradients.
pub fn pixel_accuracy(logits: &Tensor, labels: &Tensor) -> Tensor {
    tch::no_grad(|| {
        let size = labels.size();
        let labelled = labels.ne(IGNORED);
        let right = (0..size[0])
            .map(|picture| {
                let best =
                    resize(&logits.narrow(0, picture, 1), (size[1], size[2])).argmax(1, false);
                // An ignored pixel's label is no class.
                best.eq_tensor(&labels.narrow(0, picture, 1))
                    .sum(Kind::Float)
            })
            .reduce(|sum, count| sum + count)
            .expect("a batch has a picture");
        right * 100.0 / labelled.sum(Kind::Float).clamp_min(1.0)
    })
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
        for train in [false, true] {
            let all = cross_entropy(&logits, &labels(), false, train);
            let labelled = cross_entropy(&logits, &labels(), true, train);
            assert!((all.double_value(&[]) - sum / 4.0).abs() < 1e-6);
            assert!((labelled.double_value(&[]) - sum / 3.0).abs() < 1e-6);
        }
        let found = pixel_accuracy(&logits, &labels()).double_value(&[]);
        assert!((found - 100.0 / 3.0).abs() < 1e-4, "{found}");
    }

    #[test]
    fn nothing_is_learnt_where_all_is_ignored() {
        let logits = Tensor::randn([1, 3, 2, 2], (Kind::Float, Device::Cpu));
        let logits = logits.set_requires_grad(true);
        let labels = Tensor::full([1, 4, 4], 255, (Kind::Int64, Device::Cpu));
        for labelled_only in [false, true] {
            let loss = cross_entropy(&logits, &labels, labelled_only, true);
            assert_eq!(loss.double_value(&[]), 0.0);
            let gradient = &Tensor::run_backward(&[loss], &[&logits], false, false)[0];
            assert_eq!(gradient.abs().max().double_value(&[]), 0.0);
        }
        assert_eq!(pixel_accuracy(&logits, &labels).double_value(&[]), 0.0);
    }
}
