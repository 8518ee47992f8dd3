//! Detection data sets on disk: reading, training samples, made-up sets, and what the checker finds.
#![allow(clippy::unwrap_used)]

mod checker;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use deepmim_data::{
    Dataset, DetectionData, DetectionDataset, DetectionEvalTransform, DetectionSample,
    DetectionSource, DetectionTrainTransform, InstanceMask, Loader, LoaderConfig, RgbImage, Shard,
    SynthDetectionConfig, detection_input, synth_detection, write_jpeg,
};
use eval::Rle;
use eval::coco::Id;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A data set of pictures of 40x30 pixels and the given annotation lists.
fn data_set(
    images: &[Value],
    annotations: &[Value],
    categories: &Value,
) -> (TempDir, DetectionSource) {
    let dir = tempfile::tempdir().unwrap();
    for image in images {
        let path = dir.path().join(image["file_name"].as_str().unwrap());
        let mut picture = RgbImage::new(40, 30);
        for (i, v) in picture.pixels.iter_mut().enumerate() {
            *v = (i * 31 % 251) as u8 ^ image["id"].to_string().as_bytes()[0];
        }
        picture.write_png(&path).unwrap();
    }
    let file = json!({"images": images, "annotations": annotations, "categories": categories});
    let source = DetectionSource {
        images: dir.path().to_owned(),
        annotations: dir.path().join("annotations.json"),
    };
    std::fs::write(&source.annotations, file.to_string()).unwrap();
    (dir, source)
}

fn image(id: i64, name: &str) -> Value {
    json!({"id": id, "file_name": name, "width": 40, "height": 30})
}

/// Neither mirrored, resized nor cropped.
fn plain() -> DetectionTrainTransform {
    DetectionTrainTransform {
        size: 40,
        scale: [1.0, 1.0],
        flip: 0.0,
        crop: true,
    }
}

fn open(source: &DetectionSource) -> DetectionDataset {
    DetectionDataset::open_train(source, &plain(), true).unwrap()
}

fn refusal(source: &DetectionSource) -> String {
    let error = DetectionDataset::open_train(source, &plain(), true).unwrap_err();
    error.to_string()
}

fn categories() -> Value {
    json!([{"id": 90, "name": "ninety"}, {"id": 3, "name": "three"}, {"id": 17.0}])
}

fn square(image: i64, category: i64, [x, y, w, h]: [f64; 4]) -> Value {
    json!({
        "image_id": image, "category_id": category, "bbox": [x, y, w, h],
        "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]], "extra": {"a": [1]},
    })
}

#[test]
fn classes_follow_the_ids_and_crowds_are_left_out() {
    let runs = json!({"size": [30, 40], "counts": [30 * 10 + 5, 10, 20, 10, 855]});
    let annotations = [
        square(1, 90, [4.0, 5.0, 10.0, 6.0]),
        json!({"image_id": 1.0, "category_id": 17, "bbox": [0, 0, 9, 9], "iscrowd": 1, "segmentation": runs}),
        json!({"id": 9, "image_id": 1, "category_id": 3, "iscrowd": 0, "bbox": [9, 4, 3, 12], "segmentation": runs}),
        json!({"id": 10, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "segmentation": [[1, 2, 3, 4]]}),
        json!({"id": 11, "image_id": 1, "category_id": 3, "bbox": [30, 20, 50, 40]}),
        json!({"id": 12, "image_id": 1, "category_id": 3, "bbox": [3, 3, 0, 5]}),
        json!({"id": 13, "image_id": 77, "category_id": 3, "bbox": [3, 3, 1, 5]}),
    ];
    let (_dir, source) = data_set(&[image(1, "a.png")], &annotations, &categories());
    let set = open(&source);
    let names: Vec<&str> = set.categories().iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["three", "17", "ninety"]);
    let sample = set.sample(0, 0).unwrap();
    let seen: Vec<(usize, [f32; 4])> = sample
        .instances
        .iter()
        .map(|i| (i.class, i.bounds))
        .collect();
    // The degenerate polygon and the box without area are gone; the last box ends with the square.
    assert_eq!(
        seen,
        [
            (2, [4.0, 5.0, 14.0, 11.0]),
            (0, [10.0, 5.0, 12.0, 15.0]),
            (0, [30.0, 20.0, 40.0, 30.0]),
        ]
    );
    assert!(matches!(
        sample.instances[0].mask,
        Some(InstanceMask::Polygons(_))
    ));
    let Some(InstanceMask::Bitmap {
        width: 40,
        height: 30,
        pixels,
    }) = &sample.instances[1].mask
    else {
        panic!("{:?}", sample.instances[1]);
    };
    assert_eq!(pixels.iter().map(|&v| usize::from(v)).sum::<usize>(), 20);
    assert_eq!(sample.instances[2].mask, None);
    assert_eq!(
        sample.image,
        RgbImage::read(&source.images.join("a.png")).unwrap()
    );
    assert_eq!(
        (sample.original_size, sample.image_id),
        ((30, 40), Id::Integer(1))
    );
    let notes = set.notes().join("\n");
    assert!(
        notes.contains("1 annotations belong to pictures"),
        "{notes}"
    );
    assert!(notes.contains("1 annotations have no polygon"), "{notes}");
}

#[test]
fn pictures_without_objects_are_skipped_in_training_only() {
    let mut crowd = square(2, 3, [1.0, 1.0, 5.0, 5.0]);
    crowd["iscrowd"] = json!(1);
    let annotations = [crowd, square(3, 3, [1.0, 1.0, 5.0, 5.0])];
    let images = [
        image(9, "none.png"),
        image(3, "object.png"),
        image(2, "crowd.png"),
    ];
    let (_dir, source) = data_set(&images, &annotations, &categories());
    let names = |set: &DetectionDataset| -> Vec<String> {
        set.pictures().iter().map(|p| p.name.clone()).collect()
    };
    let all = ["none.png", "object.png", "crowd.png"];
    assert_eq!(names(&open(&source)), ["object.png"]);
    let kept = DetectionDataset::open_train(&source, &plain(), false).unwrap();
    assert_eq!(names(&kept), all);
    let counts: Vec<usize> = (0..3)
        .map(|i| kept.sample(i, 0).unwrap().instances.len())
        .collect();
    assert_eq!(counts, [0, 1, 0]);
    assert_eq!(open(&source).sample(0, 0).unwrap().instances.len(), 1);
    let eval = DetectionDataset::open_eval(&source, &DetectionEvalTransform::new(64)).unwrap();
    assert_eq!(names(&eval), all);
    assert!(eval.sample(1, 0).unwrap().instances.is_empty());
    let (_dir, empty) = data_set(&images, &annotations[..1], &categories());
    assert!(refusal(&empty).contains("no picture in it has an object"));
}

#[test]
fn every_mistake_is_one_sentence_with_its_place() {
    let object = || square(1, 3, [1.0, 1.0, 5.0, 5.0]);
    let with =
        |images: &[Value], annotations: &[Value]| data_set(images, annotations, &categories());
    let first = [image(1, "a.png")];

    let (_dir, source) = with(&first, &[square(1, 4, [1.0; 4])]);
    assert!(refusal(&source).contains("annotation 0 has category_id 4, which"));
    let (_dir, source) = with(&[image(1, "a.png"), image(1, "b.png")], &[object()]);
    assert!(refusal(&source).contains("a.png and b.png have the same id, 1"));
    let runs = json!({"size": [40, 30], "counts": [1200]});
    let turned = json!({"id": 5, "image_id": 1, "category_id": 3, "segmentation": runs});
    let (_dir, source) = with(&first, &[turned]);
    assert!(refusal(&source).contains("annotation 0 (id 5) has a mask of 30x40 pixels"));
    let (_dir, source) = with(&first, &[json!({"image_id": 1, "category_id": 3})]);
    assert!(refusal(&source).contains("neither bbox nor segmentation"));
    let (_dir, source) = data_set(&first, &[object()], &json!([{"id": 3}, {"id": 3}]));
    assert!(refusal(&source).contains("category id 3 is listed twice"));
    let missing = DetectionSource {
        annotations: PathBuf::from("nowhere/annotations.json"),
        ..source
    };
    assert!(refusal(&missing).contains("nowhere/annotations.json: cannot be read"));

    // These show when the picture is read.
    let problem = |set: DetectionDataset| set.sample(0, 0).unwrap_err().to_string();
    let mut wrong = image(1, "a.png");
    wrong["width"] = json!(41);
    let (_dir, source) = with(&[wrong], &[object()]);
    let message = problem(open(&source));
    assert!(
        message.contains("a.png: the picture has 40x30 pixels, but"),
        "{message}"
    );
    assert!(message.contains("says 41x30"), "{message}");
    let (_dir, source) = with(&first, &[object()]);
    std::fs::write(source.images.join("a.png"), b"no picture").unwrap();
    assert!(problem(open(&source)).contains("a.png: not a readable picture"));
    std::fs::remove_file(source.images.join("a.png")).unwrap();
    assert!(problem(open(&source)).contains("a.png: cannot be read"));
    let unsized_ = json!({"id": 1, "file_name": "a.png"});
    let turned = json!({"image_id": 1, "category_id": 3, "segmentation": {"size": [40, 30], "counts": [1200]}});
    let (_dir, source) = with(&[unsized_], &[turned]);
    assert!(problem(open(&source)).contains("one of its masks has 30x40"));
}

/// A JPEG that says "turn me" is turned, as its annotations take for granted.
#[test]
fn pictures_are_turned_upright() {
    let mut listed = image(1, "a.jpg");
    (listed["width"], listed["height"]) = (json!(30), json!(40));
    let (dir, source) = data_set(&[], &[square(1, 3, [1.0, 1.0, 20.0, 30.0])], &categories());
    let file = json!({"images": [listed], "categories": categories(), "annotations": [square(1, 3, [1.0, 1.0, 20.0, 30.0])]});
    std::fs::write(&source.annotations, file.to_string()).unwrap();
    let path = dir.path().join("a.jpg");
    write_jpeg(&RgbImage::filled(40, 30, [9; 3]), &path, 90).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let exif = b"\xFF\xE1\x00\x22Exif\0\0II\x2A\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    bytes.splice(2..2, exif.iter().copied());
    std::fs::write(&path, bytes).unwrap();
    let sample = open(&source).sample(0, 0).unwrap();
    assert_eq!((sample.image.width, sample.image.height), (30, 40));
    assert_eq!(sample.original_size, (40, 30));
}

fn synth(root: &Path) -> SynthDetectionConfig {
    let config = SynthDetectionConfig {
        pictures: 48,
        val_pictures: 12,
        size: 96,
        classes: 5,
        max_objects: 6,
        plain: false,
        seed: 4,
    };
    let summary = synth_detection(root, &config).unwrap();
    assert_eq!((summary.pictures, summary.classes.len()), (60, 5));
    assert!(summary.objects > 100 && summary.crowds > 0, "{summary:?}");
    config
}

#[test]
fn plain_pictures_are_square_and_have_objects_but_no_crowds() {
    let dir = tempfile::tempdir().unwrap();
    let config = SynthDetectionConfig {
        pictures: 60,
        val_pictures: 1,
        size: 64,
        max_objects: 3,
        plain: true,
        ..SynthDetectionConfig::default()
    };
    let summary = synth_detection(dir.path(), &config).unwrap();
    assert_eq!(summary.crowds, 0);
    let transform = DetectionTrainTransform {
        scale: [1.0, 1.0],
        ..DetectionTrainTransform::new(64)
    };
    let set = DetectionDataset::open_train(&part(dir.path(), "train"), &transform, true).unwrap();
    // Pictures without objects would have been left out.
    assert_eq!(set.len(), 60);
    for sample in epoch(&Arc::new(set), 1, 1) {
        assert_eq!((sample.image.width, sample.image.height), (64, 64));
        assert!((1..=3).contains(&sample.instances.len()));
    }
}

fn part(root: &Path, split: &str) -> DetectionSource {
    DetectionSource {
        images: split.into(),
        annotations: format!("annotations/{split}.json").into(),
    }
    .under(root)
}

fn epoch(set: &Arc<DetectionDataset>, threads: usize, prefetch: usize) -> Vec<DetectionSample> {
    let config = LoaderConfig {
        batch_size: 4,
        shuffle: true,
        threads,
        prefetch,
        seed: 3,
        ..LoaderConfig::default()
    };
    let loader = Loader::new(set.clone(), config).unwrap();
    loader
        .epoch(2, 0)
        .flat_map(|batch| batch.unwrap())
        .collect()
}

#[test]
fn order_and_augmentation_do_not_depend_on_threads() {
    let dir = tempfile::tempdir().unwrap();
    synth(dir.path());
    let transform = DetectionTrainTransform::new(64);
    let set = DetectionDataset::open_train(&part(dir.path(), "train"), &transform, true).unwrap();
    let set = Arc::new(set);
    let first = epoch(&set, 1, 1);
    assert_eq!(first.len(), set.len());
    assert_eq!(first, epoch(&set, 3, 5));
    for sample in &first {
        let (width, height) = (sample.image.width, sample.image.height);
        assert!(width <= 64 && height <= 64);
        for instance in &sample.instances {
            let [x0, y0, x1, y1] = instance.bounds;
            assert!(0.0 <= x0 && x0 < x1 && x1 <= 64.0, "{instance:?}");
            assert!(0.0 <= y0 && y0 < y1 && y1 <= 64.0, "{instance:?}");
            assert!(instance.class < 5);
            if let Some(InstanceMask::Bitmap {
                width: w,
                height: h,
                ..
            }) = &instance.mask
            {
                assert_eq!((*w, *h), (width, height));
            }
        }
    }
    let sizes: std::collections::HashSet<usize> = first.iter().map(|s| s.image.width).collect();
    assert!(sizes.len() > 8, "scales vary");
    assert_ne!(set.sample(0, 1).unwrap(), set.sample(0, 2).unwrap());
}

/// Polygons and bitmaps of the same objects go the same way: flip, resize and crop agree to a pixel.
#[test]
fn polygons_and_bitmaps_stay_together() {
    let shape = [3.0, 4.0, 33.0, 6.0, 25.0, 27.0, 12.0, 14.0];
    let mask = Rle::from_polygon(30, 40, &shape).unwrap();
    let annotations = [
        json!({"image_id": 1, "category_id": 3, "segmentation": [shape]}),
        json!({"image_id": 1, "category_id": 3, "segmentation": {"size": [30, 40], "counts": mask.to_compressed()}}),
    ];
    let (_dir, source) = data_set(&[image(1, "a.png")], &annotations, &categories());
    let transform = DetectionTrainTransform {
        scale: [0.8, 3.0],
        ..DetectionTrainTransform::new(48)
    };
    let set = DetectionDataset::open_train(&source, &transform, true).unwrap();
    let mut compared = 0;
    for seed in 0..60 {
        let sample = set.sample(0, seed).unwrap();
        let [polygons, bitmap] = sample.instances.as_slice() else {
            continue;
        };
        let (Some(InstanceMask::Polygons(polygons)), Some(InstanceMask::Bitmap { pixels, .. })) =
            (&polygons.mask, &bitmap.mask)
        else {
            panic!("{:?}", sample.instances);
        };
        let (w, h) = (sample.image.width as u32, sample.image.height as u32);
        let drawn = Rle::from_polygons(h, w, polygons.iter().map(Vec::as_slice)).unwrap();
        let drawn = drawn.decode_row_major();
        let both = drawn
            .iter()
            .zip(pixels)
            .filter(|(a, b)| **a + **b == 2)
            .count();
        let either = drawn
            .iter()
            .zip(pixels)
            .filter(|(a, b)| **a + **b > 0)
            .count();
        assert!(
            both as f64 > 0.85 * either as f64,
            "seed {seed}: {both} of {either}"
        );
        compared += 1;
    }
    assert!(compared > 40);
}

#[test]
fn a_recipe_opens_both_parts() {
    let dir = tempfile::tempdir().unwrap();
    synth(dir.path());
    let text = json!({
        "root": dir.path(),
        "train": {"images": "train", "annotations": "annotations/train.json"},
        "val": {"images": "val", "annotations": "annotations/val.json"},
        "train_transform": {"size": 64},
        "eval_transform": {"short_side": 64, "long_side": 64},
        "threads": 1,
    });
    let data: DetectionData = serde_json::from_value(text.clone()).unwrap();
    data.check().unwrap();
    assert!(data.skip_pictures_without_objects);
    let train = data.open_train(8, 1, Shard::WHOLE).unwrap();
    let batches = train.loader.epoch(0, 0).map(|batch| batch.unwrap().len());
    assert_eq!(
        batches.collect::<Vec<_>>(),
        vec![8; train.dataset.len() / 8]
    );
    let val = data.open_val(Shard::WHOLE).unwrap();
    let names: Vec<String> = val
        .loader
        .epoch(0, 0)
        .flat_map(|batch| batch.unwrap())
        .map(|s| s.name)
        .collect();
    assert_eq!(names.len(), 12);
    assert!(names.is_sorted());
    let picture = val.dataset.picture(0).unwrap();
    let input = detection_input(&picture, &data.eval_transform);
    assert_eq!(input, val.dataset.sample(0, 5).unwrap().image);
    assert_eq!(input.width.max(input.height), 64);
    let mut misspelt = text;
    misspelt["anotations"] = json!(1);
    assert!(serde_json::from_value::<DetectionData>(misspelt).is_err());
}
