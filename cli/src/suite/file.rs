//! A suite's file: which checkpoints, which tasks, which seeds.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use deepmim_cli::DialectArg;
use serde::Deserialize;

/// `SUITE.toml`. Paths in it are relative to the folder in which the program is started, as in recipes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteFile {
    /// What stands on top of the leaderboard; the file's name where there is none.
    #[serde(default)]
    pub title: Option<String>,
    /// Folder of runs, logs and leaderboard; `runs/` and the file's name where there is none.
    #[serde(default)]
    pub out: Option<PathBuf>,
    /// Seeds of the fine-tunings; pre-trainings keep their recipes'.
    #[serde(default = "one_seed")]
    pub seeds: Vec<u64>,
    /// Cells that run side by side.
    #[serde(default = "one")]
    pub jobs: usize,
    /// Threads of all cells together; 0: all cores.
    #[serde(default)]
    pub threads: usize,
    /// `auto`, `cpu`, `cuda` or `cuda:N`; the recipes' where there is none.
    #[serde(default)]
    pub device: Option<String>,
    /// What is compared.
    pub checkpoint: Vec<CheckpointEntry>,
    /// On what.
    pub task: Vec<TaskEntry>,
}

/// `[[checkpoint]]`: a start for every task. Without weights and pre-training it is random.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointEntry {
    /// Its row in the leaderboard.
    pub name: String,
    /// Pre-trained weights: a file or a run's folder.
    #[serde(default)]
    pub weights: Option<PathBuf>,
    /// Naming scheme of the weights.
    #[serde(default)]
    pub dialect: Option<String>,
    /// A pre-training that the suite runs first.
    #[serde(default)]
    pub pretrain: Option<RecipeEntry>,
    /// For tasks by name: weights that are trained for it already, and are only evaluated.
    #[serde(default)]
    pub trained: BTreeMap<String, TrainedEntry>,
}

/// Weights that are evaluated as they are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainedEntry {
    /// A file or a run's folder.
    pub weights: PathBuf,
    /// Naming scheme of the weights.
    #[serde(default)]
    pub dialect: Option<String>,
}

/// A recipe with what replaces its values.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeEntry {
    /// The recipe.
    pub recipe: PathBuf,
    /// Replaces its `data.root`.
    #[serde(default)]
    pub data: Option<PathBuf>,
    /// Replaces further values: `section.key=value`.
    #[serde(default)]
    pub set: Vec<String>,
}

/// `[[task]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskEntry {
    /// What it is called.
    pub name: String,
    /// The recipe.
    pub recipe: PathBuf,
    /// Replaces its `data.root`.
    #[serde(default)]
    pub data: Option<PathBuf>,
    /// Replaces further values: `section.key=value`.
    #[serde(default)]
    pub set: Vec<String>,
}

impl TaskEntry {
    /// The recipe with what replaces its values.
    pub fn recipe(&self) -> RecipeEntry {
        RecipeEntry {
            recipe: self.recipe.clone(),
            data: self.data.clone(),
            set: self.set.clone(),
        }
    }
}

fn one_seed() -> Vec<u64> {
    vec![0]
}

fn one() -> usize {
    1
}

impl SuiteFile {
    /// Reads and checks a suite's file.
    ///
    /// # Errors
    /// When it cannot be read, has an unknown key, or contradicts itself.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let suite: Self = deepmim_cli::RecipeText::read(path)?.typed()?;
        suite.check().with_context(|| path.display().to_string())?;
        Ok(suite)
    }

    /// Name of a suite's file without folder and ending.
    pub fn stem(path: &Path) -> String {
        let stem = path.file_stem().unwrap_or(path.as_os_str());
        stem.to_string_lossy().into_owned()
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            !self.checkpoint.is_empty(),
            "there is no [[checkpoint]] to compare"
        );
        ensure!(!self.task.is_empty(), "there is no [[task]] to compare on");
        ensure!(
            !self.seeds.is_empty(),
            "seeds is empty: write at least one, such as [0]"
        );
        ensure!(
            self.jobs > 0,
            "jobs is 0: write how many cells run side by side, 1 or more"
        );
        let mut seen = HashSet::new();
        for seed in &self.seeds {
            ensure!(seen.insert(seed), "seed {seed} is there twice");
            ensure!(
                i64::try_from(*seed).is_ok(),
                "seed {seed} must be below 2^63"
            );
        }
        distinct(
            "checkpoint",
            self.checkpoint.iter().map(|checkpoint| &checkpoint.name),
        )?;
        distinct("task", self.task.iter().map(|task| &task.name))?;
        for task in &self.task {
            ensure!(
                slug(&task.name) != PRETRAIN,
                "a task cannot be called {}: pre-trainings are",
                task.name
            );
        }
        self.checkpoint
            .iter()
            .try_for_each(|checkpoint| self.check_checkpoint(checkpoint))
    }

    fn check_checkpoint(&self, checkpoint: &CheckpointEntry) -> anyhow::Result<()> {
        let name = &checkpoint.name;
        ensure!(
            checkpoint.weights.is_none() || checkpoint.pretrain.is_none(),
            "checkpoint {name} has weights and pretrain: it can start from one of them"
        );
        ensure!(
            checkpoint.dialect.is_none() || checkpoint.weights.is_some(),
            "checkpoint {name} has a dialect and no weights: the dialect is the naming scheme of weights"
        );
        for (task, trained) in &checkpoint.trained {
            ensure!(
                self.task.iter().any(|known| known.name == *task),
                "checkpoint {name} has trained weights for {task}, which is no [[task]]"
            );
            known_dialect(trained.dialect.as_deref())?;
        }
        known_dialect(checkpoint.dialect.as_deref())
    }
}

/// What a pre-training's cell is called in place of a task.
pub const PRETRAIN: &str = "pretrain";

/// A name as part of a folder's name: letters and digits, lower case.
pub fn slug(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_alphanumeric() || letter == '.' {
            out.extend(letter.to_lowercase());
        } else if !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
    }
    out.trim_matches(['_', '.']).to_owned()
}

/// Names must be different, also as parts of folders' names.
fn distinct<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> anyhow::Result<()> {
    let mut seen: BTreeMap<String, &String> = BTreeMap::new();
    for name in names {
        let short = slug(name);
        ensure!(
            !short.is_empty(),
            "{what} \"{name}\" needs a name with letters or digits"
        );
        if let Some(other) = seen.insert(short, name) {
            bail!("{what} \"{other}\" and {what} \"{name}\" are called the same: rename one");
        }
    }
    Ok(())
}

fn known_dialect(name: Option<&str>) -> anyhow::Result<()> {
    let Some(name) = name else { return Ok(()) };
    if DialectArg::from_str(name, false).is_ok() {
        return Ok(());
    }
    let known: Vec<String> = DialectArg::value_variants()
        .iter()
        .filter_map(|dialect| Some(dialect.to_possible_value()?.get_name().to_owned()))
        .collect();
    bail!(
        "dialect \"{name}\" is not known; write one of {}",
        known.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITE: &str = r#"
[[checkpoint]]
name = "random"
[[checkpoint]]
name = "MAE"
weights = "mae.pth"
dialect = "mae"
[checkpoint.trained]
coco = { weights = "model.pkl", dialect = "detectron2" }
[[task]]
name = "coco"
recipe = "detect.toml"
"#;

    fn read(text: &str) -> anyhow::Result<SuiteFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("suite.toml");
        std::fs::write(&path, text).unwrap();
        SuiteFile::read(&path)
    }

    #[test]
    fn defaults_are_one_seed_and_one_job() {
        let suite = read(SUITE).unwrap();
        assert_eq!(
            (suite.seeds.as_slice(), suite.jobs, suite.threads),
            (&[0][..], 1, 0)
        );
        assert_eq!(suite.checkpoint.len(), 2);
    }

    #[test]
    fn contradictions_are_told() {
        let problem = |from: &str, to: &str| {
            assert!(SUITE.contains(from), "{from}");
            format!("{:#}", read(&SUITE.replace(from, to)).unwrap_err())
        };
        let told = problem("name = \"MAE\"", "name = \"Random\"");
        assert!(told.contains("called the same"), "{told}");
        let told = problem(
            "\"mae.pth\"",
            "\"mae.pth\"\npretrain = { recipe = \"p.toml\" }",
        );
        assert!(told.contains("one of them"), "{told}");
        let told = problem("dialect = \"mae\"\n", "dialect = \"tim\"\n");
        assert!(told.contains("write one of native, mae, timm"), "{told}");
        let told = problem("name = \"coco\"", "name = \"cocoa\"");
        assert!(told.contains("no [[task]]"), "{told}");
        let told = problem("name = \"coco\"", "name = \"coco\"\nepochs = 3");
        assert!(told.contains("epochs"), "{told}");
        let told = format!("{:#}", read(&format!("seeds = []\n{SUITE}")).unwrap_err());
        assert!(told.contains("at least one"), "{told}");
    }

    #[test]
    fn names_become_parts_of_folders() {
        assert_eq!(slug("DeepMIM-CLIP ViT-B/16"), "deepmim_clip_vit_b_16");
        assert_eq!(slug("../.."), "");
        assert_eq!(slug("v1.5"), "v1.5");
    }
}
