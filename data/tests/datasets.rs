//! Whole path on files: made-up data sets, class folders, label files, loader, and the checker's findings.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use deepmim_data::augment::RandomErasing;
use deepmim_data::{
    CheckOptions, CheckReport, ClassificationConfig, ClassificationDataset, ClassificationSource,
    Dataset, EvalTransformConfig, Loader, LoaderConfig, PictureFormat, RgbImage, Severity,
    SynthClassificationConfig, TrainCrop, TrainTransformConfig, Transform, check_classification,
    synth_classification,
};

fn synth(root: &Path, format: PictureFormat) {
    let config = SynthClassificationConfig {
        classes: 4,
        train_per_class: 6,
        val_per_class: 3,
        size: 40,
        seed: 5,
        format,
        plain: false,
    };
    let summary = synth_classification(root, &config).expect("test set-up");
    assert_eq!((summary.classes.len(), summary.pictures), (4, 36));
}

fn eval(size: usize) -> Transform {
    Transform::eval(&EvalTransformConfig::new(size)).expect("test set-up")
}

fn augmented(size: usize) -> Transform {
    let mut config = TrainTransformConfig::new(size, TrainCrop::random_resized(0.2));
    config.rand_augment = Some("rand-m9-mstd0.5-inc1".parse().expect("test set-up"));
    config.random_erasing = Some(RandomErasing::default());
    Transform::train(&config).expect("test set-up")
}

fn open(root: &Path, transform: Transform) -> ClassificationDataset {
    ClassificationDataset::open(&ClassificationConfig::folders(root), transform)
        .expect("test set-up")
}

#[test]
fn made_up_sets_are_reproducible_and_well_formed() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for dir in &dirs {
        synth(dir.path(), PictureFormat::Png);
    }
    let [a, b] = dirs
        .each_ref()
        .map(|dir| open(&dir.path().join("train"), eval(32)));
    assert_eq!(a.len(), 24);
    assert_eq!(a.classes().len(), 4);
    for i in 0..a.len() {
        assert_eq!(a.name(i), b.name(i));
        assert_eq!(a.picture(i).unwrap(), b.picture(i).unwrap());
        for j in 0..i {
            assert_ne!(
                a.picture(i).unwrap(),
                a.picture(j).unwrap(),
                "no two pictures are alike"
            );
        }
    }
    let error =
        synth_classification(dirs[0].path(), &SynthClassificationConfig::default()).unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
}

#[test]
fn plain_classes_are_shapes() {
    let dir = tempfile::tempdir().unwrap();
    let config = SynthClassificationConfig {
        classes: 8,
        train_per_class: 2,
        val_per_class: 1,
        size: 32,
        plain: true,
        ..SynthClassificationConfig::default()
    };
    let summary = synth_classification(dir.path(), &config).unwrap();
    assert_eq!(summary.pictures, 24);
    assert_eq!(summary.classes[..3], ["bar", "crescent", "cross"]);
    let many = SynthClassificationConfig {
        classes: 9,
        ..config
    };
    let error = synth_classification(dir.path(), &many).unwrap_err();
    assert!(error.to_string().contains("synth.classes"), "{error}");
}

#[test]
fn batches_are_the_same_for_any_threads_and_prefetch() {
    let dir = tempfile::tempdir().unwrap();
    synth(dir.path(), PictureFormat::Jpeg);
    let dataset = Arc::new(open(&dir.path().join("train"), augmented(32)));
    let batches = |threads, prefetch| -> Vec<Vec<_>> {
        let config = LoaderConfig {
            batch_size: 5,
            shuffle: true,
            threads,
            prefetch,
            seed: 9,
            ..LoaderConfig::default()
        };
        Loader::new(Arc::clone(&dataset), config)
            .unwrap()
            .epoch(1, 0)
            .map(Result::unwrap)
            .collect()
    };
    let wanted = batches(1, 1);
    assert_eq!(wanted.len(), 5);
    let first = &wanted[0][0];
    assert_eq!((first.image.len(), first.size), (3 * 32 * 32, 32));
    for (threads, prefetch) in [(1, 4), (2, 2), (4, 1), (4, 8)] {
        assert_eq!(
            batches(threads, prefetch),
            wanted,
            "{threads} threads, prefetch {prefetch}"
        );
    }
}

#[test]
fn a_broken_picture_ends_the_epoch_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    synth(dir.path(), PictureFormat::Jpeg);
    let dataset = Arc::new(open(&dir.path().join("val"), eval(32)));
    let broken = dir.path().join("val").join(dataset.name(7));
    let bytes = std::fs::read(&broken).unwrap();
    std::fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    let loader = Loader::new(
        dataset,
        LoaderConfig {
            batch_size: 4,
            ..LoaderConfig::default()
        },
    )
    .unwrap();
    let results: Vec<_> = loader.epoch(0, 0).collect();
    assert_eq!(results.len(), 2);
    let message = results[1].as_ref().unwrap_err().to_string();
    assert!(
        message.starts_with(&broken.display().to_string()) && message.contains("Premature end"),
        "{message}"
    );
}

#[test]
fn sources_agree_on_names_and_labels() {
    let dir = tempfile::tempdir().unwrap();
    synth(dir.path(), PictureFormat::Jpeg);
    let root = dir.path().join("val");
    let folders = open(&root, eval(32));
    let csv = dir.path().join("labels.csv");
    let rows: String = (0..folders.len())
        .map(|i| {
            format!(
                "{},{}\n",
                folders.name(i),
                folders.classes()[folders.label(i) as usize].key
            )
        })
        .collect();
    std::fs::write(&csv, format!("file,label\n{rows}")).unwrap();
    let mut config = ClassificationConfig {
        source: ClassificationSource::Csv {
            root: root.clone(),
            labels: csv,
        },
        classes: None,
        limit_per_class: None,
    };
    let listed = ClassificationDataset::open(&config, eval(32)).unwrap();
    assert_eq!(listed.classes(), folders.classes());
    for i in 0..folders.len() {
        assert_eq!(listed.sample(i, 0).unwrap(), folders.sample(i, 0).unwrap());
    }
    config.limit_per_class = Some(2);
    assert_eq!(
        ClassificationDataset::open(&config, eval(32))
            .unwrap()
            .len(),
        8
    );
    config.source = ClassificationSource::Unlabelled { root: root.clone() };
    config.limit_per_class = None;
    let unlabelled = ClassificationDataset::open(&config, eval(32)).unwrap();
    assert_eq!((unlabelled.len(), unlabelled.label(0)), (12, -1));
    let files = ClassificationDataset::of_files([root.join(folders.name(3))], eval(32));
    assert_eq!(
        files.sample(0, 0).unwrap().image,
        folders.sample(3, 0).unwrap().image
    );
}

#[test]
fn missing_empty_and_misspelt_are_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let open = |root: &Path| {
        ClassificationDataset::open(&ClassificationConfig::folders(root), eval(32))
            .unwrap_err()
            .to_string()
    };
    assert!(open(&dir.path().join("nowhere")).contains("nowhere: cannot be read"));
    assert!(open(dir.path()).contains("no class folders"));
    std::fs::create_dir(dir.path().join("cat")).unwrap();
    assert!(open(dir.path()).contains("cat: there is no picture"));
    let misspelt: Result<ClassificationConfig, _> =
        serde_json::from_str(r#"{"source": {"kind": "folders", "rot": "x"}}"#);
    assert!(misspelt.unwrap_err().to_string().contains("rot"));
    let misspelt: Result<ClassificationConfig, _> =
        serde_json::from_str(r#"{"source": {"kind": "folders", "root": "x"}, "limit": 3}"#);
    assert!(misspelt.unwrap_err().to_string().contains("limit"));
}

fn check(root: &Path, expected: usize) -> CheckReport {
    let options = CheckOptions {
        train: Some(ClassificationConfig::folders(root.join("train"))),
        val: Some(ClassificationConfig::folders(root.join("val"))),
        expected_classes: Some(expected),
    };
    let calls = AtomicUsize::new(0);
    let report = check_classification(&options, &|_, _| {
        calls.fetch_add(1, Ordering::Relaxed);
    })
    .expect("test set-up");
    let pictures: usize = report.splits.iter().map(|split| split.pictures).sum();
    assert_eq!(calls.into_inner(), pictures);
    report
}

fn finds(report: &CheckReport, severity: Severity, parts: &[&str]) {
    let found = report
        .findings
        .iter()
        .any(|f| f.severity == severity && parts.iter().all(|p| f.message.contains(p)));
    assert!(found, "{severity:?} with {parts:?} is not in:\n{report}");
}

#[test]
fn a_good_set_passes_the_check() {
    let dir = tempfile::tempdir().unwrap();
    synth(dir.path(), PictureFormat::Jpeg);
    let report = check(dir.path(), 4);
    assert!(report.is_ok() && report.findings.is_empty(), "{report}");
    assert_eq!(
        (report.splits[0].pictures, report.splits[1].smallest_side),
        (24, 40)
    );
    assert!(
        report.to_string().ends_with("nothing wrong was found"),
        "{report}"
    );
}

#[test]
fn the_check_names_every_kind_of_mistake() {
    let dir = tempfile::tempdir().unwrap();
    synth(dir.path(), PictureFormat::Jpeg);
    let train = dir.path().join("train");
    let val = dir.path().join("val");
    let classes: Vec<String> = open(&train, eval(32))
        .classes()
        .iter()
        .map(|class| class.key.clone())
        .collect();
    let file = |split: &Path, class: usize, number: usize| {
        split.join(&classes[class]).join(format!("{number:05}.jpg"))
    };

    // A validation picture that is also trained on, one with two labels, one twice.
    std::fs::copy(file(&train, 0, 0), file(&val, 0, 7)).unwrap();
    std::fs::copy(file(&train, 0, 1), file(&train, 1, 90)).unwrap();
    std::fs::copy(file(&train, 2, 1), file(&train, 2, 90)).unwrap();
    // A cut picture, an empty one, a tiny one, a file that is no picture.
    let bytes = std::fs::read(file(&train, 2, 2)).unwrap();
    std::fs::write(file(&train, 2, 2), &bytes[..bytes.len() - 50]).unwrap();
    std::fs::write(file(&train, 2, 3), b"").unwrap();
    RgbImage::filled(8, 90, [9, 8, 7])
        .write_png(&train.join(&classes[2]).join("small.png"))
        .unwrap();
    std::fs::write(train.join(&classes[0]).join("notes.txt"), b"").unwrap();
    // A class folder without pictures, and a class that is only in train.
    std::fs::create_dir(val.join("zebra")).unwrap();
    std::fs::remove_dir_all(val.join(&classes[1])).unwrap();
    std::fs::create_dir(val.join(".hidden")).unwrap();

    let report = check(dir.path(), 4);
    assert!(!report.is_ok());
    finds(
        &report,
        Severity::Warning,
        &["00007.jpg", "is the same file as", "validation numbers"],
    );
    finds(&report, Severity::Warning, &["00090.jpg", "another class"]);
    finds(&report, Severity::Note, &["1 pictures are copies"]);
    finds(
        &report,
        Severity::Error,
        &["00002.jpg", "not a readable picture"],
    );
    finds(&report, Severity::Error, &["00003.jpg", "empty"]);
    finds(
        &report,
        Severity::Warning,
        &["small.png", "only 8x90 pixels"],
    );
    finds(&report, Severity::Note, &["notes.txt"]);
    finds(
        &report,
        Severity::Error,
        &["zebra", "no picture in this class folder"],
    );
    finds(
        &report,
        Severity::Error,
        &["val", "are missing", &classes[1]],
    );
    finds(
        &report,
        Severity::Error,
        &["val", "5 classes were found but 4 expected"],
    );
    finds(&report, Severity::Warning, &[".hidden", "hidden folder"]);
    let split = &report.splits[0];
    assert_eq!((split.unreadable, split.smallest_side), (2, 8));
    serde_json::to_string(&report).unwrap();
}

/// Real photographs of 50 ImageNet classes: all decode, and the class order is the synsets'.
#[test]
fn imagenet_sample_reads() {
    let Some(root) = std::env::var_os("DEEPMIM_REAL_DATA") else {
        eprintln!("skipped: DEEPMIM_REAL_DATA is not set");
        return;
    };
    let root = Path::new(&root).join("imagenet-sample/val");
    let dataset = Arc::new(open(&root, eval(224)));
    assert_eq!((dataset.len(), dataset.classes().len()), (50, 50));
    assert!(dataset.classes().is_sorted_by(|a, b| a.key < b.key));
    let loader = Loader::new(
        dataset,
        LoaderConfig {
            batch_size: 16,
            ..LoaderConfig::default()
        },
    )
    .unwrap();
    let labels: Vec<i64> = loader
        .epoch(0, 0)
        .flat_map(Result::unwrap)
        .map(|sample| sample.label)
        .collect();
    assert_eq!(labels, (0..50).collect::<Vec<_>>());
    let options = CheckOptions {
        val: Some(ClassificationConfig::folders(root)),
        ..CheckOptions::default()
    };
    let report = check_classification(&options, &|_, _| {}).unwrap();
    assert!(report.is_ok(), "{report}");
}
