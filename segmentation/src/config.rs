//! What a segmentor is made of. Defaults are DeepMIM's `configs/_base_/models/upernet.py` and
//! `configs/mae/upernet_mae_base_12_512_slide_160k_ade20k.py`.

use backbone::VitConfig;
use serde::{Deserialize, Serialize};

use crate::error::SegmentationError;

/// UperNet on a tapped ViT trunk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentorConfig {
    /// Number of classes, at most 255.
    pub classes: usize,
    /// The four blocks, counted from 1, whose outputs feed the head, shallowest first.
    pub taps: [i64; 4],
    /// Channels of the head.
    #[serde(default = "channels")]
    pub channels: i64,
    /// Sides of the coarse grids of pyramid pooling.
    #[serde(default = "pool_scales")]
    pub pool_scales: Vec<i64>,
    /// Chance of dropping a channel before each head's last layer in training.
    #[serde(default = "dropout")]
    pub dropout: f64,
    /// The auxiliary head and its loss; none where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auxiliary: Option<AuxiliaryConfig>,
    /// Divide the loss by the pixels that have a class; else by all pixels, ignored ones included, as
    /// mmsegmentation does unless told otherwise.
    #[serde(default)]
    pub average_labelled_only: bool,
    /// Learning-rate factor from one layer of the trunk to the next below.
    #[serde(default = "layer_decay")]
    pub layer_decay: f64,
    /// Mean of the training pictures' red, green and blue, 0 to 255.
    #[serde(default = "pixel_mean")]
    pub pixel_mean: [f64; 3],
    /// Their standard deviation.
    #[serde(default = "pixel_std")]
    pub pixel_std: [f64; 3],
    /// The trunk, with a class token. Windows of its `image_size` are what the network sees.
    pub trunk: VitConfig,
}

/// The auxiliary head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuxiliaryConfig {
    /// Which of the four maps it takes, counted from 0.
    pub map: usize,
    /// Its channels.
    pub channels: i64,
    /// 3×3 convolutions before the last layer.
    pub convolutions: usize,
    /// Factor on its loss.
    pub weight: f64,
}

impl Default for AuxiliaryConfig {
    fn default() -> Self {
        Self {
            map: 2,
            channels: 256,
            convolutions: 1,
            weight: 0.4,
        }
    }
}

/// How a picture larger than the network's input is seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InferenceMode {
    /// In overlapping windows, whose logits are averaged.
    #[default]
    Slide,
    /// In one piece, which must fit.
    Whole,
}

/// How pictures are looked at in evaluation and prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TestTime {
    /// Windows, or one piece.
    pub mode: InferenceMode,
    /// Pixels from one window to the next; two thirds of the window where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stride: Option<i64>,
    /// Windows that go through the network together.
    pub windows_at_once: usize,
    /// Looks at each picture's mirror image too and averages probabilities.
    pub flip: bool,
}

impl Default for TestTime {
    fn default() -> Self {
        Self {
            mode: InferenceMode::default(),
            stride: None,
            windows_at_once: 1,
            flip: false,
        }
    }
}

fn channels() -> i64 {
    768
}
fn pool_scales() -> Vec<i64> {
    vec![1, 2, 3, 6]
}
fn dropout() -> f64 {
    0.1
}
fn layer_decay() -> f64 {
    0.9
}
fn pixel_mean() -> [f64; 3] {
    [123.675, 116.28, 103.53]
}
fn pixel_std() -> [f64; 3] {
    [58.395, 57.12, 57.375]
}

fn refuse<T>(
    key: &'static str,
    problem: String,
    remedy: &'static str,
) -> Result<T, SegmentationError> {
    Err(SegmentationError::Config {
        key,
        problem,
        remedy,
    })
}

impl SegmentorConfig {
    /// The released model's sizes on this trunk.
    pub fn new(trunk: VitConfig, taps: [i64; 4], classes: usize) -> Self {
        Self {
            classes,
            taps,
            channels: channels(),
            pool_scales: pool_scales(),
            dropout: dropout(),
            auxiliary: Some(AuxiliaryConfig::default()),
            average_labelled_only: false,
            layer_decay: layer_decay(),
            pixel_mean: pixel_mean(),
            pixel_std: pixel_std(),
            trunk,
        }
    }

    /// Rules across fields.
    ///
    /// # Errors
    /// The first setting that is out of range or contradicts another, with what to write instead.
    pub fn check(&self) -> Result<(), SegmentationError> {
        self.trunk.check()?;
        if self.trunk.windows.is_some() {
            return refuse(
                "trunk.windows",
                "a segmentor's trunk attends to all of its input".into(),
                "leave [model.trunk.windows] out",
            );
        }
        if self.trunk.grid() < 2 {
            return refuse(
                "trunk.image_size",
                format!(
                    "{} pixels in patches of {} give a grid of {}, which cannot be halved",
                    self.trunk.image_size,
                    self.trunk.patch_size,
                    self.trunk.grid()
                ),
                "take a larger image_size, e.g. 512 with patches of 16",
            );
        }
        if !(1..=255).contains(&self.classes) {
            return refuse(
                "classes",
                format!("{} is out of range", self.classes),
                "give 1 to 255",
            );
        }
        let rising = self.taps.windows(2).all(|pair| pair[0] < pair[1]);
        let depth = self.trunk.depth;
        if !rising || self.taps.iter().any(|tap| !(1..=depth).contains(tap)) {
            return refuse(
                "taps",
                format!("{:?} must rise within 1 to {depth}", self.taps),
                "name four blocks, counted from 1, e.g. [4, 6, 8, 12]",
            );
        }
        if self.pool_scales.is_empty() || self.pool_scales.iter().any(|scale| *scale < 1) {
            return refuse(
                "pool_scales",
                format!("{:?} are no sides of grids", self.pool_scales),
                "give at least one number of 1 or more, e.g. [1, 2, 3, 6]",
            );
        }
        if self.channels < 1 {
            return refuse(
                "channels",
                format!("{} is too few", self.channels),
                "give at least 1",
            );
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse(
                "dropout",
                format!("{} is out of range", self.dropout),
                "give a probability below 1",
            );
        }
        if !(0.0..=1.0).contains(&self.layer_decay) {
            return refuse(
                "layer_decay",
                format!("{} is out of range", self.layer_decay),
                "give a number from 0 to 1",
            );
        }
        let usable = |value: &f64| value.is_finite() && *value > 0.0;
        if let Some(deviation) = self.pixel_std.iter().find(|value| !usable(value)) {
            return refuse(
                "pixel_std",
                format!("{deviation} is no standard deviation"),
                "give three numbers above 0",
            );
        }
        match &self.auxiliary {
            Some(auxiliary) => auxiliary.check(),
            None => Ok(()),
        }
    }
}

impl AuxiliaryConfig {
    fn check(&self) -> Result<(), SegmentationError> {
        if self.map > 3 {
            return refuse(
                "auxiliary.map",
                format!("{} is not one of four maps", self.map),
                "give 0 (finest) to 3",
            );
        }
        if self.channels < 1 || self.convolutions < 1 {
            return refuse(
                "auxiliary",
                format!(
                    "{} channels in {} convolutions are too few",
                    self.channels, self.convolutions
                ),
                "give at least 1 of both",
            );
        }
        if !(self.weight.is_finite() && self.weight >= 0.0) {
            return refuse(
                "auxiliary.weight",
                format!("{} is no factor", self.weight),
                "give 0 or more",
            );
        }
        Ok(())
    }
}

impl TestTime {
    /// Rules, for a network that sees squares of `side` pixels.
    ///
    /// # Errors
    /// The first setting that is out of range, with what to write instead.
    pub fn check(&self, side: i64) -> Result<(), SegmentationError> {
        if let Some(stride) = self.stride.filter(|stride| !(1..=side).contains(stride)) {
            return refuse(
                "test_time.stride",
                format!("{stride} leaves gaps or stands still between windows of {side} pixels"),
                "give 1 to the window's side",
            );
        }
        if self.windows_at_once < 1 {
            return refuse(
                "test_time.windows_at_once",
                "0 is too few".into(),
                "give at least 1",
            );
        }
        Ok(())
    }

    /// Pixels from one window of `side` pixels to the next: 341 for 512, as in the released recipes.
    pub fn stride(&self, side: i64) -> i64 {
        self.stride.unwrap_or((side * 2 / 3).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SegmentorConfig {
        let trunk =
            "preset = \"base\"\nimage_size = 512\nposition = \"learnable\"\nfinal_norm = false";
        SegmentorConfig::new(toml::from_str(trunk).unwrap(), [4, 6, 8, 12], 150)
    }

    #[test]
    fn a_configuration_survives_its_file() {
        let config = config();
        config.check().unwrap();
        let written = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<SegmentorConfig>(&written).unwrap(), config);
        assert!(toml::from_str::<SegmentorConfig>(&format!("chanels = 3\n{written}")).is_err());
        assert_eq!(TestTime::default().stride(512), 341);
    }

    #[test]
    fn what_contradicts_itself_is_named() {
        let problem = |change: fn(&mut SegmentorConfig)| {
            let mut config = config();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(problem(|c| c.taps = [4, 6, 8, 13]).starts_with("taps"));
        assert!(problem(|c| c.taps = [4, 4, 8, 12]).starts_with("taps"));
        assert!(problem(|c| c.classes = 256).starts_with("classes"));
        assert!(problem(|c| c.pool_scales.clear()).starts_with("pool_scales"));
        assert!(problem(|c| c.dropout = 1.0).starts_with("dropout"));
        assert!(problem(|c| c.pixel_std[1] = 0.0).starts_with("pixel_std"));
        assert!(problem(|c| c.auxiliary.as_mut().unwrap().map = 4).starts_with("auxiliary.map"));
        assert!(problem(|c| c.trunk.heads = 5).starts_with("trunk"));
        let test = |change: fn(&mut TestTime)| {
            let mut test = TestTime::default();
            change(&mut test);
            test.check(512).unwrap_err().to_string()
        };
        assert!(test(|t| t.stride = Some(513)).starts_with("test_time.stride"));
        assert!(test(|t| t.windows_at_once = 0).starts_with("test_time.windows_at_once"));
    }
}
