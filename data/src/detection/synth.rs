//! A made-up data set for detection and instance segmentation, drawn on the spot, in COCO's layout.
//!
//! A class is a shape; colours, texture, size and place tell nothing about it. Later objects hide parts of
//! earlier ones, whose masks are what shows. Identifiers have gaps, a few pictures have no object, and a few
//! have a crowd, so that whatever learns from the set meets what COCO holds.

use std::path::{Path, PathBuf};

use eval::Rle;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::scene::{Content, Scene};
use super::trace::trace;
use crate::codec::write_png;
use crate::dataset::sample_seed;
use crate::draw::Shape;
use crate::error::DataError;

/// What to draw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SynthDetectionConfig {
    /// Training pictures.
    pub pictures: usize,
    /// Validation pictures.
    pub val_pictures: usize,
    /// Longer side in pixels, at least 64; the shorter is 0.65 to 1 times as long.
    pub size: usize,
    /// Classes, 1 to 8.
    pub classes: usize,
    /// Objects in a picture at most, crowds not counted.
    pub max_objects: usize,
    /// Easy pictures, for small models and short training: square, each with 1 to `max_objects` large objects
    /// that stand out from wavy regions, none of them a crowd, each shape with a texture of its own.
    pub plain: bool,
    /// Seed; the same seed draws the same files.
    pub seed: u64,
}

impl Default for SynthDetectionConfig {
    fn default() -> Self {
        Self {
            pictures: 200,
            val_pictures: 50,
            size: 192,
            classes: 4,
            max_objects: 6,
            plain: false,
            seed: 0,
        }
    }
}

/// What was drawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SynthDetectionSummary {
    /// Annotations of the training pictures.
    pub train: PathBuf,
    /// Annotations of the validation pictures.
    pub val: PathBuf,
    /// Class names in the order of their identifiers.
    pub classes: Vec<String>,
    /// Pictures written.
    pub pictures: usize,
    /// Objects in them, without crowds.
    pub objects: usize,
    /// Crowds in them.
    pub crowds: usize,
}

/// One picture in so many has no object.
const EMPTY_EVERY: u32 = 20;
/// One picture in so many has a crowd.
const CROWD_EVERY: u32 = 12;

#[derive(Serialize)]
struct File {
    images: Vec<ImageRecord>,
    annotations: Vec<AnnotationRecord>,
    categories: Vec<CategoryRecord>,
}

#[derive(Serialize)]
struct ImageRecord {
    id: usize,
    file_name: String,
    width: usize,
    height: usize,
}

#[derive(Serialize)]
struct CategoryRecord {
    id: usize,
    name: &'static str,
}

#[derive(Serialize)]
struct AnnotationRecord {
    id: usize,
    image_id: usize,
    category_id: usize,
    bbox: [f64; 4],
    area: usize,
    iscrowd: u8,
    segmentation: Segmentation,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Segmentation {
    Polygons(Vec<Vec<f64>>),
    Runs { size: [u32; 2], counts: Vec<u32> },
    Compressed { size: [u32; 2], counts: String },
}

/// Identifiers with gaps: 1, 2, 4, 5, 7, 8, ..
fn category_id(class: usize) -> usize {
    1 + class + class / 2
}

/// Draws `train/*.png`, `val/*.png`, `annotations/train.json` and `annotations/val.json` under `out`, in
/// parallel.
///
/// # Errors
/// When a value is out of range, `out` already holds one of these folders, or a file cannot be written.
pub fn synth_detection(
    out: &Path,
    config: &SynthDetectionConfig,
) -> Result<SynthDetectionSummary, DataError> {
    config.check()?;
    let annotations = out.join("annotations");
    for folder in [&out.join("train"), &out.join("val"), &annotations] {
        if folder.exists() {
            return Err(DataError::layout(
                folder,
                "it exists already",
                "choose another output folder or remove it",
            ));
        }
    }
    let mut summary = SynthDetectionSummary {
        train: annotations.join("train.json"),
        val: annotations.join("val.json"),
        classes: Shape::ALL[..config.classes]
            .iter()
            .map(|(_, name)| (*name).to_owned())
            .collect(),
        pictures: config.pictures + config.val_pictures,
        objects: 0,
        crowds: 0,
    };
    for folder in [&out.join("train"), &out.join("val"), &annotations] {
        std::fs::create_dir_all(folder).map_err(|source| DataError::write(folder, source))?;
    }
    for (part, split, count, path) in [
        (0, "train", config.pictures, &summary.train),
        (1, "val", config.val_pictures, &summary.val),
    ] {
        let folder = out.join(split);
        let file = draw_part(&folder, part, count, config)?;
        let crowds = file.annotations.iter().filter(|a| a.iscrowd == 1).count();
        summary.crowds += crowds;
        summary.objects += file.annotations.len() - crowds;
        let text = serde_json::to_vec(&file)
            .map_err(|error| DataError::write(path, std::io::Error::other(error)))?;
        std::fs::write(path, text).map_err(|source| DataError::write(path, source))?;
    }
    Ok(summary)
}

impl SynthDetectionConfig {
    fn check(&self) -> Result<(), DataError> {
        let ranges = [
            ("pictures", self.pictures, 1, 1_000_000),
            ("val_pictures", self.val_pictures, 1, 1_000_000),
            ("size", self.size, 64, 4096),
            ("classes", self.classes, 1, Shape::ALL.len()),
            ("max_objects", self.max_objects, 1, 100),
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

fn draw_part(
    folder: &Path,
    part: usize,
    count: usize,
    config: &SynthDetectionConfig,
) -> Result<File, DataError> {
    let drawn: Vec<(ImageRecord, Vec<AnnotationRecord>)> = (0..count)
        .into_par_iter()
        .map(|number| {
            let seed = sample_seed(config.seed, part as u64, number as u64);
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let (width, height) = sides(config, &mut rng);
            let content = content(config, &mut rng);
            let scene = Scene::draw(width, height, content, &mut rng);
            let image = ImageRecord {
                id: 2 * number + part + 1,
                file_name: format!("{number:06}.png"),
                width,
                height,
            };
            write_png(&scene.image, &folder.join(&image.file_name))?;
            let groups = 0..scene.groups.len();
            let annotations = groups.map(|group| annotation(&scene, group, image.id, &mut rng));
            let annotations = annotations.collect::<Result<_, _>>()?;
            Ok((image, annotations))
        })
        .collect::<Result<_, DataError>>()?;
    let mut file = File {
        images: Vec::with_capacity(count),
        annotations: Vec::new(),
        categories: Vec::new(),
    };
    for (image, annotations) in drawn {
        file.images.push(image);
        for mut annotation in annotations {
            annotation.id = file.annotations.len() + 1;
            file.annotations.push(annotation);
        }
    }
    let shapes = Shape::ALL[..config.classes].iter().enumerate();
    file.categories = shapes
        .map(|(class, (_, name))| CategoryRecord {
            id: category_id(class),
            name,
        })
        .collect();
    Ok(file)
}

fn sides(config: &SynthDetectionConfig, rng: &mut ChaCha8Rng) -> (usize, usize) {
    if config.plain {
        return (config.size, config.size);
    }
    let other = (config.size as f64 * rng.random_range(0.65..1.0)) as usize;
    if rng.random() {
        (config.size, other)
    } else {
        (other, config.size)
    }
}

fn content(config: &SynthDetectionConfig, rng: &mut ChaCha8Rng) -> Content {
    let empty = !config.plain && rng.random_ratio(1, EMPTY_EVERY);
    let objects = if empty {
        0
    } else {
        rng.random_range(1..=config.max_objects)
    };
    Content {
        classes: config.classes,
        objects,
        crowd: !config.plain && objects > 0 && rng.random_ratio(1, CROWD_EVERY),
        plain: config.plain,
    }
}

/// The annotation of a group of the scene, its own id left open.
fn annotation(
    scene: &Scene,
    index: usize,
    image_id: usize,
    rng: &mut ChaCha8Rng,
) -> Result<AnnotationRecord, DataError> {
    let (width, height) = (scene.image.width, scene.image.height);
    let group = &scene.groups[index];
    let own = index as u16 + 1;
    let bitmap: Vec<u8> = scene
        .owner
        .iter()
        .map(|&owner| u8::from(owner == own))
        .collect();
    let mask = Rle::from_row_major(height as u32, width as u32, &bitmap)
        .map_err(|error| DataError::config("synth.size", error.to_string()))?;
    let size = [height as u32, width as u32];
    let hidden = group.visible < group.whole;
    let segmentation = if group.crowd {
        Segmentation::Runs {
            size,
            counts: mask.counts().to_vec(),
        }
    } else if hidden && rng.random() {
        compressed(size, &mask)
    } else {
        let outlines = trace(width, height, |x, y| bitmap[y * width + x] == 1);
        let drawn = Rle::from_polygons(size[0], size[1], outlines.iter().map(Vec::as_slice));
        // Polygons cannot tell holes.
        match drawn {
            Ok(drawn) if drawn.area() == mask.area() => Segmentation::Polygons(outlines),
            _ => compressed(size, &mask),
        }
    };
    Ok(AnnotationRecord {
        id: 0,
        image_id,
        category_id: category_id(group.class),
        bbox: mask.bounding_box(),
        area: group.visible,
        iscrowd: u8::from(group.crowd),
        segmentation,
    })
}

fn compressed(size: [u32; 2], mask: &Rle) -> Segmentation {
    Segmentation::Compressed {
        size,
        counts: mask.to_compressed(),
    }
}
