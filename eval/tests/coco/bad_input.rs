//! What bad files come to: one sentence with the file and the record, or left out and counted.

use std::path::Path;

use deepmim_eval::coco::{
    Detections, Geometry, GroundTruth, IouType, Params, ResultsFile, match_images,
};
use deepmim_eval::{EvalError, Skipped, Strictness};
use serde_json::{Value, json};

const BOTH: Geometry = Geometry {
    boxes: true,
    masks: true,
};

fn truth_text() -> Value {
    json!({
        "images": [{"id": 1, "height": 10, "width": 20}, {"id": 7, "height": 10, "width": 20}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [{
            "id": 5, "image_id": 1, "category_id": 3, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0,
            "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]],
        }],
    })
}

fn read_truth(text: &[u8], strictness: Strictness) -> Result<(GroundTruth, Skipped), EvalError> {
    GroundTruth::from_json(Path::new("instances.json"), text, BOTH, strictness)
}

fn truth() -> GroundTruth {
    read_truth(truth_text().to_string().as_bytes(), Strictness::Strict)
        .unwrap()
        .0
}

fn read_results(text: &str, strictness: Strictness) -> Result<(Detections, Skipped), EvalError> {
    ResultsFile::from_json(Path::new("results.json"), text.into())?.read(
        &truth(),
        strictness,
        &|_| {},
    )
}

/// The sentence of a strict reading.
fn sentence<T>(result: Result<T, EvalError>) -> String {
    let sentence = result.err().expect("it is read").to_string();
    assert!(
        !sentence.contains('\n') && sentence.len() < 400,
        "{sentence}"
    );
    sentence
}

const GOOD: &str = r#"{"image_id": 1, "category_id": 3, "bbox": [1, 1, 4, 4], "score": 0.5}"#;

#[test]
fn a_bad_result_is_a_sentence_or_left_out() {
    for (result, says) in [
        (
            r#"{"image_id": 2, "category_id": 3, "bbox": [1, 1, 4, 4], "score": 0.5}"#,
            "image_id 2 is not in the ground truth",
        ),
        (
            r#"{"image_id": "1", "category_id": 3, "bbox": [1, 1, 4, 4], "score": 0.5}"#,
            "image_id \"1\" is not",
        ),
        (
            r#"{"image_id": 1, "category_id": 3, "bbox": [1, 1, 4, 4], "score": NaN}"#,
            "score is NaN",
        ),
        (
            r#"{"image_id": 1, "category_id": 3, "bbox": [1, 1, 4, 4], "score": "high"}"#,
            "score is not a number",
        ),
        (
            r#"{"image_id": 1, "category_id": 3, "bbox": [1, 1, 4, 4]}"#,
            "no score",
        ),
        (
            r#"{"category_id": 3, "bbox": [1, 1, 4, 4], "score": 1}"#,
            "no image_id",
        ),
        (
            r#"{"image_id": 1, "bbox": [1, 1, 4, 4], "score": 1}"#,
            "no category_id",
        ),
        (
            r#"{"image_id": 1, "category_id": 3, "bbox": [1, 1, -4, 4], "score": 1}"#,
            "width -4",
        ),
        (
            r#"{"image_id": 1, "category_id": 3, "bbox": [1, 1, 4], "score": 1}"#,
            "3 numbers",
        ),
        (
            r#"{"image_id": 1, "category_id": 3, "bbox": [1, Infinity, 4, 4], "score": 1}"#,
            "inf",
        ),
        (
            r#"{"image_id": 1, "category_id": 3, "bbox": "1 1 4 4", "score": 1}"#,
            "must be a list",
        ),
        (
            r#"{"image_id": 1, "category_id": 3, "bbox": [1, "1", 4, 4], "score": 1}"#,
            "not a number",
        ),
        (
            r#"{"image_id": 1, "category_id": 3, "score": 1, "segmentation": {"size": [10, 20], "counts": [0, 9]}}"#,
            "9 pixels",
        ),
        (
            r#"{"image_id": null, "category_id": 3, "bbox": [1, 1, 4, 4], "score": 1}"#,
            "image_id must be",
        ),
    ] {
        let text = format!("[{GOOD}, {GOOD}, {result}, {GOOD}]");
        let strict = sentence(read_results(&text, Strictness::Strict));
        assert!(
            strict.contains(says) && strict.contains("results.json, result 2: "),
            "{strict}"
        );
        let (detections, skipped) = read_results(&text, Strictness::Lenient).unwrap();
        assert_eq!(
            (detections.rows().len(), skipped.count()),
            (3, 1),
            "{result}"
        );
        assert_eq!(skipped.first().unwrap().to_string(), strict);
        // The last result is still the fourth.
        assert_eq!(detections.id(2), 4);
    }
}

#[test]
fn a_bad_mask_is_a_sentence_or_left_out() {
    for (segmentation, says) in [
        (r#"{"size": [10, 20], "counts": "X6"}"#, None),
        (r#"{"size": [10, 20], "counts": [200]}"#, None),
        (r#"[[1, 1, 5, 1, 5, 5]]"#, None),
        (r#"{"size": [10, 20], "counts": "PPPPPP1"}"#, Some("runs")),
        (r#"{"size": [10, 20], "counts": "{"}"#, Some("character 0")),
        (r#"{"size": [10, 20], "counts": [100]}"#, Some("100 pixels")),
        (
            r#"{"size": [10, 20], "counts": [1e30]}"#,
            Some("no count of pixels"),
        ),
        (
            r#"{"size": [10], "counts": [10]}"#,
            Some("1 numbers instead of height and width"),
        ),
        (r#"{"counts": [10]}"#, Some("needs size")),
        (r#"{"size": [10, 20]}"#, Some("needs counts")),
        (
            r#"{"size": [4000000000, 4000000000], "counts": "0"}"#,
            Some("too large"),
        ),
        (r#"[1, 1, 5, 1, 5, 5]"#, Some("pair of brackets")),
        (r#"[]"#, Some("no polygons")),
        (r#"[[1, 1, 5, 1]]"#, Some("4 numbers")),
        (r#"[[1, 1, 5, 1, 5]]"#, Some("5 numbers")),
        (r#"[[1, 1, 5, 1, 5, 1e300]]"#, Some("coordinate")),
        (r#"null"#, Some("list of polygons or an RLE")),
    ] {
        let result = format!(
            r#"{{"image_id": 1, "category_id": 3, "score": 1, "segmentation": {segmentation}}}"#
        );
        let good = r#"{"image_id": 1, "category_id": 3, "score": 1, "segmentation": [[1, 1, 5, 1, 5, 5]]}"#;
        let text = format!("[{good}, {result}]");
        match says {
            None => assert_eq!(
                read_results(&text, Strictness::Strict).unwrap().1.count(),
                0
            ),
            Some(says) => {
                let strict = sentence(read_results(&text, Strictness::Strict));
                assert!(
                    strict.contains(says) && strict.contains("result 1: "),
                    "{strict}"
                );
                let (_, skipped) = read_results(&text, Strictness::Lenient).unwrap();
                assert_eq!(skipped.count(), 1);
            }
        }
    }
}

#[test]
fn every_cut_of_a_results_file_is_a_sentence_that_names_the_record() {
    let text = format!("[{GOOD}, {GOOD}, {GOOD}]");
    for length in 0..text.len() {
        let strict = sentence(read_results(&text[..length], Strictness::Strict));
        let whole = text[..length].matches('}').count();
        if length > 0 {
            assert!(
                strict.contains(&format!("result {whole}: the text ends at byte {length}")),
                "{length}: {strict}"
            );
        }
        if whole > 0 {
            let (detections, skipped) = read_results(&text[..length], Strictness::Lenient).unwrap();
            assert_eq!((detections.rows().len(), skipped.count()), (whole, 1));
        }
    }
}

#[test]
fn a_file_of_another_kind_is_recognised() {
    for (text, says) in [
        ("", "empty"),
        ("{}", "other way round"),
        ("hello", "no results file"),
        ("[1]", "not an object"),
        ("[[1]]", "not an object"),
        (r#"[{"image_id": 1}]"#, "neither bbox nor segmentation"),
        (
            r#"[{"image_id": 1, "category_id": 3, "bbox": [1, 1, 4, 4], "score": 1},]"#,
            "not valid JSON",
        ),
        (
            r#"[{"image_id": 1, "category_id": 3, "bbox": [1, 1, 4, 4], "score": 01}]"#,
            "not valid JSON",
        ),
    ] {
        let strict = sentence(read_results(text, Strictness::Strict));
        assert!(
            strict.contains(says) && strict.contains("results.json"),
            "{text}: {strict}"
        );
    }
    for (text, says) in [
        ("[]", "results"),
        ("", "no COCO annotation file"),
        ("{", "cut off"),
        ("{}", "no \"images\""),
        (r#"{"images": []}"#, "no \"annotations\""),
        (
            r#"{"images": 5, "annotations": [], "categories": []}"#,
            "must be a list",
        ),
        (
            r#"{"images": [{"height": 1}], "annotations": [], "categories": []}"#,
            "image 0: it has no id",
        ),
        (
            r#"{"images": [{"id": 1, "height": -1}], "annotations": [], "categories": []}"#,
            "height is -1",
        ),
        (
            r#"{"images": [{"id": 1}, 5], "annotations": [], "categories": []}"#,
            "image 1: not valid JSON",
        ),
    ] {
        let strict = sentence(read_truth(text.as_bytes(), Strictness::Strict));
        assert!(
            strict.contains(says) && strict.contains("instances.json"),
            "{text}: {strict}"
        );
    }
}

#[test]
fn a_bad_annotation_is_a_sentence_or_left_out() {
    for (field, value, says) in [
        ("bbox", json!([1, 1, 4, -4]), "height -4"),
        ("bbox", Value::Null, "bbox must be a list"),
        ("area", json!("big"), "area is not a number"),
        ("segmentation", json!([[1, 2]]), "2 numbers"),
        ("iscrowd", json!("no"), "iscrowd must be 0 or 1"),
        ("id", json!([1]), "id must be"),
    ] {
        let mut text = truth_text();
        text["annotations"][0][field] = value;
        let text = text.to_string();
        let strict = sentence(read_truth(text.as_bytes(), Strictness::Strict));
        assert!(
            strict.contains(says) && strict.contains("annotation 0: "),
            "{strict}"
        );
        let (truth, skipped) = read_truth(text.as_bytes(), Strictness::Lenient).unwrap();
        assert_eq!((truth.annotations().len(), skipped.count()), (0, 1));
    }
    for field in [
        "id",
        "image_id",
        "category_id",
        "bbox",
        "area",
        "segmentation",
    ] {
        let mut text = truth_text();
        text["annotations"][0]
            .as_object_mut()
            .unwrap()
            .remove(field);
        let strict = sentence(read_truth(text.to_string().as_bytes(), Strictness::Strict));
        assert!(
            strict.contains(field) && strict.contains("annotation 0: "),
            "{strict}"
        );
    }
}

/// Half a ground truth is none, however lenient.
#[test]
fn every_cut_of_an_annotation_file_is_a_sentence() {
    let text = truth_text().to_string();
    for length in 0..text.len() {
        for strictness in [Strictness::Strict, Strictness::Lenient] {
            let strict = sentence(read_truth(&text.as_bytes()[..length], strictness));
            assert!(strict.contains("instances.json"), "{strict}");
        }
    }
}

#[test]
fn what_pycocotools_passes_over_in_silence_is_told() {
    let mut text = truth_text();
    let mut stray = text["annotations"][0].clone();
    stray["category_id"] = json!(99);
    stray["id"] = json!(6);
    let mut twin = text["annotations"][0].clone();
    twin["image_id"] = json!(7);
    let annotations = text["annotations"].as_array_mut().unwrap();
    annotations.extend([stray, twin]);
    let (truth, _) = read_truth(text.to_string().as_bytes(), Strictness::Strict).unwrap();
    let notes = truth.notes().join("\n");
    assert!(notes.contains("1 annotations belong to"), "{notes}");
    assert!(notes.contains("1 annotations share their id"), "{notes}");
    // The later one stands in for both.
    assert!(
        truth
            .annotations()
            .iter()
            .all(|annotation| annotation.image == 1)
    );
    assert_eq!(truth.annotations().len(), 2);

    let results = format!(
        "[{GOOD}, {}]",
        GOOD.replace("\"category_id\": 3", "\"category_id\": 4")
    );
    let (detections, skipped) = read_results(&results, Strictness::Strict).unwrap();
    assert_eq!((detections.rows().len(), skipped.count()), (1, 0));
    assert!(
        detections
            .notes()
            .join(" ")
            .contains("1 results are of categories")
    );
    assert!(
        detections
            .notes()
            .join(" ")
            .contains("boxes were scored as masks")
    );
}

/// pycocotools notes a match by the object's id, and takes id 0 for no match.
#[test]
fn an_object_with_id_0_is_never_found() {
    let mut text = truth_text();
    let score = |text: &Value| {
        let (truth, _) = read_truth(text.to_string().as_bytes(), Strictness::Strict).unwrap();
        let (detections, _) = read_results(&format!("[{GOOD}]"), Strictness::Strict).unwrap();
        let matches = match_images(&truth, &detections, Params::default(), IouType::Bbox).unwrap();
        let image = matches.image(0, 0, 0);
        assert_eq!(image.detection_matches[0], [Some(0)]);
        matches.accumulate().summary().unwrap().ap
    };
    // One in one, but for the spacing that pycocotools adds to the denominator.
    assert!((score(&text) - 1.0).abs() < 1e-12);
    text["annotations"][0]["id"] = json!(0);
    assert_eq!(score(&text), 0.0);
}

#[test]
fn unusable_parameters_are_refused() {
    let (truth, _) = read_truth(truth_text().to_string().as_bytes(), Strictness::Strict).unwrap();
    let (detections, _) = read_results("[]", Strictness::Strict).unwrap();
    let params = Params {
        max_detections: vec![100],
        ..Params::default()
    };
    let curves = match_images(&truth, &detections, params, IouType::Bbox)
        .unwrap()
        .accumulate();
    assert!(sentence(curves.summary()).contains("three limits"));
    let boxes_only = Geometry {
        boxes: true,
        masks: false,
    };
    let text = truth_text().to_string();
    let (truth, _) = GroundTruth::from_json(
        Path::new("instances.json"),
        text.as_bytes(),
        boxes_only,
        Strictness::Strict,
    )
    .unwrap();
    let refused = match_images(&truth, &detections, Params::default(), IouType::Segm);
    assert!(sentence(refused).contains("segm"));
}
