//! Files of predictions and labels: recorded numbers, and every way in which a file can be wrong.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use deepmim_eval::{
    BootstrapConfig, ClassList, ClassificationComparison, ClassificationMetric, ComparisonOptions,
    EvalError, PictureLabels, PredictionSet, PredictionsReader, RealLabels, Strictness,
};

use Strictness::{Lenient, Strict};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../parity/golden/imagenet_scores")
        .join(name)
}

/// Sums of 150 numbers in another order.
const TOLERANCE: f64 = 1e-12;

fn score(
    truth: Option<&PictureLabels>,
    files: &[PathBuf],
    real: Option<&RealLabels>,
) -> ClassificationComparison {
    let sets: Vec<PredictionSet> = files
        .iter()
        .map(|path| PredictionSet::read(path, truth, None, Strict).unwrap().0)
        .collect();
    let own;
    let truth = match truth {
        Some(truth) => truth,
        None => {
            own = sets[0].labels();
            &own
        }
    };
    let options = ComparisonOptions {
        real,
        ..ComparisonOptions::default()
    };
    ClassificationComparison::new(truth, sets, &options).unwrap()
}

fn labels(path: &Path) -> PictureLabels {
    PictureLabels::read(path, None, None, Strict).unwrap().0
}

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

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The error without the folder's name.
    fn message(&self, error: &EvalError) -> String {
        let message = error.to_string();
        assert!(!message.contains('\n'), "{message}");
        message.replace(&format!("{}/", self.0.path().display()), "")
    }
}

/// `a` is of class 0, `b` of class 2.
const TRUTH: &str = "file,label\na.jpg,0\nb.jpg,2\n";

/// Scores a file against [`TRUTH`]; the error, and how many records leniency leaves out (nothing
/// where it does not help).
fn refused(text: &str) -> (String, Option<u64>) {
    let folder = Folder::new();
    let truth = labels(&folder.write("truth.csv", TRUTH));
    let path = folder.write("p.csv", text);
    let all = |strictness| -> Result<u64, EvalError> {
        let (set, skipped) = PredictionSet::read(&path, Some(&truth), None, strictness)?;
        let options = ComparisonOptions {
            classes: Some(3),
            strictness,
            real: None,
        };
        let scored = ClassificationComparison::new(&truth, vec![set], &options)?;
        Ok(skipped.count() + scored.skipped.count())
    };
    (folder.message(&all(Strict).unwrap_err()), all(Lenient).ok())
}

#[test]
fn bad_predictions_are_told_and_left_out() {
    let ranking = "file,top1,top2,p1,p2,loss,label\na.jpg,0,1,0.6,0.3,0.5,0\n";
    let cases = [
        (
            "x.jpg,0,1,0.6,0.3,0.5,0",
            "picture \"x.jpg\" is not in truth.csv: predict the pictures that are labelled there",
        ),
        (
            "a.jpg,0,1,0.6,0.3,0.5,0",
            "picture \"a.jpg\" is predicted already on line 2: predict it once",
        ),
        (
            ",0,1,0.6,0.3,0.5,0",
            "column file is empty: name the picture",
        ),
        (
            "b.jpg,0,1,0.6,0.3,0.5,1",
            "label 1 disagrees with truth.csv, line 3, which says 2: number the classes in one order, or remove column label",
        ),
        (
            "b.jpg,cat,1,0.6,0.3,0.5,2",
            "column top1 holds \"cat\": it must be a class number or nothing",
        ),
        (
            "b.jpg,-1,1,0.6,0.3,0.5,2",
            "column top1 holds \"-1\": it must be a class number or nothing",
        ),
        (
            "b.jpg,3,1,0.6,0.3,0.5,2",
            "class 3 is ranked, but there are 3 classes (from 0): correct it, or the number of classes",
        ),
        (
            "b.jpg,1,1,0.6,0.3,0.5,2",
            "class 1 is ranked twice: rank it once",
        ),
        (
            "b.jpg,,1,,0.3,0.5,2",
            "column top2 is filled after an empty one: rank without gaps",
        ),
        ("b.jpg,,,,,0.5,2", "no class is ranked: fill column top1"),
        (
            "b.jpg,1,2,0.6,NaN,0.5,2",
            "column p2 holds NaN: a probability lies between 0 and 1",
        ),
        (
            "b.jpg,1,2,-0.6,0.1,0.5,2",
            "column p1 holds -0.6: a probability lies between 0 and 1",
        ),
        (
            "b.jpg,1,2,0.6,,0.5,2",
            "columns top2 and p2 must both be filled or both be empty",
        ),
        (
            "b.jpg,1,2,0.6,0.3,inf,2",
            "column loss holds inf: a cross-entropy is finite and not negative",
        ),
        (
            "b.jpg,1,2,0.6,0.3,-1,2",
            "column loss holds -1: a cross-entropy is finite and not negative",
        ),
        (
            "b.jpg,1,2,0.6,0.3,low,2",
            "column loss holds \"low\": it must be a number or nothing",
        ),
        (
            "b.jpg,1,2,0.",
            "4 fields instead of 7: the file may have been cut off",
        ),
    ];
    for (row, problem) in cases {
        let (message, left_out) = refused(&format!("{ranking}{row}\n"));
        assert_eq!(message, format!("p.csv, line 3: {problem}"));
        // The row, and the picture that is without a prediction then; unless one says both.
        let expected = if row.starts_with("b.jpg,3") { 1 } else { 2 };
        assert_eq!(left_out, Some(expected), "{row}");
    }
    let (message, left_out) = refused(ranking);
    assert_eq!(
        message,
        "p.csv: 1 of the 2 pictures of truth.csv have no prediction, the first is \"b.jpg\" (line 3 there): predict them all"
    );
    assert_eq!(left_out, Some(1));
}

#[test]
fn bad_rows_of_scores_are_told() {
    let logits = "file,0,1,2\na.jpg,1,2,3\n";
    let shares = "file,0,1,2\na.jpg,0.5,0.25,0.25\n";
    for (text, row, problem) in [
        (
            logits,
            "b.jpg,1,,3",
            "column 1 is empty: every class needs a number",
        ),
        (
            logits,
            "b.jpg,1,NaN,3",
            "column 1 holds NaN: the model's weights or its input are broken",
        ),
        (
            logits,
            "b.jpg,1,inf,3",
            "column 1 holds inf: the model's weights or its input are broken",
        ),
        (
            logits,
            "b.jpg,1,x,3",
            "column 1 holds \"x\": it must be a number or nothing",
        ),
        (
            logits,
            "b.jpg,1,2",
            "3 fields instead of 4: the file may have been cut off",
        ),
        (
            shares,
            "b.jpg,0.5,0.5,0.5",
            "the numbers are no probabilities (their sum is 1.5), but the first row's are: write either probabilities or logits in every row",
        ),
        (
            shares,
            "b.jpg,1.5,-0.25,-0.25",
            "the numbers are no probabilities (their sum is 1), but the first row's are: write either probabilities or logits in every row",
        ),
    ] {
        let (message, left_out) = refused(&format!("{text}{row}\n"));
        assert_eq!(message, format!("p.csv, line 3: {problem}"));
        assert_eq!(left_out, Some(2));
    }
}

#[test]
fn files_that_are_no_predictions_are_told() {
    for (text, problem) in [
        (
            "",
            ", line 1: not a predictions file: the first line must be file,label,label_name,top1,top2,top3,top4,top5,p1,p2,p3,p4,p5,loss,top1_name, or name at least the columns file and top1, or file and one column per class",
        ),
        (
            "file,label\na.jpg,0\n",
            ", line 1: not a predictions file: there is neither a column top1 nor one column per class",
        ),
        (
            "file,top1,Label\n",
            ", line 1: column \"Label\" is unknown beside top1: use file,label,label_name,top1,top2,top3,top4,top5,p1,p2,p3,p4,p5,loss,top1_name",
        ),
        (
            "file,top1,top1\n",
            ", line 1: two columns are called \"top1\": name every column once",
        ),
        (
            "file,top1,top3\n",
            ", line 1: there is no column top2, but a later one: number them without gaps",
        ),
        (
            "file,top1,top2,p1\n",
            ", line 1: 2 columns of classes (top1, …) but 1 of probabilities (p1, …): give one for each, or none",
        ),
        (
            "file,0,2\n",
            ", line 1: column \"2\" is no class number from 0 to 1: number the columns, or give a list of class names",
        ),
        (
            "file,0,00\n",
            ", line 1: column \"00\" is the second one of class 0: give each class one column",
        ),
        (
            "file,cat,dog\n",
            ", line 1: column \"cat\" is no class number from 0 to 1: number the columns, or give a list of class names",
        ),
        (
            "file,top1\n",
            ": no prediction is in it: the file may have been cut off",
        ),
    ] {
        let (message, left_out) = refused(text);
        assert_eq!(message, format!("p.csv{problem}"));
        assert_eq!(left_out, None);
    }
    let folder = Folder::new();
    let path = folder.write("p.csv", "file,label,0,1\na.jpg,1,1,2\n");
    let set = PredictionSet::read(&path, None, None, Strict).unwrap().0;
    let options = ComparisonOptions {
        classes: Some(3),
        ..ComparisonOptions::default()
    };
    let error = ClassificationComparison::new(&set.labels(), vec![set], &options).unwrap_err();
    assert_eq!(
        folder.message(&error),
        "p.csv: it tells of 2 classes, but there are 3: score models of the same classes"
    );
    let path = folder.write("p.csv", b"file,top1\n\xff\xfe,0\n");
    let error = PredictionsReader::open(&path)
        .unwrap()
        .next()
        .unwrap()
        .unwrap_err();
    assert_eq!(
        folder.message(&error),
        "p.csv, line 2: the text is not UTF-8: save it as UTF-8"
    );
    let path = folder.write("unlabelled.csv", "file,top1\na.jpg,0\n");
    let error = PredictionSet::read(&path, None, None, Strict).unwrap_err();
    assert_eq!(
        folder.message(&error),
        "unlabelled.csv, line 2: picture \"a.jpg\" has no label: fill column label, or give a ground truth"
    );
    let error = PredictionSet::read(&path, None, None, Lenient).unwrap_err();
    let message = folder.message(&error);
    assert!(message.starts_with("unlabelled.csv: no prediction in it can be scored; the first: "));
    let path = folder.write("high.csv", "file,label,top1\na.jpg,0,99999999\n");
    let set = PredictionSet::read(&path, None, None, Strict).unwrap().0;
    let error =
        ClassificationComparison::new(&set.labels(), vec![set], &ComparisonOptions::default());
    assert_eq!(
        folder.message(&error.unwrap_err()),
        "high.csv, line 2: class 99999999 is ranked, but there are 1000000 classes (from 0): correct it, or the number of classes"
    );
}

#[test]
fn a_compressed_file_that_was_cut_off_is_told() {
    use std::io::Write;
    let text = fs::read(golden("left.csv")).unwrap();
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    zipped.write_all(&text).unwrap();
    let zipped = zipped.finish().unwrap();
    let folder = Folder::new();
    let truth = labels(&golden("labels.csv"));
    let whole = folder.write("whole.csv.gz", &zipped);
    assert_eq!(score(Some(&truth), &[whole], None).pictures, 150);
    let cut = folder.write("cut.csv.gz", &zipped[..zipped.len() / 2]);
    for strictness in [Strict, Lenient] {
        let error = PredictionSet::read(&cut, Some(&truth), None, strictness).unwrap_err();
        assert!(matches!(error, EvalError::Read { .. }), "{error}");
    }
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
    let truth = labels(&folder.write("truth.csv", TRUTH));
    let path = folder.write("p.csv", "file,0,1,2\na.jpg,0.5,0.25,0.25\nb.jpg,1,0,0\n");
    let scored = score(Some(&truth), &[path], None);
    assert_eq!(scored.systems[0].meter.losses(), 1);
    let loss = scored.systems[0]
        .outcomes
        .score(ClassificationMetric::Loss, &[1, 1]);
    assert!((loss - 2_f64.ln()).abs() < TOLERANCE);
}

#[test]
fn labels_are_read_in_three_forms() {
    let folder = Folder::new();
    let list = folder.write(
        "classes.txt",
        "n02 cat\nn01\tdog\n2nd crane\ncrane\ncrane\n",
    );
    let classes = ClassList::read(&list).unwrap();
    assert_eq!(
        classes.names(),
        ["n02 cat", "dog", "2nd crane", "crane", "crane"]
    );
    assert_eq!(classes.find("n01"), Some(1));
    assert_eq!(classes.find("dog"), Some(1));
    assert_eq!(classes.find("4"), Some(4));
    assert_eq!(classes.find("5"), None);
    assert_eq!(classes.find("crane"), None, "two classes are called so");
    let read = |text: &str, list: Option<&ClassList>| {
        let path = folder.write("l.txt", text);
        let truth = PictureLabels::read(&path, list, None, Strict).unwrap().0;
        let pictures = truth.pictures().iter();
        pictures
            .map(|p| (p.name.clone(), p.label))
            .collect::<Vec<_>>()
    };
    let pair = |name: &str, label| (name.to_owned(), label);
    assert_eq!(
        read(
            "\u{feff}File, Label\n\"a,b.jpg\", dog\nc.jpg,0\n",
            Some(&classes)
        ),
        [pair("a,b.jpg", 1), pair("c.jpg", 0)]
    );
    assert_eq!(read("a.jpg,3\n", None), [pair("a.jpg", 3)]);
    assert_eq!(
        read("val/a 1.JPEG 65\r\nb.JPEG\t970\r\n", None),
        [pair("val/a 1.JPEG", 65), pair("b.JPEG", 970)]
    );
    assert_eq!(
        read("490\n361\n", None),
        [
            pair("ILSVRC2012_val_00000001", 489),
            pair("ILSVRC2012_val_00000002", 360)
        ]
    );
}

/// By hand: id 1 is n03…, whose place among the sorted ids is 2; in the class list it is 1.
#[test]
fn ilsvrc_ids_become_classes() {
    let folder = Folder::new();
    let truth = folder.write("truth.txt", "1\n2\n3\n2\n");
    let synsets = folder.write("synsets.txt", "n03000000\nn01000000 tench\nn02000000\n");
    let synsets = ClassList::read(&synsets).unwrap();
    let of = |classes: Option<&ClassList>| {
        let truth = PictureLabels::read(&truth, classes, Some(&synsets), Strict)
            .unwrap()
            .0;
        assert_eq!(
            truth.find("val/n01000000/ILSVRC2012_val_00000003.JPEG"),
            Some(2)
        );
        assert_eq!(truth.find("ILSVRC2012_val_00000009.JPEG"), None);
        truth.pictures().iter().map(|p| p.label).collect::<Vec<_>>()
    };
    assert_eq!(of(None), [2, 0, 1, 0]);
    let classes = folder.write(
        "classes.txt",
        "n01000000 tench\nn03000000 owl\nn02000000 eel\n",
    );
    assert_eq!(of(Some(&ClassList::read(&classes).unwrap())), [1, 0, 2, 0]);
    let names = ClassList::new(["tench", "eel", "owl"].map(String::from).to_vec());
    assert_eq!(of(Some(&names)), [2, 0, 1, 0]);
}

#[test]
fn pictures_are_found_by_their_name_without_folders() {
    let folder = Folder::new();
    let unique = labels(&folder.write("l.csv", "cat/1.jpg,0\ndog/2.jpg,1\n"));
    assert_eq!(unique.find("dog/2.jpg"), Some(1));
    assert_eq!(unique.find("elsewhere/2.jpg"), Some(1));
    assert_eq!(unique.find("3.jpg"), None);
    let shared = labels(&folder.write("l.csv", "cat/1.jpg,0\ndog/1.jpg,1\n"));
    assert_eq!(shared.find("dog/1.jpg"), Some(1));
    assert_eq!(shared.find("1.jpg"), None, "there are two");
}

#[test]
fn bad_labels_are_told_and_left_out() {
    let folder = Folder::new();
    let classes = ClassList::new(vec!["cat".into(), "dog".into()]);
    let synsets = ClassList::new(vec!["n02000000".into(), "n01000000".into()]);
    for (text, problem) in [
        (
            "a.jpg,0\nb.jpg,bird\n",
            "label \"bird\" is neither a number below 2 nor the name of one class: correct it, or the class list",
        ),
        (
            "a.jpg,0\nb.jpg,2\n",
            "label \"2\" is neither a number below 2 nor the name of one class: correct it, or the class list",
        ),
        (
            "a.jpg,0\nb.jpg\n",
            "1 fields instead of 2: write rows of file,label",
        ),
        (
            "a.jpg,0\na.jpg,1\n",
            "\"a.jpg\" is labelled already on line 1: label it once",
        ),
        (
            "a.jpg 0\nb.jpg\n",
            "\"b.jpg\" is no label: write rows of file,label",
        ),
        (
            "1\n3\n",
            "\"3\" is no ILSVRC id from 1 to 2: use the development kit's own file",
        ),
        (
            "1\n0\n",
            "\"0\" is no ILSVRC id from 1 to 2: use the development kit's own file",
        ),
    ] {
        let path = folder.write("l.txt", text);
        let read =
            |strictness| PictureLabels::read(&path, Some(&classes), Some(&synsets), strictness);
        assert_eq!(
            folder.message(&read(Strict).unwrap_err()),
            format!("l.txt, line 2: {problem}")
        );
        let (truth, skipped) = read(Lenient).unwrap();
        assert_eq!((truth.pictures().len(), skipped.count()), (1, 1));
    }
    let fails = |text: &[u8], synsets: &ClassList| {
        let path = folder.write("l.txt", text);
        let error = PictureLabels::read(&path, None, Some(synsets), Lenient).unwrap_err();
        folder.message(&error)
    };
    assert_eq!(
        fails(b"", &synsets),
        "l.txt: no picture is labelled in it: write lines of file,label"
    );
    assert_eq!(
        fails(b"a,0\n\xff,1\n", &synsets),
        "l.txt, line 2: the text is not UTF-8: save it as UTF-8"
    );
    assert_eq!(
        fails(b"1\n", &classes),
        "l.txt: its ids cannot be told apart: line 1 of the list of synsets holds no WordNet id such as n01440764"
    );
    let twice = ClassList::new(vec!["n02000000".into(), "n02000000".into()]);
    assert_eq!(
        fails(b"1\n", &twice),
        "l.txt: the list of synsets holds n02000000 twice: list each once"
    );
    let other = ClassList::new(vec!["n02000000".into()]);
    let path = folder.write("l.txt", "1\n");
    let error = PictureLabels::read(&path, Some(&other), Some(&synsets), Strict).unwrap_err();
    assert_eq!(
        folder.message(&error),
        "l.txt: synset n01000000 is not in the class list: add it there"
    );
    let empty = ClassList::read(&folder.write("c.txt", "\n")).unwrap_err();
    assert_eq!(
        folder.message(&empty),
        "c.txt: no class is listed in it: write one class a line"
    );
    let gap = ClassList::read(&folder.write("c.txt", "a\n\nb\n")).unwrap_err();
    assert_eq!(
        folder.message(&gap),
        "c.txt, line 2: the line is empty: write one class a line"
    );
}

#[test]
fn labels_beyond_the_classes_are_told() {
    let folder = Folder::new();
    let truth = labels(&folder.write("truth.csv", "a.jpg,0\nb.jpg,7\n"));
    let path = folder.write("p.csv", "file,0,1\na.jpg,2,1\n");
    let new = |strictness| {
        let set = PredictionSet::read(&path, Some(&truth), None, strictness)
            .unwrap()
            .0;
        let options = ComparisonOptions {
            strictness,
            ..ComparisonOptions::default()
        };
        ClassificationComparison::new(&truth, vec![set], &options)
    };
    assert_eq!(
        folder.message(&new(Strict).unwrap_err()),
        "truth.csv, line 2: label 7 of \"b.jpg\" is no class from 0 to 1: correct it, or the number of classes"
    );
    let scored = new(Lenient).unwrap();
    assert_eq!((scored.pictures, scored.skipped.count()), (1, 1));
    let truth = labels(&folder.write("truth.csv", "a.jpg,7\n"));
    let error = PredictionSet::read(&path, Some(&truth), None, Strict).unwrap_err();
    assert_eq!(
        folder.message(&error),
        "p.csv, line 2: its label is 7, but there are 2 classes (from 0)"
    );
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
