//! Ground truth: a COCO annotation file.

use std::collections::HashMap;
use std::path::Path;

use super::annotations::{AnnotationReader, AnnotationRows, has_repeated_ids};
use super::id::{Id, IdIndex};
use super::lists::{Places, read_categories, read_images};
use super::records::{Ledger, Records};
use crate::error::EvalError;
use crate::input::{input_name, read_whole};
use crate::json::{Start, parse_elements};
use crate::rle::PreparedMask;
use crate::strictness::{Skipped, Strictness};

/// What of each object is read, and must therefore be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Bounding boxes.
    pub boxes: bool,
    /// Masks.
    pub masks: bool,
}

/// A picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// Its identifier.
    pub id: Id,
    /// Rows, in pixels; 0 where the file does not say.
    pub height: u32,
    /// Columns, in pixels.
    pub width: u32,
    /// `file_name`, empty where the file does not say.
    pub file_name: String,
}

/// A category of objects.
#[derive(Debug, Clone, PartialEq)]
pub struct Category {
    /// Its identifier.
    pub id: Id,
    /// Its name; the identifier where the file has none.
    pub name: String,
}

/// An object.
#[derive(Debug, Clone, PartialEq)]
pub struct Annotation {
    /// Its identifier.
    pub id: Id,
    /// Position of its picture in [`GroundTruth::images`].
    pub image: usize,
    /// Position of its category in [`GroundTruth::categories`].
    pub category: usize,
    /// `[x, y, width, height]` in pixels; zeros where boxes were not asked for.
    pub bbox: [f64; 4],
    /// The file's area, in square pixels; it decides the size class.
    pub area: f64,
    /// A region of many objects, where detections are neither right nor wrong. (`ignore` is not read:
    /// pycocotools overwrites it with this.)
    pub crowd: bool,
    /// The mask, where masks were asked for.
    pub mask: Option<PreparedMask>,
}

/// An annotation file: pictures and categories in ascending order of their identifiers, objects by
/// picture and then as the file lists them.
#[derive(Debug, Clone, PartialEq)]
pub struct GroundTruth {
    images: Vec<Image>,
    categories: Vec<Category>,
    annotations: Vec<Annotation>,
    geometry: Geometry,
    pub(super) image_index: IdIndex,
    pub(super) category_index: IdIndex,
    notes: Vec<String>,
}

impl GroundTruth {
    /// Reads a file; `-` is standard input, and gzip is understood.
    ///
    /// Records of pictures and categories that the file does not list are left out, as pycocotools
    /// does, and told by [`GroundTruth::notes`].
    ///
    /// # Errors
    /// When the file cannot be read, is no COCO annotation file, or a record is unusable; under
    /// [`Strictness::Lenient`] unusable annotations are skipped.
    pub fn read(
        path: &Path,
        geometry: Geometry,
        strictness: Strictness,
    ) -> Result<(Self, Skipped), EvalError> {
        Self::from_json(&input_name(path), &read_whole(path)?, geometry, strictness)
    }

    /// Reads a file's text; `name` is what errors call it.
    ///
    /// # Errors
    /// As [`GroundTruth::read`].
    pub fn from_json(
        name: &Path,
        text: &[u8],
        geometry: Geometry,
        strictness: Strictness,
    ) -> Result<(Self, Skipped), EvalError> {
        let places = Places::find(name, text, true)?;
        let mut notes = Vec::new();
        let images = read_images(name, text, places.images)?;
        let images = unique(images, |image| &image.id, "images", name, &mut notes);
        let categories = read_categories(name, text, places.categories)?;
        let categories = unique(
            categories,
            |category| &category.id,
            "categories",
            name,
            &mut notes,
        );
        let mut truth = Self {
            image_index: IdIndex::new(images.iter().map(|image| &image.id)),
            category_index: IdIndex::new(categories.iter().map(|category| &category.id)),
            images,
            categories,
            annotations: Vec::new(),
            geometry,
            notes,
        };
        let skipped = truth.read_annotations(name, text, places.annotations, strictness)?;
        Ok((truth, skipped))
    }

    fn read_annotations(
        &mut self,
        name: &Path,
        text: &[u8],
        at: usize,
        strictness: Strictness,
    ) -> Result<Skipped, EvalError> {
        let mut ledger = Ledger::new(name, "annotation");
        let reader = AnnotationReader {
            images: &self.images,
            image_index: &self.image_index,
            category_index: &self.category_index,
            geometry: self.geometry,
        };
        let found = parse_elements(
            text,
            at,
            Start::Opening,
            Records::<AnnotationRows>::default,
            |records, cursor| {
                records.read(cursor, strictness, |rows, cursor| reader.read(cursor, rows))
            },
        );
        let mut rows = AnnotationRows::default();
        for piece in found.pieces {
            rows.append(ledger.enter(piece));
        }
        // A score against half a ground truth would mean nothing, so here leniency ends.
        ledger.end(&found.end, text.len(), Strictness::Strict)?;
        if ledger.passed_over > 0 {
            self.notes.push(format!(
                "{}: {} annotations belong to pictures or categories that the file does not list, and are left out as pycocotools does",
                name.display(),
                ledger.passed_over
            ));
        }
        self.annotations = self.ordered(rows, name);
        Ok(ledger.into_skipped())
    }

    /// Puts annotations in the order in which they are matched: by picture, then as in the file.
    ///
    /// pycocotools finds annotations by identifier, so of several with the same one the last stands
    /// in for all; where that one belongs to nothing the file lists, they vanish.
    fn ordered(&mut self, read: AnnotationRows, name: &Path) -> Vec<Annotation> {
        let AnnotationRows {
            mut rows, strays, ..
        } = read;
        if has_repeated_ids(&rows, &strays) {
            let mut last: HashMap<&Id, Option<usize>> = HashMap::new();
            for (place, row) in rows.iter().enumerate() {
                last.insert(&row.id, Some(place));
            }
            let different = last.len();
            for stray in &strays {
                if let Some(place) = last.get_mut(&stray.id)
                    && place.is_some_and(|place| place < stray.rows_before)
                {
                    *place = None;
                }
            }
            let gone = last.values().filter(|place| place.is_none()).count();
            self.notes.push(format!(
                "{}: {} annotations share their id with a later one, which stands in for them as in pycocotools: give every annotation its own id",
                name.display(),
                rows.len() - different + gone
            ));
            let mut order: Vec<usize> = (0..rows.len()).collect();
            order.sort_by_key(|&place| rows[place].image);
            let stand_ins = order.into_iter().filter_map(|place| last[&rows[place].id]);
            let resolved: Vec<Annotation> = stand_ins.map(|place| rows[place].clone()).collect();
            rows = resolved;
        }
        if !rows.is_sorted_by_key(|row| row.image) {
            rows.sort_by_key(|row| row.image);
        }
        rows
    }

    /// Pictures, by ascending identifier.
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// Categories, by ascending identifier.
    pub fn categories(&self) -> &[Category] {
        &self.categories
    }

    /// Objects, by picture and then in the file's order.
    pub fn annotations(&self) -> &[Annotation] {
        &self.annotations
    }

    /// What was read of each object.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// What a user should know about the file, a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// Sorts by identifier; of equal ones the last is kept.
fn unique<T>(
    mut items: Vec<T>,
    id: impl Fn(&T) -> &Id,
    what: &str,
    name: &Path,
    notes: &mut Vec<String>,
) -> Vec<T> {
    if items.is_sorted_by(|left, right| id(left) < id(right)) {
        return items;
    }
    items.reverse();
    items.sort_by(|left, right| id(left).cmp(id(right)));
    let all = items.len();
    items.dedup_by(|later, kept| id(later) == id(kept));
    if items.len() < all {
        notes.push(format!(
            "{}: {} {what} share their id with a later one, which is the one that counts",
            name.display(),
            all - items.len()
        ));
    }
    items
}
