//! Settings of the detection transforms, with ViTDet's values as defaults.

use serde::{Deserialize, Serialize};

use crate::error::DataError;

/// How a picture is prepared for training: mirrored, scaled at random, cut to a square. Boxes follow the
/// outlines; where there are none, they are cut to the square.
///
/// Source: detectron2 `configs/common/data/coco_loader_lsj.py`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectionTrainTransform {
    /// Side of the model's square input in pixels: 1024 in ViTDet.
    pub size: usize,
    /// Least and greatest scale: the picture is resized to fit a square of so many times `size`.
    #[serde(default = "default_scale")]
    pub scale: [f64; 2],
    /// Probability of mirroring.
    #[serde(default = "half")]
    pub flip: f64,
    /// Cut what exceeds the square, at a random place. Without it, scales are at most 1.
    #[serde(default = "yes")]
    pub crop: bool,
}

impl DetectionTrainTransform {
    /// ViTDet's large-scale jitter: scales 0.1 to 2, mirrored half of the time.
    pub fn new(size: usize) -> Self {
        Self {
            size,
            scale: default_scale(),
            flip: half(),
            crop: true,
        }
    }

    /// Checks ranges; `section` names the configuration section in messages.
    ///
    /// # Errors
    /// When a value is out of range.
    pub fn check(&self, section: &str) -> Result<(), DataError> {
        check_side(section, "size", self.size)?;
        let [low, high] = self.scale;
        let refuse = |key: &str, problem: String| {
            Err(DataError::config(format!("{section}.{key}"), problem))
        };
        if !(low > 0.0 && low <= high && high <= 16.0) {
            return refuse(
                "scale",
                format!(
                    "{:?} must be two factors, rising, above 0 and at most 16",
                    self.scale
                ),
            );
        }
        if !self.crop && high > 1.0 {
            return refuse(
                "crop",
                format!(
                    "false needs scales of at most 1, since a picture scaled by {high} exceeds the model's input"
                ),
            );
        }
        if !(0.0..=1.0).contains(&self.flip) {
            return refuse(
                "flip",
                format!("{} must be a probability, 0 to 1", self.flip),
            );
        }
        Ok(())
    }
}

/// How a picture is prepared for evaluation and prediction: resized, its shape kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectionEvalTransform {
    /// What the shorter side becomes, in pixels: 1024 in ViTDet.
    pub short_side: usize,
    /// What the longer side becomes at most: 1024 in ViTDet.
    pub long_side: usize,
}

impl DetectionEvalTransform {
    /// ViTDet's: as large as fits a square of `size` pixels.
    pub fn new(size: usize) -> Self {
        Self {
            short_side: size,
            long_side: size,
        }
    }

    /// Checks ranges; `section` names the configuration section in messages.
    ///
    /// # Errors
    /// When a value is out of range.
    pub fn check(&self, section: &str) -> Result<(), DataError> {
        check_side(section, "short_side", self.short_side)?;
        check_side(section, "long_side", self.long_side)?;
        if self.long_side < self.short_side {
            return Err(DataError::config(
                format!("{section}.long_side"),
                format!(
                    "{} must not be less than short_side, {}",
                    self.long_side, self.short_side
                ),
            ));
        }
        Ok(())
    }
}

fn check_side(section: &str, key: &str, side: usize) -> Result<(), DataError> {
    if (16..=16384).contains(&side) {
        return Ok(());
    }
    Err(DataError::config(
        format!("{section}.{key}"),
        format!("{side} must be a side in pixels, 16 to 16384"),
    ))
}

fn default_scale() -> [f64; 2] {
    [0.1, 2.0]
}

fn half() -> f64 {
    0.5
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_vitdets_and_unknown_keys_are_refused() {
        let train: DetectionTrainTransform = serde_json::from_str(r#"{"size": 1024}"#).unwrap();
        assert_eq!(train, DetectionTrainTransform::new(1024));
        assert_eq!(
            (train.scale, train.flip, train.crop),
            ([0.1, 2.0], 0.5, true)
        );
        let misspelt = r#"{"size": 1024, "scales": [0.1, 2]}"#;
        let error = serde_json::from_str::<DetectionTrainTransform>(misspelt).unwrap_err();
        assert!(error.to_string().contains("scales"));
    }

    #[test]
    fn values_out_of_range_are_named() {
        let problem = |change: fn(&mut DetectionTrainTransform)| {
            let mut transform = DetectionTrainTransform::new(1024);
            change(&mut transform);
            transform
                .check("data.train_transform")
                .unwrap_err()
                .to_string()
        };
        assert!(problem(|t| t.size = 0).starts_with("data.train_transform.size: 0"));
        assert!(problem(|t| t.scale = [2.0, 0.1]).contains("train_transform.scale"));
        assert!(problem(|t| t.flip = 1.5).contains("train_transform.flip"));
        assert!(problem(|t| t.crop = false).contains("exceeds the model's input"));
        let eval = DetectionEvalTransform {
            short_side: 800,
            long_side: 700,
        };
        assert!(
            eval.check("e")
                .unwrap_err()
                .to_string()
                .starts_with("e.long_side")
        );
    }
}
