//! Input that is no mask: an error that says so, and never a panic or a large allocation.

use deepmim_eval::{MAX_COORDINATE, PreparedMask, Rle, RleError, mask_iou};

fn text(height: u32, width: u32, text: &str) -> Result<Rle, RleError> {
    Rle::from_string(height, width, text.as_bytes())
}

#[test]
fn counts() {
    let found = |error: RleError| match error {
        RleError::Coverage { found, .. } => found,
        other => panic!("{other}"),
    };
    assert_eq!(found(Rle::from_counts(4, 5, vec![3, 4]).unwrap_err()), 7);
    assert_eq!(found(Rle::from_counts(4, 5, vec![3, 18]).unwrap_err()), 21);
    assert_eq!(found(Rle::from_counts(4, 5, vec![]).unwrap_err()), 0);
    // 2³² + 20: a sum of 32 bits would be right.
    let wraps = vec![u32::MAX, 1, 20];
    let sum = found(Rle::from_counts(4, 5, wraps).unwrap_err());
    assert_eq!(sum, (1 << 32) + 20);
    // 2¹⁶ × 2¹⁶ as 32 bits is 0.
    let large = Rle::from_counts(1 << 16, 1 << 16, vec![0]).unwrap_err();
    assert_eq!(
        large.to_string(),
        "a mask of 65536 × 65536 pixels is too large: at most 4294967295 are possible"
    );
    assert!(Rle::from_counts(0, 7, vec![]).is_ok());
    assert!(Rle::from_counts(0, 7, vec![0, 0]).is_ok());
}

#[test]
fn strings() {
    // 20 = 0b10100: five bits of it would be negative, so it takes two characters.
    assert_eq!(text(4, 5, "d0").unwrap().counts(), [20]);
    let position = |error| match error {
        RleError::Character { position, .. } => position,
        other => panic!("{other}"),
    };
    assert_eq!(position(text(4, 5, "d0 ").unwrap_err()), 2);
    assert_eq!(position(text(4, 5, "dp").unwrap_err()), 1);
    assert_eq!(position(text(4, 5, "/").unwrap_err()), 0);
    assert_eq!(position(text(4, 5, "é").unwrap_err()), 0);
    assert_eq!(position(text(4, 5, "\0").unwrap_err()), 0);
    assert_eq!(
        text(4, 5, "\"").unwrap_err().to_string(),
        "character 0 of the compressed runs is \"\\\"\", but only '0' to 'o' are used: the string \
         is damaged or is no COCO RLE"
    );
    assert_eq!(text(4, 5, "d0d").unwrap_err(), RleError::Truncated);
    assert_eq!(text(4, 5, "oooooo").unwrap_err(), RleError::Truncated);
    let long = RleError::Overflow { position: 2 };
    assert_eq!(text(4, 5, "d0PPPPPPP0").unwrap_err(), long);
    assert_eq!(text(4, 5, "d0ooooooo0").unwrap_err(), long);
    // 2³⁴ - 1 is seven characters long and no run either.
    assert_eq!(text(4, 5, "d0oooooo?").unwrap_err(), long);
    let negative = RleError::Negative { run: 1, length: -1 };
    assert_eq!(text(4, 5, "d0O").unwrap_err(), negative);
    // The fourth number counts from the second: 2 - 3.
    let negative = RleError::Negative { run: 3, length: -1 };
    assert_eq!(text(4, 5, "121M").unwrap_err(), negative);
    for (runs, covered) in [("", 0), ("c0", 19), ("e0", 21), ("d01", 21)] {
        let expected = RleError::Coverage {
            height: 4,
            width: 5,
            found: covered,
        };
        assert_eq!(text(4, 5, runs).unwrap_err(), expected, "{runs}");
    }
    assert!(matches!(
        text(1 << 16, 1 << 16, "0").unwrap_err(),
        RleError::TooManyPixels { .. }
    ));
    // The largest mask there is, in one run of seven characters.
    let full = Rle::from_counts(1, u32::MAX, vec![0, u32::MAX]).unwrap();
    assert_eq!(text(1, u32::MAX, &full.to_compressed()).unwrap(), full);
    assert_eq!(full.area(), u64::from(u32::MAX));
    assert_eq!(full.bounding_box(), [0.0, 0.0, f64::from(u32::MAX), 1.0]);
    let tall = Rle::from_counts(u32::MAX, 1, vec![0, u32::MAX]).unwrap();
    assert_eq!(tall.bounding_box(), [0.0, 0.0, 1.0, f64::from(u32::MAX)]);
    assert_eq!(mask_iou(&full, &full, false), 1.0);
}

#[test]
fn bitmaps() {
    let error = Rle::from_bitmap(4, 5, &[0; 19]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the bitmap has 19 pixels, but 4 × 5 are 20"
    );
    assert!(Rle::from_row_major(4, 5, &[0; 21]).is_err());
    assert!(Rle::from_row_major(1 << 16, 1 << 16, &[]).is_err());
    // Whatever is not 0 is inside: PNGs have 255.
    let mask = Rle::from_bitmap(1, 5, &[0, 255, 1, 7, 0]).unwrap();
    assert_eq!(mask.counts(), [1, 3, 1]);
    let nothing = Rle::from_row_major(0, 5, &[]).unwrap();
    assert_eq!(nothing.counts(), [0]);
    assert_eq!(nothing.to_compressed(), "0");
    assert_eq!(nothing.bounding_box(), [0.0; 4]);
}

#[test]
fn polygons() {
    let polygon = |xy: &[f64]| Rle::from_polygon(40, 50, xy);
    for numbers in [0, 1, 2, 4, 5] {
        let error = polygon(&vec![1.0; numbers]).unwrap_err();
        assert_eq!(error, RleError::Corners { numbers });
    }
    let odd = polygon(&[1.0; 7]).unwrap_err();
    assert_eq!(odd, RleError::OddPolygon { numbers: 7 });
    let beyond = MAX_COORDINATE * 1.001;
    for value in [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        beyond,
        -beyond,
        f64::MAX,
    ] {
        for place in 0..6 {
            let mut xy = [3.0, 4.0, 30.0, 8.0, 12.0, 33.0];
            xy[place] = value;
            let error = polygon(&xy).unwrap_err();
            assert!(matches!(error, RleError::Coordinate { .. }), "{error}");
        }
    }
    assert!(Rle::from_box(40, 50, [0.0, 0.0, f64::NAN, 1.0]).is_err());
    assert!(Rle::from_box(40, 50, [f64::MAX, 0.0, f64::MAX, 1.0]).is_err());
    assert!(Rle::from_polygon(1 << 16, 1 << 16, &[1.0; 6]).is_err());
    // The largest coordinates there may be: around the whole picture.
    let m = MAX_COORDINATE;
    let all = polygon(&[-m, -m, m, -m, m, m, -m, m]).unwrap();
    assert_eq!(all.counts(), [0, 2000]);
    // Nothing to draw on.
    for (height, width) in [(0, 50), (40, 0), (0, 0)] {
        let xy = [3.0, 4.0, 30.0, 8.0, 12.0, 33.0];
        assert_eq!(Rle::from_polygon(height, width, &xy).unwrap().counts(), [0]);
    }
}

#[test]
fn lists_of_polygons() {
    let triangle: &[f64] = &[3.2, 4.1, 30.7, 8.8, 12.5, 33.3];
    let union = |list: &[&[f64]]| Rle::from_polygons(40, 56, list.iter().copied());
    assert_eq!(union(&[]).unwrap_err(), RleError::NoPolygon);
    // Taken for a box there.
    assert!(union(&[&[1.0; 4], triangle]).is_err());
    // Further back pycocotools takes one and two corners, and they enclose nothing.
    let alone = union(&[triangle]).unwrap();
    assert_eq!(
        union(&[triangle, &[1.0, 1.0, 9.0, 9.0], &[]]).unwrap(),
        alone
    );
    assert!(union(&[triangle, &[1.0, f64::NAN]]).is_err());
    assert!(union(&[triangle, &[1.0; 3]]).is_err());
    assert!(union(&[triangle, &[1.0; 9]]).is_err());
}

/// A short polygon on a wide picture can have an outline of any length.
#[test]
fn endless_outlines() {
    let zigzag: Vec<f64> = (0..40)
        .flat_map(|corner| {
            let side = if corner % 2 == 0 { -1.0 } else { 1.0 };
            [side * MAX_COORDINATE, 2.0 * f64::from(corner)]
        })
        .collect();
    let error = Rle::from_polygon(100, 1_048_576, &zigzag).unwrap_err();
    assert_eq!(error, RleError::Crossings);
    // Of a picture as wide as pictures are, only the columns that it has count.
    let mask = Rle::from_polygon(100, 640, &zigzag).unwrap();
    assert!(mask.area() > 0);
}

#[test]
fn merges() {
    assert_eq!(Rle::merge(&[], false).unwrap_err(), RleError::NoMask);
    let a = Rle::from_counts(4, 5, vec![3, 17]).unwrap();
    let b = Rle::from_counts(5, 4, vec![3, 17]).unwrap();
    let error = Rle::merge(&[a.clone(), b.clone()], true).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a mask of 4 × 5 pixels cannot be merged with one of 5 × 4"
    );
    // pycocotools 2.0.11: -1 where the boxes overlap, 0 where they do not.
    assert_eq!(mask_iou(&a, &b, false), -1.0);
    let empty = Rle::from_counts(5, 4, vec![20]).unwrap();
    assert_eq!(mask_iou(&a, &empty, false), 0.0);
    assert_eq!(mask_iou(&empty, &empty, false), 0.0);
    let first = Rle::from_counts(4, 5, vec![0, 1, 19]).unwrap();
    let last = Rle::from_counts(5, 5, vec![24, 1]).unwrap();
    assert_eq!(mask_iou(&first, &last, true), 0.0);
}

/// Runs of no pixels, which nobody writes on purpose, change nothing.
#[test]
fn empty_runs() {
    let tidy = Rle::from_counts(4, 5, vec![2, 6, 12]).unwrap();
    let untidy = Rle::from_counts(4, 5, vec![2, 3, 0, 3, 0, 0, 12, 0]).unwrap();
    assert_eq!(untidy.area(), 6);
    assert_eq!(untidy.bounding_box(), tidy.bounding_box());
    assert_eq!(untidy.decode(), tidy.decode());
    let other = Rle::from_counts(4, 5, vec![0, 0, 4, 8, 0, 0, 8]).unwrap();
    assert_eq!(mask_iou(&untidy, &other, false), 4.0 / 10.0);
    assert_eq!(mask_iou(&other, &untidy, true), 4.0 / 8.0);
    let both = Rle::merge(&[untidy.clone(), other.clone()], true).unwrap();
    assert_eq!(both.counts(), [4, 4, 12]);
    let either = Rle::merge(&[other, untidy.clone()], false).unwrap();
    assert_eq!(either.counts(), [2, 10, 8]);
    // Kept for whoever writes the mask again.
    assert_eq!(text(4, 5, &untidy.to_compressed()).unwrap(), untidy);
    let nothing = Rle::from_counts(4, 5, vec![5, 0, 15, 0]).unwrap();
    assert_eq!(nothing.bounding_box(), [0.0; 4]);
    assert_eq!(PreparedMask::from(&nothing).area(), 0);
    assert_eq!(mask_iou(&nothing, &tidy, false), 0.0);
}
