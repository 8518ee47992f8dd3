//! Bytes to the planar floats a model takes.

use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::image::RgbImage;

/// Mean and standard deviation of colours, per channel (red, green, blue), of values in 0..=1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColourStatistics {
    /// Means.
    pub mean: [f32; 3],
    /// Standard deviations.
    pub std: [f32; 3],
}

impl ColourStatistics {
    /// ImageNet's, which MAE, DeepMIM and timm's ViTs are trained with.
    pub const IMAGENET: Self = Self {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };
    /// CLIP's.
    pub const CLIP: Self = Self {
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
    };

    /// Checks that the values can be meant.
    ///
    /// # Errors
    /// When a mean is not in 0..=1 or a deviation not positive; `section` names the configuration section.
    pub fn check(&self, section: &str) -> Result<(), DataError> {
        if !self.mean.iter().all(|m| (0.0..=1.0).contains(m)) {
            return Err(DataError::config(
                format!("{section}.colours.mean"),
                format!(
                    "{:?} must lie in 0..=1: divide values meant for 0..=255 by 255",
                    self.mean
                ),
            ));
        }
        if !self.std.iter().all(|s| *s > 0.0 && s.is_finite()) {
            return Err(DataError::config(
                format!("{section}.colours.std"),
                format!("{:?} must be positive", self.std),
            ));
        }
        Ok(())
    }
}

impl Default for ColourStatistics {
    fn default() -> Self {
        Self::IMAGENET
    }
}

/// torchvision's `ToTensor` and `Normalize`, as one table look-up for each byte.
#[derive(Debug, Clone)]
pub(crate) struct Normaliser {
    tables: Box<[[f32; 256]; 3]>,
}

impl Normaliser {
    pub(crate) fn new(statistics: ColourStatistics) -> Self {
        let mut tables = Box::new([[0.0; 256]; 3]);
        for (channel, table) in tables.iter_mut().enumerate() {
            for (byte, value) in table.iter_mut().enumerate() {
                *value = (byte as f32 / 255.0 - statistics.mean[channel]) / statistics.std[channel];
            }
        }
        Self { tables }
    }

    /// `[height, width, 3]` bytes to `[3, height, width]` floats.
    pub(crate) fn planar(&self, image: &RgbImage) -> Vec<f32> {
        let (pixels, _) = image.pixels.as_chunks::<3>();
        let mut out = vec![0.0; 3 * pixels.len()];
        let (red, rest) = out.split_at_mut(pixels.len());
        let (green, blue) = rest.split_at_mut(pixels.len());
        for (((pixel, r), g), b) in pixels.iter().zip(red).zip(green).zip(blue) {
            *r = self.tables[0][usize::from(pixel[0])];
            *g = self.tables[1][usize::from(pixel[1])];
            *b = self.tables[2][usize::from(pixel[2])];
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_separated_and_normalised() {
        let image = RgbImage::from_pixels(2, 1, vec![0, 255, 51, 255, 0, 102]);
        let statistics = ColourStatistics {
            mean: [0.0, 0.5, 0.2],
            std: [1.0, 0.5, 0.1],
        };
        let planes = Normaliser::new(statistics).planar(&image);
        for (got, wanted) in planes.iter().zip([0.0, 1.0, 1.0, -1.0, 0.0, 2.0]) {
            assert!((got - wanted).abs() < 1e-6, "{planes:?}");
        }
    }

    #[test]
    fn values_for_bytes_are_refused() {
        let error = ColourStatistics {
            mean: [123.7, 116.3, 103.5],
            std: [1.0; 3],
        }
        .check("data.train");
        assert!(error.unwrap_err().to_string().contains("divide"));
    }
}
