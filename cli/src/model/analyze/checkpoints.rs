//! The checkpoints of an analysis: which files, which trunks, which colours.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use backbone::weights::{Dialect, LoadOptions, load_into};
use backbone::{Position, Vit, VitConfig};
use data::ColourStatistics;
use deepmim_cli::{AnalyzeArgs, RecipeText};
use leaderboard::AnalysedCheckpoint;
use tch::{Device, nn};

use super::recipe::{AnalyzeRecipe, CheckpointSection};
use crate::experiment::{ClassifyRecipe, InitSection, PretrainRecipe, SegmentRecipe, TaskKind};
use crate::weights::Weights;

/// Entries of a file that are no part of a trunk.
const BESIDE_TRUNK: [&str; 8] = [
    "head*",
    "fc_norm.*",
    "decoder*",
    "mask_token*",
    "teacher.*",
    "proj",
    "pre_logits*",
    "*relative_position_index",
];

/// A checkpoint as asked for: name and path, or a section of the recipe.
pub enum Asked<'a> {
    /// `[NAME=]PATH`.
    Typed(Option<String>, PathBuf),
    /// `[[checkpoints]]`.
    Listed(&'a CheckpointSection),
}

/// A trunk with what is recorded of it.
pub struct Chosen {
    /// The trunk.
    pub trunk: Vit,
    /// The colours that it expects.
    pub colours: ColourStatistics,
    /// What is recorded, without results.
    pub record: AnalysedCheckpoint,
    /// Holds the trunk's parameters.
    _store: nn::VarStore,
}

/// What the command line names.
pub fn typed(args: &AnalyzeArgs) -> Vec<Asked<'static>> {
    args.checkpoints
        .iter()
        .map(|text| match text.split_once('=') {
            Some((name, path)) if !Path::new(text).exists() && !name.is_empty() => {
                Asked::Typed(Some(name.to_owned()), PathBuf::from(path))
            }
            _ => Asked::Typed(None, PathBuf::from(text)),
        })
        .collect()
}

impl Asked<'_> {
    /// The run that it is, or that its file lies in.
    pub fn run(&self) -> Option<PathBuf> {
        let path = match self {
            Self::Typed(_, path) => path,
            Self::Listed(section) => &section.weights,
        };
        // A run's file lies in checkpoints/step-N.
        let within = [path.as_path()]
            .into_iter()
            .chain(path.ancestors().skip(2).take(2));
        within
            .into_iter()
            .find(|folder| folder.join("config.toml").is_file())
            .map(Path::to_owned)
    }

    /// Reads the trunk.
    pub fn open(
        &self,
        recipe: &AnalyzeRecipe,
        args: &AnalyzeArgs,
        device: Device,
    ) -> anyhow::Result<Chosen> {
        let run = self.run();
        let section = match self {
            Self::Listed(section) => (*section).clone(),
            Self::Typed(name, path) => CheckpointSection {
                name: (name.clone()).unwrap_or_else(|| name_of(path, run.as_deref())),
                weights: path.clone(),
                dialect: Dialect::Native,
                part: None,
                heads: None,
                colours: None,
                trunk: None,
            },
        };
        let asked = match self {
            Self::Typed(..) if run.is_none() => args.dialect,
            _ => None,
        };
        let init = InitSection {
            dialect: section.dialect,
            part: section.part.clone(),
            ..InitSection::default()
        };
        let mut weights = Weights::find(&section.weights, asked, &init)?;
        let told = run.as_deref().map(of_run).transpose()?;
        let side = recipe.data.transform.size as i64;
        let (state, config) = weights.hinting(section.part.as_deref(), || {
            let read = weights
                .dialect
                .read(&weights.file, section.part.as_deref())?;
            let state = read.into_trunk().state;
            let config = match (&section.trunk, &told) {
                (Some(trunk), _) | (None, Some((trunk, _))) => trunk.clone(),
                (None, None) => VitConfig::of_state(&state, weights.dialect, side, section.heads)?,
            };
            Ok((state, config))
        })?;
        let config = VitConfig {
            image_size: side,
            position: Position::Learnable,
            drop_path: 0.0,
            activation_checkpointing: false,
            ..config
        };
        let colours = match (section.colours, &told, weights.dialect) {
            (Some(colours), ..) => colours,
            (None, Some((_, Some(colours))), _) => *colours,
            (None, _, Dialect::Clip) => ColourStatistics::CLIP,
            _ => ColourStatistics::IMAGENET,
        };
        let store = nn::VarStore::new(device);
        let trunk = Vit::new(&store.root(), &config)
            .with_context(|| format!("{}", section.weights.display()))?;
        let mut beside: Vec<String> = BESIDE_TRUNK.map(str::to_owned).to_vec();
        if !config.final_norm {
            beside.push("norm.*".into());
        }
        let options = LoadOptions {
            may_miss: Vec::new(),
            may_ignore: beside,
            resample_positions: true,
        };
        load_into(&store, "", &state, &options)?;
        drop(state);
        native::return_freed_memory();
        weights.run = run.clone();
        Ok(Chosen {
            trunk,
            colours,
            record: AnalysedCheckpoint {
                system: section.name,
                weights: weights.record()?,
                layers: config.depth as usize,
                heads: config.heads as usize,
                width: config.width as usize,
                measures: Vec::new(),
                attention: None,
                probe_rates: Vec::new(),
                training: match &run {
                    Some(run) => AnalysedCheckpoint::read_training(run)?,
                    None => Vec::new(),
                },
            },
            _store: store,
        })
    }
}

/// The trunk and the colours of a run, as its recipe says.
fn of_run(run: &Path) -> anyhow::Result<(VitConfig, Option<ColourStatistics>)> {
    let path = run.join("config.toml");
    let text = RecipeText::read(&path)?;
    match TaskKind::of(&text) {
        Some(TaskKind::Pretrain) => {
            let recipe = PretrainRecipe::from_text(&text)?;
            Ok((recipe.model.trunk, Some(recipe.data.transform.colours)))
        }
        Some(TaskKind::Classify) => {
            let recipe = ClassifyRecipe::from_text(&text, "finetune")?;
            let colours = recipe.data.eval_transform.colours;
            Ok((recipe.model.trunk, Some(colours)))
        }
        Some(TaskKind::Segment) => {
            let recipe = SegmentRecipe::from_text(&text, "finetune")?;
            Ok((recipe.model.trunk, None))
        }
        _ => bail!(
            "{}: a detector's trunk attends within windows and has no class token, so its layers cannot be set beside others'; analyze the checkpoint that it started from",
            path.display()
        ),
    }
}

/// What a checkpoint without a name goes by: the last part of its run's or its file's path.
fn name_of(path: &Path, run: Option<&Path>) -> String {
    let name = match run {
        Some(run) => run.file_name(),
        None => path.file_stem(),
    };
    name.unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// Refuses checkpoints that would share a name that nobody gave them: several of one name are trainings with several
/// seeds.
pub fn told_apart(asked: &[Asked], chosen: &[Chosen]) -> anyhow::Result<()> {
    for (place, (asked, one)) in asked.iter().zip(chosen).enumerate() {
        let same = |other: &(usize, &Chosen)| {
            other.0 != place && other.1.record.system == one.record.system
        };
        if let (Asked::Typed(None, path), true) =
            (asked, chosen.iter().enumerate().any(|o| same(&o)))
        {
            bail!(
                "{}: another checkpoint goes by the name {}, too: write NAME={}; the same name makes them trainings of one system",
                path.display(),
                one.record.system,
                path.display()
            );
        }
    }
    Ok(())
}
