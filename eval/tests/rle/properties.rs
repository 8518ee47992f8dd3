//! What holds for every mask, and that no input panics.

use deepmim_eval::{PreparedMask, Rle, box_iou, mask_iou};
use proptest::collection::vec;
use proptest::prelude::*;

/// A size and a bitmap of it.
fn bitmap() -> impl Strategy<Value = (u32, u32, Vec<u8>)> {
    (0u32..24, 0u32..24).prop_flat_map(|(height, width)| {
        let length = (height * width) as usize;
        (Just(height), Just(width), vec(0u8..2, length))
    })
}

/// Two bitmaps of a size.
fn two() -> impl Strategy<Value = (Rle, Rle)> {
    (1u32..24, 1u32..24).prop_flat_map(|(height, width)| {
        let length = (height * width) as usize;
        let mask = move || {
            vec(0u8..2, length)
                .prop_map(move |bitmap| Rle::from_bitmap(height, width, &bitmap).unwrap())
        };
        (mask(), mask())
    })
}

/// Runs of any length, none included, and a size that they fill.
fn runs() -> impl Strategy<Value = (u32, u32, Vec<u32>)> {
    (1u32..50, 1u32..50, vec(0u32..40, 0..60)).prop_map(|(height, width, mut counts)| {
        let mut left = height * width;
        for count in &mut counts {
            *count = (*count).min(left);
            left -= *count;
        }
        counts.push(left);
        (height, width, counts)
    })
}

fn inside(bitmap: &[u8]) -> u64 {
    bitmap.iter().map(|&pixel| u64::from(pixel)).sum()
}

proptest! {
    #[test]
    fn decoding_undoes_encoding((height, width, pixels) in bitmap()) {
        let mask = Rle::from_bitmap(height, width, &pixels).unwrap();
        prop_assert_eq!(&mask.decode(), &pixels);
        prop_assert_eq!(mask.area(), inside(&pixels));
        // The same bytes read by rows are the transposed picture.
        let by_rows = Rle::from_row_major(width, height, &pixels).unwrap();
        prop_assert_eq!(by_rows.decode(), mask.decode_row_major());
        prop_assert_eq!(&by_rows.decode_row_major(), &pixels);
        prop_assert_eq!(by_rows.area(), inside(&pixels));
    }

    #[test]
    fn strings_keep_every_run((height, width, counts) in runs()) {
        let mask = Rle::from_counts(height, width, counts).unwrap();
        let text = mask.to_compressed();
        prop_assert_eq!(&Rle::from_string(height, width, text.as_bytes()).unwrap(), &mask);
        let tidy = Rle::from_bitmap(height, width, &mask.decode()).unwrap();
        prop_assert_eq!(tidy.area(), mask.area());
        prop_assert_eq!(tidy.bounding_box(), mask.bounding_box());
    }

    #[test]
    fn the_box_is_the_smallest((height, width, pixels) in bitmap()) {
        let mask = Rle::from_row_major(height, width, &pixels).unwrap();
        let inside: Vec<(u32, u32)> = (0..height)
            .flat_map(|row| (0..width).map(move |column| (row, column)))
            .filter(|&(row, column)| pixels[(row * width + column) as usize] == 1)
            .collect();
        let rows = || inside.iter().map(|pixel| f64::from(pixel.0));
        let columns = || inside.iter().map(|pixel| f64::from(pixel.1));
        let expected = if inside.is_empty() {
            [0.0; 4]
        } else {
            let (left, top) = (columns().fold(f64::MAX, f64::min), rows().fold(f64::MAX, f64::min));
            let (right, bottom) = (columns().fold(0.0, f64::max), rows().fold(0.0, f64::max));
            [left, top, right - left + 1.0, bottom - top + 1.0]
        };
        prop_assert_eq!(mask.bounding_box(), expected);
    }

    #[test]
    fn merges_are_pixel_by_pixel((a, b) in two()) {
        let pixels: Vec<(u8, u8)> = a.decode().into_iter().zip(b.decode()).collect();
        let union: Vec<u8> = pixels.iter().map(|pair| pair.0 | pair.1).collect();
        let intersection: Vec<u8> = pixels.iter().map(|pair| pair.0 & pair.1).collect();
        let masks = [a.clone(), b.clone()];
        prop_assert_eq!(Rle::merge(&masks, false).unwrap().decode(), &union[..]);
        prop_assert_eq!(Rle::merge(&masks, true).unwrap().decode(), &intersection[..]);
        let expected = match inside(&intersection) {
            0 => 0.0,
            shared => shared as f64 / inside(&union) as f64,
        };
        let iou = mask_iou(&a, &b, false);
        prop_assert_eq!(iou, expected);
        prop_assert_eq!(mask_iou(&b, &a, false), iou);
        prop_assert!((0.0..=1.0).contains(&iou));
        let crowd = mask_iou(&a, &b, true);
        prop_assert!((iou..=1.0).contains(&crowd));
        if a.area() > 0 {
            prop_assert_eq!(mask_iou(&a, &a, false), 1.0);
        }
    }

    #[test]
    fn boxes_overlap_at_most_fully(a in any_box(), b in any_box()) {
        let iou = box_iou(&a, &b, false);
        prop_assert!((0.0..=1.0 + 1e-9).contains(&iou), "{}", iou);
        prop_assert!(box_iou(&a, &b, true) <= 1.0 + 1e-9);
    }

    #[test]
    fn no_bytes_panic(
        height in 0u32..30,
        width in 0u32..30,
        bytes in vec(any::<u8>(), 0..40),
        plausible in vec(48u8..112, 0..40),
    ) {
        for text in [bytes, plausible] {
            if let Ok(mask) = Rle::from_string(height, width, &text) {
                use_everything(&mask);
            }
        }
    }

    #[test]
    fn no_counts_panic(
        height in any::<u32>(),
        width in any::<u32>(),
        counts in vec(any::<u32>(), 0..5),
        (rows, columns, filling) in runs(),
    ) {
        prop_assert!(Rle::from_counts(height, width, counts).is_err());
        use_everything(&Rle::from_counts(rows, columns, filling).unwrap());
    }

    #[test]
    fn no_coordinates_panic(
        height in 0u32..40,
        width in 0u32..40,
        anything in vec(any::<f64>(), 0..20),
        large in vec(-1.1e6..1.1e6, 0..20),
        small in vec(-30.0..70.0, 0..20),
    ) {
        for xy in [anything, large, small] {
            if let Ok(mask) = Rle::from_polygon(height, width, &xy) {
                use_everything(&mask);
            }
            if let [x, y, w, h, ..] = xy[..] && let Ok(mask) = Rle::from_box(height, width, [x, y, w, h]) {
                use_everything(&mask);
            }
        }
    }
}

fn any_box() -> impl Strategy<Value = [f64; 4]> {
    [-20.0..20.0, -20.0..20.0, 0.001..30.0, 0.001..30.0]
}

/// Every method, and that the runs fill the picture.
fn use_everything(mask: &Rle) {
    let (height, width) = (mask.height(), mask.width());
    let total: u64 = mask.counts().iter().map(|&run| u64::from(run)).sum();
    assert_eq!(total, u64::from(height) * u64::from(width));
    assert_eq!(inside(&mask.decode()), mask.area());
    assert_eq!(inside(&mask.decode_row_major()), mask.area());
    let text = mask.to_compressed();
    assert_eq!(
        &Rle::from_string(height, width, text.as_bytes()).unwrap(),
        mask
    );
    let prepared = PreparedMask::from(mask);
    assert_eq!(prepared.bounding_box(), mask.bounding_box());
    assert_eq!(prepared.area(), mask.area());
    let itself = prepared.iou(&prepared, true);
    assert_eq!(itself, if mask.area() > 0 { 1.0 } else { 0.0 });
    let twice = Rle::merge(&[mask.clone(), mask.clone()], true).unwrap();
    assert_eq!(twice.decode(), mask.decode());
}
