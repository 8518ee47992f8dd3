//! Folders of label maps: pairing, what is left out, and every way in which a folder can be bad.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/png_file.rs"]
mod png_file;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use deepmim_eval::Strictness;
use deepmim_eval::segmentation::{
    LabelSpec, SegmentationOptions, SegmentationResult, evaluate_label_folders, read_class_names,
};
use png_file::{Png, RGB, packed};

fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap().install(work)
}

/// The second read of a reader goes into the memory of the first.
#[test]
fn memory_used_again_shows_nothing_of_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let (gt, pred) = (folder.path().join("gt"), folder.path().join("pred"));
    for (i, label) in [1, 0, 1, 0].into_iter().enumerate() {
        let mut png = Png::gray(9, &[label; 9]);
        if i > 0 {
            png.depth = 1;
            png.rows = vec![packed(&[label; 9], 1)];
        }
        png.write(&gt.join(format!("{i}.png")));
        png.write(&pred.join(format!("{i}.png")));
    }
    let options = SegmentationOptions::new(LabelSpec::new(2).unwrap());
    let result = with_threads(1, || {
        evaluate_label_folders(&gt, &pred, &options, &|_, _| {})
    })
    .unwrap();
    let rows: Vec<&[u64]> = result.meter.matrix().collect();
    assert_eq!(rows, [[18, 0, 0], [0, 18, 0]]);
}

/// Two folders in a temporary one.
struct Folders {
    _temporary: tempfile::TempDir,
    gt: PathBuf,
    pred: PathBuf,
}

impl Folders {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let [gt, pred] = ["gt", "pred"].map(|name| temporary.path().join(name));
        for folder in [&gt, &pred] {
            fs::create_dir(folder).unwrap();
        }
        Self {
            _temporary: temporary,
            gt,
            pred,
        }
    }

    fn add(&self, label: &str, prediction: &str, labels: &[u8], predictions: &[u8]) {
        Png::gray(2, labels).write(&self.gt.join(label));
        Png::gray(2, predictions).write(&self.pred.join(prediction));
    }

    fn score(&self, strictness: Strictness) -> Result<SegmentationResult, String> {
        let mut options = SegmentationOptions::new(LabelSpec::new(3).unwrap());
        options.strictness = strictness;
        let shown = |path: &Path| format!("{}/", path.display());
        evaluate_label_folders(&self.gt, &self.pred, &options, &|_, _| {}).map_err(|error| {
            let text = error.to_string();
            text.replace(&shown(&self.gt), "GT/")
                .replace(&shown(&self.pred), "PRED/")
        })
    }

    fn strict_error(&self) -> String {
        self.score(Strictness::Strict).unwrap_err()
    }
}

#[test]
fn files_are_paired_by_path_or_by_name() {
    let pairs = [
        ("val/a.png", "val/a.PNG"),
        ("val/deep/b.png", "b.png"),
        ("c.png", "val/c.png"),
    ];
    for (label, prediction) in pairs {
        let folders = Folders::new();
        folders.add(label, prediction, &[0, 1, 2, 255], &[0, 1, 1, 1]);
        // Not label maps.
        fs::write(folders.gt.join("readme.txt"), "x").unwrap();
        fs::write(folders.gt.join("._a.png"), "x").unwrap();
        let result = folders.score(Strictness::Strict).unwrap();
        assert_eq!(result.meter.scores().pixel_accuracy, 2.0 / 3.0);
        assert_eq!(result.images.len(), 1);
        assert_eq!(result.images[0].tally.classes().len(), 3);
    }
    let folders = Folders::new();
    folders.add("x/a.png", "a.png", &[0; 4], &[0; 4]);
    Png::gray(2, &[0; 4]).write(&folders.gt.join("y/a.png"));
    let error = folders.strict_error();
    assert_eq!(
        error,
        "GT/y/a.png: has the same name as GT/x/a.png: use the same subfolders for ground truth and \
         predictions"
    );
    let folders = Folders::new();
    folders.add("a.png", "a.png", &[0; 4], &[0; 4]);
    Png::gray(2, &[0; 4]).write(&folders.gt.join("a.PNG"));
    assert!(folders.strict_error().contains("has the same name as"));
}

#[cfg(unix)]
#[test]
fn a_link_back_up_does_not_go_on_for_ever() {
    let folders = Folders::new();
    folders.add("a.png", "a.png", &[0; 4], &[0; 4]);
    std::os::unix::fs::symlink(&folders.gt, folders.gt.join("again")).unwrap();
    assert_eq!(folders.score(Strictness::Strict).unwrap().images.len(), 1);
}

#[test]
fn bad_files_are_errors_that_name_them_or_are_left_out_and_counted() {
    type Spoil = fn(&Folders);
    let spoils: [(Spoil, &str); 7] = [
        (
            |f| fs::remove_file(f.pred.join("b.png")).unwrap(),
            "PRED/b.png: missing, the prediction for GT/b.png; 1 of 3 label maps have none",
        ),
        (
            |f| Png::gray(2, &[0; 4]).write(&f.pred.join("d.png")),
            "PRED/d.png: a prediction without ground truth in ",
        ),
        (
            |f| Png::gray(1, &[0; 4]).write(&f.pred.join("b.png")),
            "PRED/b.png: the prediction is 1 x 4 pixels, its ground truth 2 x 2: predict at the size \
             of the ground truth",
        ),
        (
            |f| Png::gray(2, &[0, 0, 7, 0]).write(&f.gt.join("b.png")),
            "GT/b.png: the ground truth is 7 at column 0, row 1, which is none of the 3 classes",
        ),
        (
            |f| fs::write(f.pred.join("b.png"), b"\x89PNG\r\n\x1a\n").unwrap(),
            "PRED/b.png: the PNG ends early: the file is cut off",
        ),
        (
            |f| {
                let mut png = Png::gray(2, &[0; 4]);
                png.color = RGB;
                png.rows = vec![vec![0; 6]; 2];
                png.write(&f.gt.join("b.png"));
            },
            "GT/b.png: a colour picture, not a label map",
        ),
        (
            |f| {
                let mut bytes = Png::gray(2, &[0; 4]).bytes();
                let end = bytes.len() - 20;
                bytes[end] ^= 1;
                fs::write(f.gt.join("b.png"), bytes).unwrap();
            },
            "GT/b.png: not a readable PNG",
        ),
    ];
    for (spoil, expected) in spoils {
        let folders = Folders::new();
        for name in ["a.png", "b.png", "c.png"] {
            folders.add(name, name, &[0, 1, 2, 255], &[0, 1, 1, 1]);
        }
        spoil(&folders);
        let error = folders.strict_error();
        assert!(
            error.starts_with(expected),
            "{error}\ninstead of {expected}"
        );
        let result = folders.score(Strictness::Lenient).unwrap();
        assert_eq!(result.skipped.count(), 1, "{expected}");
        let extra = expected.contains("without ground truth");
        assert_eq!(result.images.len(), if extra { 3 } else { 2 });
        assert_eq!(result.meter.images(), result.images.len() as u64);
    }
}

/// Predicted numbers that are no class: an error, or wrong pixels of an image that is scored.
#[test]
fn predictions_beyond_the_classes() {
    let folders = Folders::new();
    folders.add("a.png", "a.png", &[0, 1, 2, 255], &[0, 1, 3, 9]);
    let error = folders.strict_error();
    assert!(
        error.starts_with("PRED/a.png: the prediction is 3 at column 0, row 1"),
        "{error}"
    );
    let result = folders.score(Strictness::Lenient).unwrap();
    assert_eq!(
        (result.skipped.count(), result.meter.unclassified()),
        (0, 1)
    );
}

#[test]
fn folders_without_anything_to_score() {
    let folders = Folders::new();
    let empty = format!("{}: holds no PNG label maps", folders.gt.display());
    assert!(folders.strict_error().starts_with(&empty));
    fs::remove_dir(&folders.pred).unwrap();
    Png::gray(2, &[0; 4]).write(&folders.gt.join("a.png"));
    assert!(folders.strict_error().contains("cannot be read"));
    Png::gray(2, &[0; 4]).write(&folders.pred.join("other.png"));
    let error = folders.score(Strictness::Lenient).unwrap_err();
    assert!(
        error.contains("no label map could be scored, 1 were left out, and the first one because: PRED/a.png: missing"),
        "{error}"
    );
}

/// Neither the sums, the images' order, what was left out nor the error depend on threads.
#[test]
fn threads_change_nothing() {
    let folders = Folders::new();
    for i in 0..60u8 {
        let name = format!("{i:03}.png");
        let broken = if i % 17 == 9 { 200 } else { i % 3 };
        folders.add(&name, &name, &[i % 3, 1, broken, 255], &[0, i % 2, 1, 2]);
    }
    let run = |threads, strictness| {
        let mut options = SegmentationOptions::new(LabelSpec::new(3).unwrap());
        options.strictness = strictness;
        let calls = Mutex::new(Vec::new());
        let progress = |done, total| calls.lock().unwrap().push((done, total));
        let result = with_threads(threads, || {
            evaluate_label_folders(&folders.gt, &folders.pred, &options, &progress)
        });
        (result, calls.into_inner().unwrap())
    };
    let (one, mut calls) = run(1, Strictness::Lenient);
    let one = one.unwrap();
    calls.sort_unstable();
    assert_eq!(calls, (1..=60).map(|done| (done, 60)).collect::<Vec<_>>());
    assert_eq!(one.skipped.count(), 3);
    let first = one.skipped.first().unwrap().to_string();
    assert!(first.contains("009.png"), "{first}");
    for threads in [2, 5] {
        let many = run(threads, Strictness::Lenient).0.unwrap();
        assert_eq!((&one.meter, &one.images), (&many.meter, &many.images));
        assert_eq!(many.skipped.first().unwrap().to_string(), first);
        for _ in 0..20 {
            let error = run(threads, Strictness::Strict).0.unwrap_err();
            assert_eq!(error.to_string(), first);
        }
    }
}

/// Real files, where they are: the ground truth against itself is perfect.
#[test]
fn ade20k_s_own_files() {
    let Some(root) = std::env::var_os("DEEPMIM_REAL_DATA") else {
        eprintln!("skipped: DEEPMIM_REAL_DATA is not set");
        return;
    };
    let ade = Path::new(&root).join("ade20k-sample");
    let names = read_class_names(&ade.join("objectInfo150.csv")).unwrap();
    assert_eq!((names.len(), names[1].as_str()), (150, "building"));
    let folder = ade.join("annotations/validation");
    let mut labels = LabelSpec::new(names.len()).unwrap();
    labels.reduce_zero_label = true;
    labels.one_based_predictions = true;
    let options = SegmentationOptions::new(labels);
    let result = evaluate_label_folders(&folder, &folder, &options, &|_, _| {}).unwrap();
    assert_eq!(result.images.len(), 3);
    assert_eq!(result.images[0].name, "ADE_val_00000001");
    assert_eq!(result.meter.scores().mean_iou, 1.0);
}
