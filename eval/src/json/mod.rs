//! A scanner over JSON bytes, made for arrays of millions of small objects.
//!
//! It reads what Python's `json` reads, `NaN` and `Infinity` included, and hands numbers and strings
//! out without building a tree. What a caller skips is only checked as far as finding its end takes.

mod cursor;
mod elements;
mod number;

pub(crate) use cursor::{Cursor, JsonError, Problem};
pub(crate) use elements::{ElementsEnd, Start, parse_elements};
pub(crate) use number::Number;
