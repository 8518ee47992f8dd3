//! The recipe of an analysis, typed; or made of what the recipe of a run tells.

use std::path::{Path, PathBuf};

use anyhow::bail;
use backbone::VitConfig;
use backbone::weights::Dialect;
use data::{AnalysisData, ColourStatistics};
use deepmim_cli::{AnalyzeArgs, RecipeText};
use engine::Precision;
use pretraining::{LinearConfig, Pool};
use serde::{Deserialize, Serialize};

use crate::experiment::{
    ClassifyRecipe, PretrainRecipe, RunSection, TaskKind, expect, native_names,
};
use crate::session::path_value;

/// An analysis of layers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnalyzeRecipe {
    /// [`TaskKind::Analyze`].
    pub task: TaskKind,
    /// Where it runs.
    #[serde(default)]
    pub run: RunSection,
    /// Pictures that are looked at, and pictures that teach.
    pub data: AnalysisData,
    /// What is measured, and how.
    #[serde(default)]
    pub analysis: AnalysisSection,
    /// Checkpoints beside those of the command line, before them.
    #[serde(default)]
    pub checkpoints: Vec<CheckpointSection>,
}

/// `[analysis]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnalysisSection {
    /// How a layer's tokens become one feature: `mean` of the patches, or `class`.
    pub pool: Pool,
    /// Whether attention is measured.
    pub attention: bool,
    /// Pictures of a batch of CKA.
    pub cka_batch: usize,
    /// Neighbours that vote.
    pub neighbours: usize,
    /// Weights of votes are `exp(similarity / temperature)`.
    pub temperature: f64,
    /// Linear probes.
    pub linear: LinearConfig,
    /// Number format of the trunks.
    pub precision: Precision,
    /// Orders the pictures.
    pub seed: u64,
    /// Threads of libtorch's CPU kernels; its own choice where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
}

impl Default for AnalysisSection {
    fn default() -> Self {
        Self {
            pool: Pool::default(),
            attention: true,
            cka_batch: 256,
            neighbours: 20,
            temperature: 0.07,
            linear: LinearConfig::default(),
            precision: Precision::F32,
            seed: 0,
            threads: None,
        }
    }
}

/// A checkpoint of an analysis.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointSection {
    /// The name that it goes by; several of one name are trainings with several seeds.
    pub name: String,
    /// A checkpoint file, or a run's folder.
    pub weights: PathBuf,
    /// Naming scheme of the file.
    #[serde(default = "native_names")]
    pub dialect: Dialect,
    /// Which dictionary of the file to take instead of the dialect's usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Attention heads, which a file does not tell; as in the published size of its width where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<i64>,
    /// The colours that it was trained with; those of its run, of CLIP for CLIP, else ImageNet's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colours: Option<ColourStatistics>,
    /// The trunk, where its run or its file does not tell it rightly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trunk: Option<VitConfig>,
}

impl AnalyzeRecipe {
    /// Types and checks a recipe.
    pub fn from_text(text: &RecipeText) -> anyhow::Result<Self> {
        expect(text, TaskKind::Analyze, "analyze")?;
        let recipe: Self = text.typed()?;
        recipe.check(&text.name())?;
        Ok(recipe)
    }

    /// Checks values that the types leave open.
    pub fn check(&self, name: &str) -> anyhow::Result<()> {
        self.data.check()?;
        let AnalysisSection {
            cka_batch,
            neighbours,
            temperature,
            linear,
            ..
        } = &self.analysis;
        for (key, value, least) in [
            ("analysis.cka_batch", *cka_batch, 4),
            ("analysis.neighbours", *neighbours, 1),
            ("analysis.linear.batch_size", linear.batch_size, 1),
            ("analysis.linear.epochs", linear.epochs, 1),
        ] {
            if value < least {
                bail!("{name}: {key} = {value} must be {least} or more");
            }
        }
        if !(temperature.is_finite() && *temperature > 0.0) {
            bail!("{name}: analysis.temperature = {temperature} must be above 0; usual is 0.07");
        }
        let rates = &linear.rates;
        if rates.is_empty() || rates.iter().any(|rate| !(rate.is_finite() && *rate > 0.0)) {
            bail!("{name}: analysis.linear.rates {rates:?} must be one or more numbers above 0");
        }
        Ok(())
    }
}

/// The recipe that the command line asks for.
pub fn recipe(args: &AnalyzeArgs, first_run: Option<&Path>) -> anyhow::Result<AnalyzeRecipe> {
    let mut text = match (&args.config, first_run) {
        (Some(config), _) => RecipeText::read(config)?,
        (None, Some(run)) => of_run(run)?,
        (None, None) => bail!(
            "no run is given whose recipe tells the pictures: give --config, such as configs/imagenet_analyze.toml"
        ),
    };
    if let Some(root) = &args.data {
        text.set_value("data.root", path_value(root)?)?;
    }
    if let Some(device) = &args.device {
        text.set_value("run.device", device.as_str().into())?;
    }
    for assignment in &args.overrides {
        text.set(assignment)?;
    }
    AnalyzeRecipe::from_text(&text)
}

/// An analysis of the labelled pictures of a run's own recipe.
fn of_run(run: &Path) -> anyhow::Result<RecipeText> {
    let path = run.join("config.toml");
    let text = RecipeText::read(&path)?;
    let mut analysis = AnalysisSection::default();
    let data = match TaskKind::of(&text) {
        Some(TaskKind::Pretrain) => {
            let recipe = PretrainRecipe::from_text(&text)?;
            let Some(probe) = recipe.probe else {
                bail!(
                    "{}: this pre-training has no [probe], so its recipe names no labelled pictures: give --config, such as configs/imagenet_analyze.toml",
                    path.display()
                );
            };
            analysis.neighbours = probe.neighbours;
            analysis.temperature = probe.temperature;
            AnalysisData {
                threads: recipe.data.threads,
                prefetch: recipe.data.prefetch,
                batch_size: probe.batch_size,
                ..AnalysisData::new(recipe.data.root, probe.train, probe.val, probe.transform)
            }
        }
        Some(TaskKind::Classify) => {
            let data = ClassifyRecipe::from_text(&text, "finetune")?.data;
            AnalysisData {
                threads: data.threads,
                prefetch: data.prefetch,
                batch_size: data.eval_batch_size,
                ..AnalysisData::new(data.root, data.train, data.val, data.eval_transform)
            }
        }
        _ => bail!(
            "{}: a recipe of this task names no pictures with one class each: give --config, such as configs/imagenet_analyze.toml",
            path.display()
        ),
    };
    let recipe = AnalyzeRecipe {
        task: TaskKind::Analyze,
        run: RunSection::default(),
        data,
        analysis,
        checkpoints: Vec::new(),
    };
    RecipeText::parse(&path, toml::to_string(&recipe)?)
}
