//! Equal to hotcoco, another implementation of the same rules, on thousands of random masks.

use deepmim_eval::{PolygonRasterizer, PreparedMask, Rle, box_iou, mask_iou};
use hotcoco::mask as reference;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Kinds of polygons; each has another way to go wrong at the border or on the grid.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Inside,
    PartlyOutside,
    Integer,
    HalfInteger,
    /// Corners that fall on the middle of the five-fold grid's steps.
    Tenth,
    Collinear,
    /// Within a pixel or two.
    Tiny,
    /// Far beyond the picture.
    Huge,
    /// Some corners repeated, some coordinates shared.
    Repeated,
    /// Round about a centre, as outlines of objects are.
    Outline,
}

const KINDS: [Kind; 10] = [
    Kind::Inside,
    Kind::PartlyOutside,
    Kind::Integer,
    Kind::HalfInteger,
    Kind::Tenth,
    Kind::Collinear,
    Kind::Tiny,
    Kind::Huge,
    Kind::Repeated,
    Kind::Outline,
];

fn polygon(rng: &mut ChaCha8Rng, kind: Kind, height: u32, width: u32) -> Vec<f64> {
    let (h, w) = (f64::from(height), f64::from(width));
    let corners = rng.random_range(3..14);
    let (x0, y0) = (
        rng.random_range(-2.0..w + 2.0),
        rng.random_range(-2.0..h + 2.0),
    );
    let (dx, dy) = (rng.random_range(-9.0..9.0), rng.random_range(-9.0..9.0));
    let mut xy = Vec::new();
    for corner in 0..corners {
        let anywhere = |rng: &mut ChaCha8Rng| {
            (
                rng.random_range(-0.7 * w..1.7 * w),
                rng.random_range(-0.7 * h..1.7 * h),
            )
        };
        let on_grid = |rng: &mut ChaCha8Rng, step: f64| {
            let (x, y) = anywhere(rng);
            ((x / step).round() * step, (y / step).round() * step)
        };
        let (x, y) = match kind {
            Kind::Inside => (rng.random_range(0.0..w), rng.random_range(0.0..h)),
            Kind::PartlyOutside => anywhere(rng),
            Kind::Integer => on_grid(rng, 1.0),
            Kind::HalfInteger => on_grid(rng, 0.5),
            Kind::Tenth => on_grid(rng, 0.1),
            Kind::Collinear => {
                let along = rng.random_range(-4.0..4.0);
                (x0 + along * dx, y0 + along * dy)
            }
            Kind::Tiny => (
                x0 + rng.random_range(-0.8..0.8),
                y0 + rng.random_range(-0.8..0.8),
            ),
            Kind::Huge => {
                let far = 10f64.powf(rng.random_range(2.0..6.0));
                (rng.random_range(-far..far), rng.random_range(-far..far))
            }
            Kind::Repeated if corner > 0 && rng.random_bool(0.5) => {
                let at: usize = 2 * rng.random_range(0..corner);
                let (x, y) = anywhere(rng);
                match rng.random_range(0..3) {
                    0 => (xy[at], xy[at + 1]),
                    1 => (xy[at], y),
                    _ => (x, xy[at + 1]),
                }
            }
            Kind::Repeated => anywhere(rng),
            Kind::Outline => {
                let angle = corner as f64 / corners as f64 * std::f64::consts::TAU;
                let radius = rng.random_range(0.2..0.6) * h.min(w);
                (x0 + radius * angle.cos(), y0 + radius * angle.sin())
            }
        };
        xy.extend([x, y]);
    }
    xy
}

fn size(rng: &mut ChaCha8Rng) -> (u32, u32) {
    match rng.random_range(0..10) {
        0 => (rng.random_range(1..4), rng.random_range(1..400)),
        1 => (rng.random_range(1..400), rng.random_range(1..4)),
        _ => (rng.random_range(1..160), rng.random_range(1..160)),
    }
}

fn theirs(mask: &Rle) -> hotcoco::Rle {
    hotcoco::Rle {
        h: mask.height(),
        w: mask.width(),
        counts: mask.counts().to_vec(),
    }
}

/// Noise that is inside with a probability of its own, or blocks.
fn bitmap(rng: &mut ChaCha8Rng, height: u32, width: u32) -> Vec<u8> {
    let length = (height * width) as usize;
    let inside = rng.random_range(0.0..=1.0);
    let mut pixels = Vec::with_capacity(length);
    let longest = [1, 3, 200][rng.random_range(0..3)];
    while pixels.len() < length {
        let value = u8::from(rng.random_bool(inside));
        let run = rng.random_range(1..=longest).min(length - pixels.len());
        pixels.extend(std::iter::repeat_n(value, run));
    }
    pixels
}

fn random_mask(rng: &mut ChaCha8Rng, height: u32, width: u32) -> Rle {
    if rng.random_bool(0.5) {
        let pixels = bitmap(rng, height, width);
        return Rle::from_bitmap(height, width, &pixels).unwrap();
    }
    let kind = KINDS[rng.random_range(0..KINDS.len())];
    let xy = polygon(rng, kind, height, width);
    Rle::from_polygon(height, width, &xy).unwrap()
}

#[test]
fn polygons() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut rasterizer = PolygonRasterizer::default();
    let mut with_pixels = 0;
    for round in 0..20_000 {
        let kind = KINDS[round % KINDS.len()];
        let (height, width) = size(&mut rng);
        let xy = polygon(&mut rng, kind, height, width);
        let expected = reference::fr_poly(&xy, height, width).unwrap();
        let mask = rasterizer.polygon(height, width, &xy).unwrap();
        assert_eq!(
            mask.counts(),
            expected.counts,
            "{kind:?}, {height} × {width}: {xy:?}"
        );
        with_pixels += usize::from(mask.area() > 0);
    }
    assert!(with_pixels > 10_000, "{with_pixels}");
}

#[test]
fn unions_of_polygons() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut rasterizer = PolygonRasterizer::default();
    for _ in 0..3_000 {
        let (height, width) = size(&mut rng);
        let polygons: Vec<Vec<f64>> = (0..rng.random_range(1..5))
            .map(|_| {
                let kind = KINDS[rng.random_range(0..KINDS.len())];
                polygon(&mut rng, kind, height, width)
            })
            .collect();
        let expected = reference::fr_polys(&polygons, height, width).unwrap();
        let slices = polygons.iter().map(Vec::as_slice);
        let mask = rasterizer.polygons(height, width, slices).unwrap();
        assert_eq!(mask.counts(), expected.counts, "{polygons:?}");
    }
}

#[test]
fn boxes() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for round in 0..5_000 {
        let (height, width) = size(&mut rng);
        let mut side = |limit: u32| {
            let value = rng.random_range(-0.5..1.5) * f64::from(limit);
            if round % 2 == 0 {
                value
            } else {
                (value * 2.0).round() / 2.0
            }
        };
        let bounds = [side(width), side(height), side(width), side(height)];
        let expected = reference::fr_bbox(&bounds, height, width).unwrap();
        let mask = Rle::from_box(height, width, bounds).unwrap();
        assert_eq!(mask.counts(), expected.counts, "{bounds:?}");
    }
}

#[test]
fn bitmaps_and_strings() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for _ in 0..5_000 {
        let (height, width) = size(&mut rng);
        let pixels = bitmap(&mut rng, height, width);
        let mask = Rle::from_bitmap(height, width, &pixels).unwrap();
        let expected = reference::encode(&pixels, height, width).unwrap();
        assert_eq!(mask.counts(), expected.counts);
        assert_eq!(mask.decode(), pixels);
        assert_eq!(mask.area(), reference::area(&expected));
        assert_eq!(mask.bounding_box(), reference::to_bbox(&expected));
        let text = mask.to_compressed();
        assert_eq!(text, reference::rle_to_string(&expected));
        let read = Rle::from_string(height, width, text.as_bytes()).unwrap();
        assert_eq!(read, mask);
    }
}

#[test]
fn merges() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for round in 0..4_000 {
        let (height, width) = size(&mut rng);
        let masks: Vec<Rle> = (0..rng.random_range(2..5))
            .map(|_| random_mask(&mut rng, height, width))
            .collect();
        let others: Vec<hotcoco::Rle> = masks.iter().map(theirs).collect();
        let intersect = round % 2 == 0;
        let merged = Rle::merge(&masks, intersect).unwrap();
        let expected = reference::merge(&others, intersect).unwrap();
        assert_eq!(merged.counts(), expected.counts);
    }
}

#[test]
fn overlaps() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut overlapping = 0;
    for round in 0..6_000 {
        let (height, width) = size(&mut rng);
        let [a, b] = [(); 2].map(|()| random_mask(&mut rng, height, width));
        let crowd = round % 3 == 0;
        let expected = reference::iou(&[theirs(&a)], &[theirs(&b)], &[crowd])[0][0];
        let iou = mask_iou(&a, &b, crowd);
        assert_eq!(iou, expected, "{a:?} {b:?} {crowd}");
        let prepared = PreparedMask::from(&a).iou(&PreparedMask::from(b), crowd);
        assert_eq!(prepared, expected);
        overlapping += usize::from(iou > 0.0);
    }
    assert!(overlapping > 2_000, "{overlapping}");
}

#[test]
fn overlaps_of_boxes() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for round in 0..20_000 {
        let mut bounds = || {
            [-5.0, -5.0, 0.0, 0.0].map(|low| {
                let value: f64 = rng.random_range(low..20.0);
                if round % 2 == 0 { value.floor() } else { value }
            })
        };
        let (a, b) = (bounds(), bounds());
        let crowd = round % 3 == 0;
        let expected = reference::bbox_iou(&[a], &[b], &[crowd])[0][0];
        // Its sums are in another order.
        let iou = box_iou(&a, &b, crowd);
        assert!((iou - expected).abs() < 1e-12, "{a:?} {b:?} {crowd}");
    }
}
