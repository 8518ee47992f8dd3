//! Mask targets, and masks pasted into pictures.

use super::golden::Golden;
use data::InstanceMask;
use deepmim_detection::boxes::{BoxF, from_boxes};
use deepmim_detection::mask_targets::mask_targets;
use deepmim_detection::paste::{paste_mask, paste_masks, paste_probabilities, paste_rles};
use deepmim_detection::roi_align::roi_align_dense;
use eval::Rle;
use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

/// A pixel this close to the threshold may fall on either side; the recording's README.
const NEAR_THRESHOLD: f32 = 1e-6;

#[test]
fn targets_of_polygons_equal_the_recorded_ones() {
    let golden = Golden::open();
    let masks: Vec<InstanceMask> = serde_json::from_value::<Vec<Vec<Vec<f64>>>>(
        golden.settings["mask_targets"]["polygons"].clone(),
    )
    .unwrap()
    .into_iter()
    .map(InstanceMask::Polygons)
    .collect();
    let masks: Vec<&InstanceMask> = masks.iter().collect();
    let boxes = golden.boxes("mask_targets/boxes");
    for (size, name) in [(28, "mask_targets/masks"), (14, "mask_targets/masks_14")] {
        let found = mask_targets(&masks, &boxes, size).unwrap();
        let found: Vec<i64> = found.into_iter().map(i64::from).collect();
        assert!(found == golden.whole(name), "{name}");
    }
}

#[test]
fn a_polygon_that_cannot_be_rasterised_is_told_with_its_position() {
    let good = InstanceMask::Polygons(vec![vec![0.0, 0.0, 9.0, 0.0, 9.0, 9.0]]);
    let bad = InstanceMask::Polygons(vec![vec![0.0, 0.0, f64::NAN, 0.0, 9.0, 9.0]]);
    let error = mask_targets(&[&good, &bad], &[[0.0, 0.0, 9.0, 9.0]; 2], 28).unwrap_err();
    assert_eq!(error.instance, 1);
    assert!(error.to_string().contains("object 1"), "{error}");
}

#[test]
fn targets_without_objects_or_outlines_are_empty() {
    assert!(mask_targets(&[], &[], 28).unwrap().is_empty());
    let none = InstanceMask::Polygons(Vec::new());
    let outside = InstanceMask::Polygons(vec![vec![50.0, 50.0, 60.0, 50.0, 60.0, 60.0]]);
    let boxes = [[0.0, 0.0, 9.0, 9.0]; 2];
    assert_eq!(
        mask_targets(&[&none, &outside], &boxes, 4).unwrap(),
        [0; 32]
    );
}

/// A bitmap with a seeded outline and some noise.
fn bitmap(width: usize, height: usize, seed: u64) -> InstanceMask {
    let pixels = (0..width * height)
        .map(|at| {
            let (x, y) = ((at % width) as f64, (at / width) as f64);
            let wave = (x * 0.31 + seed as f64).sin() * 6.0 + (y * 0.17).cos() * 5.0;
            let noise = (at as u64).wrapping_mul(seed | 1).wrapping_mul(0x9e37_79b9) >> 20 & 15;
            u8::from((y - height as f64 / 2.0).abs() < 9.0 + wave || noise == 0)
        })
        .collect();
    InstanceMask::Bitmap {
        width,
        height,
        pixels,
    }
}

fn some_box(reach: f32) -> impl Strategy<Value = BoxF> {
    let x = -0.3f32 * reach..1.1 * reach;
    let side = 0f32..1.2 * reach;
    (x.clone(), x, side.clone(), side).prop_map(|(x, y, w, h)| [x, y, x + w, y + h])
}

proptest! {
    #[test]
    fn targets_of_bitmaps_are_the_pooled_bitmap_from_one_half_on(
        of in some_box(60.0),
        seed in 0u64..1000,
        size in prop::sample::select(vec![7usize, 14, 28]),
    ) {
        let mask = bitmap(61, 47, seed);
        let InstanceMask::Bitmap { pixels, .. } = &mask else { unreachable!() };
        let features = Tensor::from_slice(pixels).to_kind(Kind::Float).view([1, 1, 47, 61]);
        let roi = Tensor::cat(&[Tensor::zeros([1, 1], (Kind::Float, Device::Cpu)), from_boxes(&[of], Device::Cpu)], 1);
        let side = size as i64;
        let pooled = roi_align_dense(&features, &roi, (side, side), 1.0, 0, true);
        let pooled = Vec::<f32>::try_from(pooled.view(-1)).unwrap();
        let found = mask_targets(&[&mask], &[of], size).unwrap();
        for (cell, share) in found.into_iter().zip(pooled) {
            // Another order of addition.
            if (share - 0.5).abs() > 1e-5 {
                prop_assert_eq!(cell, u8::from(share >= 0.5), "share {}", share);
            }
        }
    }
}

#[test]
fn pasted_masks_equal_the_recorded_ones() {
    let golden = Golden::open();
    let side = |name: &str| golden.settings["paste"][name].as_u64().unwrap() as usize;
    let (height, width) = (side("height"), side("width"));
    let probabilities = golden.floats("paste/masks");
    let boxes = golden.boxes("paste/boxes");
    let wanted = golden.whole("paste/masks_at_0.5");
    let soft = golden.whole("paste/soft_uint8");
    let pasted = paste_masks(&probabilities, 28, &boxes, height, width, 0.5);
    let runs = paste_rles(&probabilities, 28, &boxes, height, width, 0.5).unwrap();
    for (at, bounds) in boxes.iter().enumerate() {
        let square = &probabilities[at * 784..][..784];
        let (window, values) = paste_probabilities(square, 28, *bounds, height, width);
        assert_eq!(window, pasted[at].window);
        let mut found = vec![0u8; height * width];
        let mut found_soft = vec![0f32; height * width];
        for row in 0..window.height {
            let to = (window.top + row) * width + window.left;
            let part = row * window.width..(row + 1) * window.width;
            found[to..to + window.width].copy_from_slice(&pasted[at].pixels[part.clone()]);
            found_soft[to..to + window.width].copy_from_slice(&values[part]);
        }
        for pixel in 0..height * width {
            let recorded = at * height * width + pixel;
            let value = found_soft[pixel];
            if (value - 0.5).abs() > NEAR_THRESHOLD {
                assert_eq!(
                    i64::from(found[pixel]),
                    wanted[recorded],
                    "mask {at}, pixel {pixel}"
                );
            }
            let fraction = (value * 255.0).fract();
            if fraction > 255.0 * NEAR_THRESHOLD && fraction < 1.0 - 255.0 * NEAR_THRESHOLD {
                assert_eq!(
                    (value * 255.0) as i64,
                    soft[recorded],
                    "mask {at}, pixel {pixel}"
                );
            }
        }
        let whole = Rle::from_row_major(height as u32, width as u32, &found).unwrap();
        assert_eq!(runs[at], whole);
        assert_eq!(pasted[at].to_rle().unwrap(), whole);
    }
}

#[test]
fn a_box_beside_the_picture_leaves_no_pixels() {
    let full = [1f32; 4];
    for bounds in [
        [50.0, 0.0, 60.0, 5.0],
        [-20.0, 0.0, -10.0, 5.0],
        [0.0, 40.0, 5.0, 41.0],
        [3.0, 3.0, 3.0, 3.0],
        [8.0, 8.0, 2.0, 2.0],
        [f32::NAN; 4],
    ] {
        let mask = paste_mask(&full, 2, bounds, 12, 30, 0.5);
        let runs = mask.to_rle().unwrap();
        assert_eq!((runs.height(), runs.width()), (12, 30));
        assert_eq!(runs.counts(), [360], "{bounds:?}");
    }
    assert_eq!(
        paste_mask(&full, 2, [0.0, 0.0, 5.0, 5.0], 0, 0, 0.5)
            .to_rle()
            .unwrap()
            .counts(),
        [0]
    );
    assert!(paste_masks(&[], 28, &[], 12, 30, 0.5).is_empty());
}

#[test]
fn a_full_mask_far_beyond_the_picture_is_one_run() {
    // Within its box a full mask loses its corners to the zeros around it.
    let mask = paste_mask(&[1.0; 4], 2, [-60.0, -24.0, 90.0, 36.0], 12, 30, 0.5);
    assert_eq!(mask.to_rle().unwrap().counts(), [0, 360]);
}

proptest! {
    #[test]
    fn pasting_equals_grid_sampling_of_libtorch(
        of in some_box(40.0),
        seed in 0i64..1000,
        size in prop::sample::select(vec![2usize, 14, 28]),
    ) {
        prop_assume!(of[0] > -20.0 && of[2] > of[0] && of[3] > of[1]);
        let (height, width) = (37usize, 41usize);
        let square: Vec<f32> = (0..size * size)
            .map(|at| ((at as i64 * 7919 + seed * 104_729) % 1000) as f32 / 1000.0)
            .collect();
        let (window, values) = paste_probabilities(&square, size, of, height, width);
        prop_assume!(window.width > 0 && window.height > 0);
        let axis = |first: usize, count: usize, from: f32, to: f32| {
            let middles: Vec<f32> = (first..first + count)
                .map(|pixel| (pixel as f32 + 0.5 - from) / (to - from) * 2.0 - 1.0)
                .collect();
            Tensor::from_slice(&middles)
        };
        let x = axis(window.left, window.width, of[0], of[2]).unsqueeze(0);
        let y = axis(window.top, window.height, of[1], of[3]).unsqueeze(1);
        let shape = [window.height as i64, window.width as i64];
        let grid = Tensor::stack(&[x.expand(shape, false), y.expand(shape, false)], -1).unsqueeze(0);
        let side = size as i64;
        let wanted = Tensor::from_slice(&square)
            .view([1, 1, side, side])
            .grid_sampler(&grid, 0, 0, false);
        let wanted = Vec::<f32>::try_from(wanted.contiguous().view(-1)).unwrap();
        for (found, wanted) in values.iter().zip(wanted) {
            // The last bits of the place in the square, at most 28 cells, times the slope between cells.
            prop_assert!((found - wanted).abs() < 1e-5, "{} and {}", found, wanted);
        }
    }

    #[test]
    fn runs_of_a_pasted_mask_equal_those_of_the_whole_picture(
        of in some_box(40.0),
        cells in prop::collection::vec(any::<bool>(), 16),
        size in prop::sample::select(vec![(37usize, 41usize), (3, 60), (60, 3), (1, 1)]),
    ) {
        let square: Vec<f32> = cells.iter().map(|&inside| f32::from(u8::from(inside))).collect();
        let mask = paste_mask(&square, 4, of, size.0, size.1, 0.5);
        let mut whole = vec![0u8; size.0 * size.1];
        let window = mask.window;
        for row in 0..window.height {
            let to = (window.top + row) * size.1 + window.left;
            whole[to..to + window.width]
                .copy_from_slice(&mask.pixels[row * window.width..][..window.width]);
        }
        let wanted = Rle::from_row_major(size.0 as u32, size.1 as u32, &whole).unwrap();
        prop_assert_eq!(mask.to_rle().unwrap(), wanted);
    }
}
