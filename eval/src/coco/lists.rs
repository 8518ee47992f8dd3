//! The lists of a COCO annotation file, and its pictures and categories.

use std::path::Path;

use super::fields::{finite, set, string};
use super::ground_truth::{Category, Image};
use super::id::Id;
use super::records::sentence;
use crate::error::EvalError;
use crate::json::{Cursor, JsonError};

/// Where the lists of a file begin: the byte after the opening bracket.
pub(super) struct Places {
    /// Pictures.
    pub images: usize,
    /// Objects; 0 for none, which a test set has.
    pub annotations: usize,
    /// Categories.
    pub categories: usize,
}

impl Places {
    /// Finds the lists; `objects` tells whether there must be a list of these.
    pub(super) fn find(name: &Path, text: &[u8], objects: bool) -> Result<Self, EvalError> {
        let mut cursor = Cursor::new(text, 0);
        if text.starts_with(b"\xef\xbb\xbf") {
            cursor.seek(3);
        }
        match cursor.peek() {
            Some(b'{') => {}
            Some(b'[') => {
                return Err(EvalError::file(
                    name,
                    "this is a list, as results are, and not a COCO annotation file: give the ground truth here and the results as predictions",
                ));
            }
            _ => {
                return Err(EvalError::file(
                    name,
                    "this is no COCO annotation file, which is a JSON object",
                ));
            }
        }
        let mut places = [None; 3];
        let names: [&[u8]; 3] = [b"images", b"annotations", b"categories"];
        cursor
            .object(|key, cursor| {
                if let Some(which) = names.iter().position(|name| *name == key) {
                    if cursor.peek().is_some_and(|byte| byte != b'[') {
                        let key = String::from_utf8_lossy(key);
                        return Err(cursor.meaning(format!("\"{key}\" must be a list")));
                    }
                    places[which] = Some(cursor.at() + 1);
                }
                cursor.skip()
            })
            .map_err(|error| EvalError::file(name, sentence(error, 0)))?;
        let [images, annotations, categories] = places;
        let need = |place: Option<usize>, what: &str, remedy: &str| {
            place.ok_or_else(|| {
                EvalError::file(name, format!("there is no \"{what}\" list in it: {remedy}"))
            })
        };
        Ok(Self {
            images: need(images, "images", "is it a COCO annotation file?")?,
            annotations: if objects {
                need(
                    annotations,
                    "annotations",
                    "a test set without ground truth has nothing to learn from or to score against",
                )?
            } else {
                annotations.unwrap_or(0)
            },
            categories: need(categories, "categories", "is it an instances file?")?,
        })
    }
}

fn read_list<T>(
    name: &Path,
    text: &[u8],
    at: usize,
    kind: &str,
    mut read: impl FnMut(&mut Cursor<'_>) -> Result<T, JsonError>,
) -> Result<Vec<T>, EvalError> {
    let mut items = Vec::new();
    Cursor::new(text, at - 1)
        .array(|cursor| {
            items.push(read(cursor)?);
            Ok(())
        })
        .map_err(|error| {
            EvalError::item(name, format!("{kind} {}", items.len()), sentence(error, 0))
        })?;
    Ok(items)
}

/// Pictures in the file's order.
pub(super) fn read_images(name: &Path, text: &[u8], at: usize) -> Result<Vec<Image>, EvalError> {
    read_list(name, text, at, "image", |cursor| {
        let (mut id, mut height, mut width, mut file_name) = (None, None, None, None);
        cursor.object(|key, cursor| match key {
            b"id" => set(&mut id, Id::parse(cursor, "id")?),
            b"height" => set(&mut height, side(cursor, "height")?),
            b"width" => set(&mut width, side(cursor, "width")?),
            b"file_name" if cursor.peek() == Some(b'"') => set(&mut file_name, string(cursor)?),
            _ => cursor.skip(),
        })?;
        Ok(Image {
            id: id.ok_or_else(|| cursor.meaning("it has no id"))?,
            height: height.unwrap_or(0),
            width: width.unwrap_or(0),
            file_name: file_name.unwrap_or_default(),
        })
    })
}

/// Passes a picture's side; what is no whole number counts as not said.
fn side(cursor: &mut Cursor<'_>, what: &str) -> Result<u32, JsonError> {
    if !matches!(cursor.peek(), Some(b'0'..=b'9' | b'-') | None) {
        cursor.skip()?;
        return Ok(0);
    }
    let value = finite(cursor, what)?;
    if value >= 0.0 && value.fract() == 0.0 && value <= f64::from(u32::MAX) {
        Ok(value as u32)
    } else {
        Err(cursor.meaning(format!("{what} is {value}, which is no count of pixels")))
    }
}

/// Categories in the file's order.
pub(super) fn read_categories(
    name: &Path,
    text: &[u8],
    at: usize,
) -> Result<Vec<Category>, EvalError> {
    read_list(name, text, at, "category", |cursor| {
        let (mut id, mut category) = (None, None);
        cursor.object(|key, cursor| match key {
            b"id" => set(&mut id, Id::parse(cursor, "id")?),
            b"name" if cursor.peek() == Some(b'"') => set(&mut category, string(cursor)?),
            _ => cursor.skip(),
        })?;
        let id = id.ok_or_else(|| cursor.meaning("it has no id"))?;
        let name = category.unwrap_or_else(|| id.to_string());
        Ok(Category { id, name })
    })
}
