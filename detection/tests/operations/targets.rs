//! Matching and sampling.

use super::golden::Golden;
use deepmim_detection::boxes::{BoxF, iou};
use deepmim_detection::matcher::{Matched, Matcher};
use deepmim_detection::sampling::{Order, subsample};
use proptest::prelude::*;

fn proposals() -> Matcher {
    Matcher {
        thresholds: vec![0.3, 0.7],
        labels: vec![0, -1, 1],
        allow_low_quality: true,
    }
}

fn regions() -> Matcher {
    Matcher {
        thresholds: vec![0.5],
        labels: vec![0, 1],
        allow_low_quality: false,
    }
}

#[test]
fn matches_equal_the_recorded_ones() {
    let golden = Golden::open();
    let truth = golden.boxes("matcher/gt_boxes");
    let boxes = golden.boxes("matcher/boxes");
    for (name, matcher) in [("rpn", proposals()), ("roi", regions())] {
        let found = matcher.match_boxes(&truth, &boxes);
        let index: Vec<i64> = found.index.iter().map(|&at| i64::from(at)).collect();
        let label: Vec<i64> = found.label.iter().map(|&label| i64::from(label)).collect();
        assert_eq!(index, golden.whole(&format!("matcher/{name}_index")));
        assert_eq!(label, golden.whole(&format!("matcher/{name}_label")));
    }
}

#[test]
fn without_ground_truth_every_box_has_the_first_label() {
    let boxes = vec![[0.0, 0.0, 1.0, 1.0]; 5];
    let mut matcher = proposals();
    matcher.labels[0] = -1;
    let found = matcher.match_boxes(&[], &boxes);
    assert_eq!(found.index, [0; 5]);
    assert_eq!(found.label, [-1; 5]);
    assert!(matcher.match_boxes(&boxes, &[]).label.is_empty());
}

#[test]
fn ground_truth_beside_all_boxes_makes_every_box_positive() {
    // The reference's rule for low quality, taken literally: all overlaps of 0 equal the best, 0.
    let boxes = vec![[0.0, 0.0, 8.0, 8.0]; 3];
    let found = proposals().match_boxes(&[[100.0, 100.0, 110.0, 110.0]], &boxes);
    assert_eq!(found.label, [1; 3]);
}

/// The whole matrix, as the reference has it.
fn naive(matcher: &Matcher, truth: &[BoxF], boxes: &[BoxF]) -> Matched {
    let matrix: Vec<Vec<f32>> = truth
        .iter()
        .map(|truth| boxes.iter().map(|of| iou(truth, of)).collect())
        .collect();
    let mut index = vec![0; boxes.len()];
    let mut label = vec![matcher.labels[0]; boxes.len()];
    for at in 0..boxes.len() {
        let mut best = f32::NEG_INFINITY;
        for (row, overlaps) in matrix.iter().enumerate() {
            if overlaps[at] > best {
                best = overlaps[at];
                index[at] = row as u32;
            }
        }
        for (threshold, value) in matcher.thresholds.iter().zip(&matcher.labels[1..]) {
            if best >= *threshold as f32 {
                label[at] = *value;
            }
        }
    }
    if matcher.allow_low_quality {
        for row in &matrix {
            let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for (at, &overlap) in row.iter().enumerate() {
                if overlap == best {
                    label[at] = 1;
                }
            }
        }
    }
    Matched { index, label }
}

fn some_boxes(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<BoxF>> {
    let side = 0u8..20;
    let one = (side.clone(), side.clone(), side.clone(), side)
        .prop_map(|(x, y, w, h)| [x, y, x + w, y + h].map(f32::from));
    prop::collection::vec(one, count)
}

proptest! {
    #[test]
    fn matching_equals_the_whole_matrix(
        truth in some_boxes(1..9),
        boxes in some_boxes(1..80),
        copies in prop::sample::select(vec![1usize, 40]),
    ) {
        // Many copies fill several chunks, with the best overlap in each.
        let boxes = boxes.repeat(copies);
        for matcher in [proposals(), regions()] {
            prop_assert_eq!(matcher.match_boxes(&truth, &boxes), naive(&matcher, &truth, &boxes));
        }
    }

    #[test]
    fn a_sample_is_balanced_and_holds_each_position_once(
        labels in prop::collection::vec(-1i64..4, 0..200),
        count in 0usize..100,
        seed: u64,
    ) {
        let background = 3;
        let (positives, negatives) = subsample(&labels, count, 0.25, background, &Order::Seeded(seed));
        let is_positive = |label: i64| label != -1 && label != background;
        let (of, out_of) = (
            labels.iter().filter(|&&label| is_positive(label)).count(),
            labels.iter().filter(|&&label| label == background).count(),
        );
        prop_assert_eq!(positives.len(), of.min(count / 4));
        prop_assert_eq!(negatives.len(), out_of.min(count - positives.len()));
        prop_assert!(positives.iter().all(|&at| is_positive(labels[at])));
        prop_assert!(negatives.iter().all(|&at| labels[at] == background));
        let mut all: Vec<usize> = positives.iter().chain(&negatives).copied().collect();
        all.sort_unstable();
        all.dedup();
        prop_assert_eq!(all.len(), positives.len() + negatives.len());
    }
}

#[test]
fn in_order_the_first_ones_are_drawn() {
    let labels = [1, 0, 0, -1, 1, 1, 0, 1];
    assert_eq!(
        subsample(&labels, 4, 0.5, 0, &Order::InOrder),
        (vec![0, 4], vec![1, 2])
    );
    assert_eq!(
        subsample(&labels, 100, 1.0, 0, &Order::InOrder),
        (vec![0, 4, 5, 7], vec![1, 2, 6])
    );
}

#[test]
fn a_seed_draws_the_same_again_and_another_seed_draws_uniformly() {
    let labels: Vec<i64> = (0..20).map(|at| i64::from(at % 2 == 0)).collect();
    let draw = |seed| subsample(&labels, 8, 0.5, 0, &Order::Seeded(seed));
    assert_eq!(draw(7), draw(7));
    let mut times = [0u32; 20];
    for seed in 0..2000 {
        let (positives, negatives) = draw(seed);
        for at in positives.into_iter().chain(negatives) {
            times[at] += 1;
        }
    }
    // 4 of 10, 2000 times: 800 each, standard deviation 22.
    assert!(
        times.iter().all(|&times| (690..910).contains(&times)),
        "{times:?}"
    );
}
