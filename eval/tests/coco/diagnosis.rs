//! Confusion of categories, calibration of scores, and AP by size: by hand, by sums that must come out,
//! and against hotcoco.

use deepmim_eval::coco::{
    CalibrationOptions, ConfusionOptions, DetectionCalibration, DetectionConfusion, IouType,
    Params, match_images,
};
use hotcoco::{COCO, COCOeval};
use serde_json::{Value, json};

use crate::differential::evaluate;
use crate::draw::draw;
use crate::errors::{draw_confused, read};

const CAT: i64 = 3;
const DOG: i64 = 7;
const HERE: [f64; 4] = [0.0, 0.0, 10.0, 10.0];
/// IoU with `HERE` 8/12.
const NEAR: [f64; 4] = [2.0, 0.0, 10.0, 10.0];
const ELSEWHERE: [f64; 4] = [50.0, 50.0, 10.0, 10.0];

/// One picture with objects `(category, box)`, negative categories being crowds, and detections
/// `(category, box, score)`.
fn picture(objects: &[(i64, [f64; 4])], detections: &[(i64, [f64; 4], f64)]) -> (Value, Value) {
    let objects: Vec<Value> = objects
        .iter()
        .enumerate()
        .map(|(place, (category, bounds))| {
            json!({"id": place + 1, "image_id": 1, "category_id": category.abs(), "bbox": bounds,
                   "area": bounds[2] * bounds[3], "iscrowd": i32::from(*category < 0)})
        })
        .collect();
    let detections: Vec<Value> = detections
        .iter()
        .map(|(category, bounds, score)| {
            json!({"image_id": 1, "category_id": category, "bbox": bounds, "score": score})
        })
        .collect();
    let truth = json!({
        "images": [{"id": 1, "width": 100, "height": 100}],
        "categories": [{"id": CAT, "name": "cat"}, {"id": DOG, "name": "dog"}],
        "annotations": objects,
    });
    (truth, json!(detections))
}

fn confusion(
    objects: &[(i64, [f64; 4])],
    detections: &[(i64, [f64; 4], f64)],
) -> DetectionConfusion {
    let (truth, results) = picture(objects, detections);
    let (truth, results) = read(&truth, &results);
    match_images(&truth, &results, Params::default(), IouType::Bbox)
        .unwrap()
        .confusion(&ConfusionOptions::default())
        .unwrap()
}

/// Rows cat, dog, background; columns cat, dog, missed.
fn matrix(found: &DetectionConfusion) -> [[u64; 3]; 3] {
    let categories = [Some(0), Some(1), None];
    categories.map(|truth| categories.map(|predicted| found.count(truth, predicted)))
}

#[test]
fn pairs_are_matched_from_the_largest_iou_down_whatever_their_categories() {
    // The dog fits better than the cat of a better score, which is left over.
    let found = confusion(&[(CAT, HERE)], &[(CAT, NEAR, 0.9), (DOG, HERE, 0.5)]);
    assert_eq!(matrix(&found), [[0, 1, 0], [0, 0, 0], [1, 0, 0]]);
    // Of equal IoUs the better score.
    let found = confusion(&[(CAT, HERE)], &[(DOG, HERE, 0.5), (CAT, HERE, 0.9)]);
    assert_eq!(matrix(&found), [[1, 0, 0], [0, 0, 0], [0, 1, 0]]);
    // Of equal scores too, the object of its own category.
    let found = confusion(&[(CAT, HERE), (DOG, HERE)], &[(DOG, HERE, 0.9)]);
    assert_eq!(matrix(&found), [[0, 0, 1], [0, 1, 0], [0, 0, 0]]);
    // What loses its best object may still have another.
    let found = confusion(
        &[(CAT, HERE), (DOG, NEAR)],
        &[(CAT, HERE, 0.9), (CAT, HERE, 0.8)],
    );
    assert_eq!(matrix(&found), [[1, 0, 0], [1, 0, 0], [0, 0, 0]]);
}

#[test]
fn low_scores_and_crowds_take_no_part() {
    let found = confusion(&[(CAT, HERE)], &[(CAT, HERE, 0.29), (DOG, ELSEWHERE, 0.3)]);
    assert_eq!(matrix(&found), [[0, 0, 1], [0, 0, 0], [0, 1, 0]]);
    let crowd = [(-DOG, ELSEWHERE)];
    let found = confusion(&crowd, &[(DOG, ELSEWHERE, 0.9), (CAT, ELSEWHERE, 0.9)]);
    assert_eq!(matrix(&found), [[0, 0, 0], [0, 0, 0], [1, 0, 0]]);
}

#[test]
fn the_matrix_is_written_and_its_pairs_ranked() {
    let found = confusion(
        &[(CAT, HERE), (CAT, ELSEWHERE), (DOG, [20.0, 20.0, 9.0, 9.0])],
        &[
            (DOG, HERE, 0.9),
            (DOG, ELSEWHERE, 0.8),
            (CAT, [80.0, 80.0, 9.0, 9.0], 0.7),
        ],
    );
    let pairs = found.confused_pairs();
    assert_eq!(pairs.len(), 1);
    assert_eq!(
        (pairs[0].truth, pairs[0].predicted, pairs[0].count),
        (0, 1, 2)
    );
    assert_eq!(pairs[0].share, 1.0);
    assert_eq!(
        found.to_string(),
        "Confusion at IoU 0.5 and scores from 0.3: of 3 objects 0 right, 2 as another category, 1 missed; detections of background: 1\n       2 (100.0 %)  cat taken for dog"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("confusion.csv");
    found.write_csv(&path).unwrap();
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "category_id,category,cat,dog,missed\n3,cat,0,2,0\n7,dog,0,0,1\n,background,1,0,\n"
    );
}

#[test]
fn many_categories_are_written_as_a_list() {
    let (mut truth, results) = picture(&[(1, HERE)], &[(1, HERE, 0.9), (2, ELSEWHERE, 0.9)]);
    let categories = (1..=201).map(|id| json!({"id": id, "name": format!("c{id}")}));
    truth["categories"] = categories.collect();
    let (truth, results) = read(&truth, &results);
    let matches = match_images(&truth, &results, Params::default(), IouType::Bbox).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("confusion.csv");
    let found = matches.confusion(&ConfusionOptions::default()).unwrap();
    found.write_csv(&path).unwrap();
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "category_id,category,predicted_id,predicted,count\n1,c1,1,c1,1\n,background,2,c2,1\n"
    );
}

/// Rows sum to objects, columns to detections of enough score that lie in no crowd.
#[test]
fn the_matrix_adds_up_on_random_data_sets() {
    let mut confused = 0;
    for seed in 0..400 {
        let masks = seed % 3 == 0;
        let drawn = draw_confused(seed, masks);
        let (truth, results) = read(&drawn.truth, &drawn.results);
        let kind = if masks { IouType::Segm } else { IouType::Bbox };
        let params = Params {
            // No limit bites, so that every detection is there to be counted.
            max_detections: vec![1000],
            ..Params::default()
        };
        let matches = match_images(&truth, &results, params, kind).unwrap();
        let options = ConfusionOptions {
            iou: 0.5,
            min_score: 0.25,
        };
        let found = matches.confusion(&options).unwrap();
        let places = || (0..found.categories()).map(Some).chain([None]);
        let sum = |of: &dyn Fn(Option<usize>) -> u64| places().map(of).sum::<u64>();
        let has_crowd = |category: usize| {
            let mut objects = truth.annotations().iter();
            objects.any(|object| object.crowd && object.category == category)
        };
        for category in 0..found.categories() {
            let objects = truth.annotations().iter();
            let wanted = objects.filter(|object| !object.crowd && object.category == category);
            let row = sum(&|predicted| found.count(Some(category), predicted));
            assert_eq!(row, wanted.count() as u64, "seed {seed}");
            let rows = results.rows().iter();
            let wanted = rows
                .filter(|row| row.score >= 0.25 && row.category as usize == category)
                .count() as u64;
            let column = sum(&|truth| found.count(truth, Some(category)));
            assert!(
                column == wanted || column < wanted && has_crowd(category),
                "seed {seed}: {column} of {wanted}"
            );
        }
        confused += found
            .confused_pairs()
            .iter()
            .map(|pair| pair.count)
            .sum::<u64>();
    }
    assert!(confused > 30, "only {confused}");
}

fn calibration(
    objects: &[(i64, [f64; 4])],
    detections: &[(i64, [f64; 4], f64)],
    options: &CalibrationOptions,
) -> DetectionCalibration {
    let (truth, results) = picture(objects, detections);
    let (truth, results) = read(&truth, &results);
    match_images(&truth, &results, Params::default(), IouType::Bbox)
        .unwrap()
        .calibration(options)
        .unwrap()
}

/// By hand, in ten bins: 0.95 right; 0.55 right and 0.6 wrong in one bin, mean 0.575, precision 0.5; a
/// crowd's detection and a score above 1 left out.
#[test]
fn calibration_error_is_the_weighted_distance_of_precision_and_score() {
    let options = CalibrationOptions {
        bins: 10,
        ..Default::default()
    };
    let detections = [
        (CAT, HERE, 0.95),
        (DOG, NEAR, 0.55),
        (DOG, HERE, 0.6),
        (CAT, ELSEWHERE, 0.4),
        (CAT, [30.0, 30.0, 5.0, 5.0], 1.5),
    ];
    // The dog at `NEAR` fits its object exactly; the other dog's IoU is too low.
    let far = [2.0, 5.0, 10.0, 10.0];
    let mut detections = detections;
    detections[1].1 = far;
    let objects = [(CAT, HERE), (DOG, far), (-CAT, ELSEWHERE)];
    let found = calibration(&objects, &detections, &options);
    assert_eq!((found.count(), found.no_probability), (3, 1));
    assert_eq!((found.bins[9].count, found.bins[9].right), (1, 1));
    assert_eq!((found.bins[5].count, found.bins[5].right), (2, 1));
    assert!((found.error().unwrap() - (0.05 + 2.0 * 0.075) / 3.0).abs() < 1e-15);
    assert!((found.overconfidence().unwrap() - (-0.05 + 2.0 * 0.075) / 3.0).abs() < 1e-15);
    let options = CalibrationOptions {
        min_score: 0.9,
        ..options
    };
    assert_eq!(calibration(&objects, &detections, &options).count(), 1);
    assert_eq!(calibration(&objects, &[], &options).error(), None);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calibration.csv");
    found.write_csv(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "above,up_to,count,right,score,precision");
    assert_eq!(lines[1], "0,0.1,0,0,,");
    assert_eq!(lines[10], "0.9,1,1,1,0.95,1");
}

#[test]
fn a_bin_holds_its_upper_end() {
    let objects = [(CAT, HERE)];
    let of = |score| {
        let found = calibration(&objects, &[(CAT, HERE, score)], &Default::default());
        found.bins.iter().position(|bin| bin.count == 1).unwrap()
    };
    assert_eq!(
        [of(0.0), of(0.2), of(3.0 / 15.0), of(0.2000001), of(1.0)],
        [0, 2, 2, 3, 14]
    );
}

#[test]
fn options_are_checked() {
    let (truth, results) = picture(&[], &[]);
    let (truth, results) = read(&truth, &results);
    let matches = match_images(&truth, &results, Params::default(), IouType::Bbox).unwrap();
    let good = CalibrationOptions::default();
    assert!(matches.calibration(&good).is_ok());
    assert!(
        matches
            .calibration(&CalibrationOptions { iou: 0.51, ..good })
            .is_err()
    );
    assert!(
        matches
            .calibration(&CalibrationOptions { bins: 0, ..good })
            .is_err()
    );
    assert!(
        matches
            .calibration(&CalibrationOptions {
                bins: usize::MAX,
                ..good
            })
            .is_err()
    );
    assert!(
        matches
            .calibration(&CalibrationOptions {
                min_score: f64::NAN,
                ..good
            })
            .is_err()
    );
    for (iou, min_score) in [(0.0, 0.3), (1.1, 0.3), (f64::NAN, 0.3), (0.5, f64::NAN)] {
        assert!(
            matches
                .confusion(&ConfusionOptions { iou, min_score })
                .is_err()
        );
    }
}

#[test]
fn calibration_of_random_data_sets_is_hotcocos() {
    let folder = tempfile::tempdir().unwrap();
    let (truth_path, results_path) = (folder.path().join("gt.json"), folder.path().join("dt.json"));
    for seed in 0..300 {
        let drawn = draw(seed, false);
        let (truth, results) = read(&drawn.truth, &drawn.results);
        let params = Params::default();
        let matches = match_images(&truth, &results, params, IouType::Bbox).unwrap();
        let ours = matches.calibration(&CalibrationOptions::default()).unwrap();
        std::fs::write(&truth_path, drawn.truth.to_string()).unwrap();
        std::fs::write(&results_path, drawn.results.to_string()).unwrap();
        let truth = COCO::new(&truth_path).unwrap();
        let results = truth.load_res(&results_path).unwrap();
        let mut theirs = COCOeval::new(truth, results, hotcoco::params::IouType::Bbox);
        theirs.run().unwrap();
        let theirs = theirs.calibration(ours.bins.len(), 0.5).unwrap();
        assert_eq!(ours.count(), theirs.num_detections as u64, "seed {seed}");
        let found = ours.error().unwrap_or(0.0);
        assert!(
            (found - theirs.ece).abs() < 1e-12,
            "seed {seed}: {found} instead of {}",
            theirs.ece
        );
    }
}

/// The table holds what the curves' averages are.
#[test]
fn sizes_and_thresholds_make_a_table() {
    let drawn = draw(11, false);
    let curves = evaluate(
        &drawn.truth,
        &drawn.results,
        Params::default(),
        IouType::Bbox,
    );
    let table = curves.size_iou();
    let summary = curves.summary().unwrap();
    assert_eq!(table.sizes[0].mean.ap, summary.ap);
    assert_eq!(table.sizes[0].at[0].ap, summary.ap50);
    assert_eq!(table.sizes[0].at[5].ap, summary.ap75);
    assert_eq!(table.sizes[1].mean.ap, summary.ap_small);
    assert_eq!(table.sizes[3].mean.ar, summary.ar_large);
    assert_eq!(table.sizes[0].mean.ar, summary.ar_third);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("size_iou.csv");
    table.write_csv(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "area,objects,iou,AP,AR");
    assert_eq!(lines.len(), 1 + 4 * 11);
    assert!(lines[1].starts_with(&format!("all,{},0.50,", table.sizes[0].objects)));
    assert!(lines[11].starts_with(&format!("all,{},mean,", table.sizes[0].objects)));
    // By hand: one object of 100 square pixels, found exactly.
    let (truth, results) = picture(&[(CAT, HERE)], &[(CAT, HERE, 0.9)]);
    let table = evaluate(&truth, &results, Params::default(), IouType::Bbox).size_iou();
    let text = table.to_string();
    let rows: Vec<&str> = text.lines().collect();
    assert_eq!(rows.len(), 10, "{text}");
    let all = |value: &str, count: usize| vec![value; count].join("  ");
    assert_eq!(rows[2], format!(" small   {}        1", all("100.0", 11)));
    assert!(rows[3].starts_with(" medium      -      -"), "{text}");
}
