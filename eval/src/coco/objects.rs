//! An annotation file as it is written: outlines are kept, nothing is put in order or made a mask.
//!
//! For training and for checking a data set, where [`GroundTruth`](super::GroundTruth) is for scoring.

use std::path::Path;

use super::fields::{any_bbox, finite, set, truth};
use super::ground_truth::{Category, Image};
use super::id::Id;
use super::lists::{Places, read_categories, read_images};
use super::records::{Ledger, Records};
use super::segmentation::outline;
use crate::error::EvalError;
use crate::input::{input_name, read_whole};
use crate::json::{Cursor, JsonError, Start, parse_elements};
use crate::rle::Rle;
use crate::strictness::{Skipped, Strictness};

/// The outline of an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Outline {
    /// Polygons `x0, y0, x1, y1, …` in pixels; of any length, so also senseless ones.
    Polygons(Vec<Box<[f64]>>),
    /// A mask; it says its own size.
    Runs(Rle),
}

/// An object, with what its annotation says.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedObject {
    /// Its identifier, where it has one.
    pub id: Option<Id>,
    /// Identifier of its picture.
    pub image: Id,
    /// Identifier of its category.
    pub category: Id,
    /// `[x, y, width, height]` in pixels, with any sign.
    pub bbox: Option<[f64; 4]>,
    /// Square pixels.
    pub area: Option<f64>,
    /// Whether it is a region of many objects; not so where the file does not say.
    pub crowd: bool,
    /// Its outline.
    pub outline: Option<Outline>,
}

/// An annotation file: everything in the file's order, repeated and unknown identifiers included.
#[derive(Debug, Clone, PartialEq)]
pub struct AnnotationFile {
    /// Pictures.
    pub images: Vec<Image>,
    /// Categories.
    pub categories: Vec<Category>,
    /// Objects.
    pub objects: Vec<ListedObject>,
}

impl AnnotationFile {
    /// Reads a file; `-` is standard input, and gzip is understood.
    ///
    /// # Errors
    /// When the file cannot be read, is no COCO annotation file, has no objects list, or a record is
    /// unusable; under [`Strictness::Lenient`] unusable objects are skipped.
    pub fn read(path: &Path, strictness: Strictness) -> Result<(Self, Skipped), EvalError> {
        Self::from_json(&input_name(path), &read_whole(path)?, strictness)
    }

    /// Reads a file's pictures and categories alone, so that a file of a test set will do.
    ///
    /// # Errors
    /// As [`AnnotationFile::read`].
    pub fn read_pictures(path: &Path) -> Result<Self, EvalError> {
        let (name, text) = (input_name(path), read_whole(path)?);
        Self::lists(&name, &text, &Places::find(&name, &text, false)?)
    }

    /// Reads a file's text; `name` is what errors call it.
    ///
    /// # Errors
    /// As [`AnnotationFile::read`].
    pub fn from_json(
        name: &Path,
        text: &[u8],
        strictness: Strictness,
    ) -> Result<(Self, Skipped), EvalError> {
        let places = Places::find(name, text, true)?;
        let mut file = Self::lists(name, text, &places)?;
        let mut ledger = Ledger::new(name, "annotation");
        let found = parse_elements(
            text,
            places.annotations,
            Start::Opening,
            Records::<Vec<ListedObject>>::default,
            |records, cursor| {
                records.read(cursor, strictness, |rows, cursor| {
                    rows.push(object(cursor)?);
                    Ok(true)
                })
            },
        );
        for piece in found.pieces {
            file.objects.append(&mut ledger.enter(piece));
        }
        ledger.end(&found.end, text.len(), Strictness::Strict)?;
        Ok((file, ledger.into_skipped()))
    }

    fn lists(name: &Path, text: &[u8], places: &Places) -> Result<Self, EvalError> {
        Ok(Self {
            images: read_images(name, text, places.images)?,
            categories: read_categories(name, text, places.categories)?,
            objects: Vec::new(),
        })
    }
}

/// Passes an object.
fn object(cursor: &mut Cursor<'_>) -> Result<ListedObject, JsonError> {
    let (mut id, mut image, mut category) = (None, None, None);
    let (mut bounds, mut area, mut crowd, mut segmentation) = (None, None, false, None);
    cursor.object(|key, cursor| {
        // A value that is not known is as good as none.
        if cursor.peek() == Some(b'n') {
            return cursor.skip();
        }
        match key {
            b"id" => set(&mut id, Id::parse(cursor, "id")?),
            b"image_id" => set(&mut image, Id::parse(cursor, "image_id")?),
            b"category_id" => set(&mut category, Id::parse(cursor, "category_id")?),
            b"bbox" => {
                bounds = any_bbox(cursor)?;
                Ok(())
            }
            b"area" => set(&mut area, finite(cursor, "area")?),
            b"iscrowd" => {
                crowd = truth(cursor, "iscrowd")?;
                Ok(())
            }
            b"segmentation" => {
                segmentation = outline(cursor)?;
                Ok(())
            }
            _ => cursor.skip(),
        }
    })?;
    let about = |problem: &str| match &id {
        Some(id) => cursor.meaning(format!("(id {id}) {problem}")),
        None => cursor.meaning(problem),
    };
    let image = image.ok_or_else(|| about("it has no image_id"))?;
    let category = category.ok_or_else(|| about("it has no category_id"))?;
    if bounds.is_none() && segmentation.is_none() {
        return Err(about("it has neither bbox nor segmentation"));
    }
    Ok(ListedObject {
        id,
        image,
        category,
        bbox: bounds,
        area,
        crowd,
        outline: segmentation,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(annotations: &str, strictness: Strictness) -> Result<AnnotationFile, EvalError> {
        let text = format!(
            r#"{{"images": [{{"id": 7, "width": 4, "height": 3}}], "annotations": [{annotations}], "categories": [{{"id": 2}}]}}"#
        );
        AnnotationFile::from_json(Path::new("a.json"), text.as_bytes(), strictness)
            .map(|(file, _)| file)
    }

    #[test]
    fn outlines_are_kept_as_written() {
        let file = read(
            r#"{"image_id": 7.0, "category_id": 2, "bbox": [1, 1, -2, 0], "segmentation": [[0, 0, 1, 0, 1, 1.5], [3, 4]], "x": [{}]},
               {"id": 5, "image_id": 9, "category_id": 2, "iscrowd": 1, "segmentation": {"size": [3, 4], "counts": [5, 7]}},
               {"id": null, "image_id": 7, "category_id": 3, "bbox": [0, 0, 1, 1], "segmentation": [], "area": 2}"#,
            Strictness::Strict,
        )
        .unwrap();
        let [first, second, third] = file.objects.as_slice() else {
            panic!("{file:?}");
        };
        assert_eq!(first.image, Id::Integer(7));
        assert_eq!((first.id.clone(), first.crowd), (None, false));
        assert_eq!(first.bbox, Some([1.0, 1.0, -2.0, 0.0]));
        let polygons: [Box<[f64]>; 2] = [[0.0, 0.0, 1.0, 0.0, 1.0, 1.5].into(), [3.0, 4.0].into()];
        assert_eq!(first.outline, Some(Outline::Polygons(polygons.into())));
        let runs = Rle::from_counts(3, 4, vec![5, 7]).unwrap();
        assert_eq!(second.outline, Some(Outline::Runs(runs)));
        assert!(second.crowd && second.bbox.is_none());
        assert_eq!((third.outline.clone(), third.area), (None, Some(2.0)));
    }

    #[test]
    fn an_unusable_object_is_named_or_skipped() {
        let text = r#"{"id": 1, "image_id": 7, "category_id": 2},
                      {"id": 2, "image_id": 7, "category_id": 2, "bbox": [0, 0, 1, 1]}"#;
        let error = read(text, Strictness::Strict).unwrap_err().to_string();
        assert!(
            error.contains("annotation 0: (id 1) it has neither bbox nor"),
            "{error}"
        );
        assert_eq!(read(text, Strictness::Lenient).unwrap().objects.len(), 1);
    }

    #[test]
    fn a_test_set_has_pictures_but_no_objects() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.json");
        std::fs::write(&path, r#"{"images": [{"id": 1}], "categories": []}"#).unwrap();
        assert_eq!(
            AnnotationFile::read_pictures(&path).unwrap().images.len(),
            1
        );
        let error = AnnotationFile::read(&path, Strictness::Strict).unwrap_err();
        assert!(
            error.to_string().contains("no \"annotations\" list"),
            "{error}"
        );
    }
}
