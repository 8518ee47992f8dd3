//! Suppression, and what it makes of scored boxes.

use super::golden::Golden;
use deepmim_detection::boxes::BoxF;
use deepmim_detection::inference::{Detections, filter_detections, rescale_to_original};
use deepmim_detection::nms::{batched_nms, nms};
use proptest::prelude::*;

#[test]
fn kept_boxes_equal_the_recorded_ones() {
    let golden = Golden::open();
    let boxes = golden.boxes("nms/boxes");
    let scores = golden.floats("nms/scores");
    let classes = golden.whole("nms/idxs");
    for threshold in [0.3, 0.5, 0.7] {
        assert_eq!(
            batched_nms(&boxes, &scores, &classes, threshold),
            golden.positions(&format!("nms/keep_{threshold}")),
            "at {threshold}"
        );
    }
}

#[test]
fn detections_equal_the_recorded_ones() {
    let golden = Golden::open();
    let boxes = golden.floats("inference/boxes");
    let scores = golden.floats("inference/probs");
    // The recording counts the rows that are left when those with a number that is not finite are gone.
    let left: Vec<usize> = (0..scores.len() / 4)
        .filter(|&row| {
            let finite = |numbers: &[f32]| numbers.iter().all(|number| number.is_finite());
            finite(&boxes[row * 12..][..12]) && finite(&scores[row * 4..][..4])
        })
        .collect();
    assert_eq!(left.len(), 38);
    for (name, threshold, most) in [("thr0.05_top100", 0.05, 100), ("thr0.3_top10", 0.3, 10)] {
        let found = filter_detections(&boxes, &scores, 3, (50, 55), threshold, 0.5, most);
        let recorded = |what: &str| format!("inference/{name}/{what}");
        assert_eq!(found.boxes, golden.boxes(&recorded("boxes")));
        assert_eq!(found.scores, golden.floats(&recorded("scores")));
        assert_eq!(found.classes, golden.positions(&recorded("classes")));
        let rows: Vec<usize> = golden.positions(&recorded("rows"));
        let rows: Vec<usize> = rows.into_iter().map(|row| left[row]).collect();
        assert_eq!(found.rows, rows);
    }
}

#[test]
fn one_box_a_row_serves_all_classes() {
    let boxes = [0.0, 0.0, 10.0, 10.0, 20.0, 20.0, 30.0, 30.0];
    let scores = [0.6, 0.3, 0.1, 0.2, 0.7, 0.1];
    let found = filter_detections(&boxes, &scores, 2, (25, 100), 0.25, 0.5, 100);
    assert_eq!(found.classes, [1, 0, 1]);
    assert_eq!(found.rows, [1, 0, 0]);
    assert_eq!(found.boxes[0], [20.0, 20.0, 30.0, 25.0]);
}

#[test]
fn nothing_in_gives_nothing_out() {
    assert_eq!(
        filter_detections(&[], &[], 80, (10, 10), 0.05, 0.5, 100),
        Detections::default()
    );
    assert!(nms(&[], &[], 0.5).is_empty());
    assert!(batched_nms(&[], &[], &[], 0.5).is_empty());
    let (rescaled, kept) = rescale_to_original(&Detections::default(), (10, 10), (20, 20));
    assert!(rescaled.is_empty() && kept.is_empty());
}

#[test]
fn rescaling_clips_and_drops_what_becomes_empty() {
    let found = Detections {
        boxes: vec![
            [0.0, 0.0, 100.0, 40.0],
            [99.0, 10.0, 99.0, 20.0],
            [10.0, 5.0, 20.0, 10.0],
        ],
        scores: vec![0.9, 0.8, 0.7],
        classes: vec![0, 1, 2],
        rows: vec![5, 6, 7],
    };
    let (rescaled, kept) = rescale_to_original(&found, (50, 100), (100, 150));
    assert_eq!(kept, [0, 2]);
    assert_eq!(
        rescaled.boxes,
        [[0.0, 0.0, 150.0, 80.0], [15.0, 10.0, 30.0, 20.0]]
    );
    assert_eq!(rescaled.rows, [5, 7]);
    assert_eq!(rescaled.classes, [0, 2]);
}

#[test]
fn an_overlap_at_the_threshold_is_compared_in_double_precision() {
    // The overlap is 3/10, which in single precision is above 0.3.
    let boxes = [[0.0, 0.0, 10.0, 1.0], [0.0, 0.0, 3.0, 1.0]];
    assert_eq!(nms(&boxes, &[0.9, 0.8], 0.3), [0]);
    // The overlap is 7/10, which in single precision is below 0.7.
    let boxes = [[0.0, 0.0, 10.0, 1.0], [0.0, 0.0, 7.0, 1.0]];
    assert_eq!(nms(&boxes, &[0.9, 0.8], 0.7), [0, 1]);
}

#[test]
fn scores_that_are_no_numbers_come_first() {
    let boxes = [
        [0.0, 0.0, 1.0, 1.0],
        [5.0, 0.0, 6.0, 1.0],
        [9.0, 0.0, 10.0, 1.0],
    ];
    assert_eq!(nms(&boxes, &[0.5, f32::NAN, f32::INFINITY], 0.5), [1, 2, 0]);
}

/// The rule as it is written down: every pair, no columns, no compaction.
fn naive(boxes: &[BoxF], scores: &[f32], threshold: f64) -> Vec<usize> {
    let area = |of: &BoxF| (of[2] - of[0]) * (of[3] - of[1]);
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    order.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).unwrap());
    let mut kept: Vec<usize> = Vec::new();
    for at in order {
        let of = &boxes[at];
        let suppressed = kept.iter().any(|&other| {
            let other = &boxes[other];
            let width = (of[2].min(other[2]) - of[0].max(other[0])).max(0.0);
            let height = (of[3].min(other[3]) - of[1].max(other[1])).max(0.0);
            let shared = width * height;
            f64::from(shared / (area(other) + area(of) - shared)) > threshold
        });
        if !suppressed {
            kept.push(at);
        }
    }
    kept
}

/// Boxes on a coarse grid, so that equal ones, empty ones and exact overlaps are many.
fn some_boxes(most: usize) -> impl Strategy<Value = Vec<BoxF>> {
    let side = 0u8..12;
    let one = (side.clone(), side.clone(), side.clone(), side)
        .prop_map(|(x, y, w, h)| [x, y, x + w, y + h].map(f32::from));
    prop::collection::vec(one, 0..most)
}

proptest! {
    #[test]
    fn suppression_equals_the_plain_rule(
        boxes in some_boxes(120),
        levels in prop::collection::vec(0u8..9, 120),
        threshold in prop::sample::select(vec![0.0, 0.25, 0.3, 0.5, 0.7, 1.0]),
    ) {
        let scores: Vec<f32> = levels[..boxes.len()].iter().map(|&level| f32::from(level) / 8.0).collect();
        prop_assert_eq!(nms(&boxes, &scores, threshold), naive(&boxes, &scores, threshold));
    }

    #[test]
    fn classes_do_not_suppress_each_other(
        boxes in some_boxes(120),
        levels in prop::collection::vec((0u8..9, 0i64..4), 1200),
        copies in 1usize..12,
    ) {
        // Enough copies to be gone through class by class: there, and where classes are moved apart by
        // whole numbers, rounding changes nothing.
        let boxes = boxes.repeat(copies);
        let count = boxes.len().min(levels.len());
        let boxes = &boxes[..count];
        let scores: Vec<f32> = levels[..count].iter().map(|level| f32::from(level.0) / 8.0).collect();
        let classes: Vec<i64> = levels[..count].iter().map(|level| level.1).collect();
        let mut wanted: Vec<usize> = (0..4)
            .flat_map(|class| {
                let members: Vec<usize> = (0..count).filter(|&at| classes[at] == class).collect();
                let boxes: Vec<BoxF> = members.iter().map(|&at| boxes[at]).collect();
                let scores: Vec<f32> = members.iter().map(|&at| scores[at]).collect();
                let kept = naive(&boxes, &scores, 0.5);
                kept.into_iter().map(move |at| members[at]).collect::<Vec<_>>()
            })
            .collect();
        wanted.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).unwrap().then(a.cmp(&b)));
        prop_assert_eq!(batched_nms(boxes, &scores, &classes, 0.5), wanted);
    }
}
