//! Pooling of regions.

use super::golden::Golden;
use deepmim_detection::roi_align::roi_align_dense;
use native::{RoiAlign, roi_align};
use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

/// The recording's README: another order of additions.
const POOLED: f64 = 1e-5;

#[test]
fn pooled_regions_and_gradients_equal_the_recorded_ones() {
    let golden = Golden::open();
    let rois = golden.tensor("roi_align/rois");
    let mut cases = 0;
    for output in [(7, 7), (5, 3)] {
        for sampling_ratio in [0, 2] {
            for aligned in [false, true] {
                let size = format!("{}x{}", output.0, output.1);
                let case = format!(
                    "roi_align/{size}_sr{sampling_ratio}_aligned{}",
                    u8::from(aligned)
                );
                let pooling = RoiAlign {
                    bins: output,
                    scale: 0.25,
                    sampling_ratio,
                    aligned,
                };
                for native in [false, true] {
                    let features = golden
                        .tensor("roi_align/features")
                        .copy()
                        .set_requires_grad(true);
                    let pooled = if native {
                        roi_align(&features, rois, &pooling)
                    } else {
                        roi_align_dense(&features, rois, output, 0.25, sampling_ratio, aligned)
                    };
                    let gap = golden.gap(&pooled, &format!("{case}/out"));
                    assert!(gap <= POOLED, "{case}, native {native}: {gap:e}");
                    (pooled * golden.tensor(&format!("roi_align/grad_out_{size}")))
                        .sum(Kind::Float)
                        .backward();
                    let gap = golden.gap(&features.grad(), &format!("{case}/grad_features"));
                    assert!(gap <= POOLED, "{case}, gradient, native {native}: {gap:e}");
                    cases += 1;
                }
            }
        }
    }
    assert_eq!(cases, 16);
}

#[test]
fn regions_of_several_pictures_come_out_in_the_order_given() {
    let features = Tensor::arange(2 * 8 * 8, (Kind::Float, Device::Cpu)).view([2, 1, 8, 8]);
    let rows = [
        [1f32, 0.0, 0.0, 4.0, 4.0],
        [0.0, 2.0, 2.0, 6.0, 8.0],
        [1.0, 1.0, 3.0, 8.0, 8.0],
    ];
    let rois = Tensor::from_slice(rows.as_flattened()).view([3, 5]);
    let together = roi_align_dense(&features, &rois, (2, 3), 1.0, 0, true);
    for at in 0..3 {
        let alone = roi_align_dense(&features, &rois.narrow(0, at, 1), (2, 3), 1.0, 0, true);
        assert_eq!(together.narrow(0, at, 1), alone);
    }
}

#[test]
fn no_regions_pool_to_nothing_and_have_a_gradient_of_zero() {
    let features = Tensor::ones([1, 3, 8, 8], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let none = Tensor::zeros([0, 5], (Kind::Float, Device::Cpu));
    let pooled = roi_align_dense(&features, &none, (14, 7), 0.25, 0, true);
    assert_eq!(pooled.size(), [0, 3, 14, 7]);
    pooled.sum(Kind::Float).backward();
    assert_eq!(features.grad().abs().max().double_value(&[]), 0.0);
}

/// Pooled regions, and the gradient of the features for a fixed gradient of the output.
fn pooled_with_gradient(features: &Tensor, pool: impl Fn(&Tensor) -> Tensor) -> (Tensor, Tensor) {
    let features = features.copy().set_requires_grad(true);
    let pooled = pool(&features);
    let weights = Tensor::arange(pooled.numel() as i64, (Kind::Float, Device::Cpu)).sin();
    (&pooled * weights.view_as(&pooled))
        .sum(Kind::Float)
        .backward();
    (pooled.detach(), features.grad())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn matrix_products_and_the_native_kernel_pool_alike(
        rows in prop::collection::vec(
            (0u8..2, -40f32..200.0, -40f32..160.0, -20f32..220.0, -20f32..180.0), 1..12,
        ),
        bins in prop::sample::select(vec![(7i64, 7i64), (14, 14), (2, 5)]),
        sampling_ratio in 0i64..3,
        aligned: bool,
    ) {
        let rows: Vec<[f32; 5]> = rows
            .into_iter()
            .map(|(picture, x, y, width, height)| [f32::from(picture), x, y, x + width, y + height])
            .collect();
        let rois = Tensor::from_slice(rows.as_flattened()).view([rows.len() as i64, 5]);
        let features = Tensor::arange(2 * 5 * 17 * 23, (Kind::Float, Device::Cpu)) * 0.7;
        let features = features.cos().view([2, 5, 17, 23]);
        let pooling = RoiAlign { bins, scale: 0.125, sampling_ratio, aligned };
        let native = pooled_with_gradient(&features, |features| roi_align(features, &rois, &pooling));
        let dense = pooled_with_gradient(&features, |features| {
            roi_align_dense(features, &rois, bins, 0.125, sampling_ratio, aligned)
        });
        for (native, dense) in [(native.0, dense.0), (native.1, dense.1)] {
            prop_assert_eq!(native.size(), dense.size());
            let scale = native.abs().max().double_value(&[]).max(1.0);
            let gap = (native - dense).abs().max().double_value(&[]) / scale;
            prop_assert!(gap <= POOLED, "{:e}", gap);
        }
    }
}

#[test]
fn chunks_change_nothing() {
    // 512 channels of 64 columns and 7 rows a region: chunks of 146 regions.
    let features = Tensor::rand([1, 512, 4, 64], (Kind::Float, Device::Cpu));
    let roi = Tensor::from_slice(&[0f32, 3.0, 0.5, 50.0, 3.5]).view([1, 5]);
    let alone = roi_align_dense(&features, &roi, (7, 7), 1.0, 0, true);
    let many = roi_align_dense(&features, &roi.repeat([300, 1]), (7, 7), 1.0, 0, true);
    let gap = (many - alone).abs().max().double_value(&[]);
    assert!(gap <= POOLED, "{gap:e}");
}
