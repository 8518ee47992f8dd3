//! `deepmim score imagenet` as a user runs it.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "shared with tests that train")]
mod support;

use std::fs;

use support::{fails, root, run};

fn golden(name: &str) -> String {
    let path = root().join("parity/golden/imagenet_scores").join(name);
    path.display().to_string()
}

#[test]
fn two_files_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let [labels, left, right, real] =
        ["labels.csv", "left.csv", "right.csv", "real.json"].map(golden);
    let arguments = [
        "score", "imagenet", "--gt", &labels, "--real", &real, "--pred", &left, "--pred", &right,
        "--out", "scores",
    ];
    let text = run(folder.path(), &arguments);
    for wanted in [
        "top-1 %",
        "48.00 ± 8.00",
        "56.67 ± 8.00",
        "+8.67",
        "not significant",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    let json = run(folder.path(), &[&arguments[..], &["--json"]].concat());
    let file = fs::read_to_string(folder.path().join("scores/summary.json")).unwrap();
    assert_eq!(json, file);
    let found: serde_json::Value = serde_json::from_str(&json).unwrap();
    let expected = fs::read_to_string(golden("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
    for (at, name) in ["left", "right"].into_iter().enumerate() {
        for (metric, factor) in [
            ("top1", 100.0),
            ("top5", 100.0),
            ("loss", 1.0),
            ("calibration_error", 100.0),
            ("real", 100.0),
        ] {
            let score = &found["systems"][at][metric];
            let value = score["value"].as_f64().unwrap();
            let wanted = factor * expected[name][metric].as_f64().unwrap();
            assert!(
                (value - wanted).abs() < 1e-9,
                "{name} {metric}: {value}, not {wanted}"
            );
            let ends = [&score["low"], &score["high"]].map(|end| end.as_f64().unwrap());
            assert!(
                ends[0] <= value && value <= ends[1],
                "{name} {metric}: {ends:?}"
            );
        }
        for table in ["per_class.csv", "confusion.csv", "calibration.csv"] {
            assert!(
                folder
                    .path()
                    .join("scores")
                    .join(name)
                    .join(table)
                    .is_file()
            );
        }
    }
    let first = &found["differences"][0];
    assert_eq!(
        (&first["score"], &first["significant"]),
        (&"top1".into(), &true.into())
    );
}

#[test]
fn threads_and_forms_of_the_same_predictions_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [left, shares, ids] = ["left.csv", "left_probabilities.csv", "ids.txt"].map(golden);
    let score = |more: &[&str]| -> serde_json::Value {
        let json = run(
            folder.path(),
            &[&["score", "imagenet", "--json"], more].concat(),
        );
        let summary: serde_json::Value = serde_json::from_str(&json).unwrap();
        summary["systems"][0].clone()
    };
    let one = score(&["--pred", &left, "--gt", &ids, "--threads", "1"]);
    let two = score(&["--pred", &left, "--gt", &ids, "--threads", "2"]);
    assert_eq!(one, two);
    let own = score(&["--pred", &shares]);
    assert_eq!((&one["top1"], &one["top5"]), (&own["top1"], &own["top5"]));
}

#[test]
fn what_is_wrong_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let left = golden("left.csv");
    let error = fails(folder.path(), 1, &["score", "imagenet", "--pred", &left]);
    assert!(
        error.contains("left.csv, line 2: picture \"ILSVRC2012_val_00000001.JPEG\" has no label")
    );
    let shares = golden("left_probabilities.csv");
    let error = fails(
        folder.path(),
        1,
        &["score", "imagenet", "--pred", &shares, "--resamples", "7"],
    );
    assert!(
        error.contains("7 resamples were asked for: use 100"),
        "{error}"
    );
    let error = fails(
        folder.path(),
        1,
        &["score", "imagenet", "--pred", "-", "--pred", "-"],
    );
    assert!(
        error.contains("standard input (-) can be read once"),
        "{error}"
    );
}
