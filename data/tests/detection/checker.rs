//! Made-up sets are faultless; planted faults are found.

use std::path::Path;

use deepmim_data::{
    CheckReport, Dataset, DetectionCheckOptions, DetectionDataset, DetectionSource,
    DetectionTrainTransform, Severity, check_detection, synth_detection,
};
use eval::coco::{AnnotationFile, Geometry, GroundTruth, Id, Outline};
use eval::{Rle, Strictness};
use serde_json::{Value, json};

use crate::{categories, data_set, image, part, square, synth};

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
