//! Classification scores from files: recorded numbers, and what is scored where little is known.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/prediction_files.rs"]
mod prediction_files;

use std::fs;
use std::path::PathBuf;

use deepmim_eval::{
    BootstrapConfig, ClassList, ClassificationComparison, ClassificationMetric, ComparisonOptions,
    PredictionSet, PredictionsReader, RealLabels, Strictness,
};
use prediction_files::{Folder, TOLERANCE, golden, labels, score};

use Strictness::{Lenient, Strict};

/// Against numpy: logits with labels from CSV and from ILSVRC's ids, and probabilities with labels
/// of their own.
#[test]
fn scores_agree_with_recorded_ones() {
    let text = fs::read_to_string(golden("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    let real = RealLabels::read(&golden("real.json")).unwrap();
    let both = [golden("left.csv"), golden("right.csv")];
    let from_csv = score(Some(&labels(&golden("labels.csv"))), &both, Some(&real));
    let from_ids = score(Some(&labels(&golden("ids.txt"))), &both, Some(&real));
    let own = score(None, &[golden("left_probabilities.csv")], Some(&real));
    let systems = [
        ("left", &from_csv.systems[0]),
        ("right", &from_csv.systems[1]),
        ("left", &from_ids.systems[0]),
        ("left", &own.systems[0]),
    ];
    for (name, set) in systems {
        let wanted = &expected[name];
        let close = |key: &str, found: f64| {
            let number = wanted[key].as_f64().unwrap();
            assert!(
                (found - number).abs() < TOLERANCE,
                "{name} {key}: {found}, not {number}"
            );
        };
        for metric in ClassificationMetric::ALL {
            close(metric.name(), set.outcomes.score(metric, &[1; 150]));
        }
        close("top1", set.meter.top1().unwrap());
        close("top5", set.meter.top5().unwrap());
        close("loss", set.meter.mean_loss().unwrap());
        close("calibration_error", set.meter.calibration_error().unwrap());
        close("mean_class_top1", set.meter.mean_class_accuracy().unwrap());
        let bins: Vec<u64> = set
            .meter
            .calibration()
            .iter()
            .map(|bin| bin.count)
            .collect();
        assert_eq!(serde_json::json!(bins), wanted["bins"]);
    }

    // The bootstrap's standard error is the textbook one: the interval is 1.96 of it wide each way,
    // up to the steps of 1/150 and the noise of 4000 resamples.
    let config = BootstrapConfig {
        resamples: 4000,
        ..BootstrapConfig::default()
    };
    let boot = from_csv.bootstrap(&config, &|_, _| ()).unwrap();
    let difference = boot.compare(1, 0, 0);
    let value = expected["top1_difference"].as_f64().unwrap();
    let margin = 1.96 * expected["top1_difference_error"].as_f64().unwrap();
    let interval = difference.interval;
    assert!((interval.value - value).abs() < TOLERANCE);
    assert!(
        (interval.low - (value - margin)).abs() < 1.0 / 150.0,
        "{interval:?}"
    );
    assert!(
        (interval.high - (value + margin)).abs() < 1.0 / 150.0,
        "{interval:?}"
    );
    assert!(difference.significant);
}

/// Weights are multiplicities: a picture that counts twice is as good as two rows.
#[test]
fn weights_are_repeated_pictures() {
    let real = RealLabels::read(&golden("real.json")).unwrap();
    let truth = labels(&golden("labels.csv"));
    let scored = score(Some(&truth), &[golden("left.csv")], Some(&real));
    let mut weights = vec![0; 150];
    weights[3] = 2;
    weights[70] = 1;
    weights[149] = 4;
    let text = fs::read_to_string(golden("left_probabilities.csv")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let folder = tempfile::tempdir().unwrap();
    let mut repeated = format!("{}\n", lines[0]);
    for (at, weight) in weights.iter().enumerate() {
        for copy in 0..*weight {
            repeated += &lines[at + 1].replacen("val/", &format!("{copy}/"), 1);
            repeated += "\n";
        }
    }
    let path = folder.path().join("repeated.csv");
    fs::write(&path, repeated).unwrap();
    let expected = score(None, &[path], Some(&real));
    for metric in ClassificationMetric::ALL {
        let found = scored.systems[0].outcomes.score(metric, &weights);
        let wanted = expected.systems[0].outcomes.score(metric, &[1; 7]);
        assert!(
            (found - wanted).abs() < TOLERANCE,
            "{metric:?}: {found}, not {wanted}"
        );
    }
    assert!(
        scored.systems[0]
            .outcomes
            .score(ClassificationMetric::Loss, &[0; 150])
            .is_nan()
    );
}

/// A ranking may tell only part: scores that need the rest are undefined, not wrong.
#[test]
fn what_a_ranking_does_not_tell_is_undefined() {
    let folder = Folder::new();
    let truth = labels(&folder.write("truth.csv", "file,label\na,0\nb,6\n"));
    let path = folder.write("p.csv", "top1,file\n0,a\n1,b\n");
    let scored = score(Some(&truth), &[path], None);
    let of = |metric| scored.systems[0].outcomes.score(metric, &[1, 1]);
    assert_eq!(of(ClassificationMetric::Top1), 0.5);
    for metric in &ClassificationMetric::ALL[1..] {
        assert!(of(*metric).is_nan(), "{metric:?}");
    }
    assert_eq!(scored.classes, 7);
    assert_eq!(scored.systems[0].meter.calibration_error(), None);
}

/// A true class of probability 0 has no finite loss.
#[test]
fn a_probability_of_zero_has_no_loss() {
    let folder = Folder::new();
    let truth = labels(&folder.write("truth.csv", "file,label\na.jpg,0\nb.jpg,2\n"));
    let path = folder.write("p.csv", "file,0,1,2\na.jpg,0.5,0.25,0.25\nb.jpg,1,0,0\n");
    let scored = score(Some(&truth), &[path], None);
    assert_eq!(scored.systems[0].meter.losses(), 1);
    let loss = scored.systems[0]
        .outcomes
        .score(ClassificationMetric::Loss, &[1, 1]);
    assert!((loss - 2_f64.ln()).abs() < TOLERANCE);
}

#[test]
fn systems_are_scored_on_the_pictures_that_all_predict() {
    let folder = Folder::new();
    let truth = labels(&folder.write("truth.csv", "a,0\nb,1\nc,0\n"));
    let left = folder.write("left.csv", "file,top1\nb,1\na,0\n");
    let right = folder.write("right.csv", "file,top1\nc,0\nb,0\n");
    let only = folder.write("only.csv", "file,top1\nc,0\n");
    let compare = |files: [&PathBuf; 2]| {
        let sets = files.map(|p| {
            PredictionSet::read(p, Some(&truth), None, Lenient)
                .unwrap()
                .0
        });
        let options = ComparisonOptions {
            strictness: Lenient,
            ..ComparisonOptions::default()
        };
        ClassificationComparison::new(&truth, sets.into(), &options)
    };
    let scored = compare([&left, &right]).unwrap();
    assert_eq!((scored.pictures, scored.skipped.count()), (1, 2));
    assert_eq!(scored.systems[0].meter.top1(), Some(1.0));
    assert_eq!(scored.systems[1].meter.top1(), Some(0.0));
    assert_eq!(
        folder.message(&compare([&left, &only]).unwrap_err()),
        "truth.csv: none of its pictures can be scored with every file of predictions"
    );
}

/// By hand: picture 1 may be 0 or 1 (hit), 2 has no label, 3 is 1 (missed).
#[test]
fn reassessed_labels_allow_several_classes() {
    let folder = Folder::new();
    let path = folder.write(
        "p.csv",
        "file,label,top1\nval_1.JPEG,0,1\nval_2.JPEG,0,0\nval_3.JPEG,1,0\n",
    );
    let scored = |json: &str| {
        let real = RealLabels::read(&folder.write("real.json", json))?;
        let set = PredictionSet::read(&path, None, None, Strict).unwrap().0;
        let options = ComparisonOptions {
            real: Some(&real),
            ..ComparisonOptions::default()
        };
        ClassificationComparison::new(&set.labels(), vec![set], &options)
    };
    let outcomes = &scored("[[0, 1], [], [1]]").unwrap().systems[0].outcomes;
    assert_eq!(outcomes.score(ClassificationMetric::Real, &[1, 1, 1]), 0.5);
    assert_eq!(
        outcomes.score(ClassificationMetric::Real, &[2, 5, 1]),
        2.0 / 3.0
    );
    assert!(
        outcomes
            .score(ClassificationMetric::Real, &[0, 1, 0])
            .is_nan()
    );
    let fails = |json: &str| folder.message(&scored(json).unwrap_err());
    assert_eq!(
        fails("[[0], [1]]"),
        "real.json: there are 2 entries, but picture \"val_3.JPEG\" is number 3: use the labels of the same pictures"
    );
    assert_eq!(
        fails("[[0], [7], []]"),
        "real.json, entry 2: label 7 is no class from 0 to 1"
    );
    assert!(
        fails("[[0],\n[-1], []]")
            .starts_with("real.json, line 2: not a list of lists of class numbers (")
    );
    assert!(fails("[[0], [1]").contains("use real.json of reassessed-imagenet"));
    let path = folder.write("named.csv", "file,label,top1\ncat.jpg,0,0\n");
    let set = PredictionSet::read(&path, None, None, Strict).unwrap().0;
    let real = RealLabels::read(&folder.write("real.json", "[[0]]")).unwrap();
    let options = ComparisonOptions {
        real: Some(&real),
        ..ComparisonOptions::default()
    };
    let error = ClassificationComparison::new(&set.labels(), vec![set], &options).unwrap_err();
    assert_eq!(
        error.to_string(),
        "prediction for \"cat.jpg\": its name does not end with the number of an ILSVRC validation picture, by which reassessed labels are found"
    );
}

/// Classes called by name, in any order of the columns.
#[test]
fn named_columns_are_those_of_the_class_list() {
    let folder = Folder::new();
    let classes = ClassList::new(["cat", "dog"].map(String::from).to_vec());
    let path = folder.write("p.csv", "dog,file,label,cat\n0.25,a,cat,0.75\n");
    let row = PredictionsReader::with_classes(&path, Some(&classes))
        .unwrap()
        .next();
    let row = row.unwrap().unwrap();
    assert_eq!((row.label, row.best().unwrap().class), (Some(0), 0));
    assert!((row.loss.unwrap() + 0.75_f64.ln()).abs() < TOLERANCE);
    let path = folder.write("r.csv", "file,label,top1,top2\na,0,dog,1\n");
    let error = PredictionsReader::with_classes(&path, Some(&classes))
        .unwrap()
        .next();
    assert_eq!(
        folder.message(&error.unwrap().unwrap_err()),
        "r.csv, line 2: class 1 is ranked twice: rank it once"
    );
    let fails = |text: &str| {
        let path = folder.write("p.csv", text);
        let error = PredictionsReader::with_classes(&path, Some(&classes))
            .and_then(|mut reader| reader.next().unwrap())
            .unwrap_err();
        folder.message(&error)
    };
    assert_eq!(
        fails("file,cat,dog,owl\n"),
        "p.csv, line 1: there are 3 columns of classes, but 2 classes: give each class one column"
    );
    assert_eq!(
        fails("file,cat,owl\n"),
        "p.csv, line 1: column \"owl\" names no class of the class list"
    );
    assert_eq!(
        fails("file,top1\na,owl\n"),
        "p.csv, line 2: column top1 holds \"owl\": it must be a number below 2, the name of one class, or nothing"
    );
}
