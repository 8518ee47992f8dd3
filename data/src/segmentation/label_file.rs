//! Label maps as PNG files.

use std::fs::File;
use std::io::{BufWriter, Read};
use std::path::Path;

use png::{BitDepth, ColorType, Compression, Decoder, Encoder, EncodingError};

use super::numbering::IGNORED;
use crate::error::DataError;

/// Bytes up to the end of a PNG's width and height.
const HEADER: usize = 24;

/// Width and height that a PNG file's header tells; its pixels are not read.
///
/// # Errors
/// When the file cannot be read or is no PNG.
pub(super) fn label_png_size(path: &Path) -> Result<(usize, usize), DataError> {
    let mut header = [0_u8; HEADER];
    let mut file = File::open(path).map_err(|source| DataError::read(path, source))?;
    let is_png = match file.read_exact(&mut header) {
        Ok(()) => header.starts_with(b"\x89PNG\r\n\x1a\n") && &header[12..16] == b"IHDR",
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => false,
        Err(source) => return Err(DataError::read(path, source)),
    };
    if !is_png {
        return Err(DataError::layout(
            path,
            "it is no PNG file",
            "write the label map again, as a PNG of one channel",
        ));
    }
    let side = |at: usize| {
        header[at..at + 4]
            .iter()
            .fold(0_usize, |side, &byte| side << 8 | usize::from(byte))
    };
    Ok((side(16), side(20)))
}

/// The colours of a palette PNG in the order of its indices; none for other files and damaged ones.
pub(super) fn label_png_palette(path: &Path) -> Option<Vec<[u8; 3]>> {
    let file = std::io::BufReader::new(File::open(path).ok()?);
    let mut decoder = Decoder::new(file);
    decoder.set_ignore_text_chunk(true);
    let reader = decoder.read_info().ok()?;
    let info = reader.info();
    let colours = info.palette.as_ref()?.as_chunks::<3>().0;
    (info.color_type == ColorType::Indexed).then(|| colours.to_vec())
}

/// Writes a map of class numbers, row by row, as a grey PNG of 8 bits: what mmsegmentation, ADE20K's tools and
/// `deepmim score ade20k` read.
///
/// # Errors
/// When there are not `width * height` labels, none at all, or the file cannot be written.
pub fn write_label_png(
    path: &Path,
    width: usize,
    height: usize,
    labels: &[u8],
) -> Result<(), DataError> {
    write(path, (width, height), labels, None)
}

/// Writes a map of class numbers as [`write_label_png`] does, with colours to look at: a palette PNG, whose
/// indices are the class numbers. [`IGNORED`] is shown white where the palette has no colour for it.
///
/// # Errors
/// As [`write_label_png`], and when a label has no colour in the palette.
pub fn write_palette_png(
    path: &Path,
    width: usize,
    height: usize,
    labels: &[u8],
    palette: &[[u8; 3]],
) -> Result<(), DataError> {
    let mut colours = palette[..palette.len().min(256)].to_vec();
    let unknown = |&&label: &&u8| label != IGNORED && usize::from(label) >= colours.len();
    if let Some(label) = labels.iter().find(unknown) {
        return Err(encode(
            path,
            format!("label {label} has no colour among {}", colours.len()),
        ));
    }
    if colours.len() < 256 && labels.contains(&IGNORED) {
        colours.resize(255, [0; 3]);
        colours.push([255; 3]);
    }
    write(path, (width, height), labels, Some(&colours))
}

fn write(
    path: &Path,
    (width, height): (usize, usize),
    labels: &[u8],
    palette: Option<&[[u8; 3]]>,
) -> Result<(), DataError> {
    let (Ok(columns), Ok(rows)) = (u32::try_from(width), u32::try_from(height)) else {
        return Err(encode(
            path,
            format!("{width}x{height} pixels are too many"),
        ));
    };
    if labels.is_empty() || width.checked_mul(height) != Some(labels.len()) {
        return Err(encode(
            path,
            format!(
                "{} labels do not fill {width}x{height} pixels",
                labels.len()
            ),
        ));
    }
    let file = File::create(path).map_err(|source| DataError::write(path, source))?;
    let failed = |error: EncodingError| match error {
        EncodingError::IoError(source) => DataError::write(path, source),
        other => encode(path, other.to_string()),
    };
    let mut encoder = Encoder::new(BufWriter::new(file), columns, rows);
    encoder.set_depth(BitDepth::Eight);
    // Large areas of one number become small at any setting.
    encoder.set_compression(Compression::Fast);
    match palette {
        Some(colours) => {
            encoder.set_color(ColorType::Indexed);
            encoder.set_palette(colours.as_flattened().to_vec());
        }
        None => encoder.set_color(ColorType::Grayscale),
    }
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(labels).map_err(failed)?;
    writer.finish().map_err(failed)
}

fn encode(path: &Path, reason: String) -> DataError {
    DataError::Encode {
        name: path.display().to_string(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use eval::segmentation::{Labels, read_label_png};

    use super::*;

    #[test]
    fn both_kinds_read_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        let labels: Vec<u8> = (0..300 * 70)
            .map(|i| [0, 3, 2, IGNORED][i / 70 % 4])
            .collect();
        write_label_png(&path, 300, 70, &labels).unwrap();
        let map = read_label_png(&path).unwrap();
        assert_eq!((map.width(), map.height()), (300, 70));
        assert_eq!(map.labels(), &Labels::U8(labels.clone()));
        assert_eq!(label_png_size(&path).unwrap(), (300, 70));
        assert_eq!(label_png_palette(&path), None);
        assert!(std::fs::metadata(&path).unwrap().len() < 2000);
        for colours in [4, 256, 300] {
            let palette: Vec<[u8; 3]> = (0..colours).map(|c| [c as u8, 7, 9]).collect();
            write_palette_png(&path, 300, 70, &labels, &palette).unwrap();
            let map = read_label_png(&path).unwrap();
            assert_eq!(map.labels(), &Labels::U8(labels.clone()));
            let seen = crate::RgbImage::read(&path).unwrap();
            assert_eq!(seen.pixel(70, 0), [3, 7, 9]);
            let told = label_png_palette(&path).unwrap();
            assert_eq!(told[..4], palette[..4]);
            let ignored = if colours == 4 { [255; 3] } else { [255, 7, 9] };
            assert_eq!(seen.pixel(210, 0), ignored);
        }
    }

    #[test]
    fn what_cannot_be_written_or_is_no_png_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        let told = |result: Result<(), DataError>| result.unwrap_err().to_string();
        let palette = [[1, 2, 3]];
        assert!(told(write_label_png(&path, 2, 2, &[0; 3])).contains("3 labels do not fill 2x2"));
        assert!(
            told(write_palette_png(&path, 2, 1, &[0, 1], &palette))
                .contains("label 1 has no colour")
        );
        assert!(
            told(write_label_png(&dir.path().join("no/a.png"), 1, 1, &[0]))
                .contains("cannot be written")
        );
        for bytes in [&b"\x89PNG"[..], &[b'x'; 100]] {
            std::fs::write(&path, bytes).unwrap();
            assert!(
                label_png_size(&path)
                    .unwrap_err()
                    .to_string()
                    .contains("no PNG")
            );
        }
        assert!(
            label_png_size(dir.path())
                .unwrap_err()
                .to_string()
                .contains("cannot be read")
        );
    }
}
