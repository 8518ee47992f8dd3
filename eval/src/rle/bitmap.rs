//! Bitmaps, one byte per pixel, to masks and back.

use super::{Rle, RleError, pixels};

/// Bytes looked at together where nothing changes.
const BLOCK: usize = 64;
/// Side of the squares in which a picture is transposed, so that rows and columns stay in cache.
const TILE: usize = 32;

impl Rle {
    /// A mask from one byte per pixel, column by column; every byte but 0 is inside.
    ///
    /// # Errors
    /// When the bytes are not `height` × `width`, or more than `u32::MAX`.
    pub fn from_bitmap(height: u32, width: u32, column_major: &[u8]) -> Result<Self, RleError> {
        check(height, width, column_major)?;
        Ok(Self {
            height,
            width,
            counts: runs(column_major),
        })
    }

    /// A mask from one byte per pixel, row by row; every byte but 0 is inside.
    ///
    /// # Errors
    /// As [`Rle::from_bitmap`].
    pub fn from_row_major(height: u32, width: u32, row_major: &[u8]) -> Result<Self, RleError> {
        check(height, width, row_major)?;
        let column_major = transposed(row_major, height as usize, width as usize);
        Ok(Self {
            height,
            width,
            counts: runs(&column_major),
        })
    }

    /// One byte per pixel, 1 inside and 0 outside, column by column: `height` × `width` bytes.
    pub fn decode(&self) -> Vec<u8> {
        let mut bitmap = vec![0; self.height as usize * self.width as usize];
        let mut at = 0;
        for &[background, inside] in self.counts.as_chunks::<2>().0 {
            let start = at + background as usize;
            at = start + inside as usize;
            bitmap[start..at].fill(1);
        }
        bitmap
    }

    /// One byte per pixel, 1 inside and 0 outside, row by row: `height` × `width` bytes.
    pub fn decode_row_major(&self) -> Vec<u8> {
        transposed(&self.decode(), self.width as usize, self.height as usize)
    }
}

fn check(height: u32, width: u32, bitmap: &[u8]) -> Result<(), RleError> {
    if bitmap.len() != pixels(height, width)? as usize {
        return Err(RleError::Bitmap {
            height,
            width,
            found: bitmap.len(),
        });
    }
    Ok(())
}

/// Lengths of the runs of zero and other bytes, beginning with zeros. At most `u32::MAX` bytes.
fn runs(bitmap: &[u8]) -> Vec<u32> {
    let mut counts = Vec::new();
    let mut start = 0;
    // Bit 0: whether the byte before is inside.
    let mut inside = 0;
    let mut changes = |bits: u64, base: usize| {
        let mut bits = bits;
        while bits != 0 {
            let at = base + bits.trailing_zeros() as usize;
            counts.push((at - start) as u32);
            start = at;
            bits &= bits - 1;
        }
    };
    let (blocks, rest) = bitmap.as_chunks::<BLOCK>();
    for (block, bytes) in blocks.iter().enumerate() {
        if uniform(bytes, inside != 0) {
            continue;
        }
        let mut bits = 0;
        for (word, bytes) in bytes.as_chunks::<8>().0.iter().enumerate() {
            bits |= nonzero(u64::from_le_bytes(*bytes)) << (8 * word);
        }
        // A change is a pixel that differs from the one before it.
        changes(bits ^ (bits << 1 | inside), block * BLOCK);
        inside = bits >> (BLOCK - 1);
    }
    let base = blocks.len() * BLOCK;
    for (offset, &byte) in rest.iter().enumerate() {
        let now = u64::from(byte != 0);
        changes(now ^ inside, base + offset);
        inside = now;
    }
    counts.push((bitmap.len() - start) as u32);
    counts
}

/// Whether no byte ends a run of the given kind.
fn uniform(bytes: &[u8; BLOCK], inside: bool) -> bool {
    // Without an early end the loop becomes vector instructions.
    !bytes
        .iter()
        .fold(false, |any, &byte| any | ((byte == 0) == inside))
}

/// Eight bits that say which bytes of a word, the lowest first, are not 0.
fn nonzero(word: u64) -> u64 {
    const LOW_SEVEN: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let top = (((word & LOW_SEVEN) + LOW_SEVEN) | word) & !LOW_SEVEN;
    // Gathers the eight top bits, 1/128 of each, into the highest byte.
    (top >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// A picture of `rows` × `columns` bytes, its columns made rows.
fn transposed(picture: &[u8], rows: usize, columns: usize) -> Vec<u8> {
    let mut turned = vec![0; picture.len()];
    for top in (0..rows).step_by(TILE) {
        let bottom = rows.min(top + TILE);
        for left in (0..columns).step_by(TILE) {
            for column in left..columns.min(left + TILE) {
                let target = &mut turned[column * rows + top..column * rows + bottom];
                for (row, pixel) in (top..).zip(target) {
                    *pixel = picture[row * columns + column];
                }
            }
        }
    }
    turned
}
