//! The `segmentation` field: polygons, compressed RLE or uncompressed RLE.

use super::fields::finite;
use super::objects::Outline;
use crate::json::{Cursor, JsonError};
use crate::rle::{PolygonRasterizer, PreparedMask, Rle, RleError};

/// Reads masks; one kept for many allocates little but the masks.
#[derive(Debug, Default)]
pub(super) struct MaskReader {
    rasterizer: PolygonRasterizer,
    numbers: Vec<f64>,
    /// Where each polygon ends among the numbers.
    ends: Vec<usize>,
}

impl MaskReader {
    /// Passes a segmentation of a picture of `height` and `width`, which polygons are drawn on; an RLE
    /// says its own size.
    pub(super) fn read(
        &mut self,
        cursor: &mut Cursor<'_>,
        height: u32,
        width: u32,
    ) -> Result<PreparedMask, JsonError> {
        match cursor.peek() {
            Some(b'[') => self.polygons(cursor, height, width),
            Some(b'{') | None => Ok(run_lengths(cursor)?.into()),
            _ => Err(cursor.meaning("segmentation must be a list of polygons or an RLE object")),
        }
    }

    /// The mask of a box, as pycocotools makes one for results that have none.
    pub(super) fn of_box(
        &mut self,
        bbox: [f64; 4],
        height: u32,
        width: u32,
    ) -> Result<PreparedMask, RleError> {
        // The corner order decides how the outline is drawn.
        let [x1, y1, w, h] = bbox;
        let (x2, y2) = (x1 + w, y1 + h);
        let outline = [x1, y1, x1, y2, x2, y2, x2, y1];
        Ok(self.rasterizer.polygon(height, width, &outline)?.into())
    }

    fn polygons(
        &mut self,
        cursor: &mut Cursor<'_>,
        height: u32,
        width: u32,
    ) -> Result<PreparedMask, JsonError> {
        self.numbers.clear();
        self.ends.clear();
        polygons(cursor, &mut self.numbers, &mut self.ends)?;
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let polygons = starts
            .zip(&self.ends)
            .map(|(start, &end)| &self.numbers[start..end]);
        match self.rasterizer.polygons(height, width, polygons) {
            Ok(mask) => Ok(mask.into()),
            Err(error) => Err(cursor.meaning(format!("segmentation: {error}"))),
        }
    }
}

/// Passes a segmentation and keeps it as it is written; `null` and an empty list are none.
pub(super) fn outline(cursor: &mut Cursor<'_>) -> Result<Option<Outline>, JsonError> {
    match cursor.peek() {
        Some(b'[') => {
            let (mut numbers, mut ends) = (Vec::new(), Vec::new());
            polygons(cursor, &mut numbers, &mut ends)?;
            let mut start = 0;
            let outlines = ends.into_iter().map(|end| {
                let outline = numbers[start..end].into();
                start = end;
                outline
            });
            let outlines: Vec<Box<[f64]>> = outlines.collect();
            Ok((!outlines.is_empty()).then_some(Outline::Polygons(outlines)))
        }
        Some(b'{') | None => Ok(Some(Outline::Runs(run_lengths(cursor)?))),
        Some(b'n') => {
            cursor.skip()?;
            Ok(None)
        }
        _ => Err(cursor.meaning("segmentation must be a list of polygons or an RLE object")),
    }
}

/// Passes a list of polygons: their numbers, and where each polygon ends among them.
fn polygons(
    cursor: &mut Cursor<'_>,
    numbers: &mut Vec<f64>,
    ends: &mut Vec<usize>,
) -> Result<(), JsonError> {
    cursor.array(|cursor| {
        if cursor.peek().is_some_and(|byte| byte != b'[') {
            return Err(cursor.meaning(
                "segmentation must be a list of polygons, each a list of numbers: wrap a single polygon in another pair of brackets",
            ));
        }
        cursor.array(|cursor| {
            numbers.push(finite(cursor, "a polygon's number")?);
            Ok(())
        })?;
        ends.push(numbers.len());
        Ok(())
    })
}

/// Passes `{"size": [height, width], "counts": …}` with counts as a string or a list.
fn run_lengths(cursor: &mut Cursor<'_>) -> Result<Rle, JsonError> {
    let mut size = None;
    let mut text = None;
    let mut list = None;
    cursor.object(|key, cursor| match key {
        b"size" => {
            let mut values = [0u32; 2];
            let mut count = 0usize;
            cursor.array(|cursor| {
                let value = whole(cursor, "a number of the mask's size")?;
                if let Some(place) = values.get_mut(count) {
                    *place = value;
                }
                count += 1;
                Ok(())
            })?;
            if count != 2 {
                return Err(cursor.meaning(format!(
                    "segmentation: size has {count} numbers instead of height and width"
                )));
            }
            size = Some(values);
            Ok(())
        }
        b"counts" => match cursor.peek() {
            Some(b'"') => {
                text = Some(cursor.string()?);
                Ok(())
            }
            Some(b'[') | None => {
                let mut counts = Vec::new();
                cursor.array(|cursor| {
                    counts.push(whole(cursor, "a run of the mask")?);
                    Ok(())
                })?;
                list = Some(counts);
                Ok(())
            }
            _ => Err(cursor.meaning("segmentation: counts must be a string or a list of runs")),
        },
        _ => cursor.skip(),
    })?;
    let Some([height, width]) = size else {
        return Err(cursor.meaning("segmentation: an RLE needs size, [height, width]"));
    };
    let mask = match (text, list) {
        (Some(text), None) => Rle::from_string(height, width, &text),
        (None, Some(counts)) => Rle::from_counts(height, width, counts),
        _ => return Err(cursor.meaning("segmentation: an RLE needs counts, once")),
    };
    mask.map_err(|error| cursor.meaning(format!("segmentation: {error}")))
}

/// Passes a whole number that is not negative.
fn whole(cursor: &mut Cursor<'_>, what: &str) -> Result<u32, JsonError> {
    let value = finite(cursor, what)?;
    if value >= 0.0 && value.fract() == 0.0 && value <= f64::from(u32::MAX) {
        Ok(value as u32)
    } else {
        Err(cursor.meaning(format!(
            "segmentation: {what} is {value}, which is no count of pixels"
        )))
    }
}
