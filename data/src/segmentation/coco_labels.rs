//! Semantic label maps out of COCO instance annotations.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use eval::coco::{AnnotationFile, Category, Id, Image, ListedObject, Outline};
use eval::{Rle, Strictness};
use rayon::prelude::*;
use serde::Serialize;

use super::label_file::write_label_png;
use super::numbering::{IGNORED, MOST_CLASSES};
use super::synth::{NAMES_FILE, write_names};
use crate::codec::{Orientation, decode_file};
use crate::detection::called;
use crate::error::DataError;

/// What to make label maps of, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CocoLabelsConfig {
    /// COCO annotation file (JSON, or JSON compressed with gzip).
    pub annotations: PathBuf,
    /// Folder that its `file_name` is relative to.
    pub images: PathBuf,
    /// Folder to write into: `annotations/<split>/` and `classes.txt`.
    pub out: PathBuf,
    /// Name of the part; by default that of the annotation file without `instances_`.
    pub split: Option<String>,
    /// Pixels of no object are ignored and classes are the file's categories. Otherwise class 0 is called
    /// "background" and the categories come after it.
    pub ignore_background: bool,
    /// Crowds are labelled as their category. Otherwise they are ignored.
    pub keep_crowds: bool,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CocoLabelsSummary {
    /// Folder of the label maps.
    pub labels: PathBuf,
    /// File of class names.
    pub names: PathBuf,
    /// Class names in class order.
    pub classes: Vec<String>,
    /// Label maps written: one for each picture that the file lists.
    pub pictures: usize,
    /// Objects drawn, without crowds.
    pub objects: usize,
    /// Crowds drawn or ignored.
    pub crowds: usize,
    /// Objects without an outline, which were left out.
    pub without_outline: usize,
    /// Objects of pictures that the file does not list, which were left out.
    pub strays: usize,
}

/// An object as it is drawn.
struct Drawn<'a> {
    number: usize,
    object: &'a ListedObject,
    label: u8,
}

/// A picture to be made a label map of.
struct Job<'a> {
    image: &'a Image,
    target: PathBuf,
    objects: Vec<Drawn<'a>>,
}

/// Writes a label map for each picture of a COCO annotation file, as grey PNG under
/// `annotations/<split>/` with the picture's name, and the class names. Categories are numbered by ascending
/// identifier. Large objects are drawn first, so that small ones in front of them stay visible, and crowds
/// before all others. Works on all cores; `progress` is called with pictures done and pictures in all.
///
/// # Errors
/// When the file cannot be read, names a picture that is not there, has too many categories, an outline that
/// cannot be drawn or no outline at all, or a label map exists or cannot be written.
pub fn coco_labels(
    config: &CocoLabelsConfig,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<CocoLabelsSummary, DataError> {
    let (file, _) = AnnotationFile::read(&config.annotations, Strictness::Strict)?;
    let refuse =
        |problem: String, remedy: &str| DataError::layout(&config.annotations, problem, remedy);
    if file.images.is_empty() {
        return Err(refuse(
            "it lists no picture".to_owned(),
            "check that it is the right file",
        ));
    }
    let (classes, label_of) = config.classes(file.categories)?;
    let mut summary = CocoLabelsSummary {
        labels: config.out.join("annotations").join(config.split_name()),
        names: config.out.join(NAMES_FILE),
        classes,
        pictures: file.images.len(),
        objects: 0,
        crowds: 0,
        without_outline: 0,
        strays: 0,
    };
    let mut jobs = config.jobs(&file.images, &summary.labels)?;
    let picture_of: HashMap<&Id, usize> =
        (file.images.iter().map(|image| &image.id).zip(0..)).collect();
    for (number, object) in file.objects.iter().enumerate() {
        let Some(&picture) = picture_of.get(&object.image) else {
            summary.strays += 1;
            continue;
        };
        let Some(&label) = label_of.get(&object.category) else {
            return Err(refuse(
                format!(
                    "{} has category_id {}, which the file's categories do not list",
                    called(object, number),
                    object.category
                ),
                "add the category or correct the id",
            ));
        };
        let ignored = object.crowd && !config.keep_crowds;
        if object.crowd {
            summary.crowds += 1;
        } else if object.outline.is_none() {
            summary.without_outline += 1;
            continue;
        } else {
            summary.objects += 1;
        }
        jobs[picture].objects.push(Drawn {
            number,
            object,
            label: if ignored { IGNORED } else { label },
        });
    }
    if summary.objects == 0 && summary.without_outline > 0 {
        return Err(refuse(
            format!(
                "none of its {} objects has an outline",
                summary.without_outline
            ),
            "label maps need polygons or masks, not boxes alone",
        ));
    }
    summary.make_place()?;
    let done = AtomicUsize::new(0);
    jobs.par_iter().try_for_each(|job| {
        config.write(job)?;
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, jobs.len());
        Ok::<_, DataError>(())
    })?;
    Ok(summary)
}

impl CocoLabelsSummary {
    /// Makes the folder and the file of names; both parts of a data set share the latter.
    fn make_place(&self) -> Result<(), DataError> {
        if self.labels.exists() {
            return Err(DataError::layout(
                &self.labels,
                "it exists already",
                "choose another output folder or split, or remove it",
            ));
        }
        let names = &self.names;
        if names.exists() {
            let known = eval::segmentation::read_class_names(names)?;
            if known != self.classes {
                return Err(DataError::layout(
                    names,
                    "it holds other classes than this annotation file has",
                    "choose another output folder, or give both parts the same categories",
                ));
            }
        }
        let folder = &self.labels;
        std::fs::create_dir_all(folder).map_err(|source| DataError::write(folder, source))?;
        write_names(names, &self.classes)
    }
}

impl CocoLabelsConfig {
    fn split_name(&self) -> String {
        self.split.clone().unwrap_or_else(|| {
            let name = self.annotations.file_name().unwrap_or_default();
            let name = name.to_string_lossy();
            let name = name.split('.').next().unwrap_or_default();
            name.strip_prefix("instances_").unwrap_or(name).to_owned()
        })
    }

    /// The class names, and the label of each category.
    fn classes(
        &self,
        mut categories: Vec<Category>,
    ) -> Result<(Vec<String>, HashMap<Id, u8>), DataError> {
        let refuse = |problem: String, remedy: &str| {
            Err(DataError::layout(&self.annotations, problem, remedy))
        };
        categories.sort_by(|a, b| a.id.cmp(&b.id));
        if let Some(pair) = categories.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return refuse(
                format!("category id {} is listed twice", pair[0].id),
                "give every category its own id",
            );
        }
        let first = usize::from(!self.ignore_background);
        let most = MOST_CLASSES - first;
        if categories.is_empty() || categories.len() > most {
            return refuse(
                format!("{} categories must be 1 to {most}", categories.len()),
                "a label is a byte, and 255 means a pixel to ignore",
            );
        }
        let mut names = Vec::with_capacity(first + categories.len());
        if first == 1 {
            names.push("background".to_owned());
        }
        names.extend(categories.iter().map(|category| {
            // One a line: whatever breaks lines becomes a space.
            let name: Vec<&str> = category.name.split_whitespace().collect();
            if name.is_empty() {
                category.id.to_string()
            } else {
                name.join(" ")
            }
        }));
        let ids = categories.into_iter().map(|category| category.id);
        let labels = (first..).map(|label| label as u8);
        Ok((names, ids.zip(labels).collect()))
    }

    /// The pictures, and where their label maps go.
    fn jobs<'a>(&self, images: &'a [Image], labels: &Path) -> Result<Vec<Job<'a>>, DataError> {
        let refuse = |problem: String, remedy: &str| {
            Err(DataError::layout(&self.annotations, problem, remedy))
        };
        let mut ids = HashSet::new();
        let mut targets = HashSet::new();
        let mut jobs = Vec::with_capacity(images.len());
        let mut missing = Vec::new();
        for image in images {
            let name = Path::new(&image.file_name);
            let stays = |part| matches!(part, Component::Normal(_) | Component::CurDir);
            if name.file_name().is_none() || !name.components().all(stays) {
                return refuse(
                    format!("picture {} has file_name \"{}\"", image.id, image.file_name),
                    "give a path below the folder of pictures",
                );
            }
            let target = labels.join(name.with_extension("png"));
            if !ids.insert(&image.id) || !targets.insert(target.clone()) {
                return refuse(
                    format!(
                        "picture {} ({}) has the id or the name of an earlier one",
                        image.id, image.file_name
                    ),
                    "give every picture its own id and a name that differs before its ending",
                );
            }
            if !self.images.join(name).is_file() {
                missing.push(&image.file_name);
            }
            jobs.push(Job {
                image,
                target,
                objects: Vec::new(),
            });
        }
        match missing.first() {
            None => Ok(jobs),
            Some(first) => Err(DataError::layout(
                &self.images,
                format!(
                    "{} of {} pictures that {} lists are not there, the first is {first}",
                    missing.len(),
                    images.len(),
                    self.annotations.display()
                ),
                "check that folder and annotation file are of the same part",
            )),
        }
    }

    fn write(&self, job: &Job<'_>) -> Result<(), DataError> {
        let image = job.image;
        let (width, height) = if image.width > 0 && image.height > 0 {
            (image.width, image.height)
        } else {
            let path = self.images.join(&image.file_name);
            let picture = decode_file(&path, Orientation::Apply)?;
            (picture.width as u32, picture.height as u32)
        };
        let mut masks = Vec::with_capacity(job.objects.len());
        for drawn in &job.objects {
            if let Some(mask) = self.mask(drawn, (width, height), image)? {
                masks.push((drawn, mask));
            }
        }
        // Stable: objects of one size stay in the file's order.
        masks.sort_by_key(|(drawn, mask)| (!drawn.object.crowd, std::cmp::Reverse(mask.area())));
        let (width, height) = (width as usize, height as usize);
        let background = if self.ignore_background { IGNORED } else { 0 };
        // Column by column, as runs go.
        let mut columns = vec![background; width * height];
        for (drawn, mask) in masks {
            let mut at = 0;
            for runs in mask.counts().chunks(2) {
                let from = at + runs[0] as usize;
                at = from + runs.get(1).map_or(0, |&run| run as usize);
                columns[from..at].fill(drawn.label);
            }
        }
        let labels: Vec<u8> = (0..width * height)
            .map(|pixel| columns[pixel % width * height + pixel / width])
            .collect();
        if let Some(folder) = job.target.parent() {
            std::fs::create_dir_all(folder).map_err(|source| DataError::write(folder, source))?;
        }
        write_label_png(&job.target, width, height, &labels)
    }

    /// The mask of an object; none where its polygons are too short to enclose anything, or it has none.
    fn mask(
        &self,
        drawn: &Drawn<'_>,
        (width, height): (u32, u32),
        image: &Image,
    ) -> Result<Option<Rle>, DataError> {
        let refuse = |problem: String, remedy: &str| {
            let called = called(drawn.object, drawn.number);
            Err(DataError::layout(
                &self.annotations,
                format!("{called} {problem}"),
                remedy,
            ))
        };
        match &drawn.object.outline {
            None => Ok(None),
            Some(Outline::Runs(mask)) if (mask.width(), mask.height()) == (width, height) => {
                Ok(Some(mask.clone()))
            }
            Some(Outline::Runs(mask)) => refuse(
                format!(
                    "has a mask of {}x{} pixels, but its picture {} has {width}x{height}",
                    mask.width(),
                    mask.height(),
                    image.file_name
                ),
                "write the mask again; its size is [height, width]",
            ),
            Some(Outline::Polygons(polygons)) => {
                let mut sound = polygons
                    .iter()
                    .filter(|polygon| polygon.len() >= 6 && polygon.len().is_multiple_of(2))
                    .map(|polygon| &**polygon)
                    .peekable();
                if sound.peek().is_none() {
                    return Ok(None);
                }
                match Rle::from_polygons(height, width, sound) {
                    Ok(mask) => Ok(Some(mask)),
                    Err(error) => refuse(
                        format!("has polygons that cannot be drawn ({error})"),
                        "correct or remove them",
                    ),
                }
            }
        }
    }
}
