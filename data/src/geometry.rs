//! Sizes and positions of crops, as torchvision computes them.
//!
//! Source: torchvision `transforms/functional.py` (`resize`, `center_crop`) and `transforms.py`
//! (`RandomResizedCrop.get_params`); MAE `util/crop.py` for the single-draw variant. Python's `int()`
//! truncates and its `round()` takes halves to the even side; both matter here.

use rand::Rng;

use crate::resize::CropBox;

/// Width and height after resizing the shorter side to `short`: torchvision's `Resize(short)`.
pub fn short_side_size(width: usize, height: usize, short: usize) -> (usize, usize) {
    let (small, large) = if width <= height {
        (width, height)
    } else {
        (height, width)
    };
    let long = (short as f64 * large as f64 / small as f64) as usize;
    if width <= height {
        (short, long)
    } else {
        (long, short)
    }
}

/// First column and row of the centre crop of `size` by `size` pixels; negative where the picture is
/// smaller, which torchvision pads with black (the odd pixel goes to the right and bottom).
pub fn centre_crop_origin(width: usize, height: usize, size: usize) -> (isize, isize) {
    let origin = |side: usize| {
        if side < size {
            -((size - side) as isize / 2)
        } else {
            ((side - size) as f64 / 2.0).round_ties_even() as isize
        }
    };
    (origin(width), origin(height))
}

/// How many proposals of a random crop are tried before the centre is taken.
const TRIES: usize = 10;

/// torchvision's `RandomResizedCrop`: a box of `scale` times the picture's area and an aspect ratio
/// (width over height) log-uniform in `ratio`; after ten misfits, the largest centred box of an allowed ratio.
pub fn random_resized_crop(
    width: usize,
    height: usize,
    scale: [f64; 2],
    ratio: [f64; 2],
    rng: &mut impl Rng,
) -> CropBox {
    for _ in 0..TRIES {
        let (w, h) = propose(width, height, scale, ratio, rng);
        if 0 < w && w <= width && 0 < h && h <= height {
            return place(width, height, w, h, rng);
        }
    }
    let wanted = width as f64 / height as f64;
    let [low, high] = [ratio[0].min(ratio[1]), ratio[0].max(ratio[1])];
    let (w, h) = if wanted < low {
        (width, (width as f64 / low).round_ties_even() as usize)
    } else if wanted > high {
        ((height as f64 * high).round_ties_even() as usize, height)
    } else {
        (width, height)
    };
    let (w, h) = (w.clamp(1, width), h.clamp(1, height));
    CropBox {
        x: (width - w) / 2,
        y: (height - h) / 2,
        width: w,
        height: h,
    }
}

/// MAE's variant for linear probing: one proposal, cut to the picture.
pub fn single_draw_crop(
    width: usize,
    height: usize,
    scale: [f64; 2],
    ratio: [f64; 2],
    rng: &mut impl Rng,
) -> CropBox {
    let (w, h) = propose(width, height, scale, ratio, rng);
    place(width, height, w.clamp(1, width), h.clamp(1, height), rng)
}

fn propose(
    width: usize,
    height: usize,
    scale: [f64; 2],
    ratio: [f64; 2],
    rng: &mut impl Rng,
) -> (usize, usize) {
    let area = (width * height) as f64 * uniform(scale, rng);
    let aspect = uniform(ratio.map(f64::ln), rng).exp();
    let side = |v: f64| v.sqrt().round_ties_even() as usize;
    (side(area * aspect), side(area / aspect))
}

fn place(width: usize, height: usize, w: usize, h: usize, rng: &mut impl Rng) -> CropBox {
    CropBox {
        y: rng.random_range(0..=height - h),
        x: rng.random_range(0..=width - w),
        width: w,
        height: h,
    }
}

fn uniform([low, high]: [f64; 2], rng: &mut impl Rng) -> f64 {
    low + rng.random::<f64>() * (high - low)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Recorded from torchvision 0.26 `Resize(256)`: height and width in, height and width out.
    #[test]
    fn short_side_sizes_are_torchvisions() {
        let cases = [
            ([427, 640], [256, 383]),
            ([640, 480], [341, 256]),
            ([333, 500], [256, 384]),
            ([37, 41], [256, 283]),
            ([1023, 1025], [256, 256]),
            ([2048, 512], [1024, 256]),
            ([500, 375], [341, 256]),
            ([799, 801], [256, 256]),
        ];
        for ([h, w], [out_h, out_w]) in cases {
            assert_eq!(short_side_size(w, h, 256), (out_w, out_h), "{h}x{w}");
        }
    }

    /// By hand: 42.5 goes to 42, 43.5 to 44, and a missing odd pixel to the far side.
    #[test]
    fn centre_crops_round_halves_to_even() {
        assert_eq!(centre_crop_origin(309, 311, 224), (42, 44));
        assert_eq!(centre_crop_origin(29, 32, 32), (-1, 0));
    }

    #[test]
    fn random_crops_stay_inside_and_keep_their_limits() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut areas, count) = (0.0, 4000);
        for _ in 0..count {
            let b = random_resized_crop(500, 375, [0.2, 1.0], [0.75, 4.0 / 3.0], &mut rng);
            assert!(
                b.width > 0 && b.height > 0 && b.x + b.width <= 500 && b.y + b.height <= 375,
                "{b:?}"
            );
            let share = (b.width * b.height) as f64 / (500.0 * 375.0);
            let aspect = b.width as f64 / b.height as f64;
            assert!(
                (0.19..=1.0).contains(&share) && (0.74..=1.345).contains(&aspect),
                "{b:?}"
            );
            areas += share;
        }
        // torchvision 0.26, 20,000 draws: 0.4958 (not 0.6: large boxes of a wrong shape are redrawn).
        let mean = areas / f64::from(count);
        assert!((mean - 0.4958).abs() < 0.01, "{mean}");
    }

    #[test]
    fn pictures_no_box_fits_get_the_centre() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let b = random_resized_crop(1000, 10, [0.9, 1.0], [0.75, 4.0 / 3.0], &mut rng);
        assert_eq!((b.x, b.y, b.width, b.height), (493, 0, 13, 10));
        let b = random_resized_crop(10, 1000, [0.9, 1.0], [0.75, 4.0 / 3.0], &mut rng);
        assert_eq!((b.x, b.y, b.width, b.height), (0, 493, 10, 13));
        let b = single_draw_crop(1000, 10, [0.9, 1.0], [0.75, 4.0 / 3.0], &mut rng);
        assert!(b.width <= 1000 && b.height == 10);
        let b = random_resized_crop(1, 1, [0.08, 1.0], [0.75, 4.0 / 3.0], &mut rng);
        assert_eq!((b.width, b.height), (1, 1));
    }
}
