//! Predictions of a classifier from any bytes: read by itself and against labels, and scored.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use deepmim_eval::{
    BootstrapConfig, ClassificationComparison, ComparisonOptions, PictureLabels, PredictionSet,
    Strictness,
};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = TempDir::new().expect("a temporary folder").keep();
        fs::write(folder.join("labels.csv"), "file,label\na.png,0\nb.png,1\nc.png,2\n")
            .expect("it is writable");
        folder
    })
}

fuzz_target!(|input: (bool, bool, &[u8])| {
    let (lenient, with_labels, bytes) = input;
    let strictness = if lenient { Strictness::Lenient } else { Strictness::Strict };
    let path = folder().join("predictions.csv");
    fs::write(&path, bytes).expect("it is writable");
    let truth = with_labels.then(|| {
        let labels = folder().join("labels.csv");
        PictureLabels::read(&labels, None, None, strictness).expect("they are right").0
    });
    let set = match PredictionSet::read(&path, truth.as_ref(), None, strictness) {
        Ok((set, _)) => set,
        Err(error) => return assert!(!error.to_string().contains('\n'), "{error}"),
    };
    let truth = truth.unwrap_or_else(|| set.labels());
    let options = ComparisonOptions {
        classes: None,
        real: None,
        strictness,
    };
    let Ok(scored) = ClassificationComparison::new(&truth, vec![set], &options) else {
        return;
    };
    let config = BootstrapConfig {
        resamples: 100,
        ..BootstrapConfig::default()
    };
    if scored.pictures > 0 {
        let bootstrap = scored.bootstrap(&config, &|_, _| {}).expect("there are pictures");
        let top1 = bootstrap.value(0, 0);
        assert!(top1.is_nan() || (0.0..=1.0).contains(&top1));
    }
});
