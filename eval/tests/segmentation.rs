//! Segmentation scores: mmsegmentation's recorded numbers, hand arithmetic, invariants, result files.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use deepmim_eval::Strictness;
use deepmim_eval::segmentation::{
    ClassAreas, ConfusedClasses, ImageCounter, ImageCounts, LabelFault, LabelMap, LabelSpec,
    Labels, PairCount, SegmentationMeter, SegmentationScores, read_class_names, write_class_scores,
    write_confused_classes, write_confusion_matrix,
};
use proptest::prelude::*;
use safetensors::SafeTensors;

/// The project's tolerance for metrics; the recording is in double precision too.
const TOLERANCE: f64 = 1e-9;

fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../parity/golden/seg_eval");
    fs::read(folder.join(name)).unwrap()
}

fn json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&golden(name)).unwrap()
}

/// The images of a tensor [images, height, width].
fn images(tensors: &SafeTensors, name: &str) -> Vec<LabelMap> {
    let tensor = tensors.tensor(name).unwrap();
    let (height, width) = (tensor.shape()[1], tensor.shape()[2]);
    tensor
        .data()
        .chunks(height * width)
        .map(|labels| LabelMap::new(width, height, labels.to_vec()).unwrap())
        .collect()
}

/// The same map in 16-bit numbers.
fn widened(map: &LabelMap) -> LabelMap {
    let labels: Vec<u16> = match map.labels() {
        Labels::U8(labels) => labels.iter().copied().map(u16::from).collect(),
        Labels::U16(labels) => labels.clone(),
    };
    LabelMap::new(map.width(), map.height(), labels).unwrap()
}

fn areas(tensors: &SafeTensors, name: &str) -> Vec<u64> {
    let bytes = tensors.tensor(name).unwrap().data().to_vec();
    let (numbers, _) = bytes.as_chunks::<8>();
    numbers
        .iter()
        .map(|&n| f64::from_le_bytes(n) as u64)
        .collect()
}

fn close(found: f64, expected: &serde_json::Value, what: &str) {
    match expected.as_f64() {
        Some(expected) => assert!(
            (found - expected).abs() < TOLERANCE,
            "{what}: {found} instead of {expected}"
        ),
        None => assert!(found.is_nan(), "{what}: {found} instead of NaN"),
    }
}

#[test]
fn areas_and_scores_are_those_of_mmsegmentation() {
    let (inputs, outputs) = (golden("inputs.safetensors"), golden("outputs.safetensors"));
    let inputs = SafeTensors::deserialize(&inputs).unwrap();
    let outputs = SafeTensors::deserialize(&outputs).unwrap();
    let (config, expected) = (json("config.json"), json("outputs.json"));
    let cases = config["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 7);
    for (case, settings) in cases {
        let classes = settings["num_classes"].as_u64().unwrap() as usize;
        let mut spec = LabelSpec::new(classes).unwrap();
        spec.reduce_zero_label = settings["reduce_zero_label"].as_bool().unwrap();
        for wide in [false, true] {
            let mut counter = ImageCounter::new(spec, Strictness::Strict);
            let mut meter = SegmentationMeter::new(classes);
            let mut sums = vec![ClassAreas::default(); classes];
            let labels = images(&inputs, &format!("{case}/gt"));
            let predictions = images(&inputs, &format!("{case}/pred"));
            for (label, prediction) in labels.iter().zip(&predictions) {
                let counts = if wide {
                    counter.count(&widened(label), prediction).unwrap()
                } else {
                    counter.count(label, prediction).unwrap()
                };
                counts.tally().add_to(&mut sums);
                meter.add(&counts).unwrap();
            }
            assert_eq!(meter.areas(), sums, "{case}: tallies of images");
            for (part, area) in [
                (
                    "intersect",
                    (|class| class.intersection) as fn(&ClassAreas) -> u64,
                ),
                ("union", ClassAreas::union),
                ("pred", |class| class.predicted),
                ("label", |class| class.labelled),
            ] {
                let found: Vec<u64> = sums.iter().map(area).collect();
                let recorded = areas(&outputs, &format!("f64/{case}/area_{part}"));
                assert_eq!(found, recorded, "{case}: {part}");
            }
            let (scores, expected) = (meter.scores(), &expected[case]);
            for (name, found) in [
                ("aAcc", scores.pixel_accuracy),
                ("mIoU", scores.mean_iou),
                ("mAcc", scores.mean_accuracy),
                ("mDice", scores.mean_dice),
                ("mFscore", scores.mean_f_score),
                ("mPrecision", scores.mean_precision),
                ("mRecall", scores.mean_recall),
            ] {
                close(found, &expected[name], &format!("{case}: {name}"));
                // The table is in per cent.
                let percent = meter.report().get(name).unwrap();
                assert!((percent - 100.0 * found).abs() < TOLERANCE);
            }
            for (class, found) in scores.classes.iter().enumerate() {
                for (name, found) in [
                    ("IoU", found.iou),
                    ("Acc", found.accuracy),
                    ("Dice", found.dice),
                    ("Fscore", found.f_score),
                    ("Precision", found.precision),
                    ("Recall", found.recall),
                ] {
                    let what = format!("{case}: {name} of class {class}");
                    close(found, &expected[name][class], &what);
                }
            }
        }
    }
}

fn map(width: usize, labels: &[u8]) -> LabelMap {
    LabelMap::new(width, labels.len() / width, labels.to_vec()).unwrap()
}

fn count(spec: LabelSpec, label: &[u8], prediction: &[u8]) -> ImageCounts {
    ImageCounter::new(spec, Strictness::Strict)
        .count(&map(2, label), &map(2, prediction))
        .unwrap()
}

/// By hand: three classes, six pixels, one ignored.
#[test]
fn a_small_image_by_hand() {
    let spec = LabelSpec::new(3).unwrap();
    let counts = count(spec, &[0, 0, 0, 1, 1, 255], &[0, 0, 1, 1, 0, 2]);
    let mut meter = SegmentationMeter::new(3);
    meter.add(&counts).unwrap();
    let pair = |label, predicted, pixels| PairCount {
        label,
        predicted: Some(predicted),
        pixels,
    };
    assert_eq!(
        counts.pairs(),
        [pair(0, 0, 2), pair(0, 1, 1), pair(1, 0, 1), pair(1, 1, 1)]
    );
    let rows: Vec<&[u64]> = meter.matrix().collect();
    assert_eq!(rows, [[2, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]);
    let scores = meter.scores();
    // IoU 2/4 and 1/3; class 2 is only predicted where the truth is ignored, so it is absent.
    assert!((scores.mean_iou - 5.0 / 12.0).abs() < 1e-12);
    assert!((scores.frequency_weighted_iou - (3.0 * 0.5 + 2.0 / 3.0) / 5.0).abs() < 1e-12);
    assert!((scores.pixel_accuracy - 3.0 / 5.0).abs() < 1e-12);
    assert!((scores.mean_accuracy - (2.0 / 3.0 + 0.5) / 2.0).abs() < 1e-12);
    assert!(scores.classes[2].iou.is_nan() && scores.classes[2].dice.is_nan());
    assert_eq!(
        [-1, 0, 1, 3].map(|offset| meter.shifted(offset)),
        [1, 3, 1, 0]
    );
    // Most pixels first, then by class.
    meter.add(&count(spec, &[2, 2], &[1, 1])).unwrap();
    let pairs: Vec<(usize, usize, u64)> = meter
        .confusions()
        .iter()
        .map(|pair| (pair.label, pair.predicted, pair.pixels))
        .collect();
    assert_eq!(pairs, [(2, 1, 2), (0, 1, 1), (1, 0, 1)]);
    assert_eq!(meter.report().get("pixels"), Some(7.0));
    assert_eq!(meter.report().get("images"), Some(2.0));
    assert_eq!(meter.report().get("unclassified_pixels"), None);
}

#[test]
fn an_empty_meter_has_no_scores() {
    let scores = SegmentationMeter::new(4).scores();
    assert!(scores.mean_iou.is_nan() && scores.pixel_accuracy.is_nan());
    assert!(SegmentationScores::new(&[]).frequency_weighted_iou.is_nan());
}

/// ADE20K's own numbering: 0 is "other", classes from 1, in predictions too when asked.
#[test]
fn numbering_from_one() {
    let mut spec = LabelSpec::new(150).unwrap();
    spec.reduce_zero_label = true;
    let zero_based = count(spec, &[0, 1, 150, 150], &[7, 0, 149, 0]);
    spec.one_based_predictions = true;
    let one_based = count(spec, &[0, 1, 150, 150], &[8, 1, 150, 1]);
    assert_eq!(zero_based, one_based);
    let pixels: Vec<(u16, Option<u16>)> = zero_based
        .pairs()
        .iter()
        .map(|pair| (pair.label, pair.predicted))
        .collect();
    assert_eq!(pixels, [(0, Some(0)), (149, Some(0)), (149, Some(149))]);
}

/// A pixel predicted as no class is wrong, and no class's prediction (`torch.histc` drops it).
#[test]
fn predictions_that_are_no_class() {
    let spec = LabelSpec::new(3).unwrap();
    let (label, prediction) = (map(2, &[0, 1, 2, 255]), map(2, &[0, 3, 200, 77]));
    let fault = ImageCounter::new(spec, Strictness::Strict)
        .count(&label, &prediction)
        .unwrap_err();
    assert_eq!(
        fault.to_string(),
        "the prediction is 3 at column 1, row 0, which is none of the 3 classes (from 0): check the \
         number of classes and whether predictions count from 0 or 1, or score leniently, where such \
         a pixel is wrong and nothing more"
    );
    for prediction in [prediction.clone(), widened(&prediction)] {
        let counts = ImageCounter::new(spec, Strictness::Lenient)
            .count(&label, &prediction)
            .unwrap();
        let mut meter = SegmentationMeter::new(3);
        meter.add(&counts).unwrap();
        assert_eq!(meter.unclassified(), 2);
        assert_eq!(meter.scores().pixel_accuracy, 1.0 / 3.0);
        let predicted: u64 = meter.areas().iter().map(|class| class.predicted).sum();
        assert_eq!(predicted, 1);
        assert_eq!(meter.report().get("unclassified_pixels"), Some(2.0));
        assert_eq!(meter.confusions(), []);
    }
}

#[test]
fn numbers_without_meaning_and_other_sizes_are_refused() {
    let spec = LabelSpec::new(3).unwrap();
    let mut lenient = ImageCounter::new(spec, Strictness::Lenient);
    let broken = map(2, &[0, 0, 0, 3]);
    for broken in [broken.clone(), widened(&broken)] {
        let fault = lenient.count(&broken, &map(2, &[0; 4])).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "the ground truth is 3 at column 1, row 1, which is none of the 3 classes (from 0, 255 \
             ignored): check the number of classes, the ignored number and reduce-zero-label"
        );
        // A fault leaves nothing behind in the counter.
        let counts = lenient.count(&map(1, &[1]), &map(1, &[1])).unwrap();
        assert_eq!(counts.pairs().len(), 1);
    }
    assert!(matches!(
        lenient.count(&map(2, &[0; 4]), &map(1, &[0; 4])),
        Err(LabelFault::Size {
            label: (2, 2),
            prediction: (1, 4)
        })
    ));
    assert_eq!(LabelMap::new(3, 2, vec![0u8; 5]), None);
    assert_eq!(LabelMap::new(usize::MAX, 2, vec![0u8; 5]), None);
    for classes in [0, 4097] {
        let error = LabelSpec::new(classes).unwrap_err().to_string();
        assert!(error.contains("1 to 4096"), "{error}");
    }
}

/// More classes than a byte counts: 255 is a class, 65535 ignored.
#[test]
fn many_classes() {
    let spec = LabelSpec::new(847).unwrap();
    let label = LabelMap::new(2, 2, vec![255u16, 846, 65535, 300]).unwrap();
    let prediction = LabelMap::new(2, 2, vec![255u16, 846, 0, 301]).unwrap();
    let counts = ImageCounter::new(spec, Strictness::Strict)
        .count(&label, &prediction)
        .unwrap();
    let mut meter = SegmentationMeter::new(847);
    meter.add(&counts).unwrap();
    assert_eq!(meter.scores().pixel_accuracy, 2.0 / 3.0);
    assert_eq!(
        meter.confusions(),
        [ConfusedClasses {
            label: 300,
            predicted: 301,
            pixels: 1
        }]
    );
    let error = SegmentationMeter::new(10).add(&counts).unwrap_err();
    assert_eq!(
        error.to_string(),
        "meters of 10 and 847 classes cannot be merged"
    );
    assert!(meter.merge(&SegmentationMeter::new(10)).is_err());
}

fn image() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let number = || prop_oneof![4 => 0u8..5, 1 => Just(255u8), 1 => any::<u8>()];
    (1usize..40, 1usize..40).prop_flat_map(move |(width, height)| {
        let size = width * height;
        let numbers = prop::collection::vec(number(), size);
        (numbers.clone(), numbers)
    })
}

proptest! {
    /// The counter against a loop that follows mmsegmentation's definition pixel by pixel, and meters
    /// of parts against one meter of the whole.
    #[test]
    fn counting_is_a_plain_loop_and_merging_changes_nothing(
        images in prop::collection::vec(image(), 1..5),
        classes in 1usize..8,
        reduce_zero_label: bool,
    ) {
        let mut spec = LabelSpec::new(classes).unwrap();
        spec.reduce_zero_label = reduce_zero_label;
        let mut counter = ImageCounter::new(spec, Strictness::Lenient);
        let mut whole = SegmentationMeter::new(classes);
        let mut merged = SegmentationMeter::new(classes);
        let mut expected = vec![vec![0u64; classes + 1]; classes];
        for (labels, predictions) in &images {
            let reduced = |label: u8| match (reduce_zero_label, label) {
                (true, 0 | 255) => 255,
                (true, label) => label - 1,
                (false, label) => label,
            };
            let reduced: Vec<usize> = labels.iter().map(|&l| usize::from(reduced(l))).collect();
            let sound = reduced.iter().all(|&label| label < classes || label == 255);
            let counts = counter.count(&map(1, labels), &map(1, predictions));
            prop_assert_eq!(counts.is_ok(), sound);
            let Ok(counts) = counts else { continue };
            for (&label, &prediction) in reduced.iter().zip(predictions) {
                if label < classes {
                    expected[label][usize::from(prediction).min(classes)] += 1;
                }
            }
            whole.add(&counts).unwrap();
            let mut part = SegmentationMeter::new(classes);
            part.add(&counts).unwrap();
            part.merge(&merged).unwrap();
            merged = part;
        }
        let rows: Vec<Vec<u64>> = whole.matrix().map(<[u64]>::to_vec).collect();
        prop_assert_eq!(rows, expected);
        prop_assert_eq!(&whole, &merged);
    }
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn result_files() {
    let spec = LabelSpec::new(3).unwrap();
    let mut meter = SegmentationMeter::new(3);
    meter
        .add(&count(spec, &[0, 0, 0, 0, 1, 1], &[0, 1, 1, 0, 1, 1]))
        .unwrap();
    let names = ["wall, inner".to_owned(), "sky".to_owned()];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/per_class.csv");
    write_class_scores(&path, &meter, &names).unwrap();
    assert_eq!(
        lines(&path),
        [
            "class,name,IoU,Acc,Dice,Fscore,Precision,Recall,intersection,union,predicted,labelled",
            "0,\"wall, inner\",0.5,0.5,0.6666666666666666,0.6666666666666666,1,0.5,2,4,2,4",
            "1,sky,0.5,1,0.6666666666666666,0.6666666666666666,0.5,1,2,4,4,2",
            "2,,,,,,,,0,0,0,0",
        ]
    );
    let path = folder.path().join("confusion.csv");
    write_confusion_matrix(&path, &meter, &names).unwrap();
    assert_eq!(
        lines(&path),
        [
            "class,name,0,1,2,no_class",
            "0,\"wall, inner\",2,2,0,0",
            "1,sky,0,2,0,0",
            "2,,0,0,0,0",
        ]
    );
    let path = folder.path().join("confused.csv");
    write_confused_classes(&path, &meter, &[]).unwrap();
    assert_eq!(
        lines(&path),
        [
            "class,name,predicted,predicted_name,pixels,share",
            "0,,1,,2,0.5"
        ]
    );
}

#[test]
fn class_names() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str, text: &[u8]| {
        let path: PathBuf = folder.path().join(name);
        fs::write(&path, text).unwrap();
        read_class_names(&path).map_err(|error| error.to_string())
    };
    let two = vec!["wall".to_owned(), "sky, blue".to_owned()];
    assert_eq!(
        read("a.txt", b"\xef\xbb\xbfwall\r\nsky, blue\r\n\r\n").unwrap(),
        two
    );
    let ade =
        b"Idx,Ratio,Train,Val,Stuff,Name\n1,0.1,2,3,1,wall\n2,0.1,2,3,1,\"sky, blue;heaven\"\n";
    assert_eq!(read("a.csv", ade).unwrap(), two);
    let ade =
        b"Idx\tRatio\tTrain\tVal\tName\n1\t0.1\t2\t3\twall  \n2\t0.1\t2\t3\tbuilding, edifice\n";
    assert_eq!(
        read("objectInfo150.txt", ade).unwrap(),
        ["wall", "building"]
    );
    let tab = vec!["wall\tinner".to_owned(), "sky".to_owned()];
    assert_eq!(read("c.txt", b"wall\tinner\nsky\n").unwrap(), tab);
    for (name, text, expected) in [
        ("b.txt", &b"wall\n\nsky"[..], "class 1 is empty"),
        ("b.txt", b" \n", "holds no class names"),
        ("b.txt", b"\xff", "not UTF-8"),
        ("b.csv", b"wall\nsky\n", "line 1: no column \"Name\""),
        (
            "b.csv",
            b"Idx,Name\n2,sky\n1,wall\n",
            "line 2: Idx is \"2\" instead of 1",
        ),
        (
            "b.csv",
            b"Idx,Name\n1\n",
            "line 2: not a record of the table",
        ),
    ] {
        let error = read(name, text).unwrap_err();
        assert!(error.contains(name) && error.contains(expected), "{error}");
    }
    let missing = read_class_names(Path::new("no/such/file")).unwrap_err();
    assert!(
        missing
            .to_string()
            .starts_with("no/such/file: cannot be read")
    );
}
