//! Files of labels: their forms, and every way in which they can be wrong.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/prediction_files.rs"]
mod prediction_files;

use deepmim_eval::{
    ClassList, ClassificationComparison, ComparisonOptions, PictureLabels, PredictionSet,
    Strictness,
};
use prediction_files::{Folder, labels};

use Strictness::{Lenient, Strict};

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
