//! Segmentation data sets on disk: layouts, training samples, made-up sets, label maps out of COCO, and what
//! the checker finds.
#![allow(clippy::unwrap_used)]

mod checker;
mod from_coco;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use deepmim_data::{
    DataError, Dataset, IGNORED, Loader, LoaderConfig, Orientation, RgbImage,
    SegmentationCheckOptions, SegmentationData, SegmentationDataset, SegmentationEvalTransform,
    SegmentationLabels, SegmentationSample, SegmentationSource, SegmentationTrainTransform, Shard,
    SynthSegmentationConfig, decode_file, synth_segmentation, write_label_png,
};
use serde_json::{Value, json};
use tempfile::TempDir;

fn picture(path: &Path, width: usize, height: usize) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let seed = path.as_os_str().len();
    let pixels = (0..3 * width * height).map(|i| (i * 31 % (200 + seed)) as u8);
    let image = RgbImage::from_pixels(width, height, pixels.collect());
    image.write_png(path).unwrap();
}

fn labels(path: &Path, width: usize, height: usize, label: impl Fn(usize) -> u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let labels: Vec<u8> = (0..width * height).map(label).collect();
    write_label_png(path, width, height, &labels).unwrap();
}

fn source(root: &Path) -> SegmentationSource {
    SegmentationSource {
        images: root.join("images"),
        labels: root.join("labels"),
    }
}

fn of_count(count: usize) -> SegmentationLabels {
    SegmentationLabels {
        count: Some(count),
        ..SegmentationLabels::default()
    }
}

/// Two pictures of 40x30 and 30x40 pixels, labels 0 to 3.
fn small() -> (TempDir, SegmentationSource) {
    let dir = tempfile::tempdir().unwrap();
    let source = source(dir.path());
    for (name, width, height) in [("a", 40, 30), ("b", 30, 40)] {
        picture(&source.images.join(format!("{name}.png")), width, height);
        labels(
            &source.labels.join(format!("{name}.png")),
            width,
            height,
            |i| (i / 100 % 4) as u8,
        );
    }
    (dir, source)
}

fn train(source: &SegmentationSource, size: usize) -> SegmentationDataset {
    let transform = SegmentationTrainTransform {
        long_side: 80,
        short_side: 40,
        ..SegmentationTrainTransform::new(size)
    };
    SegmentationDataset::open_train(source, &of_count(4), &transform).unwrap()
}

fn told<T: std::fmt::Debug>(result: Result<T, DataError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn samples_have_a_label_for_each_pixel() {
    let (_dir, source) = small();
    let set = train(&source, 24);
    assert_eq!((set.len(), set.class_names().len()), (2, 4));
    for seed in 0..20 {
        for index in 0..2 {
            let sample = set.sample(index, seed).unwrap();
            let image = &sample.image;
            let labels = sample.labels.unwrap();
            assert_eq!(labels.len(), image.width * image.height);
            assert!(image.width <= 24 && image.height <= 24);
            assert!(labels.iter().all(|&label| label < 4));
            assert_eq!(sample.original_size, [(30, 40), (40, 30)][index]);
            assert_eq!(sample.name, ["a.png", "b.png"][index]);
        }
    }
    // Sides of 20 to 80 pixels: a crop of 100 holds all of any of them.
    let large = train(&source, 100);
    let sizes: HashSet<(usize, usize)> = (0..20)
        .map(|seed| {
            let image = large.sample(0, seed).unwrap().image;
            (image.width, image.height)
        })
        .collect();
    assert!(sizes.len() > 10 && sizes.iter().all(|&(w, h)| w < 107 && h <= 80));
}

#[test]
fn evaluation_keeps_the_shape_and_has_no_labels() {
    let (_dir, source) = small();
    let transform = SegmentationEvalTransform {
        long_side: 200,
        short_side: 60,
        ..SegmentationEvalTransform::default()
    };
    let set = SegmentationDataset::open_eval(&source, &of_count(4), &transform).unwrap();
    let sample = set.sample(1, 9).unwrap();
    assert_eq!((sample.image.width, sample.image.height), (60, 80));
    assert_eq!(sample.labels, None);
    assert_eq!(sample.original_size, (40, 30));
    assert_eq!(set.label_path(1), source.labels.join("b.png"));
}

#[test]
fn zero_is_ignored_where_labels_count_from_one() {
    let (_dir, source) = small();
    let classes = SegmentationLabels {
        reduce_zero_label: true,
        ..of_count(3)
    };
    let transform = SegmentationTrainTransform::new(512);
    let set = SegmentationDataset::open_train(&source, &classes, &transform).unwrap();
    let read = set.labels(0, (40, 30)).unwrap();
    let expected: Vec<u8> = (0..1200).map(|i| [IGNORED, 0, 1, 2][i / 100 % 4]).collect();
    assert_eq!(read, expected);
}

#[test]
fn threads_and_order_change_no_sample() {
    let (_dir, source) = small();
    let set = Arc::new(train(&source, 24));
    let epoch = |threads: usize| -> Vec<SegmentationSample> {
        let config = LoaderConfig {
            batch_size: 2,
            shuffle: true,
            threads,
            seed: 7,
            ..LoaderConfig::default()
        };
        let loader = Loader::new(set.clone(), config).unwrap();
        let all = (0..10).flat_map(|epoch| loader.epoch(epoch, 0).flat_map(Result::unwrap));
        all.collect::<Vec<_>>()
    };
    let wanted = epoch(1);
    assert_eq!(epoch(3), wanted);
    assert_ne!(wanted[0].image, wanted[2].image);
    // Asked for alone and in another order, a sample is the same.
    let again: Vec<_> = (0..6)
        .rev()
        .map(|seed| set.sample(1, seed).unwrap())
        .collect();
    for (seed, sample) in again.into_iter().rev().enumerate() {
        assert_eq!(sample, set.sample(1, seed as u64).unwrap());
    }
}

#[test]
fn pictures_of_one_class_and_of_none_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let source = source(dir.path());
    for (name, label) in [("one", 2), ("none", IGNORED)] {
        picture(&source.images.join(format!("{name}.png")), 90, 70);
        labels(&source.labels.join(format!("{name}.png")), 90, 70, |_| {
            label
        });
    }
    let set = train(&source, 16);
    for (index, label) in [(0, IGNORED), (1, 2)] {
        let sample = set.sample(index, 3).unwrap();
        assert_eq!(sample.labels.unwrap(), vec![label; 16 * 16]);
    }
}

#[test]
fn ade20ks_and_cityscapes_layouts_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    picture(&root.join("images/training/ADE_train_1.png"), 20, 20);
    labels(
        &root.join("annotations/training/ADE_train_1.png"),
        20,
        20,
        |_| 0,
    );
    let city = "leftImg8bit/train/ulm/ulm_0_19_leftImg8bit.png";
    picture(&root.join(city), 20, 20);
    for kind in ["labelTrainIds", "labelIds", "instanceIds"] {
        let path = format!("gtFine/train/ulm/ulm_0_19_gtFine_{kind}.png");
        labels(&root.join(path), 20, 20, |_| 1);
    }
    for (images, maps, label, notes) in [
        ("images/training", "annotations/training", 0, 0),
        ("leftImg8bit/train", "gtFine/train", 1, 1),
    ] {
        let source = SegmentationSource {
            images: images.into(),
            labels: maps.into(),
        };
        let set = train(&source.under(root), 16);
        assert_eq!((set.len(), set.notes().len()), (1, notes));
        assert_eq!(set.labels(0, (20, 20)).unwrap(), vec![label; 400]);
    }
}

#[test]
fn what_does_not_fit_is_told_with_its_files() {
    let (_dir, source) = small();
    labels(&source.labels.join("a.png"), 40, 31, |_| 0);
    let set = train(&source, 24);
    let size = told(set.sample(0, 1));
    assert!(
        size.contains("labels/a.png: the label map has 40x31 pixels"),
        "{size}"
    );
    assert!(size.contains("images/a.png has 40x30"), "{size}");
    let eval = SegmentationEvalTransform::default();
    let set = SegmentationDataset::open_eval(&source, &of_count(4), &eval).unwrap();
    assert_eq!(told(set.sample(0, 1)), size);

    labels(&source.labels.join("a.png"), 40, 30, |i| {
        4 + 5 * u8::from(i < 85)
    });
    let set = train(&source, 24);
    let unknown = told(set.sample(0, 1));
    let expected = "the label at column 0, row 0 is 9, which is none of the 4 classes (0 to 3)";
    assert!(unknown.contains(expected), "{unknown}");
    RgbImage::new(40, 30)
        .write_png(&source.labels.join("a.png"))
        .unwrap();
    assert!(told(set.sample(0, 1)).contains("a colour picture, not a label map"));

    picture(&source.images.join("c.png"), 9, 9);
    let transform = SegmentationTrainTransform::new(24);
    let missing = told(SegmentationDataset::open_train(
        &source,
        &of_count(4),
        &transform,
    ));
    assert!(
        missing.contains("1 of 3 pictures have no label map"),
        "{missing}"
    );
    assert!(missing.contains("the first is c.png"), "{missing}");
    labels(&source.labels.join("c.png"), 9, 9, |_| 0);
    labels(&source.labels.join("d.png"), 9, 9, |_| 0);
    let extra = told(SegmentationDataset::open_eval(&source, &of_count(4), &eval));
    assert!(
        extra.contains("1 of 4 label maps have no picture"),
        "{extra}"
    );
}

#[test]
fn a_recipe_opens_both_parts() {
    let dir = tempfile::tempdir().unwrap();
    let config = SynthSegmentationConfig {
        pictures: 5,
        val_pictures: 3,
        size: 64,
        classes: 6,
        ..SynthSegmentationConfig::default()
    };
    let drawn = synth_segmentation(dir.path(), &config).unwrap();
    assert!(drawn.unlabelled > 0.0 && drawn.unlabelled < 0.1);
    let recipe = json!({
        "root": dir.path(),
        "train": {"images": "images/training", "labels": "annotations/training"},
        "val": {"images": "images/validation", "labels": "annotations/validation"},
        "classes": {"names": "classes.txt", "reduce_zero_label": true},
        "train_transform": {"size": 32, "long_side": 256, "short_side": 64},
        "eval_transform": {"long_side": 256, "short_side": 48},
        "threads": 2,
    });
    let data: SegmentationData = serde_json::from_value(recipe.clone()).unwrap();
    data.check().unwrap();
    assert_eq!((data.eval_batch_size, data.prefetch), (1, 4));
    let set = data.open_train(2, 1, Shard::WHOLE).unwrap();
    assert_eq!(set.loader.batches(), 2);
    assert_eq!(set.dataset.class_names(), drawn.classes);
    assert_eq!(set.dataset.palette().len(), 6);
    let mut seen = HashSet::new();
    for batch in set.loader.epoch(0, 0) {
        for sample in batch.unwrap() {
            seen.extend(sample.labels.unwrap());
        }
    }
    assert!(seen.iter().all(|&label| label < 6 || label == IGNORED));
    assert!(seen.len() > 4, "{seen:?}");
    let val = data.open_val(Shard::WHOLE).unwrap();
    assert_eq!(
        val.loader
            .epoch(0, 0)
            .map(|b| b.unwrap().len())
            .sum::<usize>(),
        3
    );
    assert!(data.label_spec(6).unwrap().reduce_zero_label);

    let refused = |key: &str, value: Value| {
        let mut recipe = recipe.clone();
        recipe[key] = value;
        let data: SegmentationData = serde_json::from_value(recipe).unwrap();
        told(data.check())
    };
    assert!(refused("eval_batch_size", json!(0)).contains("data.eval_batch_size"));
    assert!(refused("prefetch", json!(0)).contains("data.prefetch"));
    let wrong = refused("train_transform", json!({"size": 4}));
    assert!(wrong.starts_with("data.train_transform.size: 4"));
}

#[test]
fn plain_pictures_are_square_and_have_no_rim() {
    let dir = tempfile::tempdir().unwrap();
    let config = SynthSegmentationConfig {
        pictures: 20,
        val_pictures: 1,
        size: 64,
        plain: true,
        ..SynthSegmentationConfig::default()
    };
    let drawn = synth_segmentation(dir.path(), &config).unwrap();
    assert!(drawn.unlabelled.abs() < f64::EPSILON);
    for number in 0..20 {
        let picture = drawn.train.images.join(format!("{number:06}.jpg"));
        let picture = decode_file(&picture, Orientation::Ignore).unwrap();
        assert_eq!((picture.width, picture.height), (64, 64));
    }
}

#[test]
fn made_up_sets_are_reproducible() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let config = SynthSegmentationConfig {
        pictures: 4,
        val_pictures: 1,
        size: 48,
        seed: 3,
        ..SynthSegmentationConfig::default()
    };
    for dir in &dirs {
        synth_segmentation(dir.path(), &config).unwrap();
        let again = told(synth_segmentation(dir.path(), &config));
        assert!(again.contains("images: it exists already"), "{again}");
    }
    for file in [
        "images/training/000003.jpg",
        "annotations/validation/000000.png",
    ] {
        let [a, b] = dirs
            .each_ref()
            .map(|dir| std::fs::read(dir.path().join(file)).unwrap());
        assert_eq!(a, b);
    }
    let config = SynthSegmentationConfig {
        classes: 13,
        ..config
    };
    assert!(told(synth_segmentation(dirs[0].path(), &config)).contains("synth.classes: 13"));
}

#[test]
fn real_ade20k_pictures_become_samples() {
    let Some(root) = std::env::var_os("DEEPMIM_REAL_DATA") else {
        eprintln!("skipped: DEEPMIM_REAL_DATA is not set");
        return;
    };
    let root = Path::new(&root).join("ade20k-sample");
    let source = SegmentationSource {
        images: "images/validation".into(),
        labels: "annotations/validation".into(),
    }
    .under(&root);
    let classes = SegmentationLabels {
        names: Some("objectInfo150.csv".into()),
        reduce_zero_label: true,
        ..SegmentationLabels::default()
    }
    .under(&root);
    let transform = SegmentationTrainTransform::new(512);
    let set = SegmentationDataset::open_train(&source, &classes, &transform).unwrap();
    assert_eq!((set.len(), set.class_names().len()), (3, 150));
    assert_eq!(set.class_names()[0], "wall");
    assert_eq!(set.palette()[0], [120, 120, 120]);
    for index in 0..3 {
        let sample = set.sample(index, 5).unwrap();
        let labels = sample.labels.unwrap();
        assert_eq!(labels.len(), sample.image.width * sample.image.height);
        assert!(labels.iter().any(|&label| label != IGNORED));
    }
    let report = checker::check(SegmentationCheckOptions {
        val: Some(source),
        labels: classes,
        ..SegmentationCheckOptions::default()
    });
    assert!(report.is_ok(), "{report}");
}
