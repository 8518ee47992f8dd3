//! Every way in which a file of predictions can be wrong.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/prediction_files.rs"]
mod prediction_files;

use std::fs;

use deepmim_eval::{
    ClassificationComparison, ComparisonOptions, EvalError, PredictionSet, PredictionsReader,
    Strictness,
};
use prediction_files::{Folder, golden, labels, score};

use Strictness::{Lenient, Strict};

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
