//! Decoding, resizing and cropping against Pillow, torchvision and detectron2.
//!
//! The resized synthetic pictures are in the repository; the photographs may not be, and are found through
//! `DEEPMIM_GOLDEN` (`transforms` inside it).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use deepmim_data::{
    CropBox, EvalTransformConfig, Filter, Orientation, RgbImage, Transform, centre_crop_origin,
    decode_bytes, decode_file, resize, resize_crop, short_side_size,
};
use safetensors::SafeTensors;
use serde_json::Value;
use sha2::{Digest, Sha256};

fn golden() -> Option<PathBuf> {
    let folder = std::env::var_os("DEEPMIM_GOLDEN").map(|root| Path::new(&root).join("transforms"));
    if folder.is_none() {
        eprintln!("skipped: DEEPMIM_GOLDEN is not set");
    }
    folder
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

fn expected(folder: &Path) -> Value {
    let text = std::fs::read(folder.join("expected.json")).expect("the fixture is there");
    serde_json::from_slice(&text).expect("the fixture is JSON")
}

/// The tensors of a fixture in the repository: name, shape and bytes.
fn committed(name: &str) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../parity/golden");
    let path = format!("{root}/{name}/expected.safetensors");
    let bytes = std::fs::read(path).expect("the fixture is in the repository");
    let file = SafeTensors::deserialize(&bytes).expect("the fixture is a safetensors file");
    file.iter()
        .map(|(name, view)| {
            (
                name.to_owned(),
                (view.shape().to_vec(), view.data().to_vec()),
            )
        })
        .collect()
}

fn synthetic() -> BTreeMap<String, RgbImage> {
    committed("pillow_resize")
        .into_iter()
        .map(|(name, (shape, data))| (name, RgbImage::from_pixels(shape[1], shape[0], data)))
        .collect()
}

#[test]
fn small_files_of_all_formats_decode_as_in_pillow() {
    let all = committed("pillow_decode");
    let mut compared = 0;
    for (key, (_, bytes)) in &all {
        let Some(name) = key.strip_suffix("/file") else {
            continue;
        };
        let (shape, pixels) = &all[&format!("{name}/rgb")];
        let image = decode_bytes(bytes, name, Orientation::Ignore).unwrap();
        assert_eq!((image.height, image.width), (shape[0], shape[1]), "{name}");
        assert_eq!(&image.pixels, pixels, "{name}");
        compared += 1;
    }
    assert_eq!(compared, 20);
}

#[test]
fn small_pictures_resize_as_in_pillow() {
    let all = synthetic();
    let input = &all["rgb"];
    let mut compared = 0;
    for (name, wanted) in &all {
        let Some(rest) = name.strip_prefix("pillow_") else {
            continue;
        };
        let filter = match rest.split('_').next().unwrap() {
            "nearest" => Filter::Nearest,
            "bilinear" => Filter::Bilinear,
            "bicubic" => Filter::Bicubic,
            "lanczos" => Filter::Lanczos,
            other => panic!("unknown filter {other}"),
        };
        assert_eq!(
            &resize(input, wanted.width, wanted.height, filter),
            wanted,
            "{name}"
        );
        compared += 1;
    }
    assert_eq!(compared, 24);
}

#[test]
fn photographs_decode_as_in_pillow_and_detectron2() {
    let Some(folder) = golden() else { return };
    let expected = expected(&folder);
    for name in [
        "plain.jpg",
        "exif6.jpg",
        "grey.jpg",
        "cmyk.jpg",
        "odd444.jpg",
    ] {
        for (key, orientation) in [
            ("imagefolder_rgb", Orientation::Ignore),
            ("detectron2_rgb", Orientation::Apply),
        ] {
            let image = decode_file(&folder.join(name), orientation).unwrap();
            let wanted = &expected[name][key];
            assert_eq!(
                wanted["shape_hwc"],
                serde_json::json!([image.height, image.width, 3]),
                "{name} {key}"
            );
            assert_eq!(wanted["sha256"], sha256(&image.pixels), "{name} {key}");
        }
    }
}

#[test]
fn evaluation_crops_equal_torchvisions() {
    let Some(folder) = golden() else { return };
    let expected = expected(&folder);
    for name in [
        "plain.jpg",
        "exif6.jpg",
        "grey.jpg",
        "cmyk.jpg",
        "odd444.jpg",
    ] {
        let image = RgbImage::read(&folder.join(name)).unwrap();
        let wanted = &expected[name]["imagenet_eval"];
        let (width, height) = short_side_size(image.width, image.height, 256);
        assert_eq!(
            wanted["resized_wh"],
            serde_json::json!([width, height]),
            "{name}"
        );
        let resized = resize(&image, width, height, Filter::Bicubic);
        assert_eq!(wanted["resized_sha256"], sha256(&resized.pixels), "{name}");
        let (x, y) = centre_crop_origin(width, height, 224);
        assert_eq!(wanted["crop_left_top"], serde_json::json!([x, y]), "{name}");

        let crop = Transform::eval(&EvalTransformConfig::new(224))
            .unwrap()
            .pixels(&image, 0);
        assert_eq!(wanted["crop_sha256"], sha256(&crop.pixels), "{name}");
        // PNG decoding, on the way.
        assert_eq!(
            RgbImage::read(&folder.join(wanted["png"].as_str().unwrap())).unwrap(),
            crop,
            "{name}"
        );
    }
}

#[test]
fn bilinear_enlargement_equals_detectron2s() {
    let Some(folder) = golden() else { return };
    let expected = expected(&folder);
    for name in [
        "plain.jpg",
        "exif6.jpg",
        "grey.jpg",
        "cmyk.jpg",
        "odd444.jpg",
    ] {
        let image = decode_file(&folder.join(name), Orientation::Apply).unwrap();
        for key in ["shortest_edge_1024_1024", "shortest_edge_800_1333"] {
            let wanted = &expected[name][key];
            let side = |i: usize| wanted["out_hw"][i].as_u64().unwrap() as usize;
            let resized = resize(&image, side(1), side(0), Filter::Bilinear);
            assert_eq!(wanted["sha256"], sha256(&resized.pixels), "{name} {key}");
        }
    }
}

#[test]
fn resized_crops_equal_torchvisions() {
    let Some(folder) = golden() else { return };
    let expected = expected(&folder);
    let mut first = None;
    for case in expected["random_resized_crop"].as_array().unwrap() {
        let number = |key: &str| case[key].as_u64().unwrap() as usize;
        let image = RgbImage::read(&folder.join(case["image"].as_str().unwrap())).unwrap();
        let crop = CropBox {
            x: number("left"),
            y: number("top"),
            width: number("width"),
            height: number("height"),
        };
        let out = resize_crop(&image, crop, number("out"), number("out"), Filter::Bicubic);
        assert_eq!(case["sha256"], sha256(&out.pixels), "{case}");
        first.get_or_insert(out);
    }
    let flipped = first.unwrap().flipped();
    assert_eq!(
        expected["random_resized_crop_flipped"]["sha256"],
        sha256(&flipped.pixels)
    );
}

#[test]
fn normalised_floats_equal_torchvisions() {
    let Some(folder) = golden() else { return };
    let image = RgbImage::read(&folder.join("plain.jpg")).unwrap();
    let (width, height) = (image.width, image.height);
    // The fixture normalises the whole picture; here its central square and the rows above are checked
    // through the public transform, which only makes squares.
    let mut config = EvalTransformConfig::new(width);
    config.resize = false;
    let planes = Transform::eval(&config).unwrap().apply(&image, 0);
    let top = (width - height) / 2;
    let bytes = std::fs::read(folder.join("expected.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let wanted = file.tensor("f32_normalised_every_16th").unwrap();
    let values: Vec<f32> = wanted
        .data()
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    let [channels, rows, columns] = wanted.shape() else {
        panic!("three dimensions")
    };
    for c in 0..*channels {
        for y in 0..*rows {
            for x in 0..*columns {
                let got = planes[(c * width + top + 16 * y) * width + 16 * x];
                let wanted = values[(c * rows + y) * columns + x];
                assert!(
                    (got - wanted).abs() <= 1e-6,
                    "channel {c} row {y} column {x}: {got} {wanted}"
                );
            }
        }
    }
}

/// Why `resize.rs` exists: the crate's 8-bit path leaves too many samples off.
#[test]
fn fast_image_resize_is_not_pillow_exact() {
    use fast_image_resize as fir;
    let all = synthetic();
    let input = &all["rgb"];
    let (mut off, mut samples, mut worst) = (0_usize, 0_usize, 0);
    for size in ["11x9", "64x50", "31x40", "23x7"] {
        let wanted = &all[&format!("pillow_bicubic_{size}")];
        let source = fir::images::Image::from_vec_u8(
            input.width as u32,
            input.height as u32,
            input.pixels.clone(),
            fir::PixelType::U8x3,
        )
        .unwrap();
        let mut out = fir::images::Image::new(
            wanted.width as u32,
            wanted.height as u32,
            fir::PixelType::U8x3,
        );
        let options = fir::ResizeOptions::new()
            .resize_alg(fir::ResizeAlg::Convolution(fir::FilterType::CatmullRom));
        fir::Resizer::new()
            .resize(&source, &mut out, &options)
            .unwrap();
        for (a, b) in out.buffer().iter().zip(&wanted.pixels) {
            off += usize::from(a != b);
            worst = worst.max(a.abs_diff(*b));
        }
        samples += wanted.pixels.len();
    }
    eprintln!(
        "fast_image_resize: {off} of {samples} samples differ from Pillow, by at most {worst}"
    );
    assert!(
        worst > 1 || off * 1000 > samples,
        "now within one level on 0.1 %: resize.rs could go"
    );
}
