//! Classification data sets on disk.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::classes::{self, Class};
use crate::codec::decode_into;
use crate::dataset::{ClassificationSample, Dataset};
use crate::error::DataError;
use crate::image::RgbImage;
use crate::labels::{self, Labelled};
use crate::listing;
use crate::transform::Transform;

/// Where the pictures and their classes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClassificationSource {
    /// One folder for each class; classes in the order of their names (torchvision's `ImageFolder`).
    Folders {
        /// The folder of class folders.
        root: PathBuf,
    },
    /// ILSVRC 2012 validation pictures in one folder, with the development kit's ground truth.
    Ilsvrc {
        /// The pictures' folder.
        root: PathBuf,
        /// `ILSVRC2012_validation_ground_truth.txt`: a 1-based id on each line.
        ground_truth: PathBuf,
        /// Synset of each id, one a line in the order of ids.
        synsets: PathBuf,
    },
    /// Pictures listed in a CSV of `file,label`.
    Csv {
        /// What the files are relative to.
        root: PathBuf,
        /// The CSV.
        labels: PathBuf,
    },
    /// All pictures under a folder, without labels: for prediction and pre-training.
    Unlabelled {
        /// The folder.
        root: PathBuf,
    },
}

/// A classification data set as configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassificationConfig {
    /// Pictures and labels.
    pub source: ClassificationSource,
    /// Class list (see [`read_classes`](crate::read_classes)): names for people, and class order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<PathBuf>,
    /// Only the first so many pictures of each class, for small budgets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_per_class: Option<usize>,
}

impl ClassificationConfig {
    /// Class folders in `root`.
    pub fn folders(root: impl Into<PathBuf>) -> Self {
        Self {
            source: ClassificationSource::Folders { root: root.into() },
            classes: None,
            limit_per_class: None,
        }
    }
}

/// A picture of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    /// Relative to the root.
    name: String,
    /// -1 where unknown.
    label: i64,
}

/// A classification data set; pictures are read when asked for.
#[derive(Debug, Clone)]
pub struct ClassificationDataset {
    root: PathBuf,
    items: Vec<Item>,
    classes: Vec<Class>,
    transform: Transform,
}

impl ClassificationDataset {
    /// Lists the pictures (none is read yet).
    ///
    /// # Errors
    /// When folders or lists are missing or contradict each other, or a class has no picture.
    pub fn open(config: &ClassificationConfig, transform: Transform) -> Result<Self, DataError> {
        let list = config.classes.as_deref();
        let (root, Labelled { items, classes }) = match &config.source {
            ClassificationSource::Folders { root } => (root, from_folders(root, list)?),
            ClassificationSource::Ilsvrc {
                root,
                ground_truth,
                synsets,
            } => {
                let pictures = pictures_in(root)?;
                let mut labelled = labels::ilsvrc(root, pictures, ground_truth, synsets)?;
                if let Some(list) = list {
                    let keys: Vec<String> =
                        labelled.classes.iter().map(|c| c.key.clone()).collect();
                    labelled.classes = classes::for_folders(root, &keys, Some(list))?.0;
                }
                (root, labelled)
            }
            ClassificationSource::Csv { root, labels } => (root, labels::csv(labels, list)?),
            ClassificationSource::Unlabelled { root } => {
                let classes = list
                    .map(classes::read_classes)
                    .transpose()?
                    .unwrap_or_default();
                let items = pictures_in(root)?
                    .into_iter()
                    .map(|name| Item { name, label: -1 })
                    .collect();
                return Self {
                    root: root.clone(),
                    items,
                    classes,
                    transform,
                }
                .limited(config.limit_per_class);
            }
        };
        let items = items
            .into_iter()
            .map(|(name, class)| Item {
                name,
                label: i64::from(class),
            })
            .collect();
        Self {
            root: root.clone(),
            items,
            classes,
            transform,
        }
        .limited(config.limit_per_class)
    }

    /// Given picture files without labels, as for `predict`. Names are the paths as given.
    pub fn of_files(files: impl IntoIterator<Item = PathBuf>, transform: Transform) -> Self {
        let items = files
            .into_iter()
            .map(|path| Item {
                name: path.display().to_string(),
                label: -1,
            })
            .collect();
        Self {
            root: PathBuf::new(),
            items,
            classes: Vec::new(),
            transform,
        }
    }

    fn limited(mut self, limit: Option<usize>) -> Result<Self, DataError> {
        match limit {
            None => return Ok(self),
            Some(0) => {
                return Err(DataError::config(
                    "limit_per_class",
                    "must be at least 1, or left out",
                ));
            }
            Some(limit) => {
                let mut taken = vec![0_usize; self.classes.len() + 1];
                self.items.retain(|item| {
                    let count =
                        &mut taken[usize::try_from(item.label).unwrap_or(self.classes.len())];
                    *count += 1;
                    *count <= limit
                });
            }
        }
        Ok(self)
    }

    /// At most so many pictures, evenly spaced.
    #[must_use]
    pub fn thinned(mut self, most: usize) -> Self {
        let count = self.items.len();
        if count > most {
            let mut at = 0;
            self.items.retain(|_| {
                // One of each run of `count / most` pictures, whole or not: the places where the product passes a
                // multiple of `count`.
                let kept = at * most / count != (at + 1) * most / count;
                at += 1;
                kept
            });
        }
        self
    }

    /// The folder sample names are relative to.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The classes in the order of their indices; empty where none are known.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Class index of a sample, -1 where unknown.
    pub fn label(&self, index: usize) -> i64 {
        self.items[index].label
    }

    /// Path of a sample relative to the root.
    pub fn name(&self, index: usize) -> &str {
        &self.items[index].name
    }

    /// Reads a picture as it is on disk.
    ///
    /// # Errors
    /// When it cannot be read or decoded.
    pub fn picture(&self, index: usize) -> Result<RgbImage, DataError> {
        RgbImage::read(&self.root.join(&self.items[index].name))
    }

    /// The transform applied to every picture.
    pub fn transform(&self) -> &Transform {
        &self.transform
    }
}

fn pictures_in(root: &Path) -> Result<Vec<String>, DataError> {
    let pictures = listing::files(root, "")?.pictures;
    if pictures.is_empty() {
        return Err(DataError::layout(
            root,
            "there is no picture in it",
            "check the path",
        ));
    }
    Ok(pictures)
}

/// What class folders hold.
pub(crate) struct Folders {
    pub(crate) labelled: Labelled,
    /// Class folders without a picture.
    pub(crate) empty: Vec<String>,
    /// Files that are no pictures by their name, relative to the root.
    pub(crate) others: Vec<String>,
}

pub(crate) fn list_folders(root: &Path, list: Option<&Path>) -> Result<Folders, DataError> {
    let folders = listing::folders(root)?;
    if folders.is_empty() {
        return Err(DataError::layout(
            root,
            "there are no class folders in it",
            "put the pictures of each class into a folder of its own there, or give labels in a file",
        ));
    }
    let (classes, indices) = classes::for_folders(root, &folders, list)?;
    let (mut empty, mut others) = (Vec::new(), Vec::new());
    let mut parts: Vec<(usize, Vec<String>)> = Vec::with_capacity(folders.len());
    for (folder, index) in folders.into_iter().zip(indices) {
        let files = listing::files(root, &folder)?;
        others.extend(files.others);
        if files.pictures.is_empty() {
            empty.push(folder);
        }
        parts.push((index, files.pictures));
    }
    // Pictures in class order, as torchvision lists them.
    parts.sort_by_key(|part| part.0);
    let items = parts
        .into_iter()
        .flat_map(|(index, pictures)| pictures.into_iter().map(move |p| (p, index as u32)));
    Ok(Folders {
        labelled: Labelled {
            items: items.collect(),
            classes,
        },
        empty,
        others,
    })
}

fn from_folders(root: &Path, list: Option<&Path>) -> Result<Labelled, DataError> {
    let folders = list_folders(root, list)?;
    match folders.empty.first() {
        None => Ok(folders.labelled),
        Some(folder) => Err(DataError::layout(
            &root.join(folder),
            "there is no picture in this class folder",
            "add some or remove the folder",
        )),
    }
}

thread_local! {
    /// File bytes and decoded picture, their memory reused.
    static READING: std::cell::RefCell<(Vec<u8>, RgbImage)> = std::cell::RefCell::default();
}

impl Dataset for ClassificationDataset {
    type Sample = ClassificationSample;

    fn len(&self) -> usize {
        self.items.len()
    }

    fn sample(&self, index: usize, seed: u64) -> Result<ClassificationSample, DataError> {
        let item = &self.items[index];
        let path = self.root.join(&item.name);
        READING.with_borrow_mut(|(bytes, picture)| {
            read_into(&path, bytes).map_err(|source| DataError::read(&path, source))?;
            decode_into(bytes, &path.display().to_string(), picture)?;
            Ok(ClassificationSample {
                image: self.transform.apply(picture, seed),
                size: self.transform.size(),
                label: item.label,
                name: item.name.clone(),
            })
        })
    }
}

pub(crate) fn read_into(path: &Path, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    bytes.clear();
    std::io::Read::read_to_end(&mut std::fs::File::open(path)?, bytes).map(|_| ())
}
