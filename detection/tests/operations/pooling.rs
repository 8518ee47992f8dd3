//! Pooling of regions.

use super::golden::Golden;
use deepmim_detection::roi_align::roi_align_dense;
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
                let features = golden
                    .tensor("roi_align/features")
                    .copy()
                    .set_requires_grad(true);
                let pooled =
                    roi_align_dense(&features, rois, output, 0.25, sampling_ratio, aligned);
                let gap = golden.gap(&pooled, &format!("{case}/out"));
                assert!(gap <= POOLED, "{case}: {gap:e}");
                (pooled * golden.tensor(&format!("roi_align/grad_out_{size}")))
                    .sum(Kind::Float)
                    .backward();
                let gap = golden.gap(&features.grad(), &format!("{case}/grad_features"));
                assert!(gap <= POOLED, "{case}, gradient: {gap:e}");
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 8);
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
fn no_regions_pool_to_nothing() {
    let features = Tensor::ones([1, 3, 8, 8], (Kind::Float, Device::Cpu));
    let none = Tensor::zeros([0, 5], (Kind::Float, Device::Cpu));
    assert_eq!(
        roi_align_dense(&features, &none, (7, 7), 0.25, 0, true).size(),
        [0, 3, 7, 7]
    );
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
