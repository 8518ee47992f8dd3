//! Detection data sets on disk: a folder of pictures and a COCO annotation file.
//!
//! Source: detectron2 `data/datasets/coco.py` (`load_coco_json`), `data/build.py`
//! (`filter_images_with_only_crowd_annotations`) and `data/dataset_mapper.py`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use eval::Strictness;
use eval::coco::{AnnotationFile, Id, Image, ListedObject, Outline};
use serde::{Deserialize, Serialize};

use super::config::{DetectionEvalTransform, DetectionTrainTransform};
use super::transform::{StoredObject, StoredOutline};
use crate::codec::{Orientation, decode_bytes};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::image::RgbImage;
use crate::instance::DetectionSample;

/// Where the pictures and their annotations are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectionSource {
    /// Folder that the annotation file's `file_name` is relative to.
    pub images: PathBuf,
    /// COCO annotation file (JSON, or JSON compressed with gzip).
    pub annotations: PathBuf,
}

impl DetectionSource {
    /// The same with its paths under `root`; absolute ones stay.
    pub fn under(&self, root: &Path) -> Self {
        Self {
            images: root.join(&self.images),
            annotations: root.join(&self.annotations),
        }
    }
}

/// A category of objects; its place in the list is the model's class index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetectionCategory {
    /// The annotation file's identifier.
    pub id: Id,
    /// Its name; the identifier where the file has none.
    pub name: String,
}

/// A picture of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetectionPicture {
    /// The annotation file's identifier.
    pub id: Id,
    /// `file_name`: the path under the folder of pictures.
    pub name: String,
    /// Width and height in pixels, where the file tells them.
    pub size: Option<(usize, usize)>,
}

/// A detection data set; pictures are read when asked for.
#[derive(Debug, Clone)]
pub struct DetectionDataset {
    source: DetectionSource,
    categories: Vec<DetectionCategory>,
    pictures: Vec<DetectionPicture>,
    objects: Vec<StoredObject>,
    /// Where each picture's objects begin; one more than there are pictures.
    starts: Vec<usize>,
    transform: Kind,
    notes: Vec<String>,
}

#[derive(Debug, Clone)]
enum Kind {
    Train(DetectionTrainTransform),
    Eval(DetectionEvalTransform),
}

impl DetectionDataset {
    /// Opens a data set for training: crowds are left out, and with `skip_pictures_without_objects` also the
    /// pictures that then have no object (`filter_empty_annotations` in detectron2).
    ///
    /// Polygons of fewer than three points are left out, and so are objects that have no others. Objects of
    /// pictures that the file does not list are left out and counted in [`DetectionDataset::notes`].
    ///
    /// # Errors
    /// When the file is no COCO annotation file, a picture is listed twice or without a file name, an object
    /// has an unknown category or a mask of another size than its picture, or no picture is left.
    pub fn open_train(
        source: &DetectionSource,
        transform: &DetectionTrainTransform,
        skip_pictures_without_objects: bool,
    ) -> Result<Self, DataError> {
        transform.check("train transform")?;
        let (file, _) = AnnotationFile::read(&source.annotations, Strictness::Strict)?;
        let mut set = Self::of_pictures(
            source,
            file.images,
            file.categories,
            Kind::Train(transform.clone()),
        )?;
        set.take_objects(file.objects)?;
        if skip_pictures_without_objects {
            set.skip_pictures_without_objects();
        }
        set.not_empty(if skip_pictures_without_objects {
            "no picture in it has an object that is not a crowd"
        } else {
            "it lists no picture"
        })
    }

    /// Opens a data set for evaluation: all pictures in the file's order, without their objects.
    ///
    /// # Errors
    /// When the file is no COCO annotation file, lists no picture, or lists one twice or without a file name.
    pub fn open_eval(
        source: &DetectionSource,
        transform: &DetectionEvalTransform,
    ) -> Result<Self, DataError> {
        transform.check("eval transform")?;
        let file = AnnotationFile::read_pictures(&source.annotations)?;
        Self::of_pictures(
            source,
            file.images,
            file.categories,
            Kind::Eval(transform.clone()),
        )?
        .not_empty("it lists no picture")
    }

    fn of_pictures(
        source: &DetectionSource,
        images: Vec<Image>,
        categories: Vec<eval::coco::Category>,
        transform: Kind,
    ) -> Result<Self, DataError> {
        let refuse = |problem: String, remedy: &str| {
            Err(DataError::layout(&source.annotations, problem, remedy))
        };
        let mut categories: Vec<DetectionCategory> = categories
            .into_iter()
            .map(|category| DetectionCategory {
                id: category.id,
                name: category.name,
            })
            .collect();
        categories.sort_by(|a, b| a.id.cmp(&b.id));
        if let Some(pair) = categories.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return refuse(
                format!("category id {} is listed twice", pair[0].id),
                "give every category its own id",
            );
        }
        let mut seen: HashMap<Id, usize> = HashMap::with_capacity(images.len());
        let mut pictures: Vec<DetectionPicture> = Vec::with_capacity(images.len());
        for image in images {
            if image.file_name.is_empty() {
                return refuse(
                    format!("picture {} has no file_name", image.id),
                    "add the picture's path",
                );
            }
            if let Some(other) = seen.insert(image.id.clone(), pictures.len()) {
                return refuse(
                    format!(
                        "pictures {} and {} have the same id, {}",
                        pictures[other].name, image.file_name, image.id
                    ),
                    "give every picture its own id",
                );
            }
            pictures.push(DetectionPicture {
                id: image.id,
                name: image.file_name,
                size: (image.width > 0 && image.height > 0)
                    .then_some((image.width as usize, image.height as usize)),
            });
        }
        let starts = vec![0; pictures.len() + 1];
        Ok(Self {
            source: source.clone(),
            categories,
            pictures,
            objects: Vec::new(),
            starts,
            transform,
            notes: Vec::new(),
        })
    }

    fn take_objects(&mut self, listed: Vec<ListedObject>) -> Result<(), DataError> {
        let picture_of: HashMap<Id, usize> =
            (self.pictures.iter().map(|p| p.id.clone()).zip(0..)).collect();
        let class_of: HashMap<Id, u32> =
            (self.categories.iter().map(|c| c.id.clone()).zip(0..)).collect();
        let (mut strays, mut shapeless) = (0_usize, 0_usize);
        let mut placed: Vec<(usize, StoredObject)> = Vec::with_capacity(listed.len());
        for (number, object) in listed.into_iter().enumerate() {
            let Some(&picture) = picture_of.get(&object.image) else {
                strays += 1;
                continue;
            };
            let Some(&class) = class_of.get(&object.category) else {
                return Err(DataError::layout(
                    &self.source.annotations,
                    format!(
                        "{} has category_id {}, which the file's categories do not list",
                        called(&object, number),
                        object.category
                    ),
                    "add the category or correct the id",
                ));
            };
            if object.crowd {
                continue;
            }
            self.check_mask_size(&object, number, picture)?;
            match stored(object, class) {
                Some(object) => placed.push((picture, object)),
                None => shapeless += 1,
            }
        }
        placed.sort_by_key(|(picture, _)| *picture);
        for (picture, _) in &placed {
            self.starts[picture + 1] += 1;
        }
        for picture in 0..self.pictures.len() {
            self.starts[picture + 1] += self.starts[picture];
        }
        self.objects = placed.into_iter().map(|(_, object)| object).collect();
        let path = self.source.annotations.display();
        if strays > 0 {
            self.notes.push(format!(
                "{path}: {strays} annotations belong to pictures that the file does not list, and are left out"
            ));
        }
        if shapeless > 0 {
            self.notes.push(format!(
                "{path}: {shapeless} annotations have no polygon of three points or more, and are left out as in detectron2"
            ));
        }
        Ok(())
    }

    fn check_mask_size(
        &self,
        object: &ListedObject,
        number: usize,
        picture: usize,
    ) -> Result<(), DataError> {
        let picture = &self.pictures[picture];
        if let (Some(Outline::Runs(mask)), Some((width, height))) = (&object.outline, picture.size)
        {
            let found = (mask.width() as usize, mask.height() as usize);
            if found != (width, height) {
                return Err(DataError::layout(
                    &self.source.annotations,
                    format!(
                        "{} has a mask of {}x{} pixels, but its picture {} has {width}x{height}",
                        called(object, number),
                        found.0,
                        found.1,
                        picture.name
                    ),
                    "write the mask again; its size is [height, width]",
                ));
            }
        }
        Ok(())
    }

    fn skip_pictures_without_objects(&mut self) {
        let mut starts = vec![0];
        let mut counts = self.starts.windows(2).map(|ends| ends[1] - ends[0]);
        self.pictures.retain(|_| {
            let count = counts.next().unwrap_or(0);
            if count > 0 {
                starts.push(starts[starts.len() - 1] + count);
            }
            count > 0
        });
        self.starts = starts;
    }

    fn not_empty(self, problem: &str) -> Result<Self, DataError> {
        if self.pictures.is_empty() {
            return Err(DataError::layout(
                &self.source.annotations,
                problem,
                "check that it is the right file",
            ));
        }
        Ok(self)
    }

    /// Where pictures and annotations are.
    pub fn source(&self) -> &DetectionSource {
        &self.source
    }

    /// The categories in the order of class indices: by ascending identifier.
    pub fn categories(&self) -> &[DetectionCategory] {
        &self.categories
    }

    /// The pictures in the order of sample indices, which is the file's.
    pub fn pictures(&self) -> &[DetectionPicture] {
        &self.pictures
    }

    /// How many objects training learns from; 0 in evaluation.
    pub fn object_count(&self) -> usize {
        self.objects.len()
    }

    /// What a user should know about the file, a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Reads a picture as it is on disk, turned upright.
    ///
    /// # Errors
    /// When it cannot be read or decoded, or is not of the size that the annotation file tells.
    pub fn picture(&self, index: usize) -> Result<RgbImage, DataError> {
        let picture = &self.pictures[index];
        let path = self.source.images.join(&picture.name);
        let bytes = std::fs::read(&path).map_err(|source| DataError::read(&path, source))?;
        let image = decode_bytes(&bytes, &path.display().to_string(), Orientation::Apply)?;
        match picture.size {
            Some((width, height)) if (width, height) != (image.width, image.height) => {
                Err(DataError::layout(
                    &path,
                    format!(
                        "the picture has {}x{} pixels, but {} says {width}x{height}",
                        image.width,
                        image.height,
                        self.source.annotations.display()
                    ),
                    "correct width and height there, or replace the picture",
                ))
            }
            _ => Ok(image),
        }
    }
}

/// How messages call an annotation.
pub(crate) fn called(object: &ListedObject, number: usize) -> String {
    match &object.id {
        Some(id) => format!("annotation {number} (id {id})"),
        None => format!("annotation {number}"),
    }
}

/// An object with what is of use of its outline; none where its outline is of no use at all.
fn stored(object: ListedObject, class: u32) -> Option<StoredObject> {
    let outline = match object.outline {
        Some(Outline::Polygons(mut polygons)) => {
            polygons.retain(|polygon| polygon.len() >= 6 && polygon.len().is_multiple_of(2));
            if polygons.is_empty() {
                return None;
            }
            Some(StoredOutline::Polygons(polygons))
        }
        Some(Outline::Runs(mask)) => Some(StoredOutline::Runs(mask)),
        None => None,
    };
    Some(StoredObject {
        bounds: object.bbox.map(|[x, y, w, h]| [x, y, x + w, y + h]),
        class,
        outline,
    })
}

impl Dataset for DetectionDataset {
    type Sample = DetectionSample;

    fn len(&self) -> usize {
        self.pictures.len()
    }

    fn sample(&self, index: usize, seed: u64) -> Result<DetectionSample, DataError> {
        let image = self.picture(index)?;
        let objects = &self.objects[self.starts[index]..self.starts[index + 1]];
        let picture = &self.pictures[index];
        // Where the file tells no size, masks could not be checked before.
        for object in objects {
            if let Some(StoredOutline::Runs(mask)) = &object.outline
                && (mask.width() as usize, mask.height() as usize) != (image.width, image.height)
            {
                return Err(DataError::layout(
                    &self.source.images.join(&picture.name),
                    format!(
                        "the picture has {}x{} pixels, but one of its masks has {}x{}",
                        image.width,
                        image.height,
                        mask.width(),
                        mask.height()
                    ),
                    "write the masks again; their size is [height, width]",
                ));
            }
        }
        let (view, instances) = match &self.transform {
            Kind::Train(transform) => {
                let view = transform.view(image.width, image.height, seed);
                (view, transform.instances(&view, objects))
            }
            Kind::Eval(transform) => (transform.view(image.width, image.height), Vec::new()),
        };
        Ok(DetectionSample {
            image: view.pixels(&image),
            instances,
            image_id: picture.id.clone(),
            original_size: (image.height, image.width),
            name: picture.name.clone(),
        })
    }
}
