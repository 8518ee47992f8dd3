//! PNG files made of given samples.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::ZlibEncoder;

pub const GRAY: u8 = 0;
pub const RGB: u8 = 2;
pub const PALETTE: u8 = 3;
pub const GRAY_ALPHA: u8 = 4;
pub const RGBA: u8 = 6;

/// A PNG file made of given rows (samples packed as the format says, without filter bytes).
pub struct Png {
    pub width: u32,
    pub height: u32,
    pub depth: u8,
    pub color: u8,
    pub interlaced: bool,
    /// Rows of the picture, or of its seven interlaced passes one after the other.
    pub rows: Vec<Vec<u8>>,
}

impl Png {
    pub fn gray(width: u32, labels: &[u8]) -> Self {
        Self {
            width,
            height: labels.len() as u32 / width,
            depth: 8,
            color: GRAY,
            interlaced: false,
            rows: labels.chunks(width as usize).map(<[u8]>::to_vec).collect(),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let chunk = |kind: &[u8; 4], data: &[u8]| {
            let mut crc = flate2::Crc::new();
            crc.update(kind);
            crc.update(data);
            let length = (data.len() as u32).to_be_bytes();
            [&length[..], kind, data, &crc.sum().to_be_bytes()].concat()
        };
        let mut header = [self.width.to_be_bytes(), self.height.to_be_bytes()].concat();
        header.extend([self.depth, self.color, 0, 0, u8::from(self.interlaced)]);
        let mut data = ZlibEncoder::new(Vec::new(), Compression::default());
        for row in &self.rows {
            data.write_all(&[0]).unwrap();
            data.write_all(row).unwrap();
        }
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        file.extend(chunk(b"IHDR", &header));
        if self.color == PALETTE {
            // All colours alike: they must not matter.
            file.extend(chunk(b"PLTE", &vec![9; 3 << self.depth.min(8)]));
        }
        file.extend(chunk(b"IDAT", &data.finish().unwrap()));
        file.extend(chunk(b"IEND", &[]));
        file
    }

    pub fn write(&self, path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, self.bytes()).unwrap();
    }
}

/// Samples of a row packed into bytes, leftmost highest.
pub fn packed(labels: &[u8], depth: u8) -> Vec<u8> {
    labels
        .chunks(8 / usize::from(depth))
        .map(|labels| {
            let place = |(i, label): (usize, &u8)| label << (8 - depth * (i as u8 + 1));
            labels.iter().enumerate().map(place).sum()
        })
        .collect()
}
