//! A made-up data set for semantic segmentation, drawn on the spot, in the layout of ADEChallengeData2016.
//!
//! Regions such as sky and water are told by their texture, objects by their shape; colours and places tell
//! nothing. Label maps count from 1 as ADE20K's do, and some pictures have a rim of no class.

use std::path::{Path, PathBuf};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::label_file::write_label_png;
use super::pairs::SegmentationSource;
use super::scene::{LabelledContent, LabelledScene, MOST_CLASSES, class_names};
use crate::codec::write_jpeg;
use crate::dataset::sample_seed;
use crate::error::DataError;

/// What to draw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SynthSegmentationConfig {
    /// Training pictures.
    pub pictures: usize,
    /// Validation pictures.
    pub val_pictures: usize,
    /// Longer side in pixels, at least 32; the shorter is 0.65 to 1 times as long.
    pub size: usize,
    /// Classes, 2 to 12: the first half regions, up to four, the others objects.
    pub classes: usize,
    /// Objects in a picture at most.
    pub max_objects: usize,
    /// Easy pictures, for small models and short training: square, regions of little contrast, 1 to
    /// `max_objects` large objects that stand out from them, each shape with a texture of its own, and no rim.
    pub plain: bool,
    /// Seed; the same seed draws the same files.
    pub seed: u64,
}

impl Default for SynthSegmentationConfig {
    fn default() -> Self {
        Self {
            pictures: 200,
            val_pictures: 50,
            size: 192,
            classes: 8,
            max_objects: 5,
            plain: false,
            seed: 0,
        }
    }
}

/// What was drawn.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SynthSegmentationSummary {
    /// Folders of the training part.
    pub train: SegmentationSource,
    /// Folders of the validation part.
    pub val: SegmentationSource,
    /// File of class names.
    pub names: PathBuf,
    /// Class names in class order.
    pub classes: Vec<String>,
    /// Pictures written.
    pub pictures: usize,
    /// Share of pixels that have no class.
    pub unlabelled: f64,
}

/// Name of the file of class names in data sets that this program makes.
pub(super) const NAMES_FILE: &str = "classes.txt";
/// JPEG quality of made-up pictures.
const QUALITY: u8 = 95;
/// One picture in so many has a rim.
const RIM_EVERY: u32 = 3;

/// Draws `images/training`, `images/validation`, `annotations/training`, `annotations/validation` and
/// `classes.txt` under `out`, in parallel.
///
/// # Errors
/// When a value is out of range, `out` already holds one of these, or a file cannot be written.
pub fn synth_segmentation(
    out: &Path,
    config: &SynthSegmentationConfig,
) -> Result<SynthSegmentationSummary, DataError> {
    config.check()?;
    let part = |split: &str| SegmentationSource {
        images: out.join("images").join(split),
        labels: out.join("annotations").join(split),
    };
    let mut summary = SynthSegmentationSummary {
        train: part("training"),
        val: part("validation"),
        names: out.join(NAMES_FILE),
        classes: class_names(config.classes),
        pictures: config.pictures + config.val_pictures,
        unlabelled: 0.0,
    };
    for place in [
        out.join("images"),
        out.join("annotations"),
        summary.names.clone(),
    ] {
        if place.exists() {
            return Err(DataError::layout(
                &place,
                "it exists already",
                "choose another output folder or remove it",
            ));
        }
    }
    for folder in [
        &summary.train.images,
        &summary.train.labels,
        &summary.val.images,
        &summary.val.labels,
    ] {
        std::fs::create_dir_all(folder).map_err(|source| DataError::write(folder, source))?;
    }
    write_names(&summary.names, &summary.classes)?;
    let (mut unlabelled, mut all) = (0, 0);
    for (part, source, count) in [
        (0, &summary.train, config.pictures),
        (1, &summary.val, config.val_pictures),
    ] {
        let drawn: Vec<[usize; 2]> = (0..count)
            .into_par_iter()
            .map(|number| draw_one(source, part, number, config))
            .collect::<Result<_, _>>()?;
        for [without, pixels] in drawn {
            unlabelled += without;
            all += pixels;
        }
    }
    summary.unlabelled = unlabelled as f64 / all as f64;
    Ok(summary)
}

/// Writes class names, one a line.
pub(super) fn write_names(path: &Path, names: &[String]) -> Result<(), DataError> {
    let mut text = names.join("\n");
    text.push('\n');
    std::fs::write(path, text).map_err(|source| DataError::write(path, source))
}

impl SynthSegmentationConfig {
    fn check(&self) -> Result<(), DataError> {
        let ranges = [
            ("pictures", self.pictures, 1, 1_000_000),
            ("val_pictures", self.val_pictures, 1, 1_000_000),
            ("size", self.size, 32, 4096),
            ("classes", self.classes, 2, MOST_CLASSES),
            ("max_objects", self.max_objects, 0, 100),
        ];
        for (key, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                return Err(DataError::config(
                    format!("synth.{key}"),
                    format!("{value} must lie in {low}..={high}"),
                ));
            }
        }
        Ok(())
    }
}

/// Draws a picture; tells how many pixels have no class, and how many there are.
fn draw_one(
    source: &SegmentationSource,
    part: u64,
    number: usize,
    config: &SynthSegmentationConfig,
) -> Result<[usize; 2], DataError> {
    let mut rng = ChaCha8Rng::seed_from_u64(sample_seed(config.seed, part, number as u64));
    let (size, content) = if config.plain {
        let content = LabelledContent {
            classes: config.classes,
            objects: rng.random_range(config.max_objects.min(1)..=config.max_objects),
            rim: false,
            plain: true,
        };
        ((config.size, config.size), content)
    } else {
        let other = (config.size as f64 * rng.random_range(0.65..1.0)) as usize;
        let size = if rng.random() {
            (config.size, other)
        } else {
            (other, config.size)
        };
        let content = LabelledContent {
            classes: config.classes,
            objects: rng.random_range(0..=config.max_objects),
            rim: rng.random_ratio(1, RIM_EVERY),
            plain: false,
        };
        (size, content)
    };
    let scene = LabelledScene::draw(size, content, &mut rng);
    let picture = source.images.join(format!("{number:06}.jpg"));
    write_jpeg(&scene.image, &picture, QUALITY)?;
    let labels = source.labels.join(format!("{number:06}.png"));
    write_label_png(&labels, size.0, size.1, &scene.labels)?;
    let unlabelled = scene.labels.iter().filter(|&&label| label == 0).count();
    Ok([unlabelled, scene.labels.len()])
}
