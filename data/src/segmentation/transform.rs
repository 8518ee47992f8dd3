//! From a decoded picture and its labels to what the model learns from or looks at.
//!
//! Source: mmcv `transforms/processing.py` (`RandomResize`, `Resize`), `image/geometric.py` (`rescale_size`)
//! and mmsegmentation `datasets/transforms/transforms.py` (`RandomCrop`, `RandomFlip`), in the order of
//! `configs/_base_/datasets/ade20k.py`.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::config::{SegmentationEvalTransform, SegmentationTrainTransform};
use super::numbering::IGNORED;
use super::photometric::PhotometricChange;
use super::pixels::Resized;
use crate::error::DataError;
use crate::image::RgbImage;
use crate::resize::CropBox;

/// Squares that are drawn again for holding too much of one class.
const TRIES: usize = 10;

/// Width and height of a picture scaled to fit `long_side` and `short_side` (mmcv's `rescale_size`); at least
/// a pixel each.
pub fn rescaled_size(
    (width, height): (usize, usize),
    long_side: usize,
    short_side: usize,
) -> (usize, usize) {
    let (long, short) = (width.max(height) as f64, width.min(height) as f64);
    let scale = (long_side as f64 / long).min(short_side as f64 / short);
    let scaled = |side: usize| ((side as f64 * scale + 0.5) as usize).max(1);
    (scaled(width), scaled(height))
}

impl SegmentationTrainTransform {
    /// A picture and its labels as a seed makes them: at most `size` pixels wide and high.
    pub(super) fn apply(
        &self,
        image: &RgbImage,
        labels: &[u8],
        seed: u64,
    ) -> Result<(RgbImage, Vec<u8>), DataError> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let size = self.random_size((image.width, image.height), &mut rng);
        let resized = Resized::map(labels, image.height, size)?;
        let (window, mut labels) = self.random_window(&resized, size, &mut rng)?;
        let pixels = Resized::picture(image, size)?.part(window)?;
        let mut image = RgbImage::from_pixels(window.width, window.height, pixels);
        if rng.random_bool(self.flip) {
            image.flip();
            labels
                .chunks_exact_mut(window.width)
                .for_each(<[u8]>::reverse);
        }
        if self.photometric {
            PhotometricChange::draw(&mut rng).apply(&mut image)?;
        }
        Ok((image, labels))
    }

    /// The sides that the picture is to fit become whole numbers before its own are computed.
    fn random_size(&self, size: (usize, usize), rng: &mut ChaCha8Rng) -> (usize, usize) {
        let [low, high] = self.ratio;
        let ratio = rng.random::<f64>() * (high - low) + low;
        let scaled = |side: usize| (side as f64 * ratio) as usize;
        rescaled_size(size, scaled(self.long_side), scaled(self.short_side))
    }

    /// The square that is cut out, and its labels.
    fn random_window(
        &self,
        labels: &Resized,
        (width, height): (usize, usize),
        rng: &mut ChaCha8Rng,
    ) -> Result<(CropBox, Vec<u8>), DataError> {
        let mut draw = || {
            let y = rng.random_range(0..=height.saturating_sub(self.size));
            let x = rng.random_range(0..=width.saturating_sub(self.size));
            CropBox {
                x,
                y,
                width: self.size.min(width),
                height: self.size.min(height),
            }
        };
        let mut window = draw();
        let mut inside = labels.part(window)?;
        if self.category_max_ratio < 1.0 {
            for _ in 0..TRIES {
                if is_varied(&inside, self.category_max_ratio) {
                    break;
                }
                window = draw();
                inside = labels.part(window)?;
            }
        }
        Ok((window, inside))
    }
}

/// Whether there are two classes or more, none with as large a share of the labelled pixels as `most`.
fn is_varied(labels: &[u8], most: f64) -> bool {
    let mut counts = [0_u32; 256];
    for &label in labels {
        counts[usize::from(label)] += 1;
    }
    counts[usize::from(IGNORED)] = 0;
    let present = counts.iter().filter(|&&count| count > 0).count();
    let largest = counts.iter().copied().max().unwrap_or(0);
    let all: u32 = counts.iter().sum();
    present > 1 && f64::from(largest) / f64::from(all) < most
}

/// What a model is shown of a picture in evaluation and prediction: the picture at each of the transform's
/// ratios, not normalised or padded. [`RgbImage::flip`] mirrors one.
///
/// # Errors
/// As [`resized_picture`].
pub fn segmentation_views(
    image: &RgbImage,
    transform: &SegmentationEvalTransform,
) -> Result<Vec<RgbImage>, DataError> {
    let at = |ratio: &f64| {
        let scaled = |side: usize| (side as f64 * ratio) as usize;
        let (long, short) = (scaled(transform.long_side), scaled(transform.short_side));
        resized_picture(
            image,
            rescaled_size((image.width, image.height), long, short),
        )
    };
    transform.ratios.iter().map(at).collect()
}

/// A picture resized to a width and height as mmcv resizes it (OpenCV's `INTER_LINEAR`).
///
/// # Errors
/// When OpenCV cannot resize the picture, which has no pixels or far too many.
pub fn resized_picture(image: &RgbImage, size: (usize, usize)) -> Result<RgbImage, DataError> {
    let whole = whole(size);
    let pixels = Resized::picture(image, size)?.part(whole)?;
    Ok(RgbImage::from_pixels(size.0, size.1, pixels))
}

/// A map of `height` rows with a byte a pixel, resized to a width and height as mmcv resizes labels (OpenCV's
/// `INTER_NEAREST`).
///
/// # Errors
/// As [`resized_picture`].
pub fn resized_labels(
    labels: &[u8],
    height: usize,
    size: (usize, usize),
) -> Result<Vec<u8>, DataError> {
    Resized::map(labels, height, size)?.part(whole(size))
}

fn whole((width, height): (usize, usize)) -> CropBox {
    CropBox {
        x: 0,
        y: 0,
        width,
        height,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture whose pixels tell their own place, and labels in four quarters.
    fn quarters(width: usize, height: usize) -> (RgbImage, Vec<u8>) {
        let mut image = RgbImage::new(width, height);
        let mut labels = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let quarter = u8::from(2 * x >= width) + 2 * u8::from(2 * y >= height);
                let at = 3 * (y * width + x);
                image.pixels[at..at + 3].copy_from_slice(&[x as u8, y as u8, 50 * quarter]);
                labels.push(quarter);
            }
        }
        (image, labels)
    }

    fn plain(size: usize) -> SegmentationTrainTransform {
        SegmentationTrainTransform {
            long_side: 200,
            short_side: 100,
            ratio: [1.0, 1.0],
            photometric: false,
            ..SegmentationTrainTransform::new(size)
        }
    }

    #[test]
    fn labels_lie_where_the_picture_shows_them() {
        let (image, labels) = quarters(160, 100);
        let transform = plain(60);
        let mut mirrored = 0;
        for seed in 0..20 {
            let (image, labels) = transform.apply(&image, &labels, seed).unwrap();
            assert_eq!((image.width, image.height), (60, 60));
            let told: Vec<u8> = image.pixels.chunks(3).map(|p| p[2] / 50).collect();
            assert_eq!(told, labels);
            mirrored += usize::from(image.pixel(0, 0)[0] > image.pixel(1, 0)[0]);
        }
        assert!((4..17).contains(&mirrored), "{mirrored}");
    }

    #[test]
    fn a_small_picture_stays_small() {
        let (image, labels) = quarters(40, 30);
        let transform = SegmentationTrainTransform {
            short_side: 30,
            ..plain(64)
        };
        let (image, labels) = transform.apply(&image, &labels, 1).unwrap();
        assert_eq!((image.width, image.height, labels.len()), (40, 30, 1200));
    }

    #[test]
    fn squares_of_one_class_are_drawn_again_but_not_for_ever() {
        let width = 200;
        // One row in ten is of another class at the left end.
        let labels: Vec<u8> = (0..width * 100).map(|i| u8::from(i % width < 40)).collect();
        let image = RgbImage::new(width, 100);
        let dull = |most: f64| {
            let transform = SegmentationTrainTransform {
                category_max_ratio: most,
                ..plain(50)
            };
            (0..60)
                .filter(|&seed| {
                    let (_, labels) = transform.apply(&image, &labels, seed).unwrap();
                    !is_varied(&labels, 0.75)
                })
                .count()
        };
        // 27 of 151 columns are of use: 0.82 of first draws are not, 0.82 ^ 11 = 0.11 of eleven.
        assert!((40..58).contains(&dull(1.0)), "{}", dull(1.0));
        assert!((1..18).contains(&dull(0.75)), "{}", dull(0.75));
        for class in [0, IGNORED] {
            let labels = vec![class; width * 100];
            let (_, inside) = plain(50).apply(&image, &labels, 3).unwrap();
            assert_eq!(inside, vec![class; 50 * 50]);
        }
    }

    #[test]
    fn shares_leave_out_ignored_pixels() {
        let labels = [[0; 60], [1; 60], [IGNORED; 60]].concat();
        assert!(is_varied(&labels, 0.75));
        assert!(
            !is_varied(&labels, 0.5),
            "the share must be below the limit"
        );
        assert!(!is_varied(&[[0; 9], [IGNORED; 9]].concat(), 0.75));
        assert!(!is_varied(&[], 0.75));
    }

    #[test]
    fn ratios_cover_their_range() {
        let transform = SegmentationTrainTransform::new(512);
        let mut sides = Vec::new();
        for seed in 0..400 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            sides.push(transform.random_size((640, 480), &mut rng).1);
        }
        let (least, most) = (sides.iter().min(), sides.iter().max());
        assert!(least.is_some_and(|&v| (256..262).contains(&v)), "{least:?}");
        assert!(
            most.is_some_and(|&v| (1016..=1024).contains(&v)),
            "{most:?}"
        );
    }
}
