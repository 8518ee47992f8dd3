//! From a decoded picture to a model's input.
//!
//! Source: MAE `util/datasets.py`, `main_pretrain.py` and `main_linprobe.py`, timm `data/transforms_factory.py`
//! and torchvision. Order of training: crop, flip, colour jitter, RandAugment, normalise, random erasing.
//! All randomness comes from one generator seeded by the sample's seed.

use std::cell::RefCell;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::augment::{Interpolation, RandAugment};
use crate::error::DataError;
use crate::filter::Filter;
use crate::geometry::{centre_crop_origin, random_resized_crop, short_side_size, single_draw_crop};
use crate::image::RgbImage;
use crate::normalise::Normaliser;
use crate::resize::{CropBox, resize_crop_into, resize_window_into};
use crate::transform_config::{EvalTransformConfig, TrainCrop, TrainTransformConfig};

/// A transform ready for use.
#[derive(Debug, Clone)]
pub struct Transform {
    size: usize,
    kind: Kind,
    normaliser: Normaliser,
}

#[derive(Debug, Clone)]
enum Kind {
    Eval(EvalTransformConfig),
    Train {
        config: Box<TrainTransformConfig>,
        rand_augment: Option<RandAugment>,
    },
}

thread_local! {
    /// The picture between crop and normalisation, its memory reused.
    static CROPPED: RefCell<RgbImage> = RefCell::default();
}

impl Transform {
    /// The deterministic transform of evaluation.
    ///
    /// # Errors
    /// When a value is out of range.
    pub fn eval(config: &EvalTransformConfig) -> Result<Self, DataError> {
        config.check("eval transform")?;
        let normaliser = Normaliser::new(config.colours);
        Ok(Self {
            size: config.size,
            kind: Kind::Eval(config.clone()),
            normaliser,
        })
    }

    /// The random transform of training.
    ///
    /// # Errors
    /// When a value is out of range.
    pub fn train(config: &TrainTransformConfig) -> Result<Self, DataError> {
        config.check("train transform")?;
        // timm warps with the crop's filter.
        let interpolation = match config.crop {
            TrainCrop::RandomResized {
                filter: Filter::Bilinear,
                ..
            } => Interpolation::Bilinear,
            _ => Interpolation::Bicubic,
        };
        let rand_augment = config.rand_augment.map(|policy| {
            RandAugment::new(policy, config.size, config.colours.mean, interpolation)
        });
        let normaliser = Normaliser::new(config.colours);
        Ok(Self {
            size: config.size,
            kind: Kind::Train {
                config: Box::new(config.clone()),
                rand_augment,
            },
            normaliser,
        })
    }

    /// Side of the result in pixels.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The model's input for one picture: `[3, size, size]`, normalised. `seed` decides everything random.
    pub fn apply(&self, image: &RgbImage, seed: u64) -> Vec<f32> {
        CROPPED.with_borrow_mut(|cropped| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            self.pixels_into(image, &mut rng, cropped);
            let mut planes = self.normaliser.planar(cropped);
            if let Kind::Train { config, .. } = &self.kind
                && let Some(erasing) = &config.random_erasing
            {
                erasing.apply(&mut planes, self.size, self.size, &mut rng);
            }
            planes
        })
    }

    /// The picture as it is before normalisation (and erasing), for looking at.
    pub fn pixels(&self, image: &RgbImage, seed: u64) -> RgbImage {
        let mut out = RgbImage::default();
        self.pixels_into(image, &mut ChaCha8Rng::seed_from_u64(seed), &mut out);
        out
    }

    fn pixels_into(&self, image: &RgbImage, rng: &mut ChaCha8Rng, out: &mut RgbImage) {
        match &self.kind {
            Kind::Eval(config) => eval_pixels(image, config, out),
            Kind::Train {
                config,
                rand_augment,
            } => {
                train_crop(image, config, rng, out);
                if rng.random_bool(config.flip) {
                    out.flip();
                }
                if let Some(jitter) = &config.color_jitter {
                    jitter.apply(out, rng);
                }
                if let Some(augment) = rand_augment {
                    augment.apply(out, rng);
                }
            }
        }
    }
}

fn eval_pixels(image: &RgbImage, config: &EvalTransformConfig, out: &mut RgbImage) {
    let size = config.size;
    let (width, height) = if config.resize {
        short_side_size(
            image.width,
            image.height,
            (size as f64 / config.crop_ratio) as usize,
        )
    } else {
        (image.width, image.height)
    };
    let (x, y) = centre_crop_origin(width, height, size);
    if let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) {
        let window = CropBox {
            x,
            y,
            width: size,
            height: size,
        };
        resize_window_into(
            image,
            CropBox::whole(image),
            (width, height),
            config.filter,
            window,
            out,
        );
    } else {
        // Smaller than the crop, which only an unresized picture can be.
        *out = image.cropped(x, y, size, size);
    }
}

fn train_crop(
    image: &RgbImage,
    config: &TrainTransformConfig,
    rng: &mut ChaCha8Rng,
    out: &mut RgbImage,
) {
    let size = config.size;
    match config.crop {
        TrainCrop::RandomResized {
            scale,
            ratio,
            filter,
            single_draw,
        } => {
            let draw = if single_draw {
                single_draw_crop
            } else {
                random_resized_crop
            };
            let crop = draw(image.width, image.height, scale, ratio, rng);
            resize_crop_into(image, crop, size, size, filter, out);
        }
        TrainCrop::Padded { padding } => {
            // A picture still too small after padding is centred.
            let mut origin = |side: usize| {
                let room = (side + 2 * padding) as isize - size as isize;
                if room < 0 {
                    room / 2 - padding as isize
                } else {
                    rng.random_range(0..=room as i64) as isize - padding as isize
                }
            };
            let (x, y) = (origin(image.width), origin(image.height));
            *out = image.cropped(x, y, size, size);
        }
        TrainCrop::Centre { .. } => {
            let centre = config.centre().expect("this crop is a centre crop");
            eval_pixels(image, &centre, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::{ColorJitter, RandomErasing};

    #[test]
    fn a_centre_crop_in_training_is_that_of_evaluation() {
        let crop = TrainCrop::Centre {
            crop_ratio: 0.875,
            resize: true,
            filter: Filter::Bicubic,
        };
        let mut config = TrainTransformConfig::new(8, crop);
        config.flip = 0.0;
        assert!(config.is_fixed());
        let wanted = Transform::eval(&EvalTransformConfig::new(8)).unwrap();
        let found = Transform::train(&config).unwrap();
        let picture = picture(13, 21);
        for seed in 0..3 {
            assert_eq!(found.apply(&picture, seed), wanted.apply(&picture, 0));
        }
    }

    fn picture(width: usize, height: usize) -> RgbImage {
        let pixels = (0..3 * width * height)
            .map(|v| (v * v % 251) as u8)
            .collect();
        RgbImage::from_pixels(width, height, pixels)
    }

    #[test]
    fn the_seed_alone_decides() {
        let mut config = TrainTransformConfig::new(24, TrainCrop::random_resized(0.2));
        config.rand_augment = Some("rand-m9-mstd0.5-inc1".parse().unwrap());
        config.color_jitter = Some(ColorJitter::uniform(0.4));
        config.random_erasing = Some(RandomErasing {
            probability: 1.0,
            ..RandomErasing::default()
        });
        let transform = Transform::train(&config).unwrap();
        let image = picture(50, 40);
        let first = transform.apply(&image, 7);
        assert_eq!(first.len(), 3 * 24 * 24);
        transform.apply(&picture(9, 9), 1); // other work on this thread in between
        assert_eq!(first, transform.apply(&image, 7));
        assert_ne!(first, transform.apply(&image, 8));
    }

    #[test]
    fn padded_crops_shift_by_at_most_the_padding() {
        let mut config = TrainTransformConfig::new(8, TrainCrop::Padded { padding: 2 });
        config.flip = 0.0;
        let transform = Transform::train(&config).unwrap();
        let image = picture(8, 8);
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let out = transform.pixels(&image, seed);
            let mut shift = (-2..=2).flat_map(|y| (-2..=2).map(move |x| (x, y)));
            let found = shift.find(|&(x, y)| image.cropped(x, y, 8, 8) == out);
            seen.insert(found.expect("every result is a shift of the picture"));
        }
        assert_eq!(seen.len(), 25);
    }

    #[test]
    fn eval_without_resizing_takes_the_pixels() {
        let mut config = EvalTransformConfig::new(8);
        config.resize = false;
        let transform = Transform::eval(&config).unwrap();
        let image = picture(8, 8);
        assert_eq!(transform.pixels(&image, 0), image);
        assert_eq!(
            transform.pixels(&picture(5, 8), 0),
            picture(5, 8).cropped(-1, 0, 8, 8)
        );
    }

    #[test]
    fn misspelt_keys_and_bad_ranges_are_refused() {
        let eval: Result<EvalTransformConfig, _> =
            serde_json::from_str(r#"{"size": 224, "crop_ration": 1}"#);
        assert!(eval.unwrap_err().to_string().contains("crop_ration"));
        let train = r#"{"size": 32, "crop": {"kind": "random_resized", "scal": [0.1, 1]}}"#;
        let train: Result<TrainTransformConfig, _> = serde_json::from_str(train);
        assert!(train.unwrap_err().to_string().contains("scal"));
        let mut config = EvalTransformConfig::new(224);
        config.crop_ratio = 0.0;
        assert!(
            Transform::eval(&config)
                .unwrap_err()
                .to_string()
                .contains("crop_ratio")
        );
        let config = TrainTransformConfig::new(224, TrainCrop::random_resized(2.0));
        assert!(
            Transform::train(&config)
                .unwrap_err()
                .to_string()
                .contains("crop.scale")
        );
    }
}
