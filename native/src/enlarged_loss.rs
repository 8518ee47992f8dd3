//! The cross-entropy of enlarged logits, without the enlarged logits.

use tch::Tensor;
use torch_sys::C_tensor;

use crate::ffi;

/// What [`enlarged_cross_entropy`] adds up over pixels.
#[derive(Debug)]
pub struct PixelSums {
    /// The cross-entropies, in nats, `[]`; differentiable once in the logits. Float32, or float64 as the
    /// logits.
    pub loss: Tensor,
    /// Number of labelled pixels whose largest logit is their class's, int64 `[]`.
    pub right: Tensor,
}

/// Sums over pixels of the cross-entropy of logits `[B, classes, h, w]`, enlarged bilinearly (corners not
/// aligned) to the size of `labels [B, H, W]` (int64; `ignored` counts for nothing).
///
/// Where `H` is a multiple of `h`, a strip of rows is enlarged at a time, in both passes, and nothing of
/// the enlarged size is kept between them.
///
/// # Panics
///
/// When the shapes do not fit together, or a label is no class.
pub fn enlarged_cross_entropy(logits: &Tensor, labels: &Tensor, ignored: i64) -> PixelSums {
    let mut loss: *mut C_tensor = std::ptr::null_mut();
    let mut right: *mut C_tensor = std::ptr::null_mut();
    // SAFETY: two live tensors, read during the call; the shim hands over the two outputs.
    unsafe {
        let message = ffi::deepmim_enlarged_cross_entropy(
            logits.as_ptr(),
            labels.as_ptr(),
            ignored,
            &mut loss,
            &mut right,
        );
        if let Err(error) = ffi::answer(message) {
            panic!("cross-entropy of enlarged logits: {error}");
        }
        PixelSums {
            loss: Tensor::from_ptr(loss),
            right: Tensor::from_ptr(right),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind, Reduction};

    const IGNORED: i64 = 255;

    /// The same in one piece.
    fn plain(logits: &Tensor, labels: &Tensor) -> (Tensor, i64) {
        let size = labels.size();
        let large = logits.upsample_bilinear2d([size[1], size[2]], false, None, None);
        let right = large.argmax(1, false).eq_tensor(labels).sum(Kind::Int64);
        let loss = large.cross_entropy_loss::<Tensor>(labels, None, Reduction::Sum, IGNORED, 0.0);
        (loss, right.int64_value(&[]))
    }

    #[test]
    fn strips_add_up_to_the_whole() {
        tch::manual_seed(5);
        // The third is large enough for several strips, the fourth's rows are no multiple, the last is
        // not enlarged.
        for (shape, size) in [
            ([2, 3, 4, 5], [16, 20]),
            ([1, 4, 1, 1], [8, 8]),
            ([2, 150, 24, 8], [96, 512]),
            ([1, 3, 4, 4], [10, 7]),
            ([1, 3, 6, 6], [6, 6]),
        ] {
            let logits = Tensor::randn(shape, (Kind::Double, Device::Cpu)) * 3.0;
            let logits = logits.detach().set_requires_grad(true);
            let labels = Tensor::randint(
                shape[1],
                [shape[0], size[0], size[1]],
                (Kind::Int64, Device::Cpu),
            );
            let _ = labels.narrow(2, 0, 2).fill_(IGNORED);
            let found = enlarged_cross_entropy(&logits, &labels, IGNORED);
            let (wanted, right) = plain(&logits, &labels);
            assert_eq!(found.right.int64_value(&[]), right);
            let gradient = |loss: &Tensor| {
                let scaled = loss * 0.25;
                Tensor::run_backward(&[scaled], &[&logits], false, false).remove(0)
            };
            assert!(found.loss.allclose(&wanted, 1e-12, 0.0, false));
            assert!(
                gradient(&found.loss).allclose(&gradient(&wanted), 1e-10, 1e-12, false),
                "{shape:?} to {size:?}"
            );
        }
    }
}
