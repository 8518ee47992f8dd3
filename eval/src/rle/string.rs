//! COCO's compressed string: runs as numbers in base 32, one printable character per digit.
//!
//! A character is 48 plus six bits: five bits of the number, lowest first, and 32 where more
//! follow. The top bit of the last five is the sign. From the fourth number on, a number is the
//! difference to the run two before it, which is the run of the same kind one column earlier.

use super::{Rle, RleError, pixels};

/// The character of six zero bits.
const ZERO: u8 = b'0';
/// More characters follow.
const MORE: u8 = 0x20;
/// Characters of the longest number: 32 bits and a sign are 33 bits, seven times five.
const LONGEST: usize = 7;

impl Rle {
    /// A mask from COCO's compressed string.
    ///
    /// # Errors
    /// When a character is outside `'0'..='o'`, the string ends within a number, a number is too
    /// long or a run negative, or the runs do not cover exactly `height` × `width` pixels.
    pub fn from_string(height: u32, width: u32, text: &[u8]) -> Result<Self, RleError> {
        let expected = pixels(height, width)?;
        // No run without a character, so that the capacity is bounded by the text.
        let mut counts: Vec<u32> = Vec::with_capacity(text.len());
        let mut covered: u64 = 0;
        let mut at = 0;
        let mut before = [0i64; 2];
        while let Some(&byte) = text.get(at) {
            let position = at;
            let digit = byte.wrapping_sub(ZERO);
            let number = if digit < MORE {
                at += 1;
                // Five bits with their sign.
                i64::from((digit as i8) << 3 >> 3)
            } else {
                number(text, &mut at)?
            };
            let run = counts.len();
            let length = if run > 2 { number + before[0] } else { number };
            let Ok(count) = u32::try_from(length) else {
                return Err(if length < 0 {
                    RleError::Negative { run, length }
                } else {
                    RleError::Overflow { position }
                });
            };
            before = [before[1], length];
            covered += u64::from(count);
            counts.push(count);
        }
        if covered != u64::from(expected) {
            return Err(RleError::Coverage {
                height,
                width,
                found: covered,
            });
        }
        Ok(Self {
            height,
            width,
            counts,
        })
    }

    /// COCO's compressed string of the runs.
    pub fn to_compressed(&self) -> String {
        let mut text = Vec::with_capacity(self.counts.len() * 2);
        let mut before = [0i64; 2];
        for (run, &count) in self.counts.iter().enumerate() {
            let length = i64::from(count);
            let number = if run > 2 { length - before[0] } else { length };
            before = [before[1], length];
            let low = number as u8 & 0x1f;
            if (-16..16).contains(&number) {
                text.push(ZERO + low);
            } else if (-512..512).contains(&number) {
                let high = (number >> 5) as u8 & 0x1f;
                text.extend_from_slice(&[ZERO + (low | MORE), ZERO + high]);
            } else {
                push_long(number, &mut text);
            }
        }
        String::from_utf8(text).expect("the characters 48 to 111 are ASCII")
    }
}

/// Appends a number of any length.
fn push_long(mut number: i64, text: &mut Vec<u8>) {
    // The last digit is the one whose sign bit says all that is left.
    while !(-16..16).contains(&number) {
        text.push(ZERO + (number as u8 & 0x1f | MORE));
        number >>= 5;
    }
    text.push(ZERO + (number as u8 & 0x1f));
}

/// The number that begins at `at`, which moves behind it.
fn number(text: &[u8], at: &mut usize) -> Result<i64, RleError> {
    let start = *at;
    let mut number: i64 = 0;
    for place in 0..LONGEST {
        let position = start + place;
        let Some(&byte) = text.get(position) else {
            return Err(RleError::Truncated);
        };
        let digit = byte.wrapping_sub(ZERO);
        if digit >= 2 * MORE {
            return Err(RleError::Character { position, byte });
        }
        number |= i64::from(digit & 0x1f) << (5 * place);
        if digit & MORE == 0 {
            *at = position + 1;
            let unused = 64 - 5 * (place + 1);
            return Ok(number << unused >> unused);
        }
    }
    Err(RleError::Overflow { position: start })
}
