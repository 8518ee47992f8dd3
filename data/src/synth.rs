//! A made-up classification data set, drawn on the spot: `train` and `val` class folders.
//!
//! Classes differ by shape and texture, never by colour or place, so that a model needs real features.

use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::codec::{write_jpeg, write_png};
use crate::dataset::sample_seed;
use crate::detection::plain_object;
use crate::draw::{Shape, Texture, object};
use crate::error::DataError;

/// File format of made-up pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PictureFormat {
    /// JPEG of quality 92.
    #[default]
    Jpeg,
    /// PNG.
    Png,
}

/// What to draw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SynthClassificationConfig {
    /// Classes, 2 to 48.
    pub classes: usize,
    /// Training pictures a class.
    pub train_per_class: usize,
    /// Validation pictures a class.
    pub val_per_class: usize,
    /// Side in pixels, at least 16.
    pub size: usize,
    /// Seed; the same seed draws the same pixels.
    pub seed: u64,
    /// File format.
    pub format: PictureFormat,
    /// Easy pictures, for small models and short training, of the style that plain scenes have: a class is a
    /// shape with a texture of its own, so there are at most 8, and the object stands out from wavy regions and
    /// is almost upright.
    pub plain: bool,
}

impl Default for SynthClassificationConfig {
    fn default() -> Self {
        Self {
            classes: 10,
            train_per_class: 200,
            val_per_class: 50,
            size: 64,
            seed: 0,
            format: PictureFormat::Jpeg,
            plain: false,
        }
    }
}

/// What was drawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SynthSummary {
    /// Training class folders.
    pub train: PathBuf,
    /// Validation class folders.
    pub val: PathBuf,
    /// Class names, sorted.
    pub classes: Vec<String>,
    /// Pictures written.
    pub pictures: usize,
}

/// The shape, texture and name of each class: a grid of about as many shapes as textures, so that neither
/// alone tells the classes apart. In plain pictures each shape has one texture.
fn classes(count: usize, plain: bool) -> Vec<(Shape, Texture, String)> {
    if plain {
        let shapes = Shape::ALL.iter().take(count);
        return shapes
            .map(|(shape, name)| (*shape, shape.plain_texture(), (*name).to_owned()))
            .collect();
    }
    let side = (count as f64).sqrt().ceil() as usize;
    let shapes = side
        .max(count.div_ceil(Texture::ALL.len()))
        .min(Shape::ALL.len());
    (0..count)
        .map(|class| {
            let (shape, shape_name) = Shape::ALL[class % shapes];
            let (texture, texture_name) = Texture::ALL[class / shapes];
            (shape, texture, format!("{texture_name}_{shape_name}"))
        })
        .collect()
}

/// Draws `train/<class>/*.jpg` and `val/<class>/*.jpg` under `out`, in parallel.
///
/// # Errors
/// When a value is out of range, `out` already holds `train` or `val`, or a file cannot be written.
pub fn synth_classification(
    out: &Path,
    config: &SynthClassificationConfig,
) -> Result<SynthSummary, DataError> {
    let most = match config.plain {
        true => Shape::ALL.len(),
        false => Shape::ALL.len() * Texture::ALL.len(),
    };
    let range = |key: &str, value: usize, low: usize, high: usize| {
        let problem = format!("{value} must lie in {low}..={high}");
        if (low..=high).contains(&value) {
            Ok(())
        } else {
            Err(DataError::config(format!("synth.{key}"), problem))
        }
    };
    range("classes", config.classes, 2, most)?;
    range("train_per_class", config.train_per_class, 1, 1_000_000)?;
    range("val_per_class", config.val_per_class, 1, 1_000_000)?;
    range("size", config.size, 16, 4096)?;
    let classes = classes(config.classes, config.plain);
    let mut jobs = Vec::new();
    for (part, (split, count)) in [
        ("train", config.train_per_class),
        ("val", config.val_per_class),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = out.join(split);
        if folder.exists() {
            return Err(DataError::layout(
                &folder,
                "it exists already",
                "choose another output folder or remove it",
            ));
        }
        for (class, (shape, texture, name)) in classes.iter().enumerate() {
            let folder = folder.join(name);
            std::fs::create_dir_all(&folder).map_err(|source| DataError::write(&folder, source))?;
            jobs.extend(
                (0..count).map(|number| (part, class, number, *shape, *texture, folder.clone())),
            );
        }
    }
    jobs.par_iter()
        .try_for_each(|(part, class, number, shape, texture, folder)| {
            let index = (*number * config.classes + class) as u64;
            let mut rng = ChaCha8Rng::seed_from_u64(sample_seed(config.seed, *part as u64, index));
            let image = if config.plain {
                plain_object(config.size, *shape, *texture, &mut rng)
            } else {
                object(config.size, *shape, *texture, &mut rng)
            };
            match config.format {
                PictureFormat::Jpeg => {
                    write_jpeg(&image, &folder.join(format!("{number:05}.jpg")), 92)
                }
                PictureFormat::Png => write_png(&image, &folder.join(format!("{number:05}.png"))),
            }
        })?;
    let mut names: Vec<String> = classes.into_iter().map(|class| class.2).collect();
    names.sort_unstable();
    Ok(SynthSummary {
        train: out.join("train"),
        val: out.join("val"),
        classes: names,
        pictures: jobs.len(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn classes_are_different_pairs() {
        for count in 2..=48 {
            let names: HashSet<String> = classes(count, false).into_iter().map(|c| c.2).collect();
            assert_eq!(names.len(), count);
        }
        let ten: Vec<String> = classes(10, false).into_iter().map(|c| c.2).collect();
        let parts = |at| {
            ten.iter()
                .filter_map(|name| name.split('_').nth(at))
                .collect::<HashSet<_>>()
                .len()
        };
        assert_eq!((parts(0), parts(1)), (3, 4));
    }
}
