//! Label maps in PNG files: one channel, where a sample or a palette's index is a class number.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use png::{BitDepth, ColorType, Decoder, DecodingError, Transformations};

use super::label_map::{LabelMap, Labels};
use crate::error::EvalError;

/// Most pixels of a label map; the largest pictures of known data sets have a tenth of it.
const MAX_PIXELS: u64 = 1 << 28;
/// Most bytes of a file; no label map of that many pixels needs more.
const MAX_BYTES: u64 = 1 << 30;
/// A deflate stream yields at most 258 bytes from two bits.
const MAX_EXPANSION: u64 = 1032;

/// Reads a PNG file of class numbers: grayscale or palette of any bit depth, interlaced or not. The
/// numbers are the samples as stored; colours of a palette are not looked at.
///
/// # Errors
/// When the file cannot be read, is no PNG, is damaged or cut off, has colours or transparency
/// instead of class numbers, or is unreasonably large.
pub fn read_label_png(path: &Path) -> Result<LabelMap, EvalError> {
    LabelPngReader::default().read(path)
}

/// Reads one file after the other into the same memory: fresh pages for every map would take a
/// fifth of the time.
#[derive(Debug, Default)]
pub(super) struct LabelPngReader {
    file: Vec<u8>,
    samples: Vec<u8>,
}

impl LabelPngReader {
    /// As [`read_label_png`].
    pub(super) fn read(&mut self, path: &Path) -> Result<LabelMap, EvalError> {
        self.file.clear();
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut self.file))
            .map_err(|source| EvalError::Read {
                path: path.to_owned(),
                source,
            })?;
        if self.file.len() as u64 > MAX_BYTES {
            let problem = format!("larger than {} MiB: not a label map", MAX_BYTES >> 20);
            return Err(EvalError::file(path, problem));
        }
        decode(&self.file, std::mem::take(&mut self.samples))
            .map_err(|problem| EvalError::file(path, problem))
    }

    /// Takes back the memory of a map that is no longer needed.
    pub(super) fn recycle(&mut self, map: LabelMap) {
        if let Labels::U8(samples) = map.into_labels() {
            self.samples = samples;
        }
    }
}

/// `samples` is memory to use, whatever it holds.
fn decode(bytes: &[u8], mut samples: Vec<u8>) -> Result<LabelMap, String> {
    let mut decoder = Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(Transformations::IDENTITY);
    // Comments could only make a sound map fail the decoder's limit on memory.
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let info = decoder.read_header_info().map_err(unreadable)?;
    let (width, height) = (info.width, info.height);
    let (color, depth, interlaced) = (info.color_type, info.bit_depth, info.interlaced);
    match color {
        ColorType::Grayscale | ColorType::Indexed => {}
        ColorType::Rgb | ColorType::Rgba => {
            return Err(
                "a colour picture, not a label map: save class numbers as one channel \
                        (grayscale or palette), not as colours"
                    .to_owned(),
            );
        }
        ColorType::GrayscaleAlpha => {
            return Err(
                "has a transparency channel: save class numbers as one channel \
                        (grayscale or palette)"
                    .to_owned(),
            );
        }
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS {
        return Err(format!(
            "its header says {width} x {height} pixels: at most {MAX_PIXELS} are read"
        ));
    }
    if pixels * depth as u64 / 8 > MAX_EXPANSION * bytes.len() as u64 {
        return Err(format!(
            "its header says {width} x {height} pixels, more than {} bytes can hold: the file is \
             damaged or cut off",
            bytes.len()
        ));
    }
    let mut reader = decoder.read_info().map_err(unreadable)?;
    let size = reader.output_buffer_size().unwrap_or(usize::MAX);
    // Rows are padded to whole bytes.
    if size as u64 > 2 * MAX_PIXELS + u64::from(height) {
        return Err(format!(
            "its {width} x {height} pixels need too much memory"
        ));
    }
    if interlaced || depth != BitDepth::Eight {
        // Parts of a byte are written one by one, into zeros.
        samples.clear();
    }
    samples.resize(size, 0);
    reader.next_frame(&mut samples).map_err(unreadable)?;
    let width = width as usize;
    let labels = match depth {
        BitDepth::Eight => Labels::U8(samples),
        BitDepth::Sixteen => sixteen_bits(&samples),
        BitDepth::One | BitDepth::Two | BitDepth::Four => {
            Labels::U8(unpacked(&samples, width, depth as usize))
        }
    };
    LabelMap::new(width, height as usize, labels)
        .ok_or_else(|| "its pixels do not fill its size: write it again".to_owned())
}

/// Big-endian samples; as bytes where all fit, which are counted faster.
fn sixteen_bits(samples: &[u8]) -> Labels {
    let (samples, _) = samples.as_chunks::<2>();
    if samples.iter().all(|sample| sample[0] == 0) {
        Labels::U8(samples.iter().map(|sample| sample[1]).collect())
    } else {
        Labels::U16(samples.iter().copied().map(u16::from_be_bytes).collect())
    }
}

/// Samples of 1, 2 or 4 bits, leftmost in the highest; rows start at whole bytes.
fn unpacked(samples: &[u8], width: usize, bits: usize) -> Vec<u8> {
    let per_byte = 8 / bits;
    let mask = (1u8 << bits) - 1;
    samples
        .chunks(width.div_ceil(per_byte).max(1))
        .flat_map(|row| {
            (0..width).map(move |x| {
                let shift = 8 - bits * (x % per_byte + 1);
                (row[x / per_byte] >> shift) & mask
            })
        })
        .collect()
}

fn unreadable(error: DecodingError) -> String {
    match error {
        DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the PNG ends early: the file is cut off; write or copy it again".to_owned()
        }
        DecodingError::LimitsExceeded => {
            "needs too much memory for a label map: write it again without extra chunks".to_owned()
        }
        other => {
            let reason = other.to_string();
            format!(
                "not a readable PNG ({}): label maps must be sound PNG files",
                reason.trim_end_matches('.')
            )
        }
    }
}
