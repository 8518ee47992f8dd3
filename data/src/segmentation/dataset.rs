//! Segmentation data sets on disk: a folder of pictures and a folder of label maps.
//!
//! Source: mmsegmentation `datasets/basesegdataset.py`, `datasets/transforms/loading.py`.

use std::path::{Path, PathBuf};

use eval::segmentation::read_label_png;

use super::config::{SegmentationEvalTransform, SegmentationTrainTransform};
use super::label_file::label_png_size;
use super::numbering::{Numbering, SegmentationLabels};
use super::pairs::{Pair, Pairs, SegmentationSource};
use super::palette::class_palette;
use super::transform::segmentation_views;
use crate::codec::{Orientation, decode_bytes};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::image::RgbImage;

/// One picture for semantic segmentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentationSample {
    /// The pixels, not normalised and not padded.
    pub image: RgbImage,
    /// In evaluation the picture at the further ratios of the transform, prepared in the same way.
    pub further_views: Vec<RgbImage>,
    /// In training the class of each pixel of `image`, row by row; [`IGNORED`](super::IGNORED) where it counts
    /// for nothing. None in evaluation.
    pub labels: Option<Vec<u8>>,
    /// Height and width on disk, upright.
    pub original_size: (usize, usize),
    /// Path under the folder of pictures.
    pub name: String,
}

/// A segmentation data set; pictures and label maps are read when asked for.
#[derive(Debug, Clone)]
pub struct SegmentationDataset {
    source: SegmentationSource,
    pairs: Vec<Pair>,
    class_names: Vec<String>,
    palette: Vec<[u8; 3]>,
    numbering: Numbering,
    transform: Kind,
    notes: Vec<String>,
}

#[derive(Debug, Clone)]
enum Kind {
    Train(SegmentationTrainTransform),
    Eval(SegmentationEvalTransform),
}

impl SegmentationDataset {
    /// Opens a data set for training, in the order of the pictures' paths.
    ///
    /// # Errors
    /// When a folder cannot be listed, a picture has no label map or the other way round, or the classes are
    /// not given as they must be. Label maps are looked at when their samples are read.
    pub fn open_train(
        source: &SegmentationSource,
        classes: &SegmentationLabels,
        transform: &SegmentationTrainTransform,
    ) -> Result<Self, DataError> {
        transform.check("train transform")?;
        Self::open(source, classes, Kind::Train(transform.clone()))
    }

    /// Opens a data set for evaluation, in the order of the pictures' paths. Samples have no labels: label
    /// maps are scored as they are on disk.
    ///
    /// # Errors
    /// As [`SegmentationDataset::open_train`].
    pub fn open_eval(
        source: &SegmentationSource,
        classes: &SegmentationLabels,
        transform: &SegmentationEvalTransform,
    ) -> Result<Self, DataError> {
        transform.check("eval transform")?;
        Self::open(source, classes, Kind::Eval(transform.clone()))
    }

    fn open(
        source: &SegmentationSource,
        classes: &SegmentationLabels,
        transform: Kind,
    ) -> Result<Self, DataError> {
        let class_names = classes.class_names()?;
        let palette = match &classes.palette {
            Some(palette) => palette.clone(),
            None => class_palette(&class_names),
        };
        let pairs = Pairs::list(source)?;
        let mut notes = Vec::new();
        if pairs.set_aside > 0 {
            notes.push(format!(
                "{}: {} label maps that are not Cityscapes' labelTrainIds are left alone",
                source.labels.display(),
                pairs.set_aside
            ));
        }
        Ok(Self {
            pairs: pairs.complete(source)?,
            source: source.clone(),
            numbering: Numbering {
                classes: class_names.len(),
                reduce_zero_label: classes.reduce_zero_label,
            },
            class_names,
            palette,
            transform,
            notes,
        })
    }

    /// The folders.
    pub fn source(&self) -> &SegmentationSource {
        &self.source
    }

    /// The classes' names in class order; numbers as text where the data set has no names.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// A colour for each class.
    pub fn palette(&self) -> &[[u8; 3]] {
        &self.palette
    }

    /// What a user should know about the folders, a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Path of a picture's label map under the folder of label maps; predictions under the same path are
    /// found by `eval::segmentation`.
    pub fn label_name(&self, index: usize) -> &str {
        &self.pairs[index].label
    }

    /// Where a picture's label map is.
    pub fn label_path(&self, index: usize) -> PathBuf {
        self.source.labels.join(&self.pairs[index].label)
    }

    fn picture_path(&self, index: usize) -> PathBuf {
        self.source.images.join(&self.pairs[index].picture)
    }

    /// Reads a picture as it is on disk, turned upright.
    ///
    /// # Errors
    /// When it cannot be read or decoded.
    pub fn picture(&self, index: usize) -> Result<RgbImage, DataError> {
        let path = self.picture_path(index);
        let bytes = std::fs::read(&path).map_err(|source| DataError::read(&path, source))?;
        decode_bytes(&bytes, &path.display().to_string(), Orientation::Apply)
    }

    /// Reads the classes of a picture's pixels, row by row, as they are on disk.
    ///
    /// # Errors
    /// When the label map cannot be read, is not of the size `(width, height)`, or holds a number that is no
    /// class.
    pub fn labels(&self, index: usize, size: (usize, usize)) -> Result<Vec<u8>, DataError> {
        let path = self.label_path(index);
        let map = read_label_png(&path)?;
        check_size(
            &path,
            (map.width(), map.height()),
            &self.picture_path(index),
            size,
        )?;
        self.numbering.classes_of(&map).map_err(|fault| {
            let [first, last] = self.numbering.range();
            DataError::layout(
                &path,
                format!(
                    "the label at column {}, row {} is {}, which is none of the {} classes ({first} to {last})",
                    fault.pixel % map.width().max(1),
                    fault.pixel / map.width().max(1),
                    fault.stored,
                    self.numbering.classes
                ),
                "check the number of classes and data.classes.reduce_zero_label",
            )
        })
    }
}

/// A label map belongs to a picture of its own size.
pub(super) fn check_size(
    label: &Path,
    found: (usize, usize),
    picture: &Path,
    size: (usize, usize),
) -> Result<(), DataError> {
    if found == size {
        return Ok(());
    }
    Err(DataError::layout(
        label,
        format!(
            "the label map has {}x{} pixels, but its picture {} has {}x{}",
            found.0,
            found.1,
            picture.display(),
            size.0,
            size.1
        ),
        "give both the same size; a picture is turned as its EXIF orientation says",
    ))
}

impl Dataset for SegmentationDataset {
    type Sample = SegmentationSample;

    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn sample(&self, index: usize, seed: u64) -> Result<SegmentationSample, DataError> {
        let picture = self.picture(index)?;
        let size = (picture.width, picture.height);
        let mut further_views = Vec::new();
        let (image, labels) = match &self.transform {
            Kind::Train(transform) => {
                let labels = self.labels(index, size)?;
                let (image, labels) = transform.apply(&picture, &labels, seed)?;
                (image, Some(labels))
            }
            Kind::Eval(transform) => {
                let label = self.label_path(index);
                let found = label_png_size(&label)?;
                check_size(&label, found, &self.picture_path(index), size)?;
                let mut views = segmentation_views(&picture, transform)?;
                further_views = views.split_off(1);
                (views.remove(0), None)
            }
        };
        Ok(SegmentationSample {
            image,
            further_views,
            labels,
            original_size: (picture.height, picture.width),
            name: self.pairs[index].picture.clone(),
        })
    }
}
