//! ROIAlign.

use tch::Tensor;
use torch_sys::C_tensor;

use crate::ffi;

/// How regions are pooled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoiAlign {
    /// Bins along height and width.
    pub bins: (i64, i64),
    /// Feature cells per pixel: 1 / stride.
    pub scale: f64,
    /// Samples along each axis of a bin; 0 takes as many as the bin has feature cells, rounded up.
    pub sampling_ratio: i64,
    /// Half-pixel aligned coordinates ("ROIAlignV2").
    pub aligned: bool,
}

/// Pools regions of feature maps (Mask R-CNN, arXiv 1703.06870, section 3; conventions of torchvision's
/// `roi_align`).
///
/// `features [B, C, H, W]`, `rois [R, 5]` of picture number and `x0, y0, x1, y1` in pixels; result
/// `[R, C, bins.0, bins.1]`, channels last in memory. Differentiable in `features`, once; the result
/// does not depend on the number of threads. CPU tensors, float32 or float64.
///
/// # Panics
///
/// When the shapes do not fit together.
pub fn roi_align(features: &Tensor, rois: &Tensor, pooling: &RoiAlign) -> Tensor {
    let (batch, ..) = features.size4().expect("features come as [B, C, H, W]");
    let (count, five) = rois.size2().expect("regions come as [R, 5]");
    assert!(
        five == 5,
        "a region is picture, x0, y0, x1, y1, not {five} numbers"
    );
    if count > 0 {
        let pictures = rois.select(1, 0);
        let (low, high) = (pictures.min(), pictures.max());
        assert!(
            low.double_value(&[]) >= 0.0 && high.double_value(&[]) < batch as f64,
            "a region lies on a picture beyond the {batch} there are"
        );
    }
    let mut output: *mut C_tensor = std::ptr::null_mut();
    // SAFETY: two live tensors, read during the call, with picture numbers in range; the shim hands
    // over the output tensor.
    unsafe {
        let message = ffi::deepmim_roi_align(
            features.as_ptr(),
            rois.as_ptr(),
            pooling.bins.0,
            pooling.bins.1,
            pooling.scale,
            pooling.sampling_ratio,
            pooling.aligned,
            &mut output,
        );
        if let Err(error) = ffi::answer(message) {
            panic!("roi_align: {error}");
        }
        Tensor::from_ptr(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    const POOLING: RoiAlign = RoiAlign {
        bins: (2, 3),
        scale: 0.5,
        sampling_ratio: 0,
        aligned: true,
    };

    /// On a plane `f(y, x) = 3 y + 2 x` bilinear samples are exact, so a bin is the plane at its centre.
    #[test]
    fn a_plane_is_sampled_exactly() {
        let axis = |n| Tensor::arange(n, (Kind::Double, Device::Cpu));
        let plane = axis(10).view([10, 1]) * 3.0 + axis(12).view([1, 12]) * 2.0;
        let rois = Tensor::from_slice(&[0f64, 5.0, 3.0, 17.0, 11.0]).view([1, 5]);
        let found = roi_align(&plane.view([1, 1, 10, 12]), &rois, &POOLING);
        for (i, j) in [(0, 0), (0, 2), (1, 1)] {
            let y = 1.5 + 4.0 * (i as f64 + 0.5) / 2.0 - 0.5;
            let x = 2.5 + 6.0 * (j as f64 + 0.5) / 3.0 - 0.5;
            let gap = found.double_value(&[0, 0, i, j]) - (3.0 * y + 2.0 * x);
            assert!(gap.abs() < 1e-12, "{gap}");
        }
    }

    /// The operation is linear in the features, so the gradient is exact: it must give the value back.
    #[test]
    fn the_gradient_is_the_transpose() {
        tch::manual_seed(6);
        let features =
            Tensor::randn([2, 70, 9, 7], (Kind::Double, Device::Cpu)).set_requires_grad(true);
        let rois = Tensor::from_slice(&[
            0f64, 1.0, 2.0, 9.0, 8.0, 1.0, -6.0, -3.0, 30.0, 40.0, 1.0, 4.0, 4.0, 4.0, 4.0, 0.0,
            90.0, 90.0, 99.0, 99.0,
        ])
        .view([4, 5]);
        for aligned in [true, false] {
            for sampling_ratio in [0, 2] {
                let pooling = RoiAlign {
                    aligned,
                    sampling_ratio,
                    ..POOLING
                };
                let out = roi_align(&features, &rois, &pooling);
                let weights = out.rand_like();
                let gradient = Tensor::run_backward(
                    &[(&out * &weights).sum(Kind::Double)],
                    &[&features],
                    false,
                    false,
                );
                let back = (&gradient[0] * &features)
                    .sum(Kind::Double)
                    .double_value(&[]);
                let value = (&out * &weights).sum(Kind::Double).double_value(&[]);
                assert!((back - value).abs() < 1e-9 * value.abs().max(1.0));
                assert_eq!(out.get(3).abs().max().double_value(&[]), 0.0, "outside");
            }
        }
    }

    #[test]
    fn no_regions_give_an_empty_tensor() {
        let features = Tensor::ones([1, 3, 4, 4], (Kind::Float, Device::Cpu));
        let rois = Tensor::zeros([0, 5], (Kind::Float, Device::Cpu));
        assert_eq!(roi_align(&features, &rois, &POOLING).size(), [0, 3, 2, 3]);
    }
}
