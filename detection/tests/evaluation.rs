//! Results files and their scores.

#![allow(clippy::unwrap_used)]

use deepmim_detection::evaluate::evaluate_results;
use deepmim_detection::results::{DetectionResult, RESULTS_FILE, ResultsError, ResultsWriter};
use eval::Rle;
use eval::coco::Id;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// pycocotools' own arithmetic in double precision, in another order of addition.
const METRICS: f64 = 1e-9;

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn cases() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../parity/golden/coco_eval");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("expected.json").exists() && path.join("dt_segm.json").exists())
        .collect();
    cases.sort();
    cases
}

#[test]
fn a_file_with_boxes_and_masks_scores_as_pycocotools_scores_each_alone() {
    // The recordings have boxes and masks of the same detections in two files, and detectron2 scores
    // masks with the boxes put aside: together in one file they must give the same numbers.
    let folder = tempfile::tempdir().unwrap();
    let mut compared = 0;
    for case in cases() {
        let expected = json_of(&case.join("expected.json"));
        let stats = |kind: &str| -> Option<Vec<f64>> {
            let list = expected[kind]["stats"].as_array()?;
            Some(list.iter().map(|value| value.as_f64().unwrap()).collect())
        };
        let usual = expected["max_dets"].is_null() && expected["use_cats"].is_null();
        let (Some(bbox), Some(segm), true) = (stats("bbox"), stats("segm"), usual) else {
            continue;
        };
        let boxes = json_of(&case.join("dt_bbox.json"));
        let mut results = json_of(&case.join("dt_segm.json"));
        for (result, of) in results
            .as_array_mut()
            .unwrap()
            .iter_mut()
            .zip(boxes.as_array().unwrap())
        {
            assert_eq!(result["score"], of["score"]);
            result["bbox"] = of["bbox"].clone();
        }
        let path = folder.path().join(RESULTS_FILE);
        std::fs::write(&path, results.to_string()).unwrap();
        let scores = evaluate_results(&path, &case.join("gt.json"), true).unwrap();
        let summaries = scores.summaries().unwrap();
        for (summary, wanted) in summaries.iter().zip([bbox, segm]) {
            for (found, wanted) in summary.stats().into_iter().zip(wanted) {
                let kind = summary.iou_type.name();
                assert!(
                    (found - wanted).abs() <= METRICS,
                    "{}, {kind}: {found} for {wanted}",
                    case.display()
                );
            }
        }
        assert_eq!(summaries.len(), 2);
        compared += 1;
    }
    assert!(compared >= 20, "{compared} cases");
}

/// Two pictures, two categories with a gap, boxes and masks.
fn annotations(folder: &Path) -> PathBuf {
    let path = folder.join("annotations.json");
    let object = |id: u32, image: u32, category: u32, side: f64| {
        let polygon = [
            1.0,
            1.0,
            1.0 + side,
            1.0,
            1.0 + side,
            1.0 + side,
            1.0,
            1.0 + side,
        ];
        json!({
            "id": id, "image_id": image, "category_id": category, "iscrowd": 0,
            "bbox": [1.0, 1.0, side, side], "area": side * side, "segmentation": [polygon],
        })
    };
    let truth = json!({
        "images": [
            {"id": 7, "height": 40, "width": 60, "file_name": "a.jpg"},
            {"id": 9, "height": 40, "width": 60, "file_name": "b.jpg"},
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 5, "name": "dog, small"}],
        "annotations": [object(1, 7, 1, 20.0), object(2, 9, 5, 35.0)],
    });
    std::fs::write(&path, truth.to_string()).unwrap();
    path
}

fn result(image: i64, category: i64, side: f32, score: f32) -> DetectionResult {
    let end = 1.0 + f64::from(side);
    DetectionResult {
        image_id: Id::Integer(image),
        category_id: Id::Integer(category),
        bbox: DetectionResult::bbox_of([1.0, 1.0, end as f32, end as f32]),
        score,
        mask: Some(Rle::from_polygon(40, 60, &[1.0, 1.0, end, 1.0, end, end, 1.0, end]).unwrap()),
    }
}

#[test]
fn what_is_written_is_scored_and_told_by_category() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run").join(RESULTS_FILE);
    let mut writer = ResultsWriter::create(&path).unwrap();
    writer.add(&result(7, 1, 20.0, 0.9)).unwrap();
    writer.add(&result(9, 1, 20.0, 0.3)).unwrap();
    assert_eq!(writer.count(), 2);
    assert!(!path.exists());
    writer.finish().unwrap();
    let scores = evaluate_results(&path, &annotations(folder.path()), true).unwrap();
    assert!(scores.notes.is_empty(), "{:?}", scores.notes);
    let report = scores.report().unwrap();
    for kind in ["bbox", "segm"] {
        for (name, wanted) in [("AP", 0.5), ("APs", 1.0), ("APm", 0.0), ("APl", -1.0)] {
            let found = report.get(&format!("{kind}/{name}")).unwrap();
            assert!((found - wanted).abs() <= METRICS, "{kind}/{name}: {found}");
        }
    }
    let out = folder.path().join("scores");
    scores.write(&out).unwrap();
    for kind in ["bbox", "segm"] {
        let table = std::fs::read_to_string(out.join(kind).join("per_category.csv")).unwrap();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(
            lines[0],
            "category_id,category,objects,AP,AP50,AP75,AP_small,AP_medium,AP_large,AR"
        );
        assert!(lines[1].starts_with("1,cat,1,"), "{}", lines[1]);
        assert_eq!(lines[2], "5,\"dog, small\",1,0,0,0,,0,,0");
        assert_eq!(lines.len(), 3);
    }
    assert!(out.join("summary.csv").exists() && out.join("summary.json").exists());
    let boxes_only = evaluate_results(&path, &annotations(folder.path()), false).unwrap();
    assert!(boxes_only.masks.is_none());
    assert_eq!(boxes_only.summaries().unwrap().len(), 1);
}

#[test]
fn no_detections_are_scored_as_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(RESULTS_FILE);
    ResultsWriter::create(&path).unwrap().finish().unwrap();
    assert_eq!(json_of(&path), json!([]));
    let scores = evaluate_results(&path, &annotations(folder.path()), true).unwrap();
    for summary in scores.summaries().unwrap() {
        assert_eq!((summary.ap, summary.ap_large), (0.0, -1.0));
    }
}

#[test]
fn numbers_and_identifiers_read_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(RESULTS_FILE);
    let mut writer = ResultsWriter::create(&path).unwrap();
    let values = [
        0.1f32,
        1.0 / 3.0,
        f32::MIN_POSITIVE,
        16_777_217.0,
        639.999_94,
    ];
    for &value in &values {
        let mut row = result(7, 1, 10.0, value);
        row.bbox = [value, value * 3.0, 0.0, value / 7.0];
        row.image_id = Id::Text("a \"quoted\" name".into());
        row.category_id = Id::number(2.5);
        row.mask = None;
        writer.add(&row).unwrap();
    }
    writer.finish().unwrap();
    let read = json_of(&path);
    for (row, value) in read.as_array().unwrap().iter().zip(values) {
        assert_eq!(row["score"].as_f64(), Some(f64::from(value)));
        assert_eq!(row["bbox"][1].as_f64(), Some(f64::from(value * 3.0)));
        assert_eq!(row["bbox"][3].as_f64(), Some(f64::from(value / 7.0)));
        assert_eq!(row["image_id"], "a \"quoted\" name");
        assert_eq!(row["category_id"], 2.5);
        assert!(row.get("segmentation").is_none());
    }
    // As Python writes the double of a single-precision number.
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"score\":0.10000000149011612}"), "{text}");
}

#[test]
fn a_writer_given_up_leaves_the_previous_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(RESULTS_FILE);
    std::fs::write(&path, "previous").unwrap();
    let mut writer = ResultsWriter::create(&path).unwrap();
    writer.add(&result(7, 1, 10.0, 0.5)).unwrap();
    drop(writer);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "previous");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_score_that_is_no_number_is_refused_with_its_picture() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = ResultsWriter::create(&folder.path().join(RESULTS_FILE)).unwrap();
    let error = writer.add(&result(7, 1, 10.0, f32::NAN)).unwrap_err();
    assert!(matches!(&error, ResultsError::NotFinite { image, .. } if *image == Id::Integer(7)));
    assert!(error.to_string().contains("picture 7"), "{error}");
    let error = ResultsWriter::create(Path::new("/proc/none/instances.json")).unwrap_err();
    assert!(matches!(error, ResultsError::Write { .. }));
}

#[test]
fn results_that_are_no_list_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(RESULTS_FILE);
    std::fs::write(&path, "[{\"image_id\": 7,").unwrap();
    let error = evaluate_results(&path, &annotations(folder.path()), true).unwrap_err();
    assert!(error.to_string().contains(RESULTS_FILE), "{error}");
}
