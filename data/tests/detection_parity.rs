//! Geometry of detection samples against detectron2's and shapely's.
//!
//! `parity/golden/augment/lsj.json` and `parity/golden/polygon_clip` are always compared; photographs only
//! where `DEEPMIM_GOLDEN` names the folder that has them (`vitdet` inside it).
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use deepmim_data::detection::{
    View, clip_polygon, fixed_size_window, jittered_size, shortest_edge_size,
};
use deepmim_data::{
    Dataset, DetectionDataset, DetectionEvalTransform, DetectionSource, DetectionTrainTransform,
    InstanceMask, RgbImage,
};
use eval::coco::Id;
use safetensors::SafeTensors;
use serde_json::{Value, json};

/// Boxes and points in pixels: cuts lie on a grid of a millionth of a pixel, and boxes are float32.
const PIXELS: f64 = 1e-4;
/// Areas in square pixels: outlines tens of pixels long, moved by a millionth.
const AREA: f64 = 1e-3;

fn golden(path: &str) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../parity/golden");
    read_json(&root.join(path))
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    let all = value.as_array().unwrap().iter();
    all.map(|v| v.as_f64().unwrap()).collect()
}

fn pair(value: &Value) -> (usize, usize) {
    let v = numbers(value);
    (v[0] as usize, v[1] as usize)
}

fn area(polygon: &[f64]) -> f64 {
    let points = polygon.as_chunks::<2>().0;
    let next = points.iter().cycle().skip(1);
    let sum: f64 = (points.iter().zip(next))
        .map(|(a, b)| a[0] * b[1] - b[0] * a[1])
        .sum();
    sum.abs() / 2.0
}

fn bounds(polygon: &[f64]) -> [f64; 4] {
    let start = [f64::MAX, f64::MAX, f64::MIN, f64::MIN];
    polygon.as_chunks::<2>().0.iter().fold(start, |b, &[x, y]| {
        [b[0].min(x), b[1].min(y), b[2].max(x), b[3].max(y)]
    })
}

fn assert_close(ours: &[f64], theirs: &[f64], tolerance: f64, what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}: {ours:?} {theirs:?}");
    for (a, b) in ours.iter().zip(theirs) {
        assert!((a - b).abs() <= tolerance, "{what}: {ours:?} {theirs:?}");
    }
}

#[test]
fn jittered_sizes_and_windows_are_detectron2s() {
    let table = golden("augment/lsj.json");
    for case in table["resize_scale"].as_array().unwrap() {
        let (h, w) = pair(&case["in_hw"]);
        let (width, height) = jittered_size(w, h, 1024, case["scale"].as_f64().unwrap());
        assert_eq!((height, width), pair(&case["out_hw"]), "{case}");
    }
    let mut compared = 0;
    for case in table["fixed_size_crop"].as_array().unwrap() {
        let (h, w) = pair(&case["in_hw"]);
        let window = fixed_size_window(w, h, 1024, case["u"].as_f64().unwrap());
        let origin = (&case["crop_x0"], &case["crop_y0"]);
        assert_eq!((&json!(window.x), &json!(window.y)), origin, "{case}");
        assert_eq!(window.width, w.min(1024));
        compared += 1;
    }
    assert!(compared >= 60);
}

/// numpy keeps whole numbers whole: where a file writes a polygon without decimals, the reference cuts off
/// what flipping and resizing put behind the point. Repeated here and nowhere else.
fn place_as_numpy(view: &View, polygon: &[f64]) -> Vec<f64> {
    let whole = polygon.iter().all(|v| v.fract() == 0.0);
    let offset = [view.window.x as f64, view.window.y as f64];
    let placed = polygon.as_chunks::<2>().0.iter().flat_map(|&point| {
        let [x, y] = view.place(point);
        if whole {
            [
                (x + offset[0] + 1e-9).trunc() - offset[0],
                (y + offset[1] + 1e-9).trunc() - offset[1],
            ]
        } else {
            [x, y]
        }
    });
    placed.collect()
}

#[test]
fn cut_polygons_and_their_boxes_are_detectron2s() {
    let table = &golden("augment/lsj.json")["boxes"];
    let (height, width) = pair(&table["image_hw"]);
    let size = table["crop_size"].as_u64().unwrap() as usize;
    for case in table["cases"].as_array().unwrap() {
        let resized = jittered_size(width, height, size, case["scale"].as_f64().unwrap());
        assert_eq!((resized.1, resized.0), pair(&case["resized_hw"]));
        let view = View {
            source: (width, height),
            mirrored: case["flip"].as_bool().unwrap(),
            resized,
            window: fixed_size_window(resized.0, resized.1, size, case["u"].as_f64().unwrap()),
        };
        assert_eq!(
            (view.window.height, view.window.width),
            pair(&case["output_hw"])
        );
        let annotations = table["annotations"].as_array().unwrap();
        for (index, annotation) in annotations.iter().enumerate() {
            let what = format!("annotation {index} of {case}");
            let mut ours = Vec::new();
            for polygon in annotation["segmentation"].as_array().unwrap() {
                let placed = place_as_numpy(&view, &numbers(polygon));
                ours.extend(clip_polygon(&placed, size as f64, size as f64));
            }
            let theirs: Vec<Vec<f64>> = (case["polygons"][index].as_array().unwrap().iter())
                .map(numbers)
                .collect();
            assert_eq!(ours.len(), theirs.len(), "{what}");
            let sorted = |polygons: &[Vec<f64>]| {
                let mut all: Vec<(f64, [f64; 4])> =
                    polygons.iter().map(|p| (area(p), bounds(p))).collect();
                all.sort_by(|a, b| a.0.total_cmp(&b.0));
                all
            };
            for (a, b) in sorted(&ours).iter().zip(sorted(&theirs)) {
                assert_close(&[a.0], &[b.0], AREA, &what);
                assert_close(&a.1, &b.1, PIXELS, &what);
            }
        }
    }
}

#[test]
fn cut_outlines_are_shapelys() {
    let table = golden("polygon_clip/cases.json");
    let cases = table["cases"].as_array().unwrap();
    for case in cases {
        let window = numbers(&case["window"]);
        let ours = clip_polygon(&numbers(&case["polygon"]), window[0], window[1]);
        let mut areas: Vec<f64> = ours.iter().map(|p| area(p)).collect();
        areas.sort_by(f64::total_cmp);
        let what = case.to_string();
        assert_close(&areas, &numbers(&case["areas"]), AREA, &what);
        let mut boxes: Vec<[f64; 4]> = ours.iter().map(|p| bounds(p)).collect();
        let mut theirs: Vec<Vec<f64>> = (case["boxes"].as_array().unwrap().iter())
            .map(numbers)
            .collect();
        // Compared as sets: near-equal first coordinates may sort either way.
        for ours in boxes.drain(..) {
            let found = theirs
                .iter()
                .position(|b| b.iter().zip(ours).all(|(a, b)| (a - b).abs() <= PIXELS));
            theirs.remove(found.unwrap_or_else(|| panic!("{ours:?} in {what}")));
        }
    }
    assert!(cases.len() >= 200);
}

fn photographs() -> Option<PathBuf> {
    let folder = std::env::var_os("DEEPMIM_GOLDEN").map(|root| Path::new(&root).join("vitdet"));
    if folder.is_none() {
        eprintln!("skipped: DEEPMIM_GOLDEN is not set");
    }
    folder
}

/// Writes the fixture's detectron2 records as a COCO annotation file; categories 0 to 6.
fn as_coco(folder: &Path, out: &Path) -> DetectionSource {
    let records = read_json(&folder.join("annotations.json"));
    let (mut images, mut annotations) = (Vec::new(), Vec::new());
    for record in records.as_array().unwrap() {
        let id = &record["image_id"];
        images.push(json!({
            "id": id, "file_name": record["file_name"],
            "width": record["width"], "height": record["height"],
        }));
        for annotation in record["annotations"].as_array().unwrap() {
            let mut annotation = annotation.clone();
            annotation["image_id"] = id.clone();
            annotation["id"] = json!(annotations.len() + 1);
            annotations.push(annotation);
        }
    }
    let categories: Vec<Value> = (0..7).map(|id| json!({"id": id})).collect();
    let file = json!({"images": images, "annotations": annotations, "categories": categories});
    let path = out.join("annotations.json");
    std::fs::write(&path, file.to_string()).unwrap();
    DetectionSource {
        images: folder.to_owned(),
        annotations: path,
    }
}

#[test]
fn photographs_are_resized_as_by_detectron2() {
    let Some(folder) = photographs() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let source = as_coco(&folder, dir.path());
    let set = DetectionDataset::open_eval(&source, &DetectionEvalTransform::new(256)).unwrap();
    assert_eq!(set.len(), 2);
    for index in 0..2 {
        let sample = set.sample(index, 0).unwrap();
        let recorded = RgbImage::read(&folder.join(format!("image{index}_resized.png"))).unwrap();
        assert_eq!(sample.image, recorded, "image{index}");
        assert!(sample.instances.is_empty());
        assert_eq!(sample.image_id, Id::Integer(index as i64 + 1));
    }
    assert_eq!(set.sample(0, 0).unwrap().original_size, (427, 640));
    assert_eq!(shortest_edge_size(640, 427, 256, 256), (256, 171));
}

#[test]
fn objects_of_photographs_are_placed_as_by_detectron2() {
    let Some(folder) = photographs() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    // The fixture's mapper neither flips nor crops.
    let transform = DetectionTrainTransform {
        size: 256,
        scale: [1.0, 1.0],
        flip: 0.0,
        crop: false,
    };
    let set =
        DetectionDataset::open_train(&as_coco(&folder, dir.path()), &transform, true).unwrap();
    let recorded = read_json(&folder.join("train_gt_polygons.json"));
    let bytes = std::fs::read(folder.join("train_inputs.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    for index in 0..2 {
        let sample = set.sample(index, 9).unwrap();
        let data = |name: &str| tensors.tensor(&format!("image{index}/{name}")).unwrap();
        let boxes = data("gt_boxes");
        let boxes = boxes
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b));
        let boxes: Vec<f64> = boxes.map(f64::from).collect();
        let classes = data("gt_classes");
        let classes: Vec<i64> = (classes.data().as_chunks::<8>().0.iter())
            .map(|b| i64::from_le_bytes(*b))
            .collect();
        assert_eq!(sample.instances.len(), classes.len());
        for (at, instance) in sample.instances.iter().enumerate() {
            let what = format!("image{index}, object {at}");
            assert_eq!(instance.class as i64, classes[at], "{what}");
            let ours = instance.bounds.map(f64::from);
            assert_close(&ours, &boxes[4 * at..4 * at + 4], 0.0, &what);
            let Some(InstanceMask::Polygons(polygons)) = &instance.mask else {
                panic!("{what} has no polygons");
            };
            let theirs = recorded[index][at].as_array().unwrap();
            assert_eq!(polygons.len(), theirs.len(), "{what}");
            for (ours, theirs) in polygons.iter().zip(theirs) {
                assert_close(ours, &numbers(theirs), 1e-12 * 256.0, &what);
            }
        }
    }
}
