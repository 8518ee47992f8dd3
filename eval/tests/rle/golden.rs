//! Equal to what pycocotools 2.0.11 recorded: `parity/golden/coco_masks`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use deepmim_eval::{PolygonRasterizer, PreparedMask, Rle, box_iou, mask_iou};
use safetensors::{SafeTensors, tensor::TensorView};
use serde_json::Value;

/// Both sides divide the same integers; only the last digit might be rounded otherwise.
const IOU: f64 = 1e-12;

struct Recorded {
    json: Value,
    tensors: Vec<u8>,
}

impl Recorded {
    fn read() -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../parity/golden/coco_masks");
        Self {
            json: serde_json::from_slice(&fs::read(folder.join("masks.json")).unwrap()).unwrap(),
            tensors: fs::read(folder.join("masks.safetensors")).unwrap(),
        }
    }

    fn size(&self) -> (u32, u32) {
        let number = |name: &str| self.json[name].as_u64().unwrap() as u32;
        (number("height"), number("width"))
    }

    fn list(&self, name: &str) -> &[Value] {
        self.json[name].as_array().unwrap()
    }

    /// Rows of a float64 matrix.
    fn matrix(&self, name: &str) -> Vec<Vec<f64>> {
        let tensors = SafeTensors::deserialize(&self.tensors).unwrap();
        let tensor: TensorView = tensors.tensor(name).unwrap();
        let values: Vec<f64> = tensor
            .data()
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f64::from_le_bytes(*bytes))
            .collect();
        values
            .chunks(tensor.shape()[1])
            .map(<[f64]>::to_vec)
            .collect()
    }

    /// All masks by name, from their compressed strings.
    fn masks(&self) -> BTreeMap<String, Rle> {
        let (height, width) = self.size();
        self.list("polygons")
            .iter()
            .chain(self.list("bitmaps"))
            .filter(|mask| mask["counts"].is_string() && mask["size"].is_null())
            .map(|mask| {
                let counts = text(&mask["counts"]).as_bytes();
                let rle = Rle::from_string(height, width, counts).unwrap();
                (text(&mask["name"]).to_owned(), rle)
            })
            .collect()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().unwrap();
    list.iter().map(|number| number.as_f64().unwrap()).collect()
}

/// What is recorded of every mask.
fn check(mask: &Rle, recorded: &Value) {
    let name = &recorded["name"];
    assert_eq!(mask.to_compressed(), text(&recorded["counts"]), "{name}");
    let counts: Vec<f64> = mask.counts().iter().map(|&run| f64::from(run)).collect();
    assert_eq!(counts, numbers(&recorded["uncompressed"]), "{name}");
    assert_eq!(Some(mask.area()), recorded["area"].as_u64(), "{name}");
    let expected = numbers(&recorded["bbox"]);
    assert_eq!(mask.bounding_box().to_vec(), expected, "{name}");
    let prepared = PreparedMask::from(mask);
    assert_eq!(prepared.area(), mask.area(), "{name}");
    assert_eq!(prepared.bounding_box(), mask.bounding_box(), "{name}");
    let (height, width) = (mask.height(), mask.width());
    let read = Rle::from_string(height, width, text(&recorded["counts"]).as_bytes()).unwrap();
    assert_eq!(&read, mask, "{name}");
    let read = Rle::from_counts(height, width, mask.counts().to_vec()).unwrap();
    assert_eq!(&read, mask, "{name}");
}

#[test]
fn polygons() {
    let recorded = Recorded::read();
    let (height, width) = recorded.size();
    let mut rasterizer = PolygonRasterizer::default();
    let mut compared = 0;
    for annotation in recorded.list("polygons") {
        let polygons = annotation["polygons"].as_array().unwrap();
        let polygons: Vec<Vec<f64>> = polygons.iter().map(numbers).collect();
        let slices = || polygons.iter().map(Vec::as_slice);
        if annotation["counts"].is_null() {
            assert!(Rle::from_polygons(height, width, slices()).is_err());
            continue;
        }
        let parts = annotation["parts"].as_array().unwrap();
        assert_eq!(parts.len(), polygons.len());
        for (xy, part) in polygons.iter().zip(parts) {
            let mask = Rle::from_polygon(height, width, xy).unwrap();
            assert_eq!(mask.to_compressed(), text(part), "{}", annotation["name"]);
            assert_eq!(rasterizer.polygon(height, width, xy).unwrap(), mask);
        }
        let union = Rle::from_polygons(height, width, slices()).unwrap();
        check(&union, annotation);
        assert_eq!(rasterizer.polygons(height, width, slices()).unwrap(), union);
        compared += 1;
    }
    assert_eq!(compared, 32);
}

#[test]
fn bitmaps() {
    let recorded = Recorded::read();
    let (height, width) = recorded.size();
    let tensors = SafeTensors::deserialize(&recorded.tensors).unwrap();
    let mut compared = 0;
    for bitmap in recorded.list("bitmaps") {
        let name = format!("bitmap/{}", text(&bitmap["name"]));
        let Ok(tensor) = tensors.tensor(&name) else {
            // The large one, see below.
            continue;
        };
        let mask = Rle::from_row_major(height, width, tensor.data()).unwrap();
        check(&mask, bitmap);
        assert_eq!(mask.decode_row_major(), tensor.data(), "{name}");
        let column_major = mask.decode();
        assert_eq!(
            Rle::from_bitmap(height, width, &column_major).unwrap(),
            mask
        );
        compared += 1;
    }
    assert_eq!(compared, 9);
}

/// The one whose bitmap is described, not recorded.
#[test]
fn large_bitmap() {
    let recorded = Recorded::read();
    let large = recorded.list("bitmaps").last().unwrap();
    assert_eq!(
        text(&large["how"]),
        "zeros; [100:650, 200:800]=1; row 300 = 0; every 97th row from 0 flipped"
    );
    let (height, width) = (700, 900);
    assert_eq!(numbers(&large["size"]), [700.0, 900.0]);
    let pixel = |row: usize, column: usize| {
        let inside = (100..650).contains(&row) && (200..800).contains(&column) && row != 300;
        u8::from(inside ^ (row.is_multiple_of(97)))
    };
    let bitmap: Vec<u8> = (0..height * width)
        .map(|at| pixel(at / width, at % width))
        .collect();
    let mask = Rle::from_row_major(height as u32, width as u32, &bitmap).unwrap();
    assert_eq!(mask.to_compressed(), text(&large["counts"]));
    assert_eq!(Some(mask.area()), large["area"].as_u64());
    assert_eq!(mask.bounding_box().to_vec(), numbers(&large["bbox"]));
    assert_eq!(mask.decode_row_major(), bitmap);
}

#[test]
fn boxes() {
    let recorded = Recorded::read();
    let (height, width) = recorded.size();
    for case in recorded.list("boxes") {
        let bounds = numbers(&case["bbox"]).try_into().unwrap();
        let mask = Rle::from_box(height, width, bounds).unwrap();
        assert_eq!(mask.to_compressed(), text(&case["counts"]), "{bounds:?}");
        assert_eq!(Some(mask.area()), case["area"].as_u64(), "{bounds:?}");
    }
}

#[test]
fn merges() {
    let recorded = Recorded::read();
    let masks = recorded.masks();
    let merge = &recorded.json["merge"];
    let of = merge["of"].as_array().unwrap().iter();
    let of: Vec<Rle> = of.map(|name| masks[text(name)].clone()).collect();
    assert_eq!(of.len(), 3);
    let union = Rle::merge(&of, false).unwrap();
    assert_eq!(union.to_compressed(), text(&merge["union"]));
    let intersection = Rle::merge(&of, true).unwrap();
    assert_eq!(intersection.to_compressed(), text(&merge["intersection"]));
}

/// Which columns are crowds.
fn crowds(matrix: &Value) -> Vec<bool> {
    numbers(&matrix["crowd"])
        .iter()
        .map(|&flag| flag != 0.0)
        .collect()
}

#[test]
fn mask_overlaps() {
    let recorded = Recorded::read();
    let masks = recorded.masks();
    let names = &recorded.json["iou"];
    let pick = |side: &str| -> Vec<(&str, &Rle)> {
        let side = names[side].as_array().unwrap().iter();
        side.map(|name| (text(name), &masks[text(name)])).collect()
    };
    let (detections, truths) = (pick("dt"), pick("gt"));
    let flags = crowds(names);
    let with = recorded.matrix("f64/mask_iou_crowd");
    let without = recorded.matrix("f64/mask_iou_no_crowd");
    assert_eq!(
        (with.len(), with[0].len()),
        (detections.len(), truths.len())
    );
    let mut positive = 0;
    for (d, &(detection_name, detection)) in detections.iter().enumerate() {
        for (g, &(truth_name, truth)) in truths.iter().enumerate() {
            for (crowd, expected) in [(flags[g], with[d][g]), (false, without[d][g])] {
                let iou = mask_iou(detection, truth, crowd);
                assert!(
                    (iou - expected).abs() <= IOU,
                    "{detection_name}, {truth_name}, {crowd}: {iou}, not {expected}"
                );
                let prepared = PreparedMask::from(detection).iou(&truth.into(), crowd);
                assert_eq!(prepared, iou);
                positive += usize::from(iou > 0.0);
            }
        }
    }
    assert!(positive > 300, "{positive}");
}

#[test]
fn box_overlaps() {
    let recorded = Recorded::read();
    let detections = recorded.matrix("f64/boxes_dt");
    let truths = recorded.matrix("f64/boxes_gt");
    let flags = crowds(&recorded.json["box_iou"]);
    let with = recorded.matrix("f64/box_iou_crowd");
    let without = recorded.matrix("f64/box_iou_no_crowd");
    for (d, detection) in detections.iter().enumerate() {
        for (g, truth) in truths.iter().enumerate() {
            for (crowd, expected) in [(flags[g], with[d][g]), (false, without[d][g])] {
                let corners = |values: &[f64]| <[f64; 4]>::try_from(values).unwrap();
                let iou = box_iou(&corners(detection), &corners(truth), crowd);
                assert!(
                    (iou - expected).abs() <= IOU || iou.is_nan() && expected.is_nan(),
                    "{detection:?}, {truth:?}, {crowd}: {iou}, not {expected}"
                );
            }
        }
    }
}
