//! Detection data sets on disk: reading, training samples, made-up sets, and the checker's findings.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use deepmim_data::{
    CheckReport, Dataset, DetectionCheckOptions, DetectionData, DetectionDataset,
    DetectionEvalTransform, DetectionSample, DetectionSource, DetectionTrainTransform,
    InstanceMask, Loader, LoaderConfig, RgbImage, Severity, SynthDetectionConfig, check_detection,
    detection_input, synth_detection, write_jpeg,
};
use eval::Rle;
use eval::Strictness;
use eval::coco::{AnnotationFile, Geometry, GroundTruth, Id, Outline};
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
        seed: 4,
    };
    let summary = synth_detection(root, &config).unwrap();
    assert_eq!((summary.pictures, summary.classes.len()), (60, 5));
    assert!(summary.objects > 100 && summary.crowds > 0, "{summary:?}");
    config
}

fn part(root: &Path, split: &str) -> DetectionSource {
    DetectionSource {
        images: split.into(),
        annotations: format!("annotations/{split}.json").into(),
    }
    .under(root)
}

fn check(train: Option<DetectionSource>, val: Option<DetectionSource>) -> CheckReport {
    let options = DetectionCheckOptions {
        train,
        val,
        expected_classes: None,
    };
    check_detection(&options, &|_, _| {}).unwrap()
}

#[test]
fn made_up_sets_are_reproducible_faultless_and_of_all_kinds() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let config = synth(dirs[0].path());
    let one_thread = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    one_thread.install(|| synth(dirs[1].path()));
    for file in [
        "annotations/train.json",
        "val/000003.png",
        "train/000047.png",
    ] {
        let [a, b] = dirs
            .each_ref()
            .map(|dir| std::fs::read(dir.path().join(file)).unwrap());
        assert_eq!(a, b, "{file}");
    }
    let root = dirs[0].path();
    assert!(
        synth_detection(root, &config)
            .unwrap_err()
            .to_string()
            .contains("exists already")
    );

    let report = check(Some(part(root, "train")), Some(part(root, "val")));
    assert!(report.findings.is_empty(), "{report}");
    let objects = report.splits[0].objects.unwrap();
    assert!(
        objects.polygons > objects.masks && objects.masks > 0,
        "{objects:?}"
    );
    assert!(
        objects.crowds > 0 && objects.empty_pictures > 0,
        "{objects:?}"
    );
    assert!(objects.small > 0 && objects.medium > 0, "{objects:?}");

    // What scoring reads of the file: areas and boxes are those of the masks, pixel by pixel.
    let path = part(root, "train").annotations;
    let geometry = Geometry {
        boxes: true,
        masks: true,
    };
    let (truth, _) = GroundTruth::read(&path, geometry, Strictness::Strict).unwrap();
    assert!(truth.notes().is_empty());
    let mut taken: Vec<Option<Vec<u8>>> = vec![None; truth.images().len()];
    let (file, _) = AnnotationFile::read(&path, Strictness::Strict).unwrap();
    for (listed, object) in file.objects.iter().zip(truth.annotations()) {
        let mask = object.mask.as_ref().unwrap();
        assert_eq!(
            (mask.area() as f64, mask.bounding_box()),
            (object.area, object.bbox)
        );
        let (height, width) = (mask.height(), mask.width());
        let pixels = match listed.outline.as_ref().unwrap() {
            Outline::Polygons(all) => {
                Rle::from_polygons(height, width, all.iter().map(|p| &**p)).unwrap()
            }
            Outline::Runs(mask) => mask.clone(),
        }
        .decode_row_major();
        let taken = taken[object.image].get_or_insert_with(|| vec![0; pixels.len()]);
        for (taken, pixel) in taken.iter_mut().zip(pixels) {
            assert!(*taken + pixel <= 1, "a pixel shows one object");
            *taken += pixel;
        }
    }
    let ids: Vec<Id> = truth.categories().iter().map(|c| c.id.clone()).collect();
    assert_eq!(ids, [1, 2, 4, 5, 7].map(Id::Integer));
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
    let train = data.open_train(8, 1).unwrap();
    let batches = train.loader.epoch(0, 0).map(|batch| batch.unwrap().len());
    assert_eq!(
        batches.collect::<Vec<_>>(),
        vec![8; train.dataset.len() / 8]
    );
    let val = data.open_val().unwrap();
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

#[test]
fn the_checker_finds_every_planted_fault() {
    let runs = |h: u32, w: u32, counts: &[u32]| json!({"size": [h, w], "counts": counts});
    let object = |id: i64, more: Value| {
        let mut object = square(1, 3, [5.0, 5.0, 10.0, 10.0]);
        object["id"] = json!(id);
        object["area"] = json!(100);
        for (key, value) in more.as_object().unwrap() {
            object[key] = value.clone();
        }
        object
    };
    let annotations = [
        object(1, json!({})),
        object(1, json!({})),
        object(2, json!({"image_id": 50})),
        object(3, json!({"category_id": 50})),
        object(4, json!({"bbox": null})),
        object(5, json!({"bbox": [15, 15, -10, -10]})),
        object(6, json!({"bbox": [100, 100, 10, 10], "segmentation": []})),
        object(7, json!({"segmentation": runs(40, 30, &[100, 100, 1000])})),
        object(8, json!({"bbox": [5, 5, 0, 10], "segmentation": null})),
        object(9, json!({"segmentation": runs(30, 40, &[1200])})),
        object(10, json!({"segmentation": [[1, 2, 3, 4]]})),
        object(11, json!({"bbox": [30, 20, 30, 30], "segmentation": null})),
        object(12, json!({"bbox": [12, 12, 3, 3]})),
        object(13, json!({"area": 400})),
        object(14, json!({"area": null})),
        object(15, json!({"iscrowd": 1})),
        object(16, json!({"id": null})),
        json!({"id": 17, "image_id": 1, "category_id": 3}),
    ];
    let mut wrong = image(2, "wrong.png");
    wrong["height"] = json!(31);
    let images = [
        image(1, "a.png"),
        wrong,
        image(2, "same_id.png"),
        image(4, "missing.png"),
        image(5, "a.png"),
    ];
    let (dir, source) = data_set(&images, &annotations, &categories());
    std::fs::remove_file(dir.path().join("missing.png")).unwrap();
    let (_val_dir, val) = data_set(
        &[image(1, "a.png")],
        &[object(1, json!({}))],
        &json!([{"id": 3, "name": "three"}, {"id": 90, "name": "ninety"}]),
    );
    let copied = source.images.join("a.png");
    std::fs::copy(&copied, val.images.join("a.png")).unwrap();
    let report = check(Some(source), Some(val));
    let said = |severity: Severity, part: &str| {
        assert!(
            report
                .findings
                .iter()
                .any(|f| f.severity == severity && f.message.contains(part)),
            "{part} in {report}"
        );
    };
    use Severity::{Error, Note, Warning};
    said(
        Error,
        "1 annotations share their id with an earlier one, first annotation 1 (id 1)",
    );
    said(
        Error,
        "1 annotations belong to pictures that the file does not list",
    );
    said(
        Error,
        "1 annotations have a category that the file does not list",
    );
    said(Error, "1 annotations have no bbox");
    said(Error, "1 annotations have a bbox of negative width");
    said(Error, "1 annotations have a bbox outside their picture");
    said(Error, "1 annotations have a mask of another size");
    said(Error, "1 annotations cannot be used");
    said(Error, "the categories differ");
    said(Error, "picture id 2 is listed again for same_id.png");
    said(Error, "missing.png: cannot be read");
    said(Error, "wrong.png: the picture has 40x30 pixels");
    said(Warning, "a.png is listed again as picture 5");
    said(Warning, "1 annotations have a bbox without area");
    said(Warning, "1 annotations have an empty mask");
    said(
        Warning,
        "1 annotations have polygons of fewer than three points",
    );
    said(
        Warning,
        "1 annotations have a box or an outline that leaves the picture",
    );
    said(Warning, "have a bbox that does not enclose their outline");
    said(Warning, "have an area that is not that of their outline");
    said(Warning, "1 annotations have no area");
    said(Warning, "1 annotations are crowds with polygons");
    said(Warning, "1 annotations have no id");
    said(Warning, "is the same file as");
    said(Note, "objects have no outline");
    said(Note, "classes have no object");
    assert!(!report.is_ok());
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["splits"][0]["objects"]["crowds"], 1);
    let text = report.to_string();
    assert!(
        text.contains("train: ") && text.contains(" objects ("),
        "{text}"
    );
}

#[test]
fn nothing_to_check_is_an_error_and_an_unreadable_file_a_finding() {
    let none = check_detection(&DetectionCheckOptions::default(), &|_, _| {});
    assert!(
        none.unwrap_err()
            .to_string()
            .contains("give a training or a validation part")
    );
    let (_dir, source) = data_set(&[], &[], &categories());
    std::fs::write(&source.annotations, b"[1, 2]").unwrap();
    let report = check(Some(source), None);
    assert_eq!(report.count(Severity::Error), 1);
    assert!(
        report.findings[0]
            .message
            .contains("this is a list, as results are")
    );
}

#[test]
fn coco_itself_has_no_errors() {
    let Some(folder) = std::env::var_os("DEEPMIM_REAL_DATA") else {
        eprintln!("skipped: DEEPMIM_REAL_DATA is not set");
        return;
    };
    let root = Path::new(&folder).join("coco-mini");
    let source = |split: &str| DetectionSource {
        images: root.join(split),
        annotations: root.join(format!("annotations/instances_{split}.json")),
    };
    let report = check(Some(source("train2017")), Some(source("val2017")));
    assert!(report.is_ok(), "{report}");
    eprintln!("{report}");
    let transform = DetectionTrainTransform::new(256);
    let set = DetectionDataset::open_train(&source("train2017"), &transform, true).unwrap();
    assert_eq!(set.categories().len(), 80);
    let objects: usize = (0..set.len().min(40))
        .map(|index| set.sample(index, index as u64).unwrap().instances.len())
        .sum();
    assert!(objects > 40, "{objects}");
}
