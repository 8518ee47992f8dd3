//! The error types against tidecv's recordings, and by hand.

use std::path::Path;

use deepmim_eval::Strictness;
use deepmim_eval::coco::{
    CategoryMean, Detections, ErrorAnalysis, ErrorOptions, ErrorType, Geometry, GroundTruth,
    IouType, Params, ResultsFile, match_images,
};
use serde_json::{Value, json};

use crate::draw::{Drawn, draw};

/// The same operations in double precision, summed in another order.
const TOLERANCE: f64 = 1e-12;

pub fn read(truth: &Value, results: &Value) -> (GroundTruth, Detections) {
    let name = Path::new("made up");
    let masks = truth["annotations"].as_array().is_some_and(|list| {
        list.iter()
            .all(|object| object.get("segmentation").is_some())
    });
    let boxes = true;
    let geometry = Geometry { boxes, masks };
    let bytes = |value: &Value| serde_json::to_vec(value).unwrap();
    let (truth, _) =
        GroundTruth::from_json(name, &bytes(truth), geometry, Strictness::Strict).unwrap();
    let (detections, _) = ResultsFile::from_json(name, bytes(results))
        .unwrap()
        .read(&truth, Strictness::Strict, &|_| {})
        .unwrap();
    (truth, detections)
}

fn analyse(truth: &Value, results: &Value, kind: IouType, options: &ErrorOptions) -> ErrorAnalysis {
    let (truth, detections) = read(truth, results);
    match_images(&truth, &detections, Params::default(), kind)
        .unwrap()
        .errors_at(options)
        .unwrap()
}

/// A number recorded in percent; what tidecv cannot average is undefined.
fn close(found: f64, wanted: &Value, what: &str) {
    match wanted.as_f64() {
        Some(wanted) => assert!(
            (found - wanted / 100.0).abs() <= TOLERANCE,
            "{what}: {found} instead of {wanted} %"
        ),
        None => assert!(found.is_nan(), "{what}: {found} instead of nothing"),
    }
}

#[test]
fn recorded_cases_come_out_as_tidecv_has_them() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../parity/golden/tide/cases.json");
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut seen = [0u64; ErrorType::ALL.len()];
    for case in &cases {
        for kind in [IouType::Bbox, IouType::Segm] {
            let found = analyse(&case["truth"], &case["results"], kind, &Default::default());
            let wanted = &case["expected"][kind.name()];
            let what = format!("{}, {}", case["name"], kind.name());
            close(found.ap(), &wanted["ap"], &what);
            for error in ErrorType::ALL {
                let what = format!("{what}, {}", error.name());
                close(found.of(error).d_ap, &wanted["dap"][error.name()], &what);
                if let Some(count) = wanted["count"][error.name()].as_u64() {
                    assert_eq!(found.of(error).count, count, "{what}");
                }
                seen[error as usize] += found.of(error).count;
            }
            for category in found.categories() {
                let what = format!("{what}, category {}", category.id);
                let base = &wanted["categories"]["base"][&category.id];
                close(category.ap, base, &what);
                for error in ErrorType::ALL {
                    let what = format!("{what}, {}", error.name());
                    let effect = category.of(error);
                    if !base.is_null() {
                        let mended = &wanted["categories"][error.name()][&category.id];
                        close(category.ap + effect.d_ap, mended, &what);
                    }
                    if let Some(counts) = wanted.get(format!("count_{}", error.name())) {
                        let wanted = counts[&category.id].as_u64().unwrap_or(0);
                        assert_eq!(effect.count, wanted, "{what}");
                    }
                }
            }
        }
    }
    assert!(seen.iter().all(|&count| count >= 50), "too few: {seen:?}");
}

/// A picture of two categories, "cat" and "dog", with objects and detections `(category, box)`; scores
/// fall from 0.9 by a tenth each.
fn picture(objects: &[(i64, [f64; 4])], detections: &[(i64, [f64; 4])]) -> (Value, Value) {
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
        .enumerate()
        .map(|(place, (category, bounds))| {
            json!({"image_id": 1, "category_id": category, "bbox": bounds,
                   "score": 0.9 - 0.1 * place as f64})
        })
        .collect();
    let truth = json!({
        "images": [{"id": 1, "width": 100, "height": 100}],
        "categories": [{"id": CAT, "name": "cat"}, {"id": DOG, "name": "dog"}],
        "annotations": objects,
    });
    (truth, json!(detections))
}

const CAT: i64 = 1;
const DOG: i64 = 2;
const HERE: [f64; 4] = [0.0, 0.0, 10.0, 10.0];
/// IoU with `HERE` 5/15.
const SHIFTED: [f64; 4] = [5.0, 0.0, 10.0, 10.0];
const ELSEWHERE: [f64; 4] = [50.0, 50.0, 10.0, 10.0];

/// Counts in the order of `ErrorType::ALL`.
fn counts(found: &ErrorAnalysis) -> [u64; 8] {
    ErrorType::ALL.map(|kind| found.of(kind).count)
}

fn of_boxes(objects: &[(i64, [f64; 4])], detections: &[(i64, [f64; 4])]) -> ErrorAnalysis {
    let (truth, results) = picture(objects, detections);
    analyse(&truth, &results, IouType::Bbox, &Default::default())
}

#[track_caller]
fn about(found: f64, wanted: f64) {
    assert!(
        (found - wanted).abs() < 1e-12,
        "{found} instead of {wanted}"
    );
}

#[test]
fn a_right_box_of_the_wrong_category_is_a_classification_error() {
    let found = of_boxes(&[(CAT, HERE)], &[(DOG, HERE)]);
    assert_eq!(counts(&found), [1, 0, 0, 0, 0, 0, 1, 1]);
    // cat 0, dog 0; mended, dog has neither objects nor detections and cat is perfect.
    about(found.ap(), 0.0);
    about(found.of(ErrorType::Classification).d_ap, 1.0);
    let cat = &found.categories()[0];
    assert_eq!(
        (cat.objects, cat.matched, cat.covered, cat.missed),
        (1, 0, 1, 0)
    );
}

#[test]
fn a_shifted_box_is_a_localization_error_and_covers_its_object() {
    let found = of_boxes(&[(CAT, HERE)], &[(CAT, SHIFTED)]);
    assert_eq!(counts(&found), [0, 1, 0, 0, 0, 0, 1, 1]);
    about(found.of(ErrorType::Localization).d_ap, 1.0);
    about(found.of(ErrorType::Missed).d_ap, 0.0);
}

#[test]
fn only_the_best_of_several_is_mended() {
    // Two objects, one matched last; both shifted boxes mean the first.
    let found = of_boxes(
        &[(CAT, HERE), (CAT, ELSEWHERE)],
        &[(CAT, SHIFTED), (CAT, SHIFTED), (CAT, ELSEWHERE)],
    );
    assert_eq!(counts(&found), [0, 2, 0, 0, 0, 0, 2, 1]);
    // A third of precision at half of recall; mended, the second shifted box goes.
    about(found.ap(), 51.0 / 101.0 / 3.0);
    about(found.of(ErrorType::Localization).d_ap, 1.0 - found.ap());
    // All wrong last: precision 1 at half of recall. Nothing unmatched: a third everywhere.
    about(
        found.of(ErrorType::FalsePositive).d_ap,
        51.0 / 101.0 - found.ap(),
    );
    about(
        found.of(ErrorType::FalseNegative).d_ap,
        1.0 / 3.0 - found.ap(),
    );
}

#[test]
fn a_shifted_box_of_the_wrong_category_is_both() {
    let found = of_boxes(&[(CAT, HERE)], &[(DOG, SHIFTED)]);
    assert_eq!(counts(&found), [0, 0, 1, 0, 0, 1, 1, 1]);
    // Mended, dog is gone from the mean, and cat stays without a detection.
    about(found.of(ErrorType::Both).d_ap, 0.0);
}

#[test]
fn a_second_box_is_a_duplicate() {
    let found = of_boxes(
        &[(CAT, HERE), (CAT, ELSEWHERE)],
        &[(CAT, HERE), (CAT, HERE), (CAT, ELSEWHERE)],
    );
    assert_eq!(counts(&found), [0, 0, 0, 1, 0, 0, 1, 0]);
    // Precision 1 at recalls to 0.50, then 2/3.
    about(found.ap(), (51.0 + 50.0 * 2.0 / 3.0) / 101.0);
    about(found.of(ErrorType::Duplicate).d_ap, 1.0 - found.ap());
}

#[test]
fn a_box_over_nothing_is_background() {
    let found = of_boxes(&[(CAT, HERE)], &[(CAT, ELSEWHERE), (CAT, HERE)]);
    assert_eq!(counts(&found), [0, 0, 0, 0, 1, 0, 1, 0]);
    about(found.ap(), 0.5);
    about(found.of(ErrorType::Background).d_ap, 0.5);
}

#[test]
fn an_object_without_any_box_is_missed() {
    let found = of_boxes(&[(CAT, HERE), (CAT, ELSEWHERE)], &[(CAT, HERE)]);
    assert_eq!(counts(&found), [0, 0, 0, 0, 0, 1, 0, 1]);
    about(found.ap(), 51.0 / 101.0);
    about(found.of(ErrorType::Missed).d_ap, 50.0 / 101.0);
}

#[test]
fn localization_comes_before_classification() {
    // The dog fits exactly, but a cat is near enough.
    let found = of_boxes(&[(CAT, SHIFTED), (DOG, HERE)], &[(CAT, HERE)]);
    assert_eq!(counts(&found), [0, 1, 0, 0, 0, 1, 1, 2]);
}

#[test]
fn classification_comes_before_duplicate() {
    let found = of_boxes(&[(CAT, HERE), (DOG, HERE)], &[(CAT, HERE), (CAT, HERE)]);
    assert_eq!(counts(&found), [1, 0, 0, 0, 0, 0, 1, 1]);
}

#[test]
fn an_iou_on_a_threshold_is_localization_or_background() {
    // IoU 0.5 matches; a second box of IoU 0.5 is no duplicate.
    let half = [0.0, 0.0, 10.0, 5.0];
    let found = of_boxes(&[(CAT, HERE)], &[(CAT, half), (CAT, half)]);
    assert_eq!(counts(&found), [0, 1, 0, 0, 0, 0, 1, 0]);
    // IoU 0.1 is localization for a cat and background for a dog.
    let tenth = [0.0, 0.0, 10.0, 1.0];
    let found = of_boxes(&[(CAT, HERE)], &[(CAT, tenth), (DOG, tenth)]);
    assert_eq!(counts(&found), [0, 1, 0, 0, 1, 0, 2, 1]);
}

#[test]
fn boxes_in_a_crowd_are_counted_apart() {
    let found = of_boxes(
        &[(-CAT, ELSEWHERE), (CAT, HERE)],
        &[(CAT, ELSEWHERE), (CAT, HERE)],
    );
    about(found.ap(), 1.0);
    let background = found.of(ErrorType::Background);
    assert_eq!((background.count, background.in_crowds), (1, 1));
    about(background.d_ap, 0.0);
    assert_eq!(found.categories()[0].objects, 1);
    // A crowd of another category excuses nothing.
    let found = of_boxes(
        &[(-DOG, ELSEWHERE), (CAT, HERE)],
        &[(CAT, ELSEWHERE), (CAT, HERE)],
    );
    assert_eq!(found.of(ErrorType::Background).in_crowds, 0);
    about(found.ap(), 0.5);
}

#[test]
fn categories_without_objects_lower_the_mean_unless_asked_otherwise() {
    let (truth, results) = picture(&[(CAT, HERE)], &[(CAT, HERE), (DOG, ELSEWHERE)]);
    let mut options = ErrorOptions::default();
    let found = analyse(&truth, &results, IouType::Bbox, &options);
    about(found.ap(), 0.5);
    assert_eq!(found.notes().len(), 1);
    options.mean = CategoryMean::Objects;
    let found = analyse(&truth, &results, IouType::Bbox, &options);
    about(found.ap(), 1.0);
    assert!(found.notes().is_empty());
    assert!(found.categories()[1].ap.is_nan());
}

#[test]
fn thresholds_are_checked() {
    let (truth, results) = picture(&[], &[]);
    let (truth, results) = read(&truth, &results);
    let matches = match_images(&truth, &results, Params::default(), IouType::Bbox).unwrap();
    for (background, foreground) in [(0.5, 0.5), (0.0, 0.5), (0.1, 1.5), (f64::NAN, 0.5)] {
        let options = ErrorOptions {
            background,
            foreground,
            ..ErrorOptions::default()
        };
        assert!(matches.errors_at(&options).is_err());
    }
    assert!(matches.errors().ap().is_nan());
}

/// A drawn data set in which a quarter of the detections have the category of another.
pub fn draw_confused(seed: u64, masks: bool) -> Drawn {
    let mut drawn = draw(seed, masks);
    let results = drawn.results.as_array_mut().unwrap();
    let categories: Vec<Value> = results.iter().map(|r| r["category_id"].clone()).collect();
    for (place, result) in results.iter_mut().enumerate().step_by(4) {
        result["category_id"] = categories[(place * 7 + 3) % categories.len()].clone();
    }
    drawn
}

/// Every detection is right or has one type of error, every object has one fate.
#[test]
fn counts_add_up_on_random_data_sets() {
    let mut compared = 0;
    for seed in 0..600 {
        let drawn = draw_confused(seed, false);
        let (truth, detections) = read(&drawn.truth, &drawn.results);
        let params = Params {
            use_categories: seed % 4 != 0,
            ..Params::default()
        };
        let matches = match_images(&truth, &detections, params, IouType::Bbox).unwrap();
        let found = matches.errors();
        let sum = |kinds: &[ErrorType]| kinds.iter().map(|&kind| found.of(kind).count).sum::<u64>();
        assert_eq!(
            sum(&ErrorType::ALL[..5]),
            sum(&[ErrorType::FalsePositive]),
            "seed {seed}"
        );
        let (mut objects, mut matched, mut wrong) = (0, 0, 0);
        for category in found.categories() {
            assert_eq!(
                category.objects,
                category.matched + category.covered + category.missed
            );
            assert_eq!(
                category.of(ErrorType::FalseNegative).count,
                category.covered + category.missed
            );
            objects += category.objects;
            matched += category.matched;
            wrong += category.of(ErrorType::FalsePositive).count;
        }
        let all = truth.annotations().iter().filter(|object| !object.crowd);
        assert_eq!(objects, all.count() as u64);
        let kept: usize = (0..found.categories().len())
            .flat_map(|group| (0..truth.images().len()).map(move |image| (image, group)))
            .map(|(image, group)| matches.image(image, group, 0))
            .map(|image| image.detections.len())
            .sum();
        assert_eq!(matched + wrong, kept as u64, "seed {seed}");
        compared += wrong;
    }
    assert!(compared > 3000);
}

/// Columns of the tables, and that they say what the analysis says.
#[test]
fn tables_hold_the_numbers() {
    let found = of_boxes(&[(CAT, HERE)], &[(CAT, ELSEWHERE), (CAT, HERE)]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("errors.csv");
    found.write_csv(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "type,AP,dAP,count,in_crowds,meaning");
    assert_eq!(lines[1], ",0.5,,,,nothing mended");
    assert_eq!(lines[6], "Bkg,1,0.5,1,0,nothing is there");
    assert_eq!(lines.len(), 10);
    found.write_per_category(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("category_id,category,objects,matched,covered,missed,AP,dAP_Cls"));
    assert!(
        lines[1].starts_with("1,cat,1,1,0,0,0.5,0,0,0,0,0.5,0,"),
        "{}",
        lines[1]
    );
    assert!(lines[2].starts_with("2,dog,0,0,0,0,,,"), "{}", lines[2]);
    let report = found.report();
    assert_eq!(report.get("TIDE_AP"), Some(0.5));
    assert_eq!(report.get("dAP_Bkg"), Some(0.5));
    assert_eq!(report.get("errors_Bkg"), Some(1.0));
    let table = found.to_string();
    assert!(
        table.contains("\n Bkg        50.00          1  nothing is there"),
        "{table}"
    );
}
