//! Classification scores: hand-made numbers, invariants, and the files they are kept in.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use deepmim_eval::{
    ClassificationMeter, Confusion, EvalError, Prediction, PredictionsReader, PredictionsWriter,
    Ranked, Report, write_per_class,
};
use proptest::prelude::*;

fn prediction(name: &str, label: Option<usize>, logits: &[f32]) -> Prediction {
    Prediction::from_logits(name, label, logits).unwrap()
}

fn close(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() < 1e-12,
        "{found} instead of {expected}"
    );
}

/// Logits that are logarithms of the wanted probabilities.
fn with_probabilities(name: &str, label: usize, probabilities: &[f64]) -> Prediction {
    let mut top: Vec<Ranked> = probabilities
        .iter()
        .enumerate()
        .map(|(class, &probability)| Ranked {
            class,
            probability: Some(probability),
        })
        .collect();
    top.sort_by(|a, b| b.probability.partial_cmp(&a.probability).unwrap());
    top.truncate(5);
    Prediction {
        name: name.to_owned(),
        label: Some(label),
        top,
        loss: Some(-probabilities[label].ln()),
    }
}

/// By hand: e^0, e^ln2, e^ln5 over their sum 8.
#[test]
fn logits_become_probabilities_and_a_loss() {
    let row = prediction("a", Some(1), &[0.0, 2_f32.ln(), 5_f32.ln()]);
    let classes: Vec<usize> = row.top.iter().map(|r| r.class).collect();
    assert_eq!(classes, [2, 1, 0]);
    for (ranked, expected) in row.top.iter().zip([5.0 / 8.0, 2.0 / 8.0, 1.0 / 8.0]) {
        assert!((ranked.probability.unwrap() - expected).abs() < 1e-7);
    }
    assert!((row.loss.unwrap() - 4_f64.ln()).abs() < 1e-7);
    assert_eq!(row.hit(1), Some(false));
    assert_eq!(row.hit(2), Some(true));
}

#[test]
fn large_logits_do_not_overflow_and_ties_go_to_the_lower_class() {
    let row = prediction("a", Some(3), &[900.0, 1000.0, -1000.0, 1000.0]);
    assert_eq!(
        row.top.iter().map(|r| r.class).collect::<Vec<_>>(),
        [1, 3, 0, 2]
    );
    close(row.loss.unwrap(), 2_f64.ln());
    let flat = prediction("a", None, &[1.0; 9]);
    assert_eq!(
        flat.top.iter().map(|r| r.class).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4]
    );
    assert_eq!(flat.loss, None);
}

#[test]
fn broken_rows_are_refused_by_name() {
    let message = |result: Result<Prediction, EvalError>| result.unwrap_err().to_string();
    assert_eq!(
        message(Prediction::from_logits("val/x.jpg", None, &[0.0, f32::NAN])),
        "prediction for \"val/x.jpg\": the logit of class 1 is NaN: \
         the model's weights or its input are broken"
    );
    assert_eq!(
        message(Prediction::from_logits("b", Some(2), &[0.0, 1.0])),
        "prediction for \"b\": its label is 2, but there are 2 classes (from 0)"
    );
    let mut meter = ClassificationMeter::new(2);
    let wide = prediction("c", Some(1), &[0.0, 1.0, 2.0]);
    assert!(
        meter
            .add(&wide)
            .unwrap_err()
            .to_string()
            .contains("class 2 is ranked")
    );
    assert_eq!(
        meter,
        ClassificationMeter::new(2),
        "a refused row leaves no trace"
    );
}

/// Six classes, four pictures, by hand. Confidences 0.5 (bin 8), 0.5 (bin 8), 0.9 (bin 14),
/// 0.3 (bin 5): |1 - 1.0| for the first two together, 0.1 and 0.3 for the others.
#[test]
fn scores_of_four_pictures_by_hand() {
    let mut meter = ClassificationMeter::new(6);
    let rows = [
        with_probabilities("a", 0, &[0.5, 0.2, 0.1, 0.1, 0.06, 0.04]),
        with_probabilities("b", 1, &[0.5, 0.2, 0.1, 0.1, 0.06, 0.04]),
        with_probabilities("c", 2, &[0.02, 0.02, 0.9, 0.02, 0.02, 0.02]),
        with_probabilities("d", 5, &[0.3, 0.2, 0.2, 0.15, 0.1, 0.05]),
    ];
    for row in &rows {
        meter.add(row).unwrap();
    }
    close(meter.top1().unwrap(), 0.5);
    close(meter.top5().unwrap(), 0.75);
    close(meter.mean_class_accuracy().unwrap(), 0.5);
    let losses = [0.5_f64, 0.2, 0.9, 0.05].map(|p| -p.ln());
    close(meter.mean_loss().unwrap(), losses.iter().sum::<f64>() / 4.0);
    close(meter.calibration_error().unwrap(), (0.0 + 0.1 + 0.3) / 4.0);
    assert_eq!(meter.classes()[0].predicted, 3);
    assert_eq!(
        meter.confusions(),
        [
            Confusion {
                label: 1,
                predicted: 0,
                count: 1
            },
            Confusion {
                label: 5,
                predicted: 0,
                count: 1
            },
        ]
    );
    let report = meter.report();
    assert_eq!(report.get("top1"), Some(50.0));
    assert_eq!(report.get("top5"), Some(75.0));
    assert_eq!(report.get("pictures"), Some(4.0));
    assert_eq!(report.get("unlabelled"), None);
}

/// A confidence on a boundary belongs to the lower bin: 1/15 and 1/15 + tiny are apart.
#[test]
fn calibration_bins_hold_their_upper_end() {
    let row = |confidence: f64, label| Prediction {
        name: String::new(),
        label: Some(label),
        top: vec![Ranked {
            class: 0,
            probability: Some(confidence),
        }],
        loss: None,
    };
    let mut meter = ClassificationMeter::new(2);
    // Same bin: the gaps 0.6 and -0.5 would partly cancel; different bins: they add up.
    meter.add(&row(0.4, 0)).unwrap();
    meter.add(&row(0.5, 1)).unwrap();
    close(meter.calibration_error().unwrap(), (0.6 + 0.5) / 2.0);
    let mut meter = ClassificationMeter::new(2);
    meter.add(&row(0.41, 0)).unwrap();
    meter.add(&row(0.45, 1)).unwrap();
    close(
        meter.calibration_error().unwrap(),
        (1.0_f64 - 0.86).abs() / 2.0,
    );
    assert_eq!(meter.mean_loss(), None);
}

#[test]
fn unlabelled_pictures_are_counted_only() {
    let mut meter = ClassificationMeter::new(3);
    meter.add(&prediction("a", None, &[1.0, 2.0, 3.0])).unwrap();
    assert_eq!((meter.count(), meter.unlabelled()), (0, 1));
    assert_eq!(meter.top1(), None);
    assert_eq!(meter.report().rows().len(), 2);
}

#[test]
fn the_per_class_file_says_what_is_taken_for_what() {
    let mut meter = ClassificationMeter::new(3);
    for (label, logits) in [
        (0, [0.0, 1.0, 0.0]),
        (0, [0.0, 1.0, 0.0]),
        (1, [0.0, 9.0, 0.0]),
    ] {
        meter.add(&prediction("x", Some(label), &logits)).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/per_class.csv");
    let names = ["cat", "dog, small", "owl"].map(String::from);
    write_per_class(&path, &meter, &names).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4);
    assert!(lines[1].starts_with("0,cat,2,0,1,,"), "{}", lines[1]);
    assert!(lines[1].ends_with(",1,\"dog, small\",2"), "{}", lines[1]);
    assert!(
        lines[2].starts_with("1,\"dog, small\",1,1,1,0.3333333333333333,"),
        "{}",
        lines[2]
    );
    assert_eq!(lines[3], "2,owl,0,,,,,,,");
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn bad_prediction_files_are_named_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("predictions.csv");
    let header = "file,label,label_name,top1,top2,top3,top4,top5,p1,p2,p3,p4,p5,loss,top1_name\n";
    let read = |text: &str| {
        fs::write(&path, text).unwrap();
        let rows: Result<Vec<_>, _> = PredictionsReader::open(&path).and_then(Iterator::collect);
        rows.unwrap_err().to_string()
    };
    let shown = path.display();
    assert!(read("a,b\n1,2\n").starts_with(&format!("{shown}, line 1: not a predictions file")));
    assert_eq!(
        read(&format!(
            "{header}a,0,,0,,,,,0.5,,,,,,\nb,cat,,0,,,,,0.5,,,,,,\n"
        )),
        format!(
            "{shown}, line 3: column label holds \"cat\": it must be a class number or nothing"
        )
    );
    assert_eq!(
        read(&format!("{header}a,0,,0,,,,,0.5,,,,,,\nb,1,,0,,,\n")),
        format!("{shown}, line 3: 7 fields instead of 15: the file may have been cut off")
    );
    assert_eq!(
        read(&format!("{header}a,0,,0,1,,,,0.5,,,,,,\n")),
        format!("{shown}, line 2: columns top2 and p2 must both be filled or both be empty")
    );
    let missing = PredictionsReader::open(&folder.path().join("none.csv")).unwrap_err();
    assert!(matches!(missing, EvalError::Read { .. }));
}

#[test]
fn a_file_given_up_leaves_the_previous_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("predictions.csv");
    let row = prediction("a", Some(0), &[1.0, 0.0]);
    let mut writer = PredictionsWriter::create(&path, &[]).unwrap();
    writer.add(&row).unwrap();
    writer.finish().unwrap();
    let before = fs::read(&path).unwrap();
    let mut writer = PredictionsWriter::create(&path, &[]).unwrap();
    writer.add(&prediction("b", None, &[0.0, 1.0])).unwrap();
    drop(writer);
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_cannot_be_made_is_named() {
    let error = Report::new()
        .write_csv("/proc/none/report.csv".as_ref())
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/proc/none/report.csv: cannot be written"),
        "{error}"
    );
}

#[test]
fn a_report_keeps_order_and_digits() {
    let mut report: Report = [("b", 0.1 + 0.2), ("a", 3.0)].into_iter().collect();
    report.push("c", f64::NAN);
    report.push("b", 1.0 / 3.0);
    let mut all = Report::new();
    all.extend("val/", &report);
    assert_eq!(all.get("val/b"), Some(1.0 / 3.0));
    assert_eq!(report.to_string(), "b  0.3333\na       3\nc     NaN");
    let folder = tempfile::tempdir().unwrap();
    let (csv, json) = (folder.path().join("r.csv"), folder.path().join("r.json"));
    report.write_csv(&csv).unwrap();
    report.write_json(&json).unwrap();
    assert_eq!(
        fs::read_to_string(csv).unwrap(),
        "name,value\nb,0.3333333333333333\na,3\nc,NaN\n"
    );
    assert_eq!(
        fs::read_to_string(json).unwrap(),
        "{\n  \"b\": 0.3333333333333333,\n  \"a\": 3.0,\n  \"c\": null\n}\n"
    );
}

const CLASSES: usize = 7;

/// Few distinct logits, so that ties occur.
fn rows() -> impl Strategy<Value = Vec<Prediction>> {
    let logits = prop::collection::vec((-6_i8..6).prop_map(|v| f32::from(v) / 2.0), CLASSES);
    let row = (
        "[ -~]{0,8}",
        prop::option::weighted(0.8, 0..CLASSES),
        logits,
    );
    prop::collection::vec(
        row.prop_map(|(name, label, logits)| prediction(&name, label, &logits)),
        0..40,
    )
}

fn meter_of(rows: &[Prediction]) -> ClassificationMeter {
    let mut meter = ClassificationMeter::new(CLASSES);
    for row in rows {
        meter.add(row).unwrap();
    }
    meter
}

proptest! {
    #[test]
    fn merging_equals_one_meter(rows in rows(), at in 0_usize..40) {
        let (left, right) = rows.split_at(at.min(rows.len()));
        let whole = meter_of(&rows);
        let mut merged = meter_of(left);
        merged.merge(&meter_of(right)).unwrap();
        prop_assert_eq!(merged.confusions(), whole.confusions());
        prop_assert_eq!((merged.count(), merged.unlabelled()), (whole.count(), whole.unlabelled()));
        let counts = |meter: &ClassificationMeter| -> Vec<[u64; 4]> {
            meter.classes().iter().map(|c| [c.count, c.top1, c.top5, c.predicted]).collect()
        };
        prop_assert_eq!(counts(&merged), counts(&whole));
        let (merged, whole) = (merged.report(), whole.report());
        prop_assert_eq!(merged.rows().len(), whole.rows().len());
        for ((name, a), (other, b)) in merged.rows().iter().zip(whole.rows()) {
            prop_assert_eq!(name, other);
            prop_assert!((a - b).abs() <= 1e-12 * b.abs().max(1.0), "{}: {} and {}", name, a, b);
        }
    }

    #[test]
    fn scores_stay_in_their_bounds(rows in rows()) {
        let meter = meter_of(&rows);
        let labelled = rows.iter().filter(|row| row.label.is_some()).count() as u64;
        prop_assert_eq!(meter.count(), labelled);
        prop_assert_eq!(meter.count() + meter.unlabelled(), rows.len() as u64);
        let predicted: u64 = meter.classes().iter().map(|c| c.predicted).sum();
        prop_assert_eq!(predicted, labelled);
        let wrong: u64 = meter.confusions().iter().map(|c| c.count).sum();
        let right: u64 = meter.classes().iter().map(|c| c.top1).sum();
        prop_assert_eq!(wrong + right, labelled);
        for class in meter.classes() {
            prop_assert!(class.top1 <= class.top5 && class.top5 <= class.count);
        }
        if let (Some(top1), Some(top5)) = (meter.top1(), meter.top5()) {
            prop_assert!(0.0 <= top1 && top1 <= top5 && top5 <= 1.0);
            prop_assert!((0.0..=1.0).contains(&meter.calibration_error().unwrap()));
            prop_assert!(meter.mean_loss().unwrap() >= 0.0);
        }
    }

    #[test]
    fn ranking_agrees_with_a_stable_sort(logits in prop::collection::vec(-3_i8..3, 1..30)) {
        let logits: Vec<f32> = logits.into_iter().map(f32::from).collect();
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        order.truncate(5);
        let row = prediction("x", None, &logits);
        prop_assert_eq!(row.top.iter().map(|r| r.class).collect::<Vec<_>>(), order);
        prop_assert!(row.top.iter().filter_map(|r| r.probability).sum::<f64>() <= 1.0 + 1e-12);
    }

    /// Scoring the file gives the same digits as scoring the model.
    #[test]
    fn predictions_come_back_bit_by_bit(rows in rows()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("predictions.csv");
        let names = ["a", "b\"", "c,", "d\n", "e", "", "g"].map(String::from);
        let mut writer = PredictionsWriter::create(&path, &names).unwrap();
        for row in &rows {
            writer.add(row).unwrap();
        }
        writer.finish().unwrap();
        let back: Vec<Prediction> =
            PredictionsReader::open(&path).unwrap().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(&back, &rows);
        prop_assert_eq!(meter_of(&back), meter_of(&rows));
    }
}
