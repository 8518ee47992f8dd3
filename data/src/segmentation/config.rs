//! Settings of the segmentation transforms, with the values of UperNet on ADE20K as defaults.

use serde::{Deserialize, Serialize};

use crate::error::DataError;

/// How a picture and its labels are prepared for training: resized at random, cut to a square, mirrored, its
/// colours changed. A picture that ends up smaller than the square stays smaller; the model's side pads.
///
/// Source: mmsegmentation `configs/_base_/datasets/ade20k.py`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentationTrainTransform {
    /// Side of the square that is cut out, in pixels: 512 for ADE20K.
    pub size: usize,
    /// What the longer side becomes at most at ratio 1, in pixels.
    #[serde(default = "default_long_side")]
    pub long_side: usize,
    /// What the shorter side becomes at most at ratio 1, in pixels.
    #[serde(default = "default_short_side")]
    pub short_side: usize,
    /// Least and greatest ratio by which both sides are multiplied.
    #[serde(default = "default_ratio")]
    pub ratio: [f64; 2],
    /// A square is drawn again, up to ten times, while one class fills at least this share of its labelled
    /// pixels; 1 takes the first.
    #[serde(default = "default_category_max_ratio")]
    pub category_max_ratio: f64,
    /// Probability of mirroring.
    #[serde(default = "half")]
    pub flip: f64,
    /// Change brightness, contrast, saturation and hue at random.
    #[serde(default = "yes")]
    pub photometric: bool,
}

impl SegmentationTrainTransform {
    /// The recipe of UperNet on ADE20K, with squares of `size` pixels.
    pub fn new(size: usize) -> Self {
        Self {
            size,
            long_side: default_long_side(),
            short_side: default_short_side(),
            ratio: default_ratio(),
            category_max_ratio: default_category_max_ratio(),
            flip: half(),
            photometric: true,
        }
    }

    /// Checks ranges; `section` names the configuration section in messages.
    ///
    /// # Errors
    /// When a value is out of range.
    pub fn check(&self, section: &str) -> Result<(), DataError> {
        check_side(section, "size", self.size)?;
        check_sides(section, self.long_side, self.short_side)?;
        let refuse = |key: &str, problem: String| {
            Err(DataError::config(format!("{section}.{key}"), problem))
        };
        let [low, high] = self.ratio;
        if !(low > 0.0 && low <= high && high <= 16.0) {
            return refuse(
                "ratio",
                format!(
                    "{:?} must be two factors, rising, above 0 and at most 16",
                    self.ratio
                ),
            );
        }
        if (self.short_side as f64 * low) < 1.0 {
            return refuse(
                "ratio",
                format!("{low} times short_side, {}, is no pixel", self.short_side),
            );
        }
        if !(self.category_max_ratio > 0.0 && self.category_max_ratio <= 1.0) {
            return refuse(
                "category_max_ratio",
                format!(
                    "{} must be a share above 0 and at most 1",
                    self.category_max_ratio
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentationEvalTransform {
    /// What the longer side becomes at most, in pixels.
    #[serde(default = "default_long_side")]
    pub long_side: usize,
    /// What the shorter side becomes at most, in pixels.
    #[serde(default = "default_short_side")]
    pub short_side: usize,
    /// Ratios by which both sides are multiplied: a picture is looked at once for each of them, and what is
    /// found is averaged.
    #[serde(default = "default_ratios")]
    pub ratios: Vec<f64>,
}

impl Default for SegmentationEvalTransform {
    fn default() -> Self {
        Self {
            long_side: default_long_side(),
            short_side: default_short_side(),
            ratios: default_ratios(),
        }
    }
}

impl SegmentationEvalTransform {
    /// Checks ranges; `section` names the configuration section in messages.
    ///
    /// # Errors
    /// When a value is out of range.
    pub fn check(&self, section: &str) -> Result<(), DataError> {
        check_sides(section, self.long_side, self.short_side)?;
        let usable =
            |ratio: &f64| *ratio > 0.0 && *ratio <= 16.0 && self.short_side as f64 * ratio >= 1.0;
        if self.ratios.is_empty() || !self.ratios.iter().all(usable) {
            return Err(DataError::config(
                format!("{section}.ratios"),
                format!(
                    "{:?} must be at least one factor above 0 and at most 16 that leaves a pixel",
                    self.ratios
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

fn check_sides(section: &str, long: usize, short: usize) -> Result<(), DataError> {
    check_side(section, "long_side", long)?;
    check_side(section, "short_side", short)?;
    if long < short {
        return Err(DataError::config(
            format!("{section}.long_side"),
            format!("{long} must not be less than short_side, {short}"),
        ));
    }
    Ok(())
}

fn default_long_side() -> usize {
    2048
}

fn default_short_side() -> usize {
    512
}

fn default_ratio() -> [f64; 2] {
    [0.5, 2.0]
}

fn default_ratios() -> Vec<f64> {
    vec![1.0]
}

fn default_category_max_ratio() -> f64 {
    0.75
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
    fn defaults_are_the_recipes_and_unknown_keys_are_refused() {
        let train: SegmentationTrainTransform = serde_json::from_str(r#"{"size": 512}"#).unwrap();
        assert_eq!(train, SegmentationTrainTransform::new(512));
        assert_eq!((train.long_side, train.short_side), (2048, 512));
        assert_eq!((train.ratio, train.category_max_ratio), ([0.5, 2.0], 0.75));
        assert_eq!((train.flip, train.photometric), (0.5, true));
        let eval: SegmentationEvalTransform = serde_json::from_str("{}").unwrap();
        assert_eq!(eval, SegmentationEvalTransform::default());
        let misspelt = r#"{"size": 512, "cat_max_ratio": 0.75}"#;
        let error = serde_json::from_str::<SegmentationTrainTransform>(misspelt).unwrap_err();
        assert!(error.to_string().contains("cat_max_ratio"));
    }

    #[test]
    fn values_out_of_range_are_named() {
        let problem = |change: fn(&mut SegmentationTrainTransform)| {
            let mut transform = SegmentationTrainTransform::new(512);
            change(&mut transform);
            transform
                .check("data.train_transform")
                .unwrap_err()
                .to_string()
        };
        assert!(problem(|t| t.size = 0).starts_with("data.train_transform.size: 0"));
        assert!(problem(|t| t.long_side = 100).contains("long_side: 100 must not be less"));
        assert!(problem(|t| t.ratio = [2.0, 0.5]).contains("train_transform.ratio"));
        assert!(problem(|t| t.ratio = [0.001, 0.5]).contains("is no pixel"));
        assert!(problem(|t| t.category_max_ratio = 0.0).contains("category_max_ratio: 0"));
        assert!(problem(|t| t.flip = f64::NAN).contains("train_transform.flip"));
        for ratios in [vec![], vec![1.0, 0.0], vec![f64::NAN]] {
            let eval = SegmentationEvalTransform {
                ratios,
                ..SegmentationEvalTransform::default()
            };
            let error = eval.check("data.eval_transform").unwrap_err().to_string();
            assert!(error.starts_with("data.eval_transform.ratios"), "{error}");
        }
    }
}
