//! The orientation tag of EXIF metadata, and turning a picture by it.
//!
//! The only EXIF field pictures' geometry depends on is tag 0x0112, so nothing else is parsed. Mapping of
//! the eight values: EXIF 2.3, table 6; the same as detectron2's `_apply_exif_orientation`.

use crate::image::RgbImage;

const TAG_ORIENTATION: u16 = 0x0112;

/// The orientation stored in a JPEG (APP1 segment) or PNG (`eXIf` chunk) file, 1 to 8; 1 (upright) where
/// there is none or it cannot be read, as Pillow has it.
pub(crate) fn orientation(file: &[u8]) -> u8 {
    let tiff = if file.starts_with(&[0xFF, 0xD8]) {
        jpeg_exif(file)
    } else if file.starts_with(b"\x89PNG") {
        png_exif(file)
    } else {
        None
    };
    tiff.and_then(tiff_orientation).unwrap_or(1)
}

/// The TIFF block of the first Exif APP1 segment.
fn jpeg_exif(file: &[u8]) -> Option<&[u8]> {
    let mut at = 2;
    loop {
        let head = file.get(at..at + 4)?;
        if head[0] != 0xFF {
            return None;
        }
        match head[1] {
            0xFF => {
                at += 1; // fill byte
                continue;
            }
            0xDA | 0xD9 => return None, // picture data begins: no more metadata
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes([head[2], head[3]])).max(2);
        let body = file.get(at + 4..at + 2 + length)?;
        if head[1] == 0xE1
            && let Some(tiff) = body.strip_prefix(b"Exif\0\0")
        {
            return Some(tiff);
        }
        at += 2 + length;
    }
}

fn png_exif(file: &[u8]) -> Option<&[u8]> {
    let mut at = 8;
    loop {
        let head = file.get(at..at + 8)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if &head[4..8] == b"eXIf" {
            return file.get(at + 8..at + 8 + length);
        }
        at = at.checked_add(12 + length)?;
    }
}

fn tiff_orientation(tiff: &[u8]) -> Option<u8> {
    let big_endian = match tiff.get(..2)? {
        b"MM" => true,
        b"II" => false,
        _ => return None,
    };
    let u16_at = |at: usize| -> Option<u16> {
        let bytes = [*tiff.get(at)?, *tiff.get(at + 1)?];
        Some(if big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    };
    let u32_at = |at: usize| -> Option<usize> {
        let (a, b) = (u32::from(u16_at(at)?), u32::from(u16_at(at + 2)?));
        Some(if big_endian { a << 16 | b } else { b << 16 | a } as usize)
    };
    let directory = u32_at(4)?;
    for entry in 0..usize::from(u16_at(directory)?) {
        let at = directory + 2 + 12 * entry;
        if u16_at(at)? == TAG_ORIENTATION {
            let value = u16_at(at + 8)?;
            return (1..=8).contains(&value).then_some(value as u8);
        }
    }
    None
}

/// The picture as it is to be looked at, given its orientation tag.
pub(crate) fn upright(image: RgbImage, orientation: u8) -> RgbImage {
    if orientation <= 1 || orientation > 8 {
        return image;
    }
    let (w, h) = (image.width, image.height);
    let (out_w, out_h) = if orientation >= 5 { (h, w) } else { (w, h) };
    let mut out = RgbImage::new(out_w, out_h);
    for y in 0..out_h {
        let row = out.row_mut(y);
        for (x, to) in row.chunks_exact_mut(3).enumerate() {
            // Source position of output pixel (x, y).
            let (sx, sy) = match orientation {
                2 => (w - 1 - x, y),
                3 => (w - 1 - x, h - 1 - y),
                4 => (x, h - 1 - y),
                5 => (y, x),
                6 => (y, h - 1 - x),
                7 => (w - 1 - y, h - 1 - x),
                _ => (w - 1 - y, x),
            };
            to.copy_from_slice(&image.pixel(sx, sy));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TIFF block with one entry, in either byte order.
    fn tiff(big_endian: bool, value: u16) -> Vec<u8> {
        let mut out = if big_endian {
            b"MM\0*\0\0\0\x08".to_vec()
        } else {
            b"II*\0\x08\0\0\0".to_vec()
        };
        for word in [1_u16, TAG_ORIENTATION, 3] {
            out.extend(if big_endian {
                word.to_be_bytes()
            } else {
                word.to_le_bytes()
            });
        }
        out.extend(if big_endian {
            1_u32.to_be_bytes()
        } else {
            1_u32.to_le_bytes()
        });
        out.extend(if big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        });
        out.extend([0; 6]);
        out
    }

    #[test]
    fn orientation_is_found_in_both_byte_orders_and_containers() {
        for big_endian in [false, true] {
            let tiff = tiff(big_endian, 6);
            let mut jpeg = vec![0xFF, 0xD8, 0xFF, 0xE0, 0, 4, 1, 2, 0xFF, 0xE1];
            jpeg.extend((8 + tiff.len() as u16).to_be_bytes());
            jpeg.extend(b"Exif\0\0");
            jpeg.extend(&tiff);
            assert_eq!(orientation(&jpeg), 6);
            for cut in 0..jpeg.len() {
                orientation(&jpeg[..cut]); // must not panic
            }
            let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
            png.extend((tiff.len() as u32).to_be_bytes());
            png.extend(b"eXIf");
            png.extend(&tiff);
            assert_eq!(orientation(&png), 6);
        }
        assert_eq!(orientation(b"BM anything else"), 1);
    }

    #[test]
    fn turning_follows_the_exif_table() {
        // Columns A B C over D E F.
        let image = RgbImage::from_pixels(3, 2, b"AAABBBCCCDDDEEEFFF".to_vec());
        let letters = |o: u8| {
            let turned = upright(image.clone(), o);
            let rows: Vec<String> = (0..turned.height)
                .map(|y| turned.row(y).chunks(3).map(|p| p[0] as char).collect())
                .collect();
            rows.join("/")
        };
        let expected = [
            "ABC/DEF", "CBA/FED", "FED/CBA", "DEF/ABC", "AD/BE/CF", "DA/EB/FC", "FC/EB/DA",
            "CF/BE/AD",
        ];
        for (o, expected) in (1..=8).zip(expected) {
            assert_eq!(letters(o), expected, "orientation {o}");
        }
    }
}
