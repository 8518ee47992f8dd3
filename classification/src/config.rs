//! Settings of a classifier: trunk, pooling, head, loss, and how its parameters learn.

use backbone::VitConfig;
use data::augment::Mixer;
use serde::{Deserialize, Serialize};

use crate::error::ClassificationError;

/// What of the trunk's output the head reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// Mean of the patch tokens, then `fc_norm`; the trunk has no final norm. MAE's default.
    #[default]
    Mean,
    /// The class token after the trunk's final norm.
    ClassToken,
}

/// A classifier. Defaults are MAE's `main_finetune.py` without mixing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierConfig {
    /// The trunk. `final_norm` must be false with mean pooling and true with the class token; the
    /// reference fine-tunes learnable positions.
    pub trunk: VitConfig,
    /// Classes.
    pub classes: i64,
    /// What the head reads.
    #[serde(default)]
    pub pool: Pool,
    /// Standard deviation of the head's initial weights: 2e-5 in fine-tuning from a checkpoint,
    /// 0.01 in probing (0.02 from random initialisation in timm).
    #[serde(default = "default_head_init_std")]
    pub head_init_std: f64,
    /// Share of every target spread over all classes; `mix.label_smoothing` must say the same, since
    /// mixing smooths the targets it makes.
    #[serde(default = "default_label_smoothing")]
    pub label_smoothing: f64,
    /// Mixup and CutMix; absent leaves batches as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mix: Option<Mixer>,
    /// Learning-rate factor from one layer to the next below.
    #[serde(default = "default_layer_decay")]
    pub layer_decay: f64,
    /// Linear probing: the trunk is frozen and the head is batch normalisation and a linear layer.
    #[serde(default)]
    pub probe: bool,
}

fn default_head_init_std() -> f64 {
    2e-5
}
fn default_label_smoothing() -> f64 {
    0.1
}
fn default_layer_decay() -> f64 {
    0.75
}

impl ClassifierConfig {
    /// Fine-tuning as in `main_finetune.py`, without mixing; the trunk's final norm is set to what
    /// the pooling asks for and its positions to learnable.
    pub fn fine_tuning(trunk: VitConfig, classes: i64, pool: Pool) -> Self {
        Self {
            trunk: VitConfig {
                final_norm: pool == Pool::ClassToken,
                position: backbone::Position::Learnable,
                ..trunk
            },
            classes,
            pool,
            head_init_std: default_head_init_std(),
            label_smoothing: default_label_smoothing(),
            mix: None,
            layer_decay: default_layer_decay(),
            probe: false,
        }
    }

    /// Linear probing as in `main_linprobe.py`: class token or mean pooling, plain cross-entropy,
    /// no drop path (and, in the trainer's section, LARS without weight decay).
    pub fn probing(trunk: VitConfig, classes: i64, pool: Pool) -> Self {
        Self {
            head_init_std: 0.01,
            label_smoothing: 0.0,
            layer_decay: 1.0,
            probe: true,
            ..Self::fine_tuning(
                VitConfig {
                    drop_path: 0.0,
                    ..trunk
                },
                classes,
                pool,
            )
        }
    }

    /// Rules across fields.
    ///
    /// # Errors
    /// The first setting that is out of range or contradicts another, with what to write instead.
    pub fn check(&self) -> Result<(), ClassificationError> {
        self.trunk.check()?;
        if self.classes < 1 {
            return Err(config_error(
                "classes",
                format!("{} is not a number of classes", self.classes),
                "give the number of classes of the data set",
            ));
        }
        match (self.pool, self.trunk.final_norm) {
            (Pool::Mean, true) => {
                return Err(config_error(
                    "trunk.final_norm",
                    "mean pooling reads the trunk before its final norm".into(),
                    "set final_norm = false, or pool = \"class_token\"",
                ));
            }
            (Pool::ClassToken, false) => {
                return Err(config_error(
                    "trunk.final_norm",
                    "the class token is read after the trunk's final norm".into(),
                    "set final_norm = true, or pool = \"mean\"",
                ));
            }
            _ => {}
        }
        range("head_init_std", self.head_init_std, 0.0, 0.5)?;
        range("label_smoothing", self.label_smoothing, 0.0, 1.0)?;
        range("layer_decay", self.layer_decay, f64::MIN_POSITIVE, 1.0)?;
        if self.probe && self.trunk.drop_path != 0.0 {
            return Err(config_error(
                "trunk.drop_path",
                "a probe's trunk is frozen and never drops a path".into(),
                "set drop_path = 0",
            ));
        }
        if let Some(mix) = &self.mix {
            mix.check()?;
            if mix.label_smoothing != self.label_smoothing {
                return Err(config_error(
                    "label_smoothing",
                    format!(
                        "{} here and {} in mix",
                        self.label_smoothing, mix.label_smoothing
                    ),
                    "write the same number in both",
                ));
            }
        }
        Ok(())
    }
}

fn config_error(key: &'static str, problem: String, remedy: &str) -> ClassificationError {
    ClassificationError::Config {
        key,
        problem,
        remedy: remedy.to_owned(),
    }
}

fn range(key: &'static str, value: f64, low: f64, high: f64) -> Result<(), ClassificationError> {
    // Written so that NaN is refused too.
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(ClassificationError::Config {
        key,
        problem: format!("{value} is out of range"),
        remedy: if low == f64::MIN_POSITIVE {
            format!("give a number above 0, up to {high}")
        } else {
            format!("give a number from {low} to {high}")
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ClassifierConfig {
        let trunk = VitConfig::preset(backbone::VitPreset::Tiny, 32, 4);
        ClassifierConfig::fine_tuning(trunk, 10, Pool::Mean)
    }

    #[test]
    fn constructors_pass_their_own_check() {
        config().check().unwrap();
        let trunk = config().trunk;
        ClassifierConfig::probing(trunk, 10, Pool::ClassToken)
            .check()
            .unwrap();
    }

    #[test]
    fn round_trips_through_toml_and_refuses_a_typo() {
        let text = toml::to_string(&config()).unwrap();
        assert_eq!(toml::from_str::<ClassifierConfig>(&text).unwrap(), config());
        let typo = text.replace("layer_decay", "layer_decai");
        let error = toml::from_str::<ClassifierConfig>(&typo).unwrap_err();
        assert!(error.to_string().contains("layer_decai"), "{error}");
    }

    #[test]
    fn pooling_and_final_norm_must_agree() {
        let mut wrong = config();
        wrong.trunk.final_norm = true;
        let sentence = wrong.check().unwrap_err().to_string();
        assert!(sentence.contains("final_norm = false"), "{sentence}");
        wrong.pool = Pool::ClassToken;
        wrong.check().unwrap();
    }

    #[test]
    fn out_of_range_settings_are_named() {
        for (key, change) in [
            ("classes", (|c| c.classes = 0) as fn(&mut ClassifierConfig)),
            ("head_init_std", |c| c.head_init_std = -1.0),
            ("label_smoothing", |c| c.label_smoothing = 1.5),
            ("layer_decay", |c| c.layer_decay = 0.0),
            ("label_smoothing", |c| c.label_smoothing = f64::NAN),
        ] {
            let mut wrong = config();
            change(&mut wrong);
            let sentence = wrong.check().unwrap_err().to_string();
            assert!(sentence.starts_with(key), "{sentence}");
        }
    }
}
