//! Augmentation against Pillow, torchvision and timm.
//!
//! Committed: `parity/golden/augment_ops` (made-up pictures, its `make.py`) and
//! `parity/golden/augment` (mixup and CutMix of timm 0.3.2). The photograph lies in the folder
//! named by `DEEPMIM_GOLDEN`. Pixels are equal throughout; mixing agrees to 1e-6.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use deepmim_data::RgbImage;
use deepmim_data::augment::{self, AffineFilter, CutBox, Mix, Op, OpKind, OpParams};
use safetensors::SafeTensors;
use serde_json::Value;

fn committed(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../parity/golden")).join(name)
}

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap())
        .collect()
}

fn picture(tensors: &SafeTensors<'_>, name: &str) -> RgbImage {
    let view = tensors.tensor(name).unwrap();
    RgbImage {
        width: view.shape()[1],
        height: view.shape()[0],
        pixels: view.data().to_vec(),
    }
}

fn floats(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let view = tensors.tensor(name).unwrap();
    assert_eq!(view.dtype(), safetensors::Dtype::F32);
    let (words, _) = view.data().as_chunks::<4>();
    words.iter().map(|w| f32::from_le_bytes(*w)).collect()
}

/// Largest difference in levels and where it is.
fn difference(found: &RgbImage, expected: &RgbImage) -> (u8, String) {
    assert_eq!(
        (found.width, found.height),
        (expected.width, expected.height)
    );
    let (at, levels) = found
        .pixels
        .iter()
        .zip(&expected.pixels)
        .map(|(a, b)| a.abs_diff(*b))
        .enumerate()
        .max_by_key(|(_, d)| *d)
        .unwrap();
    let (row, column) = (at / 3 / found.width, at / 3 % found.width);
    let note = format!(
        "row {row} column {column} channel {}: {} instead of {}",
        at % 3,
        found.pixels[at],
        expected.pixels[at]
    );
    (levels, note)
}

#[test]
fn operations_on_made_up_pictures_equal_pillow_and_torchvision() {
    let folder = committed("augment_ops");
    let bytes = std::fs::read(folder.join("pictures.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let table = json(&folder.join("cases.json"));
    let fill = [124, 116, 104];
    let cases = table["cases"].as_array().unwrap();
    assert!(cases.len() > 80);
    for case in cases {
        let mut image = picture(
            &tensors,
            &format!("input/{}", case["picture"].as_str().unwrap()),
        );
        let args = numbers(&case["args"]);
        let filter = match case["filter"].as_str() {
            Some("bilinear") => AffineFilter::Bilinear,
            _ => AffineFilter::Bicubic,
        };
        match (
            case["op"].as_str().unwrap(),
            args.first().copied().unwrap_or(f64::NAN),
        ) {
            ("auto_contrast", _) => augment::auto_contrast(&mut image),
            ("equalize", _) => augment::equalize(&mut image),
            ("invert", _) => augment::invert(&mut image),
            ("posterize", bits) => augment::posterize(&mut image, bits as u32),
            ("solarize", threshold) => augment::solarize(&mut image, threshold as u32),
            ("solarize_add", amount) => augment::solarize_add(&mut image, amount as u8),
            ("color", factor) => augment::color(&mut image, factor),
            ("contrast", factor) => augment::contrast(&mut image, factor),
            ("brightness", factor) => augment::brightness(&mut image, factor),
            ("sharpness", factor) => augment::sharpness(&mut image, factor),
            ("hue", turns) => augment::hue(&mut image, turns),
            ("rotate", degrees) => augment::rotate(&mut image, degrees, filter, fill),
            ("shear_x", factor) => augment::shear_x(&mut image, factor, filter, fill),
            ("shear_y", factor) => augment::shear_y(&mut image, factor, filter, fill),
            ("translate_x", pixels) => augment::translate_x(&mut image, pixels, filter, fill),
            ("translate_y", pixels) => augment::translate_y(&mut image, pixels, filter, fill),
            (other, _) => panic!("unknown operation {other}"),
        }
        let expected = picture(&tensors, case["output"].as_str().unwrap());
        let (levels, note) = difference(&image, &expected);
        assert_eq!(levels, 0, "{case}: {note}");
    }
}

/// The recorded argument of an operation, to check that the magnitude became the same.
fn argument(op: Op) -> Option<f64> {
    match op {
        Op::AutoContrast | Op::Equalize | Op::Invert => None,
        Op::Rotate { degrees } => Some(degrees),
        Op::Posterize { bits } => Some(f64::from(bits)),
        Op::Solarize { threshold } => Some(f64::from(threshold)),
        Op::SolarizeAdd { amount } => Some(f64::from(amount)),
        Op::Color { factor }
        | Op::Contrast { factor }
        | Op::Brightness { factor }
        | Op::Sharpness { factor }
        | Op::ShearX { factor }
        | Op::ShearY { factor } => Some(factor),
        Op::TranslateX { pixels } | Op::TranslateY { pixels } => Some(pixels),
        Op::TranslateXRel { share } | Op::TranslateYRel { share } => Some(share),
    }
}

#[test]
fn randaugment_on_a_photograph_equals_timm() {
    let Some(folder) = std::env::var_os("DEEPMIM_GOLDEN") else {
        eprintln!("skipped: DEEPMIM_GOLDEN is not set");
        return;
    };
    let folder = Path::new(&folder).join("augment");
    let table = json(&folder.join("randaugment.json"));
    let increasing: Vec<OpKind> =
        serde_json::from_value(table["default_increasing_ops"].clone()).unwrap();
    assert_eq!(increasing, OpKind::INCREASING);
    let params = OpParams {
        fill: [124, 116, 104],
        translate_const: table["translate_const"].as_f64().unwrap(),
        translate_pct: table["translate_pct"].as_f64().unwrap(),
    };
    let input = RgbImage::read(&folder.join("randaugment/input.png")).unwrap();
    let mut compared = 0;
    for case in table["ops"].as_array().unwrap() {
        let kind: OpKind = serde_json::from_value(case["op"].clone()).unwrap();
        let magnitude = case["magnitude"].as_f64().unwrap();
        let op = kind.at(magnitude, case["negated"].as_bool().unwrap(), &params);
        let expected = numbers(&case["args"]).first().copied();
        assert_eq!(argument(op), expected, "{case}");
        let mut image = input.clone();
        op.apply(&mut image, AffineFilter::Bicubic, params.fill);
        let Some(png) = case["png"].as_str() else {
            assert!(case["error"].is_string());
            assert!(
                image.pixels.iter().all(|&v| v == 0),
                "no bits kept is black"
            );
            continue;
        };
        let recorded = RgbImage::read(&folder.join(png)).unwrap();
        let (levels, note) = difference(&image, &recorded);
        assert_eq!(levels, 0, "{png}: {note}");
        compared += 1;
    }
    assert!(compared > 50);
}

#[test]
fn mixing_equals_timm() {
    let folder = committed("augment");
    let bytes = std::fs::read(folder.join("mix.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let shape = tensors.tensor("mix/x").unwrap().shape().to_vec();
    let (rows, height, width) = (shape[0], shape[2], shape[3]);
    let input = floats(&tensors, "mix/x");
    let labels: Vec<i64> = {
        let view = tensors.tensor("mix/target").unwrap();
        let (words, _) = view.data().as_chunks::<8>();
        words.iter().map(|w| i64::from_le_bytes(*w)).collect()
    };
    let settings = json(&folder.join("mix.json"));
    for (i, setting) in settings.as_array().unwrap().iter().enumerate() {
        let lam = setting["lam"].as_f64().unwrap();
        let mix = if setting["cutmix"].as_bool().unwrap() {
            let at = |key: &str| setting[key].as_u64().unwrap() as usize;
            let cut = CutBox::around((at("center_y"), at("center_x")), lam, height, width);
            let found = [cut.top, cut.bottom, cut.left, cut.right].map(|v| v as f64);
            assert_eq!(
                found.to_vec(),
                numbers(&setting["box_y0_y1_x0_x1"]),
                "setting {i}"
            );
            let kept = cut.kept(height, width);
            assert!((kept - setting["corrected_lam"].as_f64().unwrap()).abs() < 1e-12);
            Mix::Cutmix { cut, lam: kept }
        } else {
            Mix::Mixup { lam }
        };
        let mut images = input.clone();
        mix.apply(&mut images, rows, height, width);
        close(
            &images,
            &floats(&tensors, &format!("mix/{i}/x")),
            &format!("mix/{i}/x"),
        );
        let classes = setting["num_classes"].as_u64().unwrap() as usize;
        let smoothing = setting["label_smoothing"].as_f64().unwrap();
        let targets = augment::soft_targets(&labels, classes, mix.lam(), smoothing).unwrap();
        close(
            &targets,
            &floats(&tensors, &format!("mix/{i}/target")),
            &format!("mix/{i}/target"),
        );
    }
}

fn close(found: &[f32], expected: &[f32], name: &str) {
    assert_eq!(found.len(), expected.len(), "{name}");
    for (at, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 1e-6, "{name}[{at}]: {a} instead of {b}");
    }
}

#[test]
fn a_misspelt_setting_is_an_error() {
    fn wrong<T: serde::de::DeserializeOwned + std::fmt::Debug>(text: &str) -> String {
        serde_json::from_str::<T>(text).unwrap_err().to_string()
    }
    assert!(wrong::<augment::Mixer>(r#"{"mixupp": 0.8}"#).contains("unknown field `mixupp`"));
    assert!(wrong::<augment::ColorJitter>(r#"{"hues": 0.1}"#).contains("unknown field `hues`"));
    assert!(wrong::<augment::RandomErasing>(r#"{"prob": 1}"#).contains("unknown field `prob`"));
    assert!(wrong::<augment::RandAugmentPolicy>(r#""rand-m99""#).contains("section \"m99\""));
}
