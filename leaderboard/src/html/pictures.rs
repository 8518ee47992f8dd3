//! Picture files as parts of the page.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::HtmlError;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG: &[u8] = &[0xFF, 0xD8, 0xFF];
/// Pictures whose longer side has fewer pixels are enlarged without smoothing.
const TINY: u32 = 128;

/// A picture inside the page.
pub struct Picture {
    /// A data URI.
    pub uri: String,
    /// Width and height in pixels, where the file tells them.
    pub size: Option<(u32, u32)>,
    /// What it shows, in words.
    pub alt: String,
}

impl Picture {
    /// Reads a JPEG or PNG file.
    pub fn read(path: &Path, alt: String) -> Result<Self, HtmlError> {
        let bytes = std::fs::read(path).map_err(|source| HtmlError::Read {
            path: path.to_owned(),
            source,
        })?;
        let (kind, size) = if bytes.starts_with(PNG) {
            ("png", png_size(&bytes))
        } else if bytes.starts_with(JPEG) {
            ("jpeg", jpeg_size(&bytes))
        } else {
            let path = path.to_owned();
            return Err(HtmlError::Format { path });
        };
        let uri = format!("data:image/{kind};base64,{}", STANDARD.encode(&bytes));
        Ok(Self { uri, size, alt })
    }

    /// Whether its pixels are to stay visible.
    pub fn tiny(&self) -> bool {
        self.size
            .is_some_and(|(width, height)| width.max(height) < TINY)
    }
}

/// Width and height stand first in a PNG's first chunk.
fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    Some((number(16)?, number(20)?))
}

/// Width and height stand in a JPEG's frame header, behind segments of any length.
fn jpeg_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let mut at = 2;
    while *bytes.get(at)? == 0xFF {
        let marker = *bytes.get(at + 1)?;
        // SOF0 to SOF15 without the tables that share their numbers (ITU-T T.81, table B.1).
        if matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC) {
            return Some((number(at + 7)?.into(), number(at + 5)?.into()));
        }
        at += 2 + usize::from(number(at + 2)?);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_from_headers() {
        let mut jpeg = vec![0xFF, 0xD8, 0xFF, 0xE0, 0, 4, 1, 2];
        jpeg.extend([0xFF, 0xC0, 0, 11, 8, 0, 48, 0, 64, 1, 1, 0x11, 0]);
        assert_eq!(jpeg_size(&jpeg), Some((64, 48)));
        assert_eq!(jpeg_size(&jpeg[..12]), None);
        let mut png = PNG.to_vec();
        png.extend(b"\0\0\0\x0dIHDR\0\0\0\x20\0\0\0\x10");
        assert_eq!(png_size(&png), Some((32, 16)));
        assert_eq!(png_size(&png[..18]), None);
    }
}
