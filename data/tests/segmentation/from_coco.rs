//! Label maps out of COCO instance annotations.

use std::path::{Path, PathBuf};

use deepmim_data::{
    CocoLabelsConfig, Dataset, IGNORED, SegmentationDataset, SegmentationLabels,
    SegmentationSource, SegmentationTrainTransform, coco_labels,
};
use eval::segmentation::{Labels, read_label_png};
use serde_json::{Value, json};

use super::{picture, told};

/// A COCO set of two pictures of 10x8 pixels; a large object, a small one on it, a crowd, and a stray.
fn coco(dir: &Path, more: &[Value]) -> CocoLabelsConfig {
    picture(&dir.join("images/a.png"), 10, 8);
    picture(&dir.join("images/sub/b.png"), 10, 8);
    let mut annotations = vec![
        // Listed first, so that it is the area that puts it in front.
        json!({"id": 1, "image_id": 5, "category_id": 9, "bbox": [2, 2, 2, 2], "segmentation": [[2, 2, 4, 2, 4, 4, 2, 4]]}),
        json!({"id": 2, "image_id": 5, "category_id": 4, "bbox": [0, 0, 6, 6], "segmentation": [[0, 0, 6, 0, 6, 6, 0, 6]]}),
        json!({"id": 3, "image_id": 5, "category_id": 4, "iscrowd": 1, "bbox": [5, 0, 5, 8], "segmentation": {"size": [8, 10], "counts": [40, 40]}}),
        json!({"id": 4, "image_id": 77, "category_id": 4, "bbox": [0, 0, 1, 1], "segmentation": [[0, 0, 1, 0, 1, 1]]}),
        json!({"id": 5, "image_id": 6, "category_id": 4, "bbox": [0, 0, 5, 5]}),
    ];
    annotations.extend_from_slice(more);
    let file = json!({
        "images": [{"id": 5, "file_name": "a.png", "width": 10, "height": 8}, {"id": 6, "file_name": "sub/b.png"}],
        "annotations": annotations,
        "categories": [{"id": 9, "name": "small"}, {"id": 4, "name": "large\nthing"}],
    });
    let path = dir.join("instances_val.json");
    std::fs::write(&path, file.to_string()).unwrap();
    CocoLabelsConfig {
        annotations: path,
        images: dir.join("images"),
        out: dir.join("out"),
        split: None,
        ignore_background: false,
        keep_crowds: false,
    }
}

fn map(path: PathBuf) -> Vec<u8> {
    let map = read_label_png(&path).unwrap();
    assert_eq!((map.width(), map.height()), (10, 8));
    match map.labels() {
        Labels::U8(labels) => labels.clone(),
        Labels::U16(_) => panic!("labels are bytes"),
    }
}

#[test]
fn coco_objects_become_label_maps() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = coco(dir.path(), &[]);
    let done = coco_labels(&config, &|_, _| {}).unwrap();
    assert_eq!(done.labels, dir.path().join("out/annotations/val"));
    assert_eq!(done.classes, ["background", "large thing", "small"]);
    assert_eq!((done.pictures, done.objects, done.crowds), (2, 2, 1));
    assert_eq!((done.strays, done.without_outline), (1, 1));
    let expected: Vec<u8> = (0..80)
        .map(|pixel| match (pixel % 10, pixel / 10) {
            (2..4, 2..4) => 2,
            (0..6, 0..6) => 1,
            (5, 6..) | (6.., _) => IGNORED,
            _ => 0,
        })
        .collect();
    assert_eq!(map(done.labels.join("a.png")), expected);
    assert_eq!(map(done.labels.join("sub/b.png")), [0; 80]);
    // What was written is a data set.
    let source = SegmentationSource {
        images: config.images.clone(),
        labels: done.labels,
    };
    let classes = SegmentationLabels {
        names: Some(done.names),
        ..SegmentationLabels::default()
    };
    let transform = SegmentationTrainTransform::new(16);
    let set = SegmentationDataset::open_train(&source, &classes, &transform).unwrap();
    assert_eq!((set.len(), set.class_names().len()), (2, 3));
    assert!(told(coco_labels(&config, &|_, _| {})).contains("annotations/val: it exists already"));

    config.split = Some("train".to_owned());
    config.keep_crowds = true;
    let done = coco_labels(&config, &|_, _| {}).unwrap();
    let kept: Vec<u8> = expected
        .iter()
        .map(|&label| if label == IGNORED { 1 } else { label })
        .collect();
    assert_eq!(map(done.labels.join("a.png")), kept);

    config.split = Some("other".to_owned());
    config.ignore_background = true;
    assert!(told(coco_labels(&config, &|_, _| {})).contains("it holds other classes"));
    config.out = dir.path().join("second");
    let done = coco_labels(&config, &|_, _| {}).unwrap();
    assert_eq!(done.classes, ["large thing", "small"]);
    let things: Vec<u8> = kept
        .iter()
        .map(|&label| label.checked_sub(1).unwrap_or(IGNORED))
        .collect();
    assert_eq!(map(done.labels.join("a.png")), things);
}

#[test]
fn coco_files_that_cannot_become_label_maps_are_told() {
    let refused = |annotation: Value| {
        let dir = tempfile::tempdir().unwrap();
        told(coco_labels(&coco(dir.path(), &[annotation]), &|_, _| {}))
    };
    let mask = json!({"size": [9, 9], "counts": [1, 80]});
    let size = refused(
        json!({"id": 8, "image_id": 5, "category_id": 4, "bbox": [0, 0, 1, 1], "segmentation": mask}),
    );
    assert!(
        size.contains("(id 8) has a mask of 9x9 pixels, but its picture a.png has 10x8"),
        "{size}"
    );
    let category = refused(json!({"image_id": 5, "category_id": 3, "bbox": [0, 0, 1, 1]}));
    assert!(category.contains("category_id 3"), "{category}");
    let dir = tempfile::tempdir().unwrap();
    let config = coco(dir.path(), &[]);
    std::fs::remove_file(dir.path().join("images/a.png")).unwrap();
    let missing = told(coco_labels(&config, &|_, _| {}));
    assert!(missing.contains("1 of 2 pictures"), "{missing}");
    let text = std::fs::read_to_string(&config.annotations).unwrap();
    std::fs::write(&config.annotations, text.replace("sub/b.png", "../b.png")).unwrap();
    let outside = told(coco_labels(&config, &|_, _| {}));
    assert!(outside.contains("file_name \"../b.png\""), "{outside}");
}
