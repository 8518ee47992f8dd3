//! Anchors, overlaps, box coding, levels.

use super::golden::Golden;
use deepmim_detection::anchors::AnchorConfig;
use deepmim_detection::boxes::{BoxCoder, clip, from_boxes, iou, to_boxes};
use deepmim_detection::levels::assign_levels;
use tch::{Device, Kind, Tensor};

/// Exponentials and logarithms of two libtorch builds; the recording's README.
const CODING: f64 = 1e-6;

#[test]
fn anchors_equal_the_recorded_ones() {
    let golden = Golden::open();
    let settings = &golden.settings["anchors"];
    let numbers = |name: &str| -> Vec<f64> {
        let list = settings[name].as_array().unwrap().iter();
        list.map(|number| number.as_f64().unwrap()).collect()
    };
    let config = AnchorConfig {
        sizes: numbers("sizes"),
        aspect_ratios: numbers("aspect_ratios"),
        strides: numbers("strides").iter().map(|&s| s as i64).collect(),
        offset: 0.0,
    };
    for (level, grid) in settings["grids"].as_array().unwrap().iter().enumerate() {
        let side = |at: usize| grid[at].as_i64().unwrap();
        assert_eq!(
            config.level_anchors(level, side(0), side(1)),
            golden.boxes(&format!("anchors/p{}", level + 2)),
            "level {level}"
        );
        let one_place = config.level_anchors(level, 1, 1);
        assert_eq!(
            one_place,
            golden.boxes(&format!("anchors/cell_p{}", level + 2))
        );
    }
    assert!(config.level_anchors(0, 0, 5).is_empty());
}

#[test]
fn the_offset_moves_anchors_by_a_share_of_the_stride() {
    let config = |offset| AnchorConfig {
        sizes: vec![32.0],
        aspect_ratios: vec![1.0],
        strides: vec![8],
        offset,
    };
    let moved = config(0.5).level_anchors(0, 2, 3);
    for (moved, plain) in moved.iter().zip(config(0.0).level_anchors(0, 2, 3)) {
        assert_eq!(*moved, plain.map(|coordinate| coordinate + 4.0));
    }
    assert_eq!(moved.len(), 6);
    assert_eq!(moved[4], [-4.0, -4.0, 28.0, 28.0]);
}

#[test]
fn overlaps_equal_the_recorded_ones() {
    let golden = Golden::open();
    let mut found = Vec::new();
    for truth in golden.boxes("matcher/gt_boxes") {
        for of in golden.boxes("matcher/boxes") {
            found.push(iou(&truth, &of));
        }
    }
    assert_eq!(found, golden.floats("matcher/iou"));
}

#[test]
fn box_coding_equals_the_recorded_one() {
    let golden = Golden::open();
    let from = golden.tensor("box_codec/src");
    for (name, weights) in [
        ("w1", [1.0, 1.0, 1.0, 1.0]),
        ("w10", [10.0, 10.0, 5.0, 5.0]),
        ("w30", [30.0, 30.0, 15.0, 15.0]),
    ] {
        let coder = BoxCoder { weights };
        let encoded = coder.encode(from, golden.tensor("box_codec/dst"));
        let gap = golden.gap(&encoded, &format!("box_codec/encode_{name}"));
        assert!(gap <= CODING, "{name}: {gap:e}");
        let decoded = coder.decode(golden.tensor("box_codec/deltas"), from);
        let gap = golden.gap(&decoded, &format!("box_codec/decode_{name}"));
        assert!(gap <= CODING, "{name}: {gap:e}");
        assert_eq!(decoded.kind(), Kind::Float);
    }
}

#[test]
fn decoding_takes_half_precision_and_no_boxes() {
    let coder = BoxCoder { weights: [1.0; 4] };
    let boxes = Tensor::from_slice(&[10f32, 20.0, 30.0, 60.0]).view([1, 4]);
    let deltas = Tensor::zeros([1, 8], (Kind::Half, Device::Cpu));
    let decoded = coder.decode(&deltas, &boxes);
    assert_eq!(
        to_boxes(&decoded.view([2, 4])),
        [[10.0, 20.0, 30.0, 60.0]; 2]
    );
    let none = Tensor::zeros([0, 4], (Kind::Float, Device::Cpu));
    assert_eq!(coder.decode(&none, &none).size(), [0, 4]);
    assert_eq!(coder.encode(&none, &none).size(), [0, 4]);
}

#[test]
fn boxes_go_to_tensors_and_back() {
    let boxes = vec![[1.5, 2.0, 3.0, 4.25], [-1.0, 0.0, 1e30, 1e-30]];
    assert_eq!(to_boxes(&from_boxes(&boxes, Device::Cpu)), boxes);
    assert_eq!(from_boxes(&[], Device::Cpu).size(), [0, 4]);
    let strided = from_boxes(&boxes, Device::Cpu).to_kind(Kind::Double);
    assert_eq!(to_boxes(&strided.flip([0])), [boxes[1], boxes[0]]);
}

#[test]
fn clipping_moves_corners_into_the_picture() {
    let mut boxes = [
        [-5.0, -1.0, 200.0, 90.0],
        [10.0, 10.0, 20.0, 20.0],
        [150.0, 60.0, 160.0, 70.0],
    ];
    clip(&mut boxes, (50, 100));
    assert_eq!(
        boxes,
        [
            [0.0, 0.0, 100.0, 50.0],
            [10.0, 10.0, 20.0, 20.0],
            [100.0, 50.0, 100.0, 50.0]
        ]
    );
}

#[test]
fn levels_equal_the_recorded_ones() {
    let golden = Golden::open();
    let found = assign_levels(&golden.boxes("levels/boxes"), 2, 5, 224.0, 4);
    assert_eq!(found, golden.positions("levels/level_minus_2"));
}

#[test]
fn boxes_without_a_size_belong_to_the_lowest_level() {
    let boxes = [
        [3.0, 3.0, 3.0, 9.0],
        [5.0, 0.0, 2.0, 9.0],
        [0.0, 0.0, 1e6, 1e6],
    ];
    assert_eq!(assign_levels(&boxes, 2, 5, 224.0, 4), [0, 0, 3]);
}
