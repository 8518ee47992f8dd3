//! Bitmaps, one byte per pixel, to masks and back.
//!
//! Most of a bitmap is like its neighbourhood, so it is looked at in blocks of 64 pixels, and only
//! those in which something changes are looked into. Rows are not turned into columns for it: what
//! changes from one row to the next is found along the rows, and sorted by column.

use super::{Rle, RleError, pixels};

/// Bytes looked at together.
const BLOCK: usize = 64;

impl Rle {
    /// A mask from one byte per pixel, column by column; every byte but 0 is inside.
    ///
    /// # Errors
    /// When the bytes are not `height` × `width`, or more than `u32::MAX`.
    pub fn from_bitmap(height: u32, width: u32, column_major: &[u8]) -> Result<Self, RleError> {
        let end = check(height, width, column_major)?;
        let mut runs = Runs::default();
        let mut before = 0;
        let (blocks, rest) = column_major.as_chunks::<BLOCK>();
        let mut block = 0;
        loop {
            block += if before == 0 {
                uniform::<false>(&blocks[block..])
            } else {
                uniform::<true>(&blocks[block..])
            };
            let Some(bytes) = blocks.get(block) else {
                break;
            };
            let inside = bits(bytes);
            // A change is a pixel that differs from the one before it.
            for bit in Bits(inside ^ (inside << 1 | before)) {
                runs.change((block * BLOCK) as u32 + bit);
            }
            before = inside >> (BLOCK - 1);
            block += 1;
        }
        for (at, &byte) in (blocks.len() * BLOCK..).zip(rest) {
            let inside = u64::from(byte != 0);
            if inside != before {
                runs.change(at as u32);
            }
            before = inside;
        }
        Ok(Self {
            height,
            width,
            counts: runs.finish(end),
        })
    }

    /// A mask from one byte per pixel, row by row; every byte but 0 is inside.
    ///
    /// # Errors
    /// As [`Rle::from_bitmap`].
    pub fn from_row_major(height: u32, width: u32, row_major: &[u8]) -> Result<Self, RleError> {
        let end = check(height, width, row_major)?;
        let mut runs = Runs::default();
        if end > 0 {
            for position in changes(row_major, height, width) {
                runs.change(position);
            }
        }
        Ok(Self {
            height,
            width,
            counts: runs.finish(end),
        })
    }

    /// One byte per pixel, 1 inside and 0 outside, column by column: `height` × `width` bytes.
    pub fn decode(&self) -> Vec<u8> {
        let mut bitmap = vec![0; self.height as usize * self.width as usize];
        for (start, end) in self.spans() {
            bitmap[start..end].fill(1);
        }
        bitmap
    }

    /// One byte per pixel, 1 inside and 0 outside, row by row: `height` × `width` bytes.
    pub fn decode_row_major(&self) -> Vec<u8> {
        let (height, width) = (self.height as usize, self.width as usize);
        let mut bitmap = vec![0; height * width];
        if bitmap.is_empty() {
            return bitmap;
        }
        // The first row as it is, and in the others what differs from the row above.
        for (start, end) in self.spans().filter(|span| span.0 < span.1) {
            bitmap[start.div_ceil(height)..end.div_ceil(height)].fill(1);
            for change in [start, end] {
                let (column, row) = (change / height, change % height);
                if row > 0 {
                    bitmap[row * width + column] ^= 1;
                }
            }
        }
        for row in 1..height {
            let (above, below) = bitmap.split_at_mut(row * width);
            let above = &above[(row - 1) * width..];
            for (pixel, above) in below[..width].iter_mut().zip(above) {
                *pixel ^= above;
            }
        }
        bitmap
    }

    /// Positions from the first pixel inside to the one behind the last, run by run.
    fn spans(&self) -> impl Iterator<Item = (usize, usize)> {
        let mut at = 0;
        self.counts
            .as_chunks()
            .0
            .iter()
            .map(move |&[background, inside]| {
                let start = at + background as usize;
                at = start + inside as usize;
                (start, at)
            })
    }
}

/// The number of pixels, where the bitmap has as many.
fn check(height: u32, width: u32, bitmap: &[u8]) -> Result<u32, RleError> {
    let end = pixels(height, width)?;
    if bitmap.len() == end as usize {
        Ok(end)
    } else {
        Err(RleError::Bitmap {
            height,
            width,
            found: bitmap.len(),
        })
    }
}

/// Lengths of runs from the positions where they change.
#[derive(Default)]
struct Runs {
    counts: Vec<u32>,
    start: u32,
}

impl Runs {
    fn change(&mut self, position: u32) {
        self.counts.push(position - self.start);
        self.start = position;
    }

    fn finish(mut self, end: u32) -> Vec<u32> {
        self.counts.push(end - self.start);
        self.counts
    }
}

/// Column by column, the positions of pixels that differ from the one before them, where the
/// pixels stand row by row. There is at least one pixel.
fn changes(row_major: &[u8], height: u32, width: u32) -> Vec<u32> {
    let columns = width as usize;
    // Per column how many, then where its next one goes.
    let mut next = vec![0u32; columns];
    let mut found: Vec<(u32, u32)> = Vec::new();
    let mut change = |row: usize, column: usize| {
        next[column] += 1;
        found.push((column as u32, column as u32 * height + row as u32));
    };
    // Above the first row is the last one, a column further left; nothing is before the first pixel.
    let (first, last) = (
        &row_major[..columns],
        &row_major[row_major.len() - columns..],
    );
    let mut before = false;
    for (column, (pixel, last)) in first.iter().zip(last).enumerate() {
        if (*pixel != 0) != before {
            change(0, column);
        }
        before = *last != 0;
    }
    for row in 1..height as usize {
        let (above, here) = row_major[(row - 1) * columns..][..2 * columns].split_at(columns);
        let (above, above_rest) = above.as_chunks::<BLOCK>();
        let (here, here_rest) = here.as_chunks::<BLOCK>();
        for (block, (above, here)) in above.iter().zip(here).enumerate() {
            if !equal(above, here) {
                for bit in Bits(bits(above) ^ bits(here)) {
                    change(row, block * BLOCK + bit as usize);
                }
            }
        }
        let rest = above_rest.iter().zip(here_rest);
        for (column, (above, here)) in (here.len() * BLOCK..).zip(rest) {
            if (*above == 0) != (*here == 0) {
                change(row, column);
            }
        }
    }
    let mut begin = 0;
    for count in &mut next {
        begin += std::mem::replace(count, begin);
    }
    let mut sorted = vec![0; found.len()];
    for (column, position) in found {
        let next = &mut next[column as usize];
        sorted[*next as usize] = position;
        *next += 1;
    }
    sorted
}

/// A block as words, the first byte lowest.
fn words(bytes: &[u8; BLOCK]) -> impl Iterator<Item = u64> {
    let words = bytes.as_chunks().0.iter();
    words.map(|bytes| u64::from_le_bytes(*bytes))
}

/// The lowest bit of each byte.
const LOWEST: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte.
const HIGHEST: u64 = LOWEST << 7;

/// How many blocks from the first on have no byte that ends a run of the given kind.
fn uniform<const INSIDE: bool>(blocks: &[[u8; BLOCK]]) -> usize {
    let ends = |block| {
        // Without an early end, such loops become vector instructions.
        words(block).fold(0, |ends, word| {
            ends | if INSIDE {
                // Has a bit if, and only if, a byte is 0.
                word.wrapping_sub(LOWEST) & !word & HIGHEST
            } else {
                word
            }
        })
    };
    let first = blocks.iter().position(|block| ends(block) != 0);
    first.unwrap_or(blocks.len())
}

/// Whether two blocks are the same, byte by byte.
fn equal(a: &[u8; BLOCK], b: &[u8; BLOCK]) -> bool {
    words(a)
        .zip(words(b))
        .fold(0, |other, (a, b)| other | (a ^ b))
        == 0
}

/// Which bytes are not 0, the first in the lowest bit.
fn bits(bytes: &[u8; BLOCK]) -> u64 {
    words(bytes).enumerate().fold(0, |bits, (at, word)| {
        // The top bit of each byte that is not 0, no carry leaving its byte.
        let top = (((word & !HIGHEST) + !HIGHEST) | word) & HIGHEST;
        // Gathers these eight into the highest byte.
        let gathered = (top >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits | gathered << (8 * at)
    })
}

/// Positions of the bits that are set, upwards.
struct Bits(u64);

impl Iterator for Bits {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let bit = self.0.trailing_zeros();
        self.0 &= self.0.checked_sub(1)?;
        Some(bit)
    }
}
