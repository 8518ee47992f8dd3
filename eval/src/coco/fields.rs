//! Fields of annotations and results.

use crate::json::{Cursor, JsonError, Number};

/// Fills in a field; of one that is there twice the last counts, as in Python.
#[inline]
pub(super) fn set<T>(field: &mut Option<T>, value: T) -> Result<(), JsonError> {
    *field = Some(value);
    Ok(())
}

/// Passes a text.
pub(super) fn string(cursor: &mut Cursor<'_>) -> Result<String, JsonError> {
    Ok(String::from_utf8_lossy(&cursor.string()?).into_owned())
}

/// Passes a number that has a value.
pub(super) fn finite(cursor: &mut Cursor<'_>, what: &str) -> Result<f64, JsonError> {
    let start = cursor.peek();
    if !matches!(start, Some(b'-' | b'0'..=b'9' | b'N' | b'I') | None) {
        return Err(cursor.meaning(format!("{what} is not a number")));
    }
    let value = cursor.number()?.value();
    if value.is_finite() {
        Ok(value)
    } else {
        Err(cursor.meaning(format!("{what} is {value}, which is no measure")))
    }
}

/// Passes `[x, y, width, height]`; an empty list is no box.
#[inline]
pub(super) fn bbox(cursor: &mut Cursor<'_>) -> Result<Option<[f64; 4]>, JsonError> {
    let bounds = any_bbox(cursor)?;
    match bounds {
        Some([_, _, width, height]) if width < 0.0 || height < 0.0 => {
            Err(cursor.meaning(format!(
                "bbox has width {width} and height {height}, which must not be negative: it is x, y, width, height"
            )))
        }
        _ => Ok(bounds),
    }
}

/// As [`bbox`], whatever the signs.
#[inline]
pub(super) fn any_bbox(cursor: &mut Cursor<'_>) -> Result<Option<[f64; 4]>, JsonError> {
    if cursor.peek().is_some_and(|byte| byte != b'[') {
        return Err(cursor.meaning("bbox must be a list of x, y, width and height"));
    }
    let mut values = [0.0; 4];
    let mut count = 0usize;
    cursor.array(|cursor| {
        let value = finite(cursor, "a number of bbox")?;
        if let Some(place) = values.get_mut(count) {
            *place = value;
        }
        count += 1;
        Ok(())
    })?;
    match count {
        0 => Ok(None),
        4 => Ok(Some(values)),
        _ => Err(cursor.meaning(format!(
            "bbox has {count} numbers instead of x, y, width and height"
        ))),
    }
}

/// Passes a number or truth value as Python takes it for a condition.
pub(super) fn truth(cursor: &mut Cursor<'_>, what: &str) -> Result<bool, JsonError> {
    match cursor.peek() {
        Some(b't' | b'f' | b'n') => Ok(cursor.word()?.unwrap_or(false)),
        Some(b'-' | b'0'..=b'9') | None => Ok(match cursor.number()? {
            Number::Integer(value) => value != 0,
            Number::Real(value) => value != 0.0,
        }),
        _ => Err(cursor.meaning(format!("{what} must be 0 or 1"))),
    }
}
