//! The recipes, typed. A key that nothing reads is an error.

use anyhow::bail;
use backbone::weights::Dialect;
use classification::ClassifierConfig;
use data::{ClassificationData, DetectionData, PictureData, ProbeData, SegmentationData};
use deepmim_cli::RecipeText;
use detection::{DetectorConfig, TestTime};
use engine::TrainerConfig;
use pretraining::PretrainConfig;
use segmentation::SegmentorConfig;
use serde::{Deserialize, Serialize};

/// What a recipe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Masked pre-training.
    Pretrain,
    /// Fine-tuning, probing and evaluation on classes.
    Classify,
    /// Fine-tuning and evaluation of detectors.
    Detect,
    /// Fine-tuning and evaluation of segmentors.
    Segment,
    /// What layers have learnt.
    Analyze,
}

/// `[run]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSection {
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    #[serde(default = "auto")]
    pub device: String,
}

impl Default for RunSection {
    fn default() -> Self {
        Self { device: auto() }
    }
}

fn auto() -> String {
    "auto".into()
}

/// `[init]`: how pre-trained weights enter the model.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitSection {
    /// Naming scheme of the file.
    #[serde(default = "native_names")]
    pub dialect: Dialect,
    /// Which dictionary of the file to take instead of the dialect's usual one: `student`, `model_ema`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Parameters that may keep their initial values; `*` stands for any letters.
    #[serde(default)]
    pub may_miss: Vec<String>,
    /// Entries of the file that need no place in the model.
    #[serde(default)]
    pub may_ignore: Vec<String>,
}

/// Our own files' scheme, the usual one.
pub fn native_names() -> Dialect {
    Dialect::Native
}

impl Default for InitSection {
    fn default() -> Self {
        Self {
            dialect: native_names(),
            part: None,
            may_miss: Vec::new(),
            may_ignore: Vec::new(),
        }
    }
}

/// A pre-training recipe.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainRecipe {
    /// [`TaskKind::Pretrain`].
    pub task: TaskKind,
    /// Where it runs.
    #[serde(default)]
    pub run: RunSection,
    /// The pictures.
    pub data: PictureData,
    /// Trunk, masking, decoders, target.
    pub model: PretrainConfig,
    /// Labelled pictures, to follow how good the features are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeData>,
    /// Optimiser, schedule, checkpoints.
    pub trainer: TrainerConfig,
}

/// A classification recipe.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifyRecipe {
    /// [`TaskKind::Classify`].
    pub task: TaskKind,
    /// Where it runs.
    #[serde(default)]
    pub run: RunSection,
    /// Training and validation pictures.
    pub data: ClassificationData,
    /// How pre-trained weights enter.
    #[serde(default)]
    pub init: InitSection,
    /// Trunk, pooling, head, loss.
    pub model: ClassifierConfig,
    /// Optimiser, schedule, checkpoints.
    pub trainer: TrainerConfig,
}

/// A detection recipe.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectRecipe {
    /// [`TaskKind::Detect`].
    pub task: TaskKind,
    /// Where it runs.
    #[serde(default)]
    pub run: RunSection,
    /// Training and validation pictures with their annotation files.
    pub data: DetectionData,
    /// How pre-trained weights enter the trunk.
    #[serde(default)]
    pub init: InitSection,
    /// How pictures are looked at in evaluation.
    #[serde(default)]
    pub test_time: TestTime,
    /// Trunk, pyramid, proposals, heads.
    pub model: DetectorConfig,
    /// Optimiser, schedule, checkpoints.
    pub trainer: TrainerConfig,
}

/// A segmentation recipe.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentRecipe {
    /// [`TaskKind::Segment`].
    pub task: TaskKind,
    /// Where it runs.
    #[serde(default)]
    pub run: RunSection,
    /// Training and validation pictures with their label maps.
    pub data: SegmentationData,
    /// How pre-trained weights enter the trunk.
    #[serde(default)]
    pub init: InitSection,
    /// How pictures are looked at in evaluation.
    #[serde(default)]
    pub test_time: segmentation::TestTime,
    /// Trunk, necks, heads, loss.
    pub model: SegmentorConfig,
    /// Optimiser, schedule, checkpoints.
    pub trainer: TrainerConfig,
}

impl TaskKind {
    const ALL: [Self; 5] = [
        Self::Pretrain,
        Self::Classify,
        Self::Detect,
        Self::Segment,
        Self::Analyze,
    ];

    /// The word in a recipe.
    fn word(self) -> &'static str {
        match self {
            Self::Pretrain => "pretrain",
            Self::Classify => "classify",
            Self::Detect => "detect",
            Self::Segment => "segment",
            Self::Analyze => "analyze",
        }
    }

    /// What a recipe says it is for; none where it says nothing that is known.
    pub fn of(text: &RecipeText) -> Option<Self> {
        let word = text.string("task")?;
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// Refuses a recipe that is for another command, before its keys are looked at.
pub fn expect(text: &RecipeText, wanted: TaskKind, command: &str) -> anyhow::Result<()> {
    const KNOWN: &str = "\"pretrain\", \"classify\", \"detect\", \"segment\" or \"analyze\"";
    match (TaskKind::of(text), text.string("task")) {
        (Some(kind), _) if kind == wanted => Ok(()),
        (Some(kind), _) => bail!(
            "{} is not a recipe for deepmim {command}: start it with {}",
            text.name(),
            match kind {
                TaskKind::Pretrain => "deepmim pretrain",
                TaskKind::Analyze => "deepmim analyze --config",
                _ => "deepmim finetune, eval or predict",
            }
        ),
        (None, Some(task)) => bail!(
            "{}: task = \"{task}\" is not known; write {KNOWN}",
            text.name()
        ),
        (None, None) => bail!("{}: the first key must be task = {KNOWN}", text.name()),
    }
}

impl PretrainRecipe {
    /// Types and checks a recipe.
    pub fn from_text(text: &RecipeText) -> anyhow::Result<Self> {
        expect(text, TaskKind::Pretrain, "pretrain")?;
        let mut recipe: Self = text.typed()?;
        recipe.model.colours = recipe.data.transform.colours;
        recipe.data.check()?;
        recipe.model.check()?;
        recipe.trainer.check()?;
        if recipe.model.tokens().is_some() && !recipe.data.transform.is_fixed() {
            bail!(
                "{}: tokens were made from pictures as they are, so training must see them in one place: set data.transform.crop.kind = \"centre\" and data.transform.flip = 0.0",
                text.name()
            );
        }
        if let Some(probe) = &recipe.probe {
            probe.check()?;
            let depth = recipe.model.trunk.depth;
            let ascending = probe.layers.windows(2).all(|pair| pair[0] < pair[1]);
            if !(ascending && probe.layers.iter().all(|layer| (1..=depth).contains(layer))) {
                bail!(
                    "{}: probe.layers {:?} must ascend within 1 to {depth}, the depth of the trunk",
                    text.name(),
                    probe.layers
                );
            }
            if probe.transform.size != recipe.data.transform.size {
                bail!(
                    "{}: probe.transform.size is {} and data.transform.size is {}; they must be equal",
                    text.name(),
                    probe.transform.size,
                    recipe.data.transform.size
                );
            }
        }
        if recipe.data.transform.size as i64 != recipe.model.trunk.image_size {
            bail!(
                "{}: data.transform.size is {} and model.trunk.image_size is {}; they must be equal",
                text.name(),
                recipe.data.transform.size,
                recipe.model.trunk.image_size
            );
        }
        Ok(recipe)
    }
}

impl ClassifyRecipe {
    /// Types and checks a recipe; `command` is the command that was typed.
    pub fn from_text(text: &RecipeText, command: &str) -> anyhow::Result<Self> {
        expect(text, TaskKind::Classify, command)?;
        let recipe: Self = text.typed()?;
        recipe.data.check()?;
        recipe.model.check()?;
        recipe.trainer.check()?;
        let side = recipe.model.trunk.image_size;
        for (key, size) in [
            ("train_transform", recipe.data.train_transform.size),
            ("eval_transform", recipe.data.eval_transform.size),
        ] {
            if size as i64 != side {
                bail!(
                    "{}: data.{key}.size is {size} and model.trunk.image_size is {side}; they must be equal",
                    text.name()
                );
            }
        }
        Ok(recipe)
    }
}

impl DetectRecipe {
    /// Types and checks a recipe; `command` is the command that was typed.
    pub fn from_text(text: &RecipeText, command: &str) -> anyhow::Result<Self> {
        expect(text, TaskKind::Detect, command)?;
        let recipe: Self = text.typed()?;
        recipe.data.check()?;
        recipe.model.check()?;
        recipe.trainer.check()?;
        let side = recipe.model.trunk.image_size;
        for (key, size) in [
            ("train_transform.size", recipe.data.train_transform.size),
            (
                "eval_transform.long_side",
                recipe.data.eval_transform.long_side,
            ),
        ] {
            if size as i64 > side {
                bail!(
                    "{}: data.{key} is {size} and model.trunk.image_size is {side}; pictures must fit the network's square",
                    text.name()
                );
            }
        }
        Ok(recipe)
    }
}

impl SegmentRecipe {
    /// Types and checks a recipe; `command` is the command that was typed.
    pub fn from_text(text: &RecipeText, command: &str) -> anyhow::Result<Self> {
        expect(text, TaskKind::Segment, command)?;
        let recipe: Self = text.typed()?;
        recipe.data.check()?;
        recipe.model.check()?;
        recipe.trainer.check()?;
        let side = recipe.model.trunk.image_size;
        recipe.test_time.check(side)?;
        let size = recipe.data.train_transform.size;
        if size as i64 > side {
            bail!(
                "{}: data.train_transform.size is {size} and model.trunk.image_size is {side}; pictures must fit the network's square",
                text.name()
            );
        }
        Ok(recipe)
    }
}
