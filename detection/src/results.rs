//! Detections as a COCO results file, `instances.json`. Source: detectron2
//! `evaluation/coco_evaluation.py`, `instances_to_coco_json`; pycocotools `loadRes`.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use eval::Rle;
use eval::coco::Id;
use serde::Serialize;

use crate::boxes::BoxF;

/// What a results file is called in a run's folder.
pub const RESULTS_FILE: &str = "instances.json";

/// One detection of one picture of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectionResult {
    /// The annotation file's id of the picture.
    pub image_id: Id,
    /// The annotation file's id of the category.
    pub category_id: Id,
    /// `x, y, width, height` in pixels of the picture on disk.
    pub bbox: [f32; 4],
    /// Confidence.
    pub score: f32,
    /// The mask, as large as the picture; absent where a model has boxes only.
    pub mask: Option<Rle>,
}

impl DetectionResult {
    /// COCO's form of a box.
    pub fn bbox_of([x0, y0, x1, y1]: BoxF) -> [f32; 4] {
        [x0, y0, x1 - x0, y1 - y0]
    }
}

/// A results file that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The file system refuses.
    #[error(
        "{}: cannot be written ({source}): check the folder, its permissions and the free space",
        .path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A number that JSON cannot say.
    #[error(
        "{}: a detection on picture {image} has a box or a score that is not a finite number: the model's weights are broken, or its precision does not suffice",
        .path.display()
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The picture.
        image: Id,
    },
}

/// Writes results as they come, one a line. The file takes its name in [`ResultsWriter::finish`]; a
/// previous one stays until then, and a writer dropped before leaves nothing behind.
///
/// Numbers are written as doubles of single-precision values, as Python does it, so that a reader
/// has exactly the value that the model gave.
#[derive(Debug)]
pub struct ResultsWriter {
    file: Option<BufWriter<File>>,
    partial: PathBuf,
    path: PathBuf,
    count: u64,
}

/// A result as JSON has it, keys in detectron2's order.
#[derive(Serialize)]
struct Row<'a> {
    image_id: JsonId<'a>,
    category_id: JsonId<'a>,
    bbox: [f64; 4],
    score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    segmentation: Option<Runs>,
}

#[derive(Serialize)]
struct Runs {
    size: [u32; 2],
    counts: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum JsonId<'a> {
    Integer(i64),
    Real(f64),
    Text(&'a str),
}

impl<'a> From<&'a Id> for JsonId<'a> {
    fn from(id: &'a Id) -> Self {
        match id {
            Id::Integer(value) => Self::Integer(*value),
            Id::Real(bits) => Self::Real(f64::from_bits(*bits)),
            Id::Text(text) => Self::Text(text),
        }
    }
}

impl ResultsWriter {
    /// Starts a file, making missing folders.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(path: &Path) -> Result<Self, ResultsError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let partial = path.with_file_name(name);
        let open = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut file = BufWriter::new(File::create(&partial)?);
            file.write_all(b"[")?;
            Ok(file)
        };
        let file = open().map_err(|source| ResultsError::Write {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            file: Some(file),
            partial,
            path: path.to_owned(),
            count: 0,
        })
    }

    /// Results written so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Writes one result.
    ///
    /// # Errors
    /// When a number is not finite, or writing fails.
    pub fn add(&mut self, result: &DetectionResult) -> Result<(), ResultsError> {
        let numbers = result.bbox.iter().chain([&result.score]);
        if !numbers.into_iter().all(|number| number.is_finite()) {
            return Err(ResultsError::NotFinite {
                path: self.path.clone(),
                image: result.image_id.clone(),
            });
        }
        let row = Row {
            image_id: (&result.image_id).into(),
            category_id: (&result.category_id).into(),
            bbox: result.bbox.map(f64::from),
            score: result.score.into(),
            segmentation: result.mask.as_ref().map(|mask| Runs {
                size: [mask.height(), mask.width()],
                counts: mask.to_compressed(),
            }),
        };
        let separator: &[u8] = if self.count == 0 { b"\n" } else { b",\n" };
        let written = match &mut self.file {
            Some(file) => file
                .write_all(separator)
                .and_then(|()| serde_json::to_writer(file, &row).map_err(io::Error::from)),
            None => Ok(()),
        };
        self.count += 1;
        written.map_err(|source| self.failed(source))
    }

    /// Completes the file under its final name.
    ///
    /// # Errors
    /// When that fails; what was written is removed then.
    pub fn finish(mut self) -> Result<(), ResultsError> {
        let Some(mut file) = self.file.take() else {
            return Ok(());
        };
        let result = file
            .write_all(b"\n]\n")
            .and_then(|()| file.into_inner().map_err(io::IntoInnerError::into_error))
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&self.partial, &self.path));
        result.map_err(|source| {
            // The message about the failure matters more than one about the leftover.
            let _ = fs::remove_file(&self.partial);
            self.failed(source)
        })
    }

    fn failed(&self, source: io::Error) -> ResultsError {
        ResultsError::Write {
            path: self.path.clone(),
            source,
        }
    }
}

impl Drop for ResultsWriter {
    fn drop(&mut self) {
        // Still open: given up before it was finished.
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.partial);
        }
    }
}
