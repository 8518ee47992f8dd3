//! Every recorded case: twelve numbers and the arrays behind them.

use std::path::{Path, PathBuf};

use deepmim_eval::coco::{
    CocoSummary, Curves, Geometry, GroundTruth, IouType, Params, ResultsFile, match_images,
};
use deepmim_eval::{EvalError, Strictness};
use safetensors::SafeTensors;
use serde_json::Value;

/// pycocotools' own arithmetic in double precision, in another order of addition.
const TOLERANCE: f64 = 1e-9;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../parity/golden/coco_eval")
}

fn evaluate(case: &Path, iou_type: IouType, params: Params) -> Result<Curves, EvalError> {
    let geometry = Geometry {
        boxes: iou_type == IouType::Bbox,
        masks: iou_type == IouType::Segm,
    };
    let (truth, _) = GroundTruth::read(&case.join("gt.json"), geometry, Strictness::Strict)?;
    let results = case.join(format!("dt_{}.json", iou_type.name()));
    let (detections, _) = ResultsFile::open(&results)?.read(&truth, Strictness::Strict, &|_| {})?;
    Ok(match_images(&truth, &detections, params, iou_type)?.accumulate())
}

fn params(expected: &Value) -> Params {
    let mut params = Params::default();
    if let Some(limits) = expected["max_dets"].as_array() {
        params.max_detections = limits
            .iter()
            .map(|v| v.as_u64().unwrap() as usize)
            .collect();
    }
    params.use_categories = expected["use_cats"].as_u64() != Some(0);
    params
}

fn close(found: &[f64], wanted: &[f64], what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (place, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert!(
            (found - wanted).abs() <= TOLERANCE,
            "{what} at {place}: {found} instead of {wanted}"
        );
    }
}

fn arrays(case: &Path) -> Vec<u8> {
    std::fs::read(case.join("expected.safetensors")).unwrap()
}

fn tensor(file: &SafeTensors<'_>, name: &str) -> Option<Vec<f64>> {
    let tensor = file.tensor(name).ok()?;
    let (values, rest) = tensor.data().as_chunks::<8>();
    assert!(rest.is_empty());
    Some(
        values
            .iter()
            .map(|bytes| f64::from_le_bytes(*bytes))
            .collect(),
    )
}

/// Compares every array that was recorded.
fn compare_arrays(curves: &Curves, file: &SafeTensors<'_>, what: &str) -> usize {
    let kind = curves.iou_type().name();
    let [thresholds, recalls, categories, areas, limits] = curves.shape();
    let last = limits - 1;
    let mean = |t, k, a, m| curves.average_precision(Some(t), Some(k), a, m);
    let at = |iou: f64| {
        let list = &curves.params().iou_thresholds;
        list.iter().position(|&threshold| threshold == iou).unwrap()
    };
    let grid = |lengths: [usize; 4]| {
        let [a, b, c, d] = lengths;
        (0..a * b * c * d).map(move |i| (i / (b * c * d), i / (c * d) % b, i / d % c, i % d))
    };
    let mut compared = 0;
    let mut check = |name: &str, found: Vec<f64>| {
        if let Some(wanted) = tensor(file, &format!("f64/{kind}/{name}")) {
            close(&found, &wanted, &format!("{what}: {kind} {name}"));
            compared += 1;
        }
    };
    let full = [thresholds, categories, areas, limits];
    check("recall", curves.recall_array());
    check(
        "ap_mean_over_recall",
        grid(full).map(|(t, k, a, m)| mean(t, k, a, m)).collect(),
    );
    let short = [thresholds, categories, areas, 1];
    check(
        "recall_maxdets_last",
        grid(short)
            .map(|(t, k, a, _)| curves.recall(t, k, a, last))
            .collect(),
    );
    check(
        "ap_mean_over_recall_maxdets_last",
        grid(short)
            .map(|(t, k, a, _)| mean(t, k, a, last))
            .collect(),
    );
    check(
        "precision_iou50_75_area_all_maxdets_last",
        grid([2, recalls, categories, 1])
            .map(|(t, r, k, _)| curves.precision(at([0.5, 0.75][t]), k, 0, last)[r])
            .collect(),
    );
    check(
        "scores_iou50_area_all_maxdets_last",
        grid([1, recalls, categories, 1])
            .map(|(_, r, k, _)| curves.scores(at(0.5), k, 0, last)[r])
            .collect(),
    );
    compared
}

fn check_case(case: &Path) -> usize {
    let name = case.file_name().unwrap().to_string_lossy().into_owned();
    let expected: Value =
        serde_json::from_slice(&std::fs::read(case.join("expected.json")).unwrap()).unwrap();
    let mut compared = 0;
    for iou_type in [IouType::Bbox, IouType::Segm] {
        let wanted = &expected[iou_type.name()];
        if wanted.is_null() {
            continue;
        }
        let found = evaluate(case, iou_type, params(&expected));
        if let Some(error) = wanted["error"].as_str() {
            match name.as_str() {
                // What pycocotools stumbles over, but whose meaning is plain.
                "missing_iscrowd" | "no_detections" | "uncompressed_detection" => {
                    found.unwrap();
                }
                _ => {
                    let sentence = found.expect_err(error).to_string();
                    assert!(
                        sentence.contains(".json") && !sentence.contains('\n'),
                        "{sentence}"
                    );
                }
            }
            continue;
        }
        let curves = found.unwrap();
        let stats: Vec<f64> = serde_json::from_value(wanted["stats"].clone()).unwrap();
        let summary: CocoSummary = curves.summary().unwrap();
        close(
            &summary.stats(),
            &stats,
            &format!("{name}: {} stats", iou_type.name()),
        );
        let bytes = arrays(case);
        compared += compare_arrays(&curves, &SafeTensors::deserialize(&bytes).unwrap(), &name);
    }
    compared
}

#[test]
fn recorded_cases_come_out_to_the_digit() {
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("gt.json").is_file())
        .collect();
    cases.sort();
    assert!(cases.len() >= 33, "{} cases", cases.len());
    let compared: usize = cases.iter().map(|case| check_case(case)).sum();
    assert!(compared > 200, "{compared} arrays");
}

/// Annotations of real photographs, which may not be published with the code.
#[test]
fn recorded_real_annotations_come_out_to_the_digit() {
    let Some(folder) = std::env::var_os("DEEPMIM_GOLDEN") else {
        println!("skipped: DEEPMIM_GOLDEN is not set");
        return;
    };
    assert!(check_case(&Path::new(&folder).join("coco_eval/real")) >= 6);
}

/// pycocotools has no answer here; the meaning is plain.
#[test]
fn what_pycocotools_stumbles_over_is_taken_by_its_meaning() {
    let stats = |case: &str, iou_type| {
        let curves = evaluate(&folder().join(case), iou_type, Params::default()).unwrap();
        curves.summary().unwrap().stats()
    };
    // No results: nothing is found of what is there.
    assert_eq!(stats("no_detections", IouType::Bbox)[0], 0.0);
    // An annotation without `iscrowd` is an ordinary object.
    assert!(stats("missing_iscrowd", IouType::Segm)[0] > 0.0);
    // Uncompressed and compressed runs are the same mask.
    assert!(stats("uncompressed_detection", IouType::Segm)[0] > 0.0);
}
