//! Picture files to pixels and back.
//!
//! Pixels equal Pillow's `Image.open(file).convert("RGB")`: JPEG through libjpeg-turbo with the slow
//! integer DCT and smooth chroma upsampling, CMYK by Pillow's own formula; PNG and the other formats
//! through OpenCV's image codecs. No other file names either library,
//! but for the letters on overlays and what segmentation resizes and recolours as OpenCV does.
//!
//! Also as Pillow: a file whose data end too early is an error, one with merely odd data (libjpeg
//! "warnings") is not; a 16-bit grey PNG is clipped, not scaled, to 255.

use std::cell::RefCell;
use std::path::Path;

use opencv::core::{Mat, MatTraitConst, MatTraitConstManual, Vec3b, Vector};
use opencv::imgcodecs;
use turbojpeg::{Colorspace, Decompressor, Image, PixelFormat, Subsamp};

use crate::error::DataError;
use crate::exif;
use crate::image::RgbImage;

/// What to do with a picture's EXIF orientation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orientation {
    /// Take the pixels as stored (torchvision's image folder, timm).
    Ignore,
    /// Turn the picture upright (detectron2, OpenCV).
    Apply,
}

/// How a picture file stores its colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Three colour channels (an alpha channel is dropped).
    Rgb,
    /// One channel.
    Grey,
    /// Four inks.
    Cmyk,
}

/// What is known about a picture file besides its pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureInfo {
    /// Stored colours.
    pub colour: Colour,
    /// EXIF orientation, 1 (upright) to 8.
    pub orientation: u8,
    /// The decoder's complaint about a picture it decoded all the same.
    pub warning: Option<String>,
}

impl PictureInfo {
    /// Width and height turned upright: orientations 5 to 8 lie on their side.
    pub(crate) fn upright(&self, width: usize, height: usize) -> (usize, usize) {
        if self.orientation > 4 {
            (height, width)
        } else {
            (width, height)
        }
    }
}

thread_local! {
    static JPEG: RefCell<Option<Decompressor>> = const { RefCell::new(None) };
}

/// Reads and decodes a picture file.
///
/// # Errors
/// When the file cannot be read or is not a whole picture; the message names it.
pub fn decode_file(path: &Path, orientation: Orientation) -> Result<RgbImage, DataError> {
    let bytes = std::fs::read(path).map_err(|source| DataError::read(path, source))?;
    decode_bytes(&bytes, &path.display().to_string(), orientation)
}

/// Decodes a picture file's bytes; `name` is what error messages call it.
///
/// # Errors
/// When the bytes are not a whole picture.
pub fn decode_bytes(
    bytes: &[u8],
    name: &str,
    orientation: Orientation,
) -> Result<RgbImage, DataError> {
    let mut image = RgbImage::default();
    decode_into(bytes, name, &mut image)?;
    Ok(match orientation {
        Orientation::Ignore => image,
        Orientation::Apply => exif::upright(image, exif::orientation(bytes)),
    })
}

/// Decodes as [`decode_bytes`] with [`Orientation::Ignore`] does, into a picture whose memory is reused.
///
/// # Errors
/// When the bytes are not a whole picture; `image` is then undefined.
pub fn decode_into(
    bytes: &[u8],
    name: &str,
    image: &mut RgbImage,
) -> Result<PictureInfo, DataError> {
    let (colour, warning) = if bytes.starts_with(&[0xFF, 0xD8]) {
        decode_jpeg(bytes, image)
    } else if bytes.is_empty() {
        Err("the file is empty".to_owned())
    } else {
        decode_other(bytes, image).map(|colour| (colour, None))
    }
    .map_err(|reason| DataError::decode(name, reason))?;
    Ok(PictureInfo {
        colour,
        orientation: exif::orientation(bytes),
        warning,
    })
}

fn decode_jpeg(bytes: &[u8], out: &mut RgbImage) -> Result<(Colour, Option<String>), String> {
    JPEG.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Some(Decompressor::new().map_err(jpeg_reason)?);
        }
        let Some(decoder) = slot.as_mut() else {
            return Err("no JPEG decoder".to_owned());
        };
        let result = decode_jpeg_with(decoder, bytes, out);
        if result.is_err() {
            *slot = None; // a decoder that failed half-way is not trusted again
        }
        result
    })
}

fn decode_jpeg_with(
    decoder: &mut Decompressor,
    bytes: &[u8],
    out: &mut RgbImage,
) -> Result<(Colour, Option<String>), String> {
    let header = match decoder.read_header(bytes) {
        Ok(header) => header,
        // TurboJPEG gives up on a header it merely warns about; OpenCV's decoder goes on.
        Err(error) => {
            let reason = jpeg_reason(error);
            return match warning_of(&reason, bytes) {
                Some(warning) => decode_other(bytes, out).map(|colour| (colour, Some(warning))),
                None => Err(reason),
            };
        }
    };
    let ink = matches!(header.colorspace, Colorspace::CMYK | Colorspace::YCCK);
    let format = if ink {
        PixelFormat::CMYK
    } else {
        PixelFormat::RGB
    };
    let (width, height) = (header.width, header.height);
    out.width = width;
    out.height = height;
    let mut inks = Vec::new();
    let pixels = if ink { &mut inks } else { &mut out.pixels };
    pixels.resize(width * height * format.size(), 0);
    let target = Image {
        pixels: pixels.as_mut_slice(),
        width,
        pitch: width * format.size(),
        height,
        format,
    };
    let warning = match decoder.decompress(bytes, target) {
        Ok(()) => None,
        Err(error) => {
            let reason = jpeg_reason(error);
            Some(warning_of(&reason, bytes).ok_or(reason)?)
        }
    };
    if ink {
        cmyk_to_rgb(&inks, &mut out.pixels);
    }
    let grey = header.subsamp == Subsamp::Gray;
    Ok((
        if ink {
            Colour::Cmyk
        } else if grey {
            Colour::Grey
        } else {
            Colour::Rgb
        },
        warning,
    ))
}

fn jpeg_reason(error: turbojpeg::Error) -> String {
    match error {
        turbojpeg::Error::TurboJpegError(text) => text,
        other => other.to_string(),
    }
}

/// The libjpeg messages that are warnings (its jerror.h, JWRN_*): pixels are there nevertheless, and
/// Pillow shows them. TurboJPEG reports both kinds as failures and only the first message, so a file
/// that also ends too early is recognised by its missing end marker.
fn warning_of(reason: &str, bytes: &[u8]) -> Option<String> {
    const WARNINGS: [&str; 6] = [
        "Corrupt JPEG data",
        "Inconsistent progression sequence",
        "Unknown Adobe color transform code",
        "Warning: unknown JFIF revision",
        "Invalid SOS parameters",
        "Application transferred too many scanlines",
    ];
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|pair| pair == marker);
    let whole =
        last([0xFF, 0xD9]).is_some_and(|end| last([0xFF, 0xDA]).is_some_and(|scan| scan < end));
    (whole && WARNINGS.iter().any(|w| reason.starts_with(w))).then(|| reason.to_owned())
}

/// Pillow's `cmyk2rgb` after its JPEG plugin's inversion (Adobe stores inks inverted, and Pillow takes
/// every CMYK JPEG to be so): `r = k - c * k / 255` with the division rounded as its `MULDIV255` does.
fn cmyk_to_rgb(inks: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.reserve(inks.len() / 4 * 3);
    for ink in inks.as_chunks::<4>().0 {
        let light = u32::from(ink[3]);
        out.extend(ink[..3].iter().map(|&stored| {
            let product = u32::from(255 - stored) * light + 128;
            light.saturating_sub((product + (product >> 8)) >> 8) as u8
        }));
    }
}

/// PNG, BMP, WebP, TIFF, PNM.
fn decode_other(bytes: &[u8], out: &mut RgbImage) -> Result<Colour, String> {
    // IHDR: bit depth at 24, colour type at 25 (0 and 4 are grey).
    let png = bytes.starts_with(b"\x89PNG\r\n\x1a\n");
    if png && !bytes.windows(4).any(|w| w == b"IEND") {
        return Err("the PNG ends before its end marker".to_owned());
    }
    let png_depth_and_type = bytes.get(24..26).filter(|_| png);
    let grey16 = png_depth_and_type == Some(&[16, 0]);
    let flags = if grey16 {
        imgcodecs::IMREAD_GRAYSCALE | imgcodecs::IMREAD_ANYDEPTH
    } else {
        imgcodecs::IMREAD_COLOR | imgcodecs::IMREAD_IGNORE_ORIENTATION
    };
    let input = Mat::from_slice(bytes).map_err(cv_reason)?;
    let mat = imgcodecs::imdecode(&input, flags).map_err(cv_reason)?;
    if mat.rows() <= 0 || mat.cols() <= 0 {
        return Err(
            "no decoder takes its contents; JPEG, PNG, BMP, WebP, TIFF and PNM are understood"
                .to_owned(),
        );
    }
    out.width = mat.cols() as usize;
    out.height = mat.rows() as usize;
    out.pixels.clear();
    if grey16 {
        let values = mat.data_typed::<u16>().map_err(cv_reason)?;
        out.pixels
            .extend(values.iter().flat_map(|&v| [v.min(255) as u8; 3]));
    } else {
        let bgr = mat.data_typed::<Vec3b>().map_err(cv_reason)?;
        out.pixels.reserve(3 * bgr.len());
        out.pixels
            .extend(bgr.iter().flat_map(|p| [p[2], p[1], p[0]]));
    }
    let grey = png_depth_and_type.is_some_and(|d| matches!(d[1], 0 | 4));
    Ok(if grey { Colour::Grey } else { Colour::Rgb })
}

fn cv_reason(error: opencv::Error) -> String {
    error.message.trim().to_owned()
}

/// Encodes a picture as PNG and writes it.
///
/// # Errors
/// When it cannot be encoded or written.
pub fn write_png(image: &RgbImage, path: &Path) -> Result<(), DataError> {
    write(image, path, encode_png(image))
}

/// Encodes a picture as baseline JPEG (4:2:0) and writes it; `quality` is 1 to 100.
///
/// # Errors
/// When it cannot be encoded or written.
pub fn write_jpeg(image: &RgbImage, path: &Path, quality: u8) -> Result<(), DataError> {
    write(image, path, encode_jpeg(image, quality))
}

fn write(image: &RgbImage, path: &Path, encoded: Result<Vec<u8>, String>) -> Result<(), DataError> {
    let encoded = if image.pixels.is_empty() {
        Err("it has no pixels".to_owned())
    } else {
        encoded
    };
    let encoded = encoded.map_err(|reason| DataError::Encode {
        name: path.display().to_string(),
        reason,
    })?;
    std::fs::write(path, encoded).map_err(|source| DataError::write(path, source))
}

fn encode_png(image: &RgbImage) -> Result<Vec<u8>, String> {
    let bgr: Vec<Vec3b> = image
        .pixels
        .chunks_exact(3)
        .map(|p| Vec3b::from([p[2], p[1], p[0]]))
        .collect();
    let mat = Mat::new_rows_cols_with_data(image.height as i32, image.width as i32, &bgr)
        .map_err(cv_reason)?;
    let mut buffer = Vector::<u8>::new();
    let done = imgcodecs::imencode(".png", &mat, &mut buffer, &Vector::new()).map_err(cv_reason)?;
    if done {
        Ok(buffer.into())
    } else {
        Err("OpenCV refused it".to_owned())
    }
}

fn encode_jpeg(image: &RgbImage, quality: u8) -> Result<Vec<u8>, String> {
    let source = Image {
        pixels: image.pixels.as_slice(),
        width: image.width,
        pitch: 3 * image.width,
        height: image.height,
        format: PixelFormat::RGB,
    };
    let encoded =
        turbojpeg::compress(source, i32::from(quality), Subsamp::Sub2x2).map_err(jpeg_reason)?;
    Ok(encoded.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> RgbImage {
        let mut image = RgbImage::new(37, 21);
        for (i, v) in image.pixels.iter_mut().enumerate() {
            *v = (i * 7 % 251) as u8;
        }
        image
    }

    #[test]
    fn png_round_trips_exactly() {
        let bytes = encode_png(&picture()).unwrap();
        assert_eq!(
            decode_bytes(&bytes, "x", Orientation::Apply).unwrap(),
            picture()
        );
    }

    #[test]
    fn cut_or_foreign_files_are_errors_that_name_the_file() {
        let jpeg = encode_jpeg(&picture(), 95).unwrap();
        assert!(decode_bytes(&jpeg, "x", Orientation::Ignore).is_ok());
        let png = encode_png(&picture()).unwrap();
        let cases: [&[u8]; 6] = [
            &jpeg[..jpeg.len() / 2],
            &jpeg[..jpeg.len() - 2],
            &jpeg[..20],
            &png[..png.len() / 2],
            b"not a picture",
            b"",
        ];
        for (i, case) in cases.into_iter().enumerate() {
            let error = decode_bytes(case, "folder/a.jpg", Orientation::Ignore)
                .expect_err(&format!("case {i}"));
            assert!(
                error
                    .to_string()
                    .starts_with("folder/a.jpg: not a readable picture ("),
                "{error}"
            );
        }
        // The decoder of this thread still works.
        assert!(decode_bytes(&jpeg, "x", Orientation::Ignore).is_ok());
    }

    /// libjpeg warns about stray bytes before a marker; Pillow shows the picture.
    #[test]
    fn a_mere_warning_is_not_an_error() {
        let mut jpeg = encode_jpeg(&picture(), 95).unwrap();
        let whole = decode_bytes(&jpeg, "x", Orientation::Ignore).unwrap();
        let end = jpeg.len() - 2;
        jpeg.splice(end..end, [0; 40]);
        let mut image = RgbImage::default();
        let info = decode_into(&jpeg, "x", &mut image).unwrap();
        assert!(info.warning.is_some_and(|w| w.contains("extraneous")));
        assert_eq!(image, whole);
    }

    /// By hand: stored (inverted) inks 200, 100, 0 under k 128 are inks 55, 155, 255:
    /// 128 - round(55 * 128 / 255) = 100, 128 - 78 = 50, 0.
    #[test]
    fn inks_become_light_as_in_pillow() {
        let mut out = Vec::new();
        cmyk_to_rgb(&[200, 100, 0, 128], &mut out);
        assert_eq!(out, [100, 50, 0]);
    }
}
