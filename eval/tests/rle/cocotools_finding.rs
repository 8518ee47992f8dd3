//! Why cocotools 0.0.7, the crate of that name, is not used: what it does with masks, measured.
//!
//! Its decoding of compressed runs is right and serves as a second opinion. Its polygons, boxes of
//! masks, reading of JSON and conduct on damaged runs are not those of pycocotools. Measured on the
//! annotations in `DEEPMIM_REAL_DATA` where that is set, and on made-up ones.

use std::f64::consts::TAU;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use cocotools::coco::object_detection::{Bbox, CocoRle, Dataset, PolygonsRS, Rle as TheirRle};
use cocotools::mask::Mask;
use deepmim_eval::{Rle, mask_iou};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// An annotation: size of its picture, and its polygons or its runs.
struct Annotation {
    height: u32,
    width: u32,
    shape: Shape,
}

enum Shape {
    Polygons(Vec<Vec<f64>>),
    Runs(Vec<u32>),
}

impl Annotation {
    fn mask(&self) -> Rle {
        let (height, width) = (self.height, self.width);
        match &self.shape {
            Shape::Polygons(polygons) => {
                let polygons = polygons.iter().map(Vec::as_slice);
                Rle::from_polygons(height, width, polygons).unwrap()
            }
            Shape::Runs(counts) => Rle::from_counts(height, width, counts.clone()).unwrap(),
        }
    }

    fn size(&self) -> Vec<u32> {
        vec![self.height, self.width]
    }
}

/// Outlines as people draw them, some in two parts, and their runs.
fn made_up() -> Vec<Annotation> {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut annotations = Vec::new();
    for _ in 0..300 {
        let (height, width) = (rng.random_range(100..300), rng.random_range(100..300));
        let outline = |rng: &mut ChaCha8Rng| {
            let (x, y) = (
                rng.random_range(30.0..70.0) / 100.0 * f64::from(width),
                rng.random_range(30.0..70.0) / 100.0 * f64::from(height),
            );
            let corners = rng.random_range(5..40);
            let mut xy = Vec::new();
            for corner in 0..corners {
                let angle = f64::from(corner) / f64::from(corners) * TAU;
                let radius = rng.random_range(0.1..0.28) * f64::from(height.min(width));
                xy.extend([x + radius * angle.cos(), y + radius * angle.sin()]);
            }
            xy
        };
        let polygons = (0..rng.random_range(1..3))
            .map(|_| outline(&mut rng))
            .collect();
        let mut annotation = Annotation {
            height,
            width,
            shape: Shape::Polygons(polygons),
        };
        if rng.random_bool(0.1) {
            annotation.shape = Shape::Runs(annotation.mask().counts().to_vec());
        }
        annotations.push(annotation);
    }
    annotations
}

/// COCO's own annotations.
fn real(folder: &Path) -> Vec<Annotation> {
    let mut annotations = Vec::new();
    for split in ["train2017", "val2017"] {
        let file = folder.join(format!("coco-mini/annotations/instances_{split}.json"));
        let json: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let images = json["images"].as_array().unwrap();
        for annotation in json["annotations"].as_array().unwrap() {
            let image = images
                .iter()
                .find(|image| image["id"] == annotation["image_id"]);
            let side = |name: &str| image.unwrap()[name].as_u64().unwrap() as u32;
            let segmentation = &annotation["segmentation"];
            let shape = if segmentation.is_array() {
                Shape::Polygons(serde_json::from_value(segmentation.clone()).unwrap())
            } else {
                Shape::Runs(serde_json::from_value(segmentation["counts"].clone()).unwrap())
            };
            annotations.push(Annotation {
                height: side("height"),
                width: side("width"),
                shape,
            });
        }
    }
    annotations
}

/// The made-up annotations, and the real ones where there are any.
fn sources() -> Vec<(&'static str, Vec<Annotation>)> {
    let mut sources = vec![("made-up annotations", made_up())];
    match std::env::var_os("DEEPMIM_REAL_DATA") {
        Some(folder) => sources.push(("COCO annotations", real(Path::new(&folder)))),
        None => println!("DEEPMIM_REAL_DATA is unset: measured on made-up annotations alone"),
    }
    sources
}

/// Its decoding and encoding of compressed runs is that of pycocotools.
#[test]
fn strings_are_right() {
    for (source, annotations) in sources() {
        for annotation in &annotations {
            let mask = annotation.mask();
            let compressed = CocoRle {
                size: annotation.size(),
                counts: mask.to_compressed(),
            };
            let decoded = TheirRle::from(&compressed);
            assert_eq!(decoded.counts, mask.counts(), "{source}");
            let bitmap = Mask::from(&decoded);
            let by_rows: Vec<u8> = bitmap.iter().copied().collect();
            assert_eq!(by_rows, mask.decode_row_major(), "{source}");
            let encoded = CocoRle::try_from(&decoded).unwrap();
            assert_eq!(encoded.counts, compressed.counts, "{source}");
        }
    }
}

/// Its polygons are drawn by another rule, and on a picture that is not square its mask has
/// height and width exchanged.
#[test]
fn polygons_are_others() {
    for (source, annotations) in sources() {
        let (mut total, mut equal, mut exchanged, mut panicked) = (0, 0, 0, 0);
        let (mut sum, mut worst) = (0.0, 1.0f64);
        for annotation in &annotations {
            let Shape::Polygons(polygons) = &annotation.shape else {
                continue;
            };
            total += 1;
            let shape = PolygonsRS {
                size: annotation.size(),
                counts: polygons.clone(),
            };
            let Ok(drawn) = catch_unwind(|| Mask::try_from(&shape).unwrap()) else {
                panicked += 1;
                continue;
            };
            let (height, width) = (annotation.height, annotation.width);
            let rows = drawn.nrows() as u32;
            exchanged += usize::from(rows == width && rows != height);
            // Its pixels in the order in which it drew them: read as what was meant.
            let pixels: Vec<u8> = drawn.iter().copied().collect();
            let theirs = Rle::from_row_major(height, width, &pixels).unwrap();
            let ours = annotation.mask();
            equal += usize::from(theirs == ours);
            let iou = mask_iou(&theirs, &ours, false);
            sum += iou;
            worst = worst.min(iou);
        }
        let mean = sum / f64::from(total - panicked);
        println!(
            "{source}: {total} polygon masks, {equal} equal to pycocotools', mean IoU {mean:.4}, \
             least {worst:.4}; {exchanged} with height and width exchanged, {panicked} panics"
        );
        assert!(
            f64::from(total) > 10.0 * equal as f64,
            "{source}: {equal} of {total}"
        );
        assert!(mean < 0.99, "{source}: {mean}");
        assert!(
            2 * exchanged > total as usize,
            "{source}: {exchanged} of {total}"
        );
    }
}

/// Its boxes of masks are one pixel too narrow and too low.
#[test]
fn boxes_are_too_small() {
    for (source, annotations) in sources() {
        let (mut total, mut smaller) = (0, 0);
        for annotation in &annotations {
            let mask = annotation.mask();
            if mask.area() == 0 {
                continue;
            }
            let Bbox { width, height, .. } = Bbox::from(&TheirRle {
                size: annotation.size(),
                counts: mask.counts().to_vec(),
            });
            let [_, _, expected_width, expected_height] = mask.bounding_box();
            total += 1;
            smaller +=
                usize::from(width + 1.0 == expected_width && height + 1.0 == expected_height);
        }
        println!("{source}: {smaller} of {total} boxes of masks one pixel too narrow and too low");
        assert!(smaller * 10 > total * 8, "{source}: {smaller} of {total}");
    }
}

/// Inputs that pycocotools reads and evaluates, and what cocotools makes of them.
#[test]
fn json_that_it_refuses() {
    let complete = || {
        json!({
            "images": [{"id": 1, "width": 8, "height": 8, "file_name": "1.jpg"}],
            "annotations": [{
                "id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0,
                "area": 9.0, "bbox": [1, 1, 3, 3],
                "segmentation": [[1, 1, 4, 1, 4, 4, 1, 4]],
            }],
            "categories": [{"id": 1, "name": "cat", "supercategory": "animal"}],
        })
    };
    let accepts = |json: Value| serde_json::from_value::<Dataset>(json).is_ok();
    assert!(accepts(complete()));
    let without = |list: &str, field: &str| {
        let mut json = complete();
        json[list][0].as_object_mut().unwrap().remove(field);
        json
    };
    let with = |list: &str, field: &str, value: Value| {
        let mut json = complete();
        json[list][0][field] = value;
        json
    };
    let mut short_info = complete();
    short_info["info"] = json!({"description": "my data"});
    let mut no_licence_url = complete();
    no_licence_url["licenses"] = json!([{"id": 1, "name": "CC"}]);
    let inputs = [
        ("\"info\" with a description alone", short_info),
        ("a license without url", no_licence_url),
        (
            "a category without supercategory",
            without("categories", "supercategory"),
        ),
        ("an image without file_name", without("images", "file_name")),
        (
            "an annotation without segmentation",
            without("annotations", "segmentation"),
        ),
        ("image_id 1.0", with("annotations", "image_id", json!(1.0))),
        (
            "category_id 1.0",
            with("annotations", "category_id", json!(1.0)),
        ),
        (
            "iscrowd false",
            with("annotations", "iscrowd", json!(false)),
        ),
        ("license null", with("images", "license", Value::Null)),
        ("an id below 0", with("annotations", "id", json!(-5))),
    ];
    let total = inputs.len();
    let refused: Vec<&str> = inputs
        .into_iter()
        .filter_map(|(name, json)| (!accepts(json)).then_some(name))
        .collect();
    println!(
        "refused, {} of {total}: {}",
        refused.len(),
        refused.join(", ")
    );
    assert_eq!(refused.len(), total);
}

/// Damaged runs end the program, where they should be an error.
#[test]
fn damaged_runs_panic() {
    let size = || vec![4, 5];
    for counts in ["d0d", "é"] {
        let compressed = CocoRle {
            size: size(),
            counts: counts.to_owned(),
        };
        assert!(
            catch_unwind(|| TheirRle::from(&compressed)).is_err(),
            "{counts}"
        );
        assert!(Rle::from_string(4, 5, counts.as_bytes()).is_err());
    }
    let overlong = TheirRle {
        size: size(),
        counts: vec![3, 40],
    };
    assert!(catch_unwind(|| Mask::from(&overlong)).is_err());
    assert!(Rle::from_counts(4, 5, overlong.counts).is_err());
    let no_columns = TheirRle {
        size: vec![4],
        counts: vec![4],
    };
    assert!(catch_unwind(|| Mask::from(&no_columns)).is_err());
}
