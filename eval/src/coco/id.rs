//! Identifiers of images, categories and annotations.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::json::{Cursor, JsonError, Number};

/// An identifier: a number or a text. 1 and 1.0 are the same, as in Python; 1 and "1" are not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Id {
    /// A whole number.
    Integer(i64),
    /// Any other number, as the bits of a double.
    Real(u64),
    /// A text.
    Text(Box<str>),
}

impl Id {
    /// A number as an identifier.
    pub fn number(value: f64) -> Self {
        // Doubles at or beyond 2^63 stay what they are.
        if value.fract() == 0.0 && value.abs() < 9.2e18 {
            Self::Integer(value as i64)
        } else {
            Self::Real(value.to_bits())
        }
    }

    /// Whether it equals the number 0.
    pub fn is_zero(&self) -> bool {
        *self == Self::Integer(0)
    }

    /// Passes an identifier.
    pub(crate) fn parse(cursor: &mut Cursor<'_>, what: &str) -> Result<Self, JsonError> {
        match cursor.peek() {
            Some(b'"') => {
                let text = cursor.string()?;
                match std::str::from_utf8(&text) {
                    Ok(text) => Ok(Self::Text(text.into())),
                    Err(_) => Err(cursor.meaning(format!("{what} is not UTF-8 text"))),
                }
            }
            Some(b'-' | b'0'..=b'9' | b'N' | b'I') | None => match cursor.number()? {
                Number::Integer(value) => Ok(Self::Integer(value)),
                Number::Real(value) if value.is_nan() => {
                    Err(cursor.meaning(format!("{what} is not a number")))
                }
                Number::Real(value) => Ok(Self::number(value)),
            },
            _ => Err(cursor.meaning(format!("{what} must be a number or a text"))),
        }
    }
}

impl Ord for Id {
    /// Numbers by value, then texts.
    fn cmp(&self, other: &Self) -> Ordering {
        let value = |id: &Self| match id {
            Self::Integer(value) => Some(*value as f64),
            Self::Real(bits) => Some(f64::from_bits(*bits)),
            Self::Text(_) => None,
        };
        match (self, other) {
            (Self::Integer(left), Self::Integer(right)) => left.cmp(right),
            (Self::Text(left), Self::Text(right)) => left.cmp(right),
            _ => match (value(self), value(other)) {
                (Some(left), Some(right)) => left.total_cmp(&right),
                (left, right) => left.is_none().cmp(&right.is_none()),
            },
        }
    }
}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => write!(f, "{value}"),
            Self::Real(bits) => write!(f, "{}", f64::from_bits(*bits)),
            Self::Text(text) => write!(f, "\"{}\"", text.escape_debug()),
        }
    }
}

/// Positions of identifiers within a list.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct IdIndex {
    /// Position plus one by identifier minus `lowest`; 0 where there is none.
    dense: Vec<u32>,
    lowest: i64,
    others: HashMap<Id, u32>,
}

impl IdIndex {
    /// Of a list whose identifiers are all different.
    pub(crate) fn new<'a>(ids: impl Iterator<Item = &'a Id> + Clone) -> Self {
        let integers = ids.clone().filter_map(|id| match id {
            Id::Integer(value) => Some(*value),
            _ => None,
        });
        let (mut lowest, mut highest, mut count) = (i64::MAX, i64::MIN, 0usize);
        for value in integers {
            (lowest, highest) = (lowest.min(value), highest.max(value));
            count += 1;
        }
        // A table costs 4 bytes per number in the range, a map some 40 per identifier.
        let range = highest
            .checked_sub(lowest)
            .map_or(usize::MAX, |range| range as usize);
        let table = count > 0 && range < (1 << 20usize).max(8 * count);
        let mut index = Self {
            dense: if table {
                vec![0; range + 1]
            } else {
                Vec::new()
            },
            lowest,
            others: HashMap::new(),
        };
        for (position, id) in ids.enumerate() {
            let position = position as u32;
            match id {
                Id::Integer(value) if table => {
                    index.dense[(value - lowest) as usize] = position + 1;
                }
                _ => {
                    index.others.insert(id.clone(), position);
                }
            }
        }
        index
    }

    /// The position of an identifier.
    #[inline]
    pub(crate) fn get(&self, id: &Id) -> Option<usize> {
        if let Id::Integer(value) = id
            && !self.dense.is_empty()
        {
            let place = value
                .checked_sub(self.lowest)
                .and_then(|at| usize::try_from(at).ok())?;
            let position = *self.dense.get(place)?;
            return (position > 0).then(|| position as usize - 1);
        }
        self.others.get(id).map(|&position| position as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_one_identifier_however_it_is_written() {
        let id = |text: &str| Id::parse(&mut Cursor::new(text.as_bytes(), 0), "image_id").unwrap();
        assert_eq!(id("1"), id("1.0"));
        assert_eq!(id("-3e0"), Id::Integer(-3));
        assert_ne!(id("1"), id("\"1\""));
        assert!(id("-0.0").is_zero());
        assert!(matches!(id("1e300"), Id::Real(_)));
        let mut ids = [id("\"b\""), id("2.5"), id("10"), id("\"a\""), id("-1")];
        ids.sort();
        assert_eq!(
            ids.map(|id| id.to_string()),
            ["-1", "2.5", "10", "\"a\"", "\"b\""]
        );
        for wrong in ["null", "[1]", "NaN", "true"] {
            assert!(Id::parse(&mut Cursor::new(wrong.as_bytes(), 0), "image_id").is_err());
        }
    }

    #[test]
    fn positions_are_found_in_narrow_and_wide_ranges() {
        for ids in [
            vec![
                Id::Integer(5),
                Id::Integer(-2),
                Id::Text("5".into()),
                Id::number(0.5),
            ],
            vec![Id::Integer(i64::MIN), Id::Integer(i64::MAX), Id::Integer(0)],
            vec![],
        ] {
            let index = IdIndex::new(ids.iter());
            for (position, id) in ids.iter().enumerate() {
                assert_eq!(index.get(id), Some(position), "{id}");
            }
            for absent in [Id::Integer(7), Id::Integer(-9), Id::Text("x".into())] {
                assert_eq!(index.get(&absent), None);
            }
        }
    }
}
