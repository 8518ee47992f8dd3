//! Detections of several views of one picture, merged.

use deepmim_detection::boxes::BoxF;
use deepmim_detection::inference::Detections;
use deepmim_detection::tta::{View, mean_masks, merge_views};
use proptest::prelude::*;

const PLAIN: View = View {
    picture_size: (60, 100),
    network_size: (120, 200),
    flipped: false,
};
const FLIPPED: View = View {
    flipped: true,
    ..PLAIN
};

fn found(rows: &[(BoxF, f32, usize)]) -> Detections {
    Detections {
        boxes: rows.iter().map(|row| row.0).collect(),
        scores: rows.iter().map(|row| row.1).collect(),
        classes: rows.iter().map(|row| row.2).collect(),
        rows: (0..rows.len()).collect(),
    }
}

#[test]
fn a_mirrored_box_is_the_same_place_of_the_picture() {
    assert_eq!(
        PLAIN.to_picture([20.0, 10.0, 60.0, 40.0]),
        [10.0, 5.0, 30.0, 20.0]
    );
    assert_eq!(
        FLIPPED.to_picture([140.0, 10.0, 180.0, 40.0]),
        [10.0, 5.0, 30.0, 20.0]
    );
    assert_eq!(
        FLIPPED.from_picture([10.0, 5.0, 30.0, 20.0]),
        [140.0, 10.0, 180.0, 40.0]
    );
}

#[test]
fn what_both_views_find_is_one_detection_and_what_one_finds_stays() {
    let plain = found(&[
        ([20.0, 10.0, 60.0, 40.0], 0.8, 1),
        ([20.0, 10.0, 60.0, 40.0], 0.3, 0),
    ]);
    let flipped = found(&[
        ([140.0, 10.0, 180.0, 42.0], 0.9, 1),
        ([-10.0, 100.0, 50.0, 130.0], 0.5, 2),
    ]);
    let merged = merge_views(&[(PLAIN, &plain), (FLIPPED, &flipped)], 3, 0.5, 100);
    assert_eq!(merged.scores, [0.9, 0.5, 0.3]);
    assert_eq!(merged.classes, [1, 2, 0]);
    assert_eq!(merged.rows, [2, 3, 1]);
    assert_eq!(merged.boxes[0], [10.0, 5.0, 30.0, 21.0]);
    // Clipped in the picture.
    assert_eq!(merged.boxes[1], [75.0, 50.0, 100.0, 60.0]);
    let best = merge_views(&[(PLAIN, &plain), (FLIPPED, &flipped)], 3, 0.5, 2);
    assert_eq!(best.scores, [0.9, 0.5]);
}

#[test]
fn no_views_and_views_without_detections_give_nothing() {
    let nothing = Detections::default();
    assert!(merge_views(&[], 3, 0.5, 100).is_empty());
    assert!(merge_views(&[(PLAIN, &nothing), (FLIPPED, &nothing)], 3, 0.5, 100).is_empty());
    assert!(mean_masks(&[], 28).is_empty());
    assert!(mean_masks(&[(PLAIN, &[]), (FLIPPED, &[])], 28).is_empty());
}

#[test]
fn masks_of_a_mirrored_view_are_mirrored_back_before_the_mean() {
    let plain = [0.0, 1.0, 0.25, 0.5];
    let flipped = [0.5, 1.0, 0.5, 0.75];
    let mean = mean_masks(&[(PLAIN, &plain), (FLIPPED, &flipped)], 2);
    assert_eq!(mean, [0.5, 0.75, 0.5, 0.5]);
    assert_eq!(mean_masks(&[(FLIPPED, &plain)], 2), [1.0, 0.0, 0.5, 0.25]);
}

proptest! {
    #[test]
    fn boxes_go_into_a_view_and_back(
        x in 0f32..90.0, y in 0f32..50.0, width in 0f32..50.0, height in 0f32..50.0, flipped: bool,
    ) {
        let view = View { picture_size: (61, 97), network_size: (643, 1024), flipped };
        let of = [x, y, x + width, y + height];
        let back = view.to_picture(view.from_picture(of));
        for (found, wanted) in back.into_iter().zip(of) {
            // A pixel of 1024 in single precision, scaled.
            prop_assert!((found - wanted).abs() < 1e-4, "{} and {}", found, wanted);
        }
    }
}
