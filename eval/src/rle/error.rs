//! What can be wrong with a mask.

use super::polygon::{MAX_COORDINATE, MAX_CROSSINGS};

/// A mask that cannot be read or made. The caller knows, and says, which file and item it is of.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RleError {
    /// More pixels than run lengths can count.
    #[error(
        "a mask of {height} × {width} pixels is too large: at most {} are possible",
        u32::MAX
    )]
    TooManyPixels {
        /// Rows.
        height: u32,
        /// Columns.
        width: u32,
    },
    /// The runs do not fill the picture.
    #[error(
        "the runs cover {found} pixels, but {height} × {width} are {}: check \"size\", which is \
         [height, width]",
        u64::from(*height) * u64::from(*width)
    )]
    Coverage {
        /// Rows.
        height: u32,
        /// Columns.
        width: u32,
        /// Pixels that the runs cover.
        found: u64,
    },
    /// A bitmap of the wrong length.
    #[error(
        "the bitmap has {found} pixels, but {height} × {width} are {}",
        u64::from(*height) * u64::from(*width)
    )]
    Bitmap {
        /// Rows.
        height: u32,
        /// Columns.
        width: u32,
        /// Pixels given.
        found: usize,
    },
    /// A character that compressed runs never have.
    #[error(
        "character {position} of the compressed runs is \"{}\", but only '0' to 'o' are used: the \
         string is damaged or is no COCO RLE",
        char::from(*byte).escape_default()
    )]
    Character {
        /// Position, counted from 0.
        position: usize,
        /// The byte found.
        byte: u8,
    },
    /// The string ends within a number.
    #[error("the compressed runs end within a number: the string is cut off")]
    Truncated,
    /// A number of too many characters.
    #[error(
        "the number at character {position} of the compressed runs is too long for a run: the \
         string is damaged"
    )]
    Overflow {
        /// Position of its first character, counted from 0.
        position: usize,
    },
    /// A run length that comes out negative.
    #[error("run {run} of the compressed runs is {length} pixels long: the string is damaged")]
    Negative {
        /// The run, counted from 0.
        run: usize,
        /// Its length.
        length: i64,
    },
    /// No polygon where there should be one.
    #[error("the mask is a list of no polygons: it needs at least one")]
    NoPolygon,
    /// A polygon with fewer than three corners.
    #[error(
        "a polygon has {numbers} numbers, but three corners are 6: [x1, y1, x2, y2, x3, y3, …]"
    )]
    Corners {
        /// Numbers given.
        numbers: usize,
    },
    /// A corner that has an x and no y.
    #[error("a polygon has {numbers} numbers, but x and y alternate: it must be an even count")]
    OddPolygon {
        /// Numbers given.
        numbers: usize,
    },
    /// A coordinate that no picture has.
    #[error("a coordinate is {value}, but must be within ±{MAX_COORDINATE} pixels")]
    Coordinate {
        /// The coordinate.
        value: f64,
    },
    /// A polygon whose outline goes to and fro without end.
    #[error(
        "the outline of a polygon crosses pixel columns more than {MAX_CROSSINGS} times: simplify \
         it, or give the mask as RLE"
    )]
    Crossings,
    /// Nothing to merge.
    #[error("no mask to merge: at least one is needed")]
    NoMask,
    /// Masks of different pictures.
    #[error(
        "a mask of {height} × {width} pixels cannot be merged with one of {other_height} × \
         {other_width}"
    )]
    Sizes {
        /// Rows of the first.
        height: u32,
        /// Columns of the first.
        width: u32,
        /// Rows of the other.
        other_height: u32,
        /// Columns of the other.
        other_width: u32,
    },
}
