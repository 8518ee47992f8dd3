//! Label maps from any bytes: the prediction is fuzzed, and the ground truth too every other time.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use deepmim_eval::Strictness;
use deepmim_eval::segmentation::{
    LabelSpec, SegmentationOptions, evaluate_label_folders, read_label_png,
};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = TempDir::new().expect("a temporary folder").keep();
        for part in ["gt", "pred"] {
            fs::create_dir(folder.join(part)).expect("it is writable");
        }
        folder
    })
}

fuzz_target!(|input: (bool, bool, &[u8])| {
    let (lenient, zero, bytes) = input;
    let (truth, predictions) = (folder().join("gt"), folder().join("pred"));
    for part in [&truth, &predictions] {
        fs::write(part.join("a.png"), bytes).expect("it is writable");
    }
    match read_label_png(&truth.join("a.png")) {
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
        Ok(map) => assert_eq!(map.labels().len(), map.width() * map.height()),
    }
    let mut labels = LabelSpec::new(150).expect("so many are allowed");
    labels.reduce_zero_label = zero;
    let options = SegmentationOptions {
        labels,
        strictness: if lenient { Strictness::Lenient } else { Strictness::Strict },
    };
    match evaluate_label_folders(&truth, &predictions, &options, &|_, _| {}) {
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
        // A map against itself is right wherever it counts, unless labels are shifted.
        Ok(result) => {
            let accuracy = result.meter.scores().pixel_accuracy;
            assert!(accuracy.is_nan() || zero || accuracy == 1.0, "{accuracy}");
        }
    }
});
