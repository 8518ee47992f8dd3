//! Segmentation's transforms against mmcv's and mmsegmentation's, which are built on OpenCV.
//!
//! `parity/golden/opencv_resize` and `augment/mmseg_resize.json` are always compared; photographs and what was
//! made of them only where `DEEPMIM_GOLDEN` names the folder that has them (`transforms` and `augment` inside
//! it).
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use deepmim_data::segmentation::{
    PhotometricChange, rescaled_size, resized_labels, resized_picture,
};
use deepmim_data::{
    Orientation, RgbImage, SegmentationEvalTransform, decode_file, segmentation_views,
};
use safetensors::SafeTensors;
use serde_json::Value;

/// Levels by which OpenCV's versions and processors differ.
const LEVELS: u8 = 1;

type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

fn committed(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../parity/golden")
        .join(path)
}

fn golden(folder: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("DEEPMIM_GOLDEN").map(|root| Path::new(&root).join(folder));
    if folder.is_none() {
        eprintln!("skipped: DEEPMIM_GOLDEN is not set");
    }
    folder
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn tensors(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .map(|(name, view)| {
            let tensor = (view.shape().to_vec(), view.data().to_vec());
            (name.to_owned(), tensor)
        })
        .collect()
}

fn pair(value: &Value) -> (usize, usize) {
    let side = |at: usize| value[at].as_u64().unwrap() as usize;
    (side(0), side(1))
}

/// BGR to RGB or back.
fn swapped(bytes: &[u8]) -> Vec<u8> {
    let pixels = bytes.as_chunks::<3>().0;
    pixels.iter().flat_map(|&[a, b, c]| [c, b, a]).collect()
}

fn assert_close(ours: &[u8], theirs: &[u8], what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let most = ours.iter().zip(theirs).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(most <= Some(LEVELS), "{what}: {most:?} levels off");
}

#[test]
fn small_pictures_resize_as_in_opencv() {
    let all = tensors(&committed("opencv_resize/expected.safetensors"));
    let (shape, pixels) = &all["rgb"];
    let input = RgbImage::from_pixels(shape[1], shape[0], pixels.clone());
    let mut compared = 0;
    for (name, (shape, wanted)) in &all {
        let size = (shape[1], shape[0]);
        if name.starts_with("cv2_linear") {
            assert_close(&resized_picture(&input, size).unwrap().pixels, wanted, name);
        } else if name.starts_with("cv2_nearest") {
            for channel in 0..3 {
                let of = |bytes: &[u8]| -> Vec<u8> {
                    bytes.iter().skip(channel).step_by(3).copied().collect()
                };
                let ours = resized_labels(&of(pixels), input.height, size).unwrap();
                assert_eq!(ours, of(wanted), "{name}");
            }
        } else {
            continue;
        }
        compared += 1;
    }
    assert_eq!(compared, 8);
}

#[test]
fn sizes_are_mmcvs() {
    let cases = json(&committed("augment/mmseg_resize.json"));
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 35);
    for case in cases {
        let (height, width) = pair(&case["in_hw"]);
        let (long, short) = pair(&case["scale"]);
        let ratio = case["ratio"].as_f64().unwrap();
        let scaled = [2048, 512].map(|side| (f64::from(side) * ratio) as usize);
        assert_eq!(scaled, [long, short], "{case}");
        let ours = rescaled_size((width, height), long, short);
        assert_eq!(ours, pair(&case["out_wh"]), "{case}");
    }
}

#[test]
fn photographs_become_what_mmcv_makes_of_them() {
    let Some(folder) = golden("transforms") else {
        return;
    };
    let expected = json(&folder.join("expected.json"));
    let rows = tensors(&folder.join("expected.safetensors"));
    let mut compared = 0;
    // Inks are turned into light differently by OpenCV, so `cmyk.jpg` is left out.
    for name in ["plain", "exif6", "grey", "odd444"] {
        let file = format!("{name}.jpg");
        let image = decode_file(&folder.join(&file), Orientation::Apply).unwrap();
        for (key, long_side, short_side) in [
            ("imrescale_2048x512", 2048, 512),
            ("imrescale_512x512", 512, 512),
        ] {
            let transform = SegmentationEvalTransform {
                long_side,
                short_side,
                ratios: vec![1.0],
            };
            let resized = segmentation_views(&image, &transform).unwrap().remove(0);
            let told = &expected[&file][key];
            assert_eq!(
                (resized.height, resized.width),
                pair(&told["out_hw"]),
                "{file}"
            );
            let (_, wanted) = &rows[&format!("{name}/{key}_rows")];
            let places = told["rows"].as_array().unwrap();
            let ours: Vec<u8> = places
                .iter()
                .flat_map(|row| {
                    let row = row.as_u64().unwrap() as usize;
                    let pixels = resized.row(row).as_chunks::<3>().0;
                    pixels.iter().step_by(4).flatten().copied()
                })
                .collect();
            assert_close(&swapped(&ours), wanted, &format!("{file} {key}"));
            compared += 1;
        }
    }
    assert_eq!(compared, 8);
}

#[test]
fn real_labels_resize_as_in_mmcv() {
    let Some(folder) = golden("transforms") else {
        return;
    };
    let all = tensors(&folder.join("expected.safetensors"));
    let (shape, labels) = &all["label/in"];
    let mut compared = 0;
    for (name, (to, wanted)) in &all {
        if name.starts_with("label/mmcv_nearest") {
            let ours = resized_labels(labels, shape[0], (to[1], to[0])).unwrap();
            assert_eq!(&ours, wanted, "{name}");
            compared += 1;
        }
    }
    assert_eq!(compared, 3);
}

/// The changes that a list of random draws makes, in mmsegmentation's order of drawing.
fn change_of(draws: &Value) -> PhotometricChange {
    let mut draws = draws
        .as_array()
        .unwrap()
        .iter()
        .map(|draw| draw["value"].as_f64().unwrap());
    let mut next = || draws.next().unwrap();
    let mut change = PhotometricChange::default();
    if next() == 1.0 {
        change.brightness = Some(next() as f32);
    }
    let contrast_first = next() == 1.0;
    if contrast_first && next() == 1.0 {
        change.contrast_first = Some(next() as f32);
    }
    if next() == 1.0 {
        change.saturation = Some(next() as f32);
    }
    if next() == 1.0 {
        change.hue = Some(next() as i32);
    }
    if !contrast_first && next() == 1.0 {
        change.contrast_last = Some(next() as f32);
    }
    assert_eq!(draws.next(), None);
    change
}

#[test]
fn colours_change_as_in_mmsegmentation() {
    let Some(folder) = golden("augment") else {
        return;
    };
    let cases = json(&folder.join("photometric.json"));
    let all = tensors(&folder.join("photometric.safetensors"));
    let (shape, input) = &all["input_bgr"];
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 7);
    for (number, case) in cases.iter().enumerate() {
        let mut image = RgbImage::from_pixels(shape[1], shape[0], swapped(input));
        change_of(&case["draws"]).apply(&mut image).unwrap();
        let (_, wanted) = &all[&format!("out{number}_bgr")];
        assert_close(&swapped(&image.pixels), wanted, &format!("case {number}"));
    }
}
