//! Annotations on their way from text to [`GroundTruth`](super::GroundTruth).

use rayon::prelude::*;

use super::fields::{bbox, finite, set, truth};
use super::ground_truth::{Annotation, Geometry, Image};
use super::id::{Id, IdIndex};
use super::segmentation::MaskReader;
use crate::json::{Cursor, JsonError};

/// Whether any identifier occurs twice.
pub(super) fn has_repeated_ids(rows: &[Annotation], strays: &[Stray]) -> bool {
    let kept = rows.iter().map(|row| &row.id);
    let mut ids: Vec<&Id> = kept.chain(strays.iter().map(|stray| &stray.id)).collect();
    if ids.is_sorted_by(|left, right| left < right) {
        return false;
    }
    ids.par_sort_unstable();
    ids.windows(2).any(|pair| pair[0] == pair[1])
}

/// Annotations in the file's order, as a thread reads them.
#[derive(Debug, Default)]
pub(super) struct AnnotationRows {
    masks: MaskReader,
    pub rows: Vec<Annotation>,
    pub strays: Vec<Stray>,
}

/// An annotation of a picture or category that the file does not list.
#[derive(Debug)]
pub(super) struct Stray {
    pub id: Id,
    /// Annotations kept before it.
    pub rows_before: usize,
}

impl AnnotationRows {
    /// Adds what stands later in the file.
    pub(super) fn append(&mut self, mut later: Self) {
        let before = self.rows.len();
        self.strays
            .extend(later.strays.into_iter().map(|stray| Stray {
                rows_before: stray.rows_before + before,
                ..stray
            }));
        if self.rows.is_empty() {
            self.rows = later.rows;
        } else {
            self.rows.append(&mut later.rows);
        }
    }
}

/// Reads annotations of known pictures and categories.
pub(super) struct AnnotationReader<'a> {
    pub images: &'a [Image],
    pub image_index: &'a IdIndex,
    pub category_index: &'a IdIndex,
    pub geometry: Geometry,
}

impl AnnotationReader<'_> {
    /// Passes an annotation; whether it was kept.
    pub(super) fn read(
        &self,
        cursor: &mut Cursor<'_>,
        out: &mut AnnotationRows,
    ) -> Result<bool, JsonError> {
        let (mut id, mut image, mut category) = (None, None, None);
        let (mut bounds, mut area, mut crowd, mut segmentation) = (None, None, false, None);
        cursor.object(|key, cursor| match key {
            b"id" => set(&mut id, Id::parse(cursor, "id")?),
            b"image_id" => set(&mut image, Id::parse(cursor, "image_id")?),
            b"category_id" => set(&mut category, Id::parse(cursor, "category_id")?),
            b"bbox" if self.geometry.boxes => set(&mut bounds, bbox(cursor)?),
            b"area" => set(&mut area, finite(cursor, "area")?),
            b"iscrowd" => {
                crowd = truth(cursor, "iscrowd")?;
                Ok(())
            }
            b"segmentation" if self.geometry.masks => {
                cursor.peek();
                segmentation = Some(cursor.at());
                cursor.skip()
            }
            _ => cursor.skip(),
        })?;
        let missing = |field: &str| cursor.meaning(format!("it has no {field}"));
        let id = id.ok_or_else(|| missing("id"))?;
        let image = image.ok_or_else(|| missing("image_id"))?;
        let category = category.ok_or_else(|| missing("category_id"))?;
        let (Some(image), Some(category)) = (
            self.image_index.get(&image),
            self.category_index.get(&category),
        ) else {
            let rows_before = out.rows.len();
            out.strays.push(Stray { id, rows_before });
            return Ok(false);
        };
        let about = |problem: &str| cursor.meaning(format!("(id {id}) {problem}"));
        let area = area.ok_or_else(|| about("has no area, which decides the size class"))?;
        let bbox = match bounds.flatten() {
            Some(bounds) => bounds,
            None if self.geometry.boxes => return Err(about("has no bbox")),
            None => [0.0; 4],
        };
        let mask = match segmentation {
            Some(at) => {
                let end = cursor.at();
                let picture = &self.images[image];
                cursor.seek(at);
                let mask = out.masks.read(cursor, picture.height, picture.width);
                cursor.seek(end);
                Some(mask?)
            }
            None if self.geometry.masks => return Err(about("has no segmentation")),
            None => None,
        };
        out.rows.push(Annotation {
            id,
            image,
            category,
            bbox,
            area,
            crowd,
            mask,
        });
        Ok(true)
    }
}
