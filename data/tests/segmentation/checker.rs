//! What the checker finds in segmentation data sets.

use deepmim_data::{
    CheckReport, IGNORED, RgbImage, SegmentationCheckOptions, SegmentationLabels,
    SegmentationSource, Severity, check_segmentation, write_palette_png,
};

use super::{labels, of_count, picture, small};

pub fn check(options: SegmentationCheckOptions) -> CheckReport {
    check_segmentation(&options, &|_, _| {}).unwrap()
}

fn check_source(source: &SegmentationSource, labels: SegmentationLabels) -> CheckReport {
    check(SegmentationCheckOptions {
        train: Some(source.clone()),
        labels,
        ..SegmentationCheckOptions::default()
    })
}

fn has(report: &CheckReport, severity: Severity, text: &str) {
    let found = report
        .findings
        .iter()
        .any(|finding| finding.severity == severity && finding.message.contains(text));
    assert!(found, "no {severity:?} \"{text}\" in:\n{report}");
}

#[test]
fn a_sound_set_has_no_findings_and_shares_are_told() {
    let (_dir, source) = small();
    let report = check_source(&source, of_count(4));
    assert!(report.findings.is_empty(), "{report}");
    let split = &report.splits[0];
    assert_eq!((split.pictures, split.classes), (2, 4));
    assert_eq!((split.smallest_class, split.largest_class), (2, 2));
    let labels = split.labels.as_ref().unwrap();
    assert_eq!((labels.maps, labels.pixels), (2, 2400));
    assert_eq!(labels.ignored, 0.0);
    for class in &labels.classes {
        assert_eq!((class.pixels, class.share, class.pictures), (600, 0.25, 2));
    }
    assert!(report.to_string().contains("0 25.0 %"), "{report}");
    // Without a number of classes it is guessed.
    let report = check_source(&source, SegmentationLabels::default());
    has(&report, Severity::Note, "taken to be 4");
    let done = std::sync::Mutex::new(Vec::new());
    let options = SegmentationCheckOptions {
        train: Some(source),
        ..SegmentationCheckOptions::default()
    };
    check_segmentation(&options, &|at, all| done.lock().unwrap().push((at, all))).unwrap();
    let mut done = done.into_inner().unwrap();
    done.sort_unstable();
    assert_eq!(done, [(1, 4), (2, 4), (3, 4), (4, 4)]);
}

#[test]
fn unpaired_unreadable_and_odd_sized_files_are_found() {
    let (_dir, source) = small();
    picture(&source.images.join("c.png"), 20, 20);
    labels(&source.labels.join("d.png"), 20, 20, |_| 0);
    std::fs::write(source.images.join("a.png"), b"no picture").unwrap();
    labels(&source.labels.join("b.png"), 31, 40, |i| (i % 4) as u8);
    picture(&source.images.join("e.png"), 20, 20);
    RgbImage::new(20, 20)
        .write_png(&source.labels.join("e.png"))
        .unwrap();
    let report = check_source(&source, of_count(4));
    assert!(!report.is_ok());
    has(
        &report,
        Severity::Error,
        "1 of 4 pictures have no label map",
    );
    has(
        &report,
        Severity::Error,
        "1 of 4 label maps have no picture",
    );
    has(
        &report,
        Severity::Error,
        "images/a.png: not a readable picture",
    );
    has(&report, Severity::Error, "b.png: the label map has 31x40");
    has(
        &report,
        Severity::Error,
        "e.png: a colour picture, not a label map",
    );
    assert_eq!(report.splits[0].unreadable, 1);
}

#[test]
fn numbers_that_cannot_be_meant_are_found() {
    let (_dir, source) = small();
    let reduced = |count| SegmentationLabels {
        reduce_zero_label: true,
        ..of_count(count)
    };
    let report = check_source(&source, of_count(3));
    has(
        &report,
        Severity::Error,
        "label 3 is none of the 3 classes (0 to 2), in 600 pixels of 2 label maps",
    );
    let report = check_source(&source, of_count(6));
    has(
        &report,
        Severity::Warning,
        "2 of 6 classes occur in no label map: 4, 5;",
    );
    let report = check_source(&source, reduced(4));
    has(
        &report,
        Severity::Warning,
        "label 4, the last class with reduce_zero_label, never occurs, and 25.0 %",
    );
    assert!(check_source(&source, reduced(3)).findings.is_empty());

    for name in ["a", "b"] {
        let (width, height) = if name == "a" { (40, 30) } else { (30, 40) };
        let path = source.labels.join(format!("{name}.png"));
        labels(&path, width, height, |i| 1 + (i % 4) as u8);
    }
    let report = check_source(&source, of_count(4));
    has(
        &report,
        Severity::Error,
        "no label map has a 0 and labels go up to 4",
    );
    has(&report, Severity::Error, "label 4 is none");
    let report = check_source(&source, reduced(4));
    has(&report, Severity::Note, "no label map has a 0");
    assert!(report.is_ok(), "{report}");
    for name in ["a", "b"] {
        let (width, height) = if name == "a" { (40, 30) } else { (30, 40) };
        let path = source.labels.join(format!("{name}.png"));
        labels(&path, width, height, |_| IGNORED);
    }
    has(
        &check_source(&source, of_count(4)),
        Severity::Error,
        "every pixel is ignored",
    );
}

#[test]
fn palettes_of_their_own_and_leaks_are_found() {
    let (_dir, train) = small();
    let (_other, val) = small();
    for (name, size, colour) in [("a", (40, 30), 9), ("b", (30, 40), 90)] {
        let path = val.labels.join(format!("{name}.png"));
        let labels = vec![0; 1200];
        write_palette_png(&path, size.0, size.1, &labels, &[[colour; 3]]).unwrap();
    }
    let report = check(SegmentationCheckOptions {
        train: Some(train.clone()),
        val: Some(val),
        labels: of_count(4),
        expected_classes: Some(5),
    });
    has(
        &report,
        Severity::Warning,
        "the same label has another colour",
    );
    has(
        &report,
        Severity::Error,
        "data.classes.count: it gives 4 classes but 5 are expected",
    );
    assert_eq!(report.splits[1].split, "val");
    let report = check(SegmentationCheckOptions {
        train: Some(train.clone()),
        val: Some(train),
        labels: of_count(4),
        expected_classes: None,
    });
    has(
        &report,
        Severity::Warning,
        "validation numbers would be too good",
    );
    let nothing = check_segmentation(&SegmentationCheckOptions::default(), &|_, _| {});
    assert!(nothing.unwrap_err().to_string().contains("give a training"));
}
