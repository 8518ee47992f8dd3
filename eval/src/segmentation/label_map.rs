//! A picture of class numbers.

use std::borrow::Cow;

/// The class numbers of a map, row by row from the top left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Labels {
    /// Numbers up to 255.
    U8(Vec<u8>),
    /// Numbers up to 65535.
    U16(Vec<u16>),
}

impl Labels {
    /// Number of pixels.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(labels) => labels.len(),
            Self::U16(labels) => labels.len(),
        }
    }

    /// Whether there is no pixel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As 16-bit numbers.
    pub(super) fn widened(&self) -> Cow<'_, [u16]> {
        match self {
            Self::U8(labels) => labels.iter().copied().map(u16::from).collect(),
            Self::U16(labels) => Cow::Borrowed(labels),
        }
    }

    pub(super) fn get(&self, pixel: usize) -> Option<u16> {
        match self {
            Self::U8(labels) => labels.get(pixel).copied().map(u16::from),
            Self::U16(labels) => labels.get(pixel).copied(),
        }
    }
}

impl From<Vec<u8>> for Labels {
    fn from(labels: Vec<u8>) -> Self {
        Self::U8(labels)
    }
}

impl From<Vec<u16>> for Labels {
    fn from(labels: Vec<u16>) -> Self {
        Self::U16(labels)
    }
}

/// A picture of class numbers, as stored: nothing subtracted, nothing ignored yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMap {
    width: usize,
    height: usize,
    labels: Labels,
}

impl LabelMap {
    /// A map of `width` x `height` pixels; nothing where `labels` holds another number of them.
    pub fn new(width: usize, height: usize, labels: impl Into<Labels>) -> Option<Self> {
        let labels = labels.into();
        (width.checked_mul(height) == Some(labels.len())).then_some(Self {
            width,
            height,
            labels,
        })
    }

    /// Pixels of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The class numbers.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    pub(super) fn into_labels(self) -> Labels {
        self.labels
    }
}
