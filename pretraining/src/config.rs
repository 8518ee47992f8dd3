//! A pre-training recipe: trunk, taps, masking, decoders, target.
//!
//! MAE is one tap at the last block with a decoder of 8 blocks; DeepMIM is several taps, each with a
//! decoder of its own of 4 blocks (arXiv 2303.08817; OliverRensu/DeepMIM `models_mae.py`). MAE-CLIP is
//! the former and DeepMIM-CLIP the latter with `target.kind = "clip"`. Every target goes with any taps.

use backbone::VitConfig;
use data::ColourStatistics;
use serde::{Deserialize, Serialize};

use crate::PretrainError;
use crate::target_config::{TapTarget, TargetConfig, TokensConfig};

/// Everything that decides the pre-training model and its losses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// The encoder. Its positions are normally the fixed sin-cos table.
    pub trunk: VitConfig,
    /// Blocks (1-based, ascending) whose output is decoded and supervised: `[12]` is MAE,
    /// `[6, 8, 10, 12]` DeepMIM.
    pub taps: Vec<i64>,
    /// Share of the patches that are hidden.
    #[serde(default = "default_mask_ratio")]
    pub mask_ratio: f64,
    /// Every tap's decoder.
    #[serde(default)]
    pub decoder: DecoderConfig,
    /// What the hidden patches are to be predicted as.
    pub target: TargetConfig,
    /// Targets of single taps, in place of `target`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tap_targets: Vec<TapTarget>,
    /// Weight of each tap's loss in the objective, in the order of `taps`; empty: all 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tap_weights: Vec<f64>,
    /// Mean and deviation that the data section normalises pictures with; a teacher is given pictures
    /// in its own, and reconstructions are drawn in true colours. Not written in a recipe's model
    /// section: whoever reads the recipe copies it from the data section, so that the two agree.
    #[serde(skip)]
    pub colours: ColourStatistics,
}

fn default_mask_ratio() -> f64 {
    0.75
}
/// A tap's decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecoderConfig {
    /// Channels of a decoder token.
    pub width: i64,
    /// Blocks: 8 in MAE, 4 in DeepMIM.
    pub depth: i64,
    /// Attention heads; divides `width`.
    pub heads: i64,
    /// Hidden channels of the MLP over `width`.
    pub mlp_ratio: f64,
}

impl Default for DecoderConfig {
    /// MAE's.
    fn default() -> Self {
        Self {
            width: 512,
            depth: 8,
            heads: 16,
            mlp_ratio: 4.0,
        }
    }
}

impl PretrainConfig {
    /// Patches that stay visible, of `trunk.tokens()`: truncated as the reference's
    /// `int(L * (1 - mask_ratio))`.
    pub fn visible(&self) -> i64 {
        crate::masking::visible(self.trunk.tokens(), self.mask_ratio)
    }

    /// Checks every rule that the types leave open.
    ///
    /// # Errors
    /// The first rule broken, as a sentence naming key, value and remedy.
    pub fn check(&self) -> Result<(), PretrainError> {
        let trunk_error = |place| move |source| PretrainError::Trunk { place, source };
        self.trunk.check().map_err(trunk_error("trunk"))?;
        let depth = self.trunk.depth;
        let ascending = self.taps.windows(2).all(|pair| pair[0] < pair[1]);
        let inside = self.taps.iter().all(|tap| (1..=depth).contains(tap));
        if self.taps.is_empty() || !ascending || !inside {
            let problem = format!(
                "must be ascending block numbers from 1 to trunk.depth = {depth}, such as [{depth}]"
            );
            return Err(PretrainError::config(
                "taps",
                format!("{:?}", self.taps),
                problem,
            ));
        }
        let tokens = self.trunk.tokens();
        if !(0.0..1.0).contains(&self.mask_ratio) || !(1..tokens).contains(&self.visible()) {
            let problem = format!(
                "must hide at least one and leave at least one of the {tokens} patches; usual is 0.75"
            );
            return Err(PretrainError::config(
                "mask_ratio",
                self.mask_ratio,
                problem,
            ));
        }
        self.check_decoder()?;
        if self.trunk.channels != 3 {
            let problem = "must be 3: pictures come as RGB";
            return Err(PretrainError::config(
                "trunk.channels",
                self.trunk.channels,
                problem,
            ));
        }
        self.colours.check("pre-training")?;
        self.check_taps()?;
        for target in self.targets() {
            target.check(&self.trunk)?;
        }
        Ok(())
    }

    /// The target of the tap at `block`.
    pub fn target_of(&self, block: i64) -> &TargetConfig {
        self.tap_targets
            .iter()
            .find(|of_tap| of_tap.tap == block)
            .map_or(&self.target, |of_tap| &of_tap.target)
    }

    /// The different targets of the taps, and for each tap the number of its own among them.
    pub(crate) fn distinct_targets(&self) -> (Vec<&TargetConfig>, Vec<usize>) {
        let mut distinct: Vec<&TargetConfig> = Vec::new();
        let of_taps = self
            .taps
            .iter()
            .map(|tap| {
                let wanted = self.target_of(*tap);
                let known = distinct.iter().position(|known| *known == wanted);
                known.unwrap_or_else(|| {
                    distinct.push(wanted);
                    distinct.len() - 1
                })
            })
            .collect();
        (distinct, of_taps)
    }

    /// Everything that is predicted: the different targets, and the parts of hybrids beside them.
    fn targets(&self) -> Vec<&TargetConfig> {
        let (distinct, _) = self.distinct_targets();
        distinct
            .into_iter()
            .flat_map(|target| target.with_parts())
            .collect()
    }

    /// The folder and vocabulary of discrete tokens, where a target has them.
    pub fn tokens(&self) -> Option<&TokensConfig> {
        self.targets().into_iter().find_map(|target| match target {
            TargetConfig::Tokens(tokens) => Some(tokens),
            _ => None,
        })
    }

    fn check_taps(&self) -> Result<(), PretrainError> {
        let weights = &self.tap_weights;
        let sound = weights.iter().all(|w| w.is_finite() && *w > 0.0);
        if !sound || ![0, self.taps.len()].contains(&weights.len()) {
            let problem = format!(
                "must be {} numbers above 0, one for each of taps, or left out",
                self.taps.len()
            );
            let value = format!("{weights:?}");
            return Err(PretrainError::config("tap_weights", value, problem));
        }
        for (at, of_tap) in self.tap_targets.iter().enumerate() {
            let again = self.tap_targets[..at].iter().any(|o| o.tap == of_tap.tap);
            if again || !self.taps.contains(&of_tap.tap) {
                let problem = format!("must be one of taps = {:?}, each once", self.taps);
                return Err(PretrainError::config(
                    "tap_targets.tap",
                    of_tap.tap,
                    problem,
                ));
            }
        }
        let mut tokens = self
            .targets()
            .into_iter()
            .filter_map(|target| match target {
                TargetConfig::Tokens(tokens) => Some(tokens),
                _ => None,
            });
        let first = tokens.next();
        if tokens.any(|other| Some(other) != first) {
            return Err(PretrainError::config(
                "target.folder",
                "several",
                "must be the same wherever tokens are predicted",
            ));
        }
        let followers = self.targets();
        let followers = followers
            .iter()
            .filter(|of| matches!(of, TargetConfig::Ema(_)));
        if followers.count() > 1 {
            return Err(PretrainError::config(
                "target.kind",
                "\"ema\" in several targets",
                "is possible in one only, since there is one teacher: give the taps that follow the trunk the same target",
            ));
        }
        Ok(())
    }

    fn check_decoder(&self) -> Result<(), PretrainError> {
        let decoder = &self.decoder;
        for (field, value) in [
            ("decoder.width", decoder.width),
            ("decoder.depth", decoder.depth),
            ("decoder.heads", decoder.heads),
        ] {
            if value < 1 {
                return Err(PretrainError::config(field, value, "must be at least 1"));
            }
        }
        if decoder.width % decoder.heads != 0 {
            let problem = format!("must divide decoder.width = {}", decoder.width);
            return Err(PretrainError::config(
                "decoder.heads",
                decoder.heads,
                problem,
            ));
        }
        if decoder.width % 4 != 0 {
            let problem = "must be a multiple of 4, for the sin-cos positions";
            return Err(PretrainError::config(
                "decoder.width",
                decoder.width,
                problem,
            ));
        }
        if !(decoder.mlp_ratio.is_finite() && decoder.width as f64 * decoder.mlp_ratio >= 1.0) {
            let problem = "must leave the MLP at least one hidden channel; usual is 4.0";
            return Err(PretrainError::config(
                "decoder.mlp_ratio",
                decoder.mlp_ratio,
                problem,
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEEPMIM_CLIP: &str = r#"
        taps = [6, 8, 10, 12]
        trunk = { preset = "base" }
        decoder = { depth = 4 }
        target = { kind = "clip", weights = "ViT-B-16.pt" }
    "#;

    #[test]
    fn the_four_named_recipes_are_configurations() {
        let deep: PretrainConfig = toml::from_str(DEEPMIM_CLIP).unwrap();
        deep.check().unwrap();
        assert_eq!(deep.visible(), 49);
        assert_eq!(
            deep.decoder,
            DecoderConfig {
                depth: 4,
                ..DecoderConfig::default()
            }
        );
        let again: PretrainConfig = toml::from_str(&toml::to_string(&deep).unwrap()).unwrap();
        assert_eq!(again, deep);

        let single = PretrainConfig {
            taps: vec![12],
            ..deep.clone()
        };
        single.check().unwrap();
        for taps in [vec![12], vec![6, 8, 10, 12]] {
            let pixels = TargetConfig::Pixels { normalize: true };
            PretrainConfig {
                taps,
                target: pixels,
                ..deep.clone()
            }
            .check()
            .unwrap();
        }
    }

    #[test]
    fn a_misspelt_key_is_an_error_at_every_level() {
        for (from, to) in [
            ("taps", "tap"),
            ("depth = 4", "deep = 4"),
            ("preset", "presets"),
            ("weights = \"ViT-B-16.pt\"", "weights = \"a\", size = 3"),
            (
                "kind = \"clip\", weights = \"ViT-B-16.pt\"",
                "kind = \"pixels\", normalise = true",
            ),
            ("\"clip\"", "\"clips\""),
        ] {
            let text = DEEPMIM_CLIP.replace(from, to);
            assert!(toml::from_str::<PretrainConfig>(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn impossible_recipes_name_the_key() {
        let good: PretrainConfig = toml::from_str(DEEPMIM_CLIP).unwrap();
        let refuse = |key: &str, change: &dyn Fn(&mut PretrainConfig)| {
            let mut config = good.clone();
            change(&mut config);
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        };
        refuse("taps", &|c| c.taps = vec![6, 13]);
        refuse("taps", &|c| c.taps = vec![]);
        refuse("taps", &|c| c.taps = vec![8, 6]);
        refuse("mask_ratio", &|c| c.mask_ratio = 0.999);
        refuse("mask_ratio", &|c| c.mask_ratio = 0.0);
        refuse("decoder.heads", &|c| c.decoder.heads = 3);
        refuse("decoder.mlp_ratio", &|c| c.decoder.mlp_ratio = 0.0);
        refuse("trunk", &|c| c.trunk.patch_size = 15);
        refuse("colours.std", &|c| c.colours.std[1] = 0.0);
        refuse("image_size = 112", &|c| {
            c.trunk.image_size = 112;
        });
    }
}
