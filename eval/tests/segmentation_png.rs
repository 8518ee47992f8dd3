//! Label maps in PNG files: every kind of file, and every way in which one can be bad.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/png_file.rs"]
mod png_file;

use std::fs;
use std::path::Path;

use deepmim_eval::segmentation::{LabelMap, Labels, read_label_png};
use png_file::{GRAY, GRAY_ALPHA, PALETTE, Png, RGB, RGBA, packed};

fn read(png: &Png) -> Result<LabelMap, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.png");
    png.write(&path);
    let prefix = format!("{}: ", path.display());
    read_label_png(&path).map_err(|error| {
        let text = error.to_string();
        text.strip_prefix(&prefix)
            .expect("the file is named")
            .to_owned()
    })
}

#[test]
fn every_bit_depth_gray_and_palette_plain_and_interlaced() {
    // Widths that leave bytes unfilled; every number of the depth occurs.
    for depth in [1, 2, 4, 8] {
        let (width, height) = (13usize, 11usize);
        let most = ((1u16 << depth) - 1) as u8;
        let labels: Vec<u8> = (0..width * height)
            .map(|i| {
                if i == 0 {
                    most
                } else {
                    (i * 7 % 256) as u8 & most
                }
            })
            .collect();
        let at = |x: usize, y: usize| labels[y * width + x];
        let row = |xs: &mut dyn Iterator<Item = usize>, y: usize| {
            let labels: Vec<u8> = xs.map(|x| at(x, y)).collect();
            packed(&labels, depth)
        };
        let plain = (0..height).map(|y| row(&mut (0..width), y)).collect();
        // The format's seven passes: first column and row, distance of columns and rows.
        let mut passes = Vec::new();
        for (x, y, dx, dy) in [
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
            (0, 1, 1, 2),
        ] {
            for y in (y..height).step_by(dy) {
                passes.push(row(&mut (x..width).step_by(dx), y));
            }
        }
        for (interlaced, rows) in [(false, plain), (true, passes)] {
            for color in [GRAY, PALETTE] {
                let png = Png {
                    width: width as u32,
                    height: height as u32,
                    depth,
                    color,
                    interlaced,
                    rows: rows.clone(),
                };
                let expected = LabelMap::new(width, height, labels.clone()).unwrap();
                assert_eq!(
                    read(&png).unwrap(),
                    expected,
                    "{depth} bits, colour type {color}"
                );
            }
        }
    }
}

#[test]
fn sixteen_bits_are_class_numbers_too() {
    let png = |labels: &[u16]| Png {
        width: labels.len() as u32,
        height: 1,
        depth: 16,
        color: GRAY,
        interlaced: false,
        rows: vec![
            labels
                .iter()
                .flat_map(|label| label.to_be_bytes())
                .collect(),
        ],
    };
    let map = read(&png(&[0, 255, 256, 65535])).unwrap();
    assert_eq!(*map.labels(), Labels::U16(vec![0, 255, 256, 65535]));
    // Small numbers are counted as bytes.
    let map = read(&png(&[0, 149, 255])).unwrap();
    assert_eq!(*map.labels(), Labels::U8(vec![0, 149, 255]));
}

#[test]
fn colours_are_no_class_numbers() {
    for (color, channels, expected) in [
        (RGB, 3, "a colour picture, not a label map"),
        (RGBA, 4, "a colour picture, not a label map"),
        (GRAY_ALPHA, 2, "has a transparency channel"),
    ] {
        let mut png = Png::gray(2, &[0; 4]);
        png.color = color;
        png.rows = vec![vec![0; 2 * channels]; 2];
        let error = read(&png).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
        assert!(
            error.contains("save class numbers as one channel"),
            "{error}"
        );
    }
}

#[test]
fn headers_are_not_believed() {
    let mut png = Png::gray(4, &[0; 16]);
    (png.width, png.height) = (i32::MAX as u32, i32::MAX as u32);
    let error = read(&png).unwrap_err();
    assert_eq!(
        error,
        "its header says 2147483647 x 2147483647 pixels: at most 268435456 are read"
    );
    (png.width, png.height) = (16384, 16384);
    let error = read(&png).unwrap_err();
    assert!(
        error.contains("16384 x 16384 pixels, more than") && error.contains("damaged or cut off"),
        "{error}"
    );
    (png.width, png.height) = (0, 4);
    assert!(read(&png).unwrap_err().starts_with("not a readable PNG"));
}

#[test]
fn a_file_cut_anywhere_or_changed_is_an_error_or_the_same_map() {
    let labels: Vec<u8> = (0..400u32).map(|i| (i * i / 37 % 150) as u8).collect();
    let whole = Png::gray(20, &labels).bytes();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.png");
    let expected = LabelMap::new(20, 20, labels).unwrap();
    let check = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        match read_label_png(&path) {
            Ok(map) => assert_eq!(map, expected),
            Err(error) => assert!(error.to_string().contains("map.png: ")),
        }
    };
    for length in 0..whole.len() {
        check(&whole[..length]);
    }
    for place in 0..whole.len() {
        let mut changed = whole.clone();
        changed[place] ^= 0x55;
        check(&changed);
    }
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = read_label_png(&path).unwrap_err().to_string();
    assert!(error.contains("cut off"), "{error}");
    fs::write(&path, b"\xff\xd8\xff\xe0 a JPEG").unwrap();
    let error = read_label_png(&path).unwrap_err().to_string();
    assert!(error.contains("not a readable PNG"), "{error}");
    let error = read_label_png(Path::new("no/such.png"))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("no/such.png: cannot be read"), "{error}");
}
