//! OpenCV's resizing and colour conversion, on which mmcv's transforms are built.
//!
//! OpenCV's own threads are switched off: the loader's threads each work on a picture of their own.

use std::sync::Once;

use opencv::core::{Mat, MatTraitConst, MatTraitConstManual, Size, set_num_threads};
use opencv::imgproc;

use crate::error::DataError;
use crate::image::RgbImage;
use crate::resize::CropBox;

static ONE_THREAD: Once = Once::new();

/// A picture or map that OpenCV resized; only what is cut out is copied.
pub(super) struct Resized {
    mat: Mat,
    channels: usize,
}

impl Resized {
    /// A picture, resized linearly in 8-bit fixed point (`INTER_LINEAR`).
    pub(super) fn picture(image: &RgbImage, size: (usize, usize)) -> Result<Self, DataError> {
        Self::new(&image.pixels, image.height, 3, size, imgproc::INTER_LINEAR)
    }

    /// A map of one byte a pixel, resized by picking pixels (`INTER_NEAREST`).
    pub(super) fn map(
        labels: &[u8],
        height: usize,
        size: (usize, usize),
    ) -> Result<Self, DataError> {
        Self::new(labels, height, 1, size, imgproc::INTER_NEAREST)
    }

    fn new(
        bytes: &[u8],
        height: usize,
        channels: usize,
        size: (usize, usize),
        interpolation: i32,
    ) -> Result<Self, DataError> {
        let resize = || -> opencv::Result<Mat> {
            ONE_THREAD.call_once(|| {
                // Failing costs speed alone.
                let _ = set_num_threads(1);
            });
            let source = Mat::from_slice(bytes)?;
            let source = source.reshape(channels as i32, height as i32)?;
            let mut mat = Mat::default();
            let size = Size::new(size.0 as i32, size.1 as i32);
            imgproc::resize(&source, &mut mat, size, 0.0, 0.0, interpolation)?;
            Ok(mat)
        };
        Ok(Self {
            mat: resize().map_err(|error| refused(&error))?,
            channels,
        })
    }

    /// The bytes of a part, row by row.
    pub(super) fn part(&self, part: CropBox) -> Result<Vec<u8>, DataError> {
        let bytes = self.mat.data_bytes().map_err(|error| refused(&error))?;
        let row = self.channels * self.mat.cols().max(0) as usize;
        let mut out = Vec::with_capacity(self.channels * part.width * part.height);
        for y in part.y..part.y + part.height {
            let from = y * row + self.channels * part.x;
            out.extend_from_slice(&bytes[from..from + self.channels * part.width]);
        }
        Ok(out)
    }
}

/// Changes a picture's hue, saturation and value, each 0 to 255 but the hue, which is 0 to 179.
pub(super) fn change_hsv(
    image: &mut RgbImage,
    change: impl Fn(&mut [u8; 3]),
) -> Result<(), DataError> {
    let convert = || -> opencv::Result<()> {
        let mut hsv = converted(&image.pixels, image.height, imgproc::COLOR_RGB2HSV)?;
        hsv.as_chunks_mut::<3>().0.iter_mut().for_each(change);
        image.pixels = converted(&hsv, image.height, imgproc::COLOR_HSV2RGB)?;
        Ok(())
    };
    convert().map_err(|error| refused(&error))
}

fn converted(bytes: &[u8], height: usize, code: i32) -> opencv::Result<Vec<u8>> {
    let source = Mat::from_slice(bytes)?;
    let source = source.reshape(3, height as i32)?;
    let mut out = Mat::default();
    imgproc::cvt_color_def(&source, &mut out, code)?;
    Ok(out.data_bytes()?.to_vec())
}

fn refused(error: &opencv::Error) -> DataError {
    DataError::config(
        "data",
        format!(
            "OpenCV cannot transform the picture ({})",
            error.message.trim()
        ),
    )
}
