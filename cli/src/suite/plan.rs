//! The cells of a suite: what is run, into which folder, after what.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail, ensure};
use deepmim_cli::RecipeText;
use leaderboard::Request;
use serde::{Deserialize, Serialize};

use super::file::{CheckpointEntry, PRETRAIN, RecipeEntry, SuiteFile, TrainedEntry, slug};

/// File of the plan in a suite's folder; `deepmim compare` reads it.
const PLAN: &str = "suite.json";

/// Everything that a suite runs.
pub struct Plan {
    /// What stands on top of the leaderboard.
    pub title: String,
    /// Folder of runs, logs and leaderboard.
    pub out: PathBuf,
    /// Cells side by side.
    pub jobs: usize,
    /// Threads of each.
    pub threads: usize,
    /// In the order in which they are started, pre-trainings first.
    pub cells: Vec<Cell>,
    /// Of files of weights, by path, size and time of the last change, once they were read through.
    pub digests: RefCell<BTreeMap<FileState, String>>,
}

/// A file as it was at some time.
pub type FileState = (PathBuf, u64, Option<SystemTime>);

/// One run of a suite.
pub struct Cell {
    /// What it is called, in messages and as a folder.
    pub id: String,
    /// The checkpoint.
    pub system: String,
    /// The task's name; of a pre-training "pretrain".
    pub task: String,
    /// What is done.
    pub action: Action,
    /// The run's folder.
    pub folder: PathBuf,
    /// The recipe with everything replaced.
    pub recipe: RecipeText,
    /// Place of the cell that must be finished before.
    pub needs: Option<usize>,
}

/// What a cell does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Pre-trains.
    Pretrain,
    /// Fine-tunes from these weights and their dialect, or from random ones, and evaluates.
    Finetune(Option<(PathBuf, Option<String>)>),
    /// Evaluates these weights with their dialect.
    Evaluate(PathBuf, Option<String>),
}

impl Action {
    /// In a word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pretrain => "pretrain",
            Self::Finetune(_) => "finetune",
            Self::Evaluate(..) => "eval",
        }
    }
}

/// A cell as `suite.json` has it.
#[derive(Serialize, Deserialize)]
struct PlannedCell {
    system: String,
    task: String,
    /// Relative to the suite's folder.
    folder: PathBuf,
}

/// `suite.json`.
#[derive(Serialize, Deserialize)]
struct PlanRecord {
    title: String,
    cells: Vec<PlannedCell>,
}

impl Plan {
    /// Plans a suite: reads its recipes and names its cells.
    ///
    /// # Errors
    /// When a recipe cannot be read or is for another job.
    pub fn new(suite: &SuiteFile, path: &Path) -> anyhow::Result<Self> {
        let stem = SuiteFile::stem(path);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let budget = if suite.threads == 0 {
            cores
        } else {
            suite.threads
        };
        ensure!(
            suite.jobs <= budget,
            "{}: jobs = {} need at least as many threads, and there are {budget}",
            path.display(),
            suite.jobs
        );
        let mut plan = Self {
            title: suite.title.clone().unwrap_or_else(|| stem.clone()),
            out: suite
                .out
                .clone()
                .unwrap_or_else(|| Path::new("runs").join(&stem)),
            jobs: suite.jobs,
            threads: budget / suite.jobs,
            cells: Vec::new(),
            digests: RefCell::default(),
        };
        let mut pretrainings = Vec::with_capacity(suite.checkpoint.len());
        for checkpoint in &suite.checkpoint {
            pretrainings.push(match &checkpoint.pretrain {
                Some(entry) => Some(plan.add_pretraining(checkpoint, entry, suite)?),
                None => None,
            });
        }
        // Task by task, so that what is finished can be compared early.
        for task in &suite.task {
            for (checkpoint, pretraining) in suite.checkpoint.iter().zip(&pretrainings) {
                match checkpoint.trained.get(&task.name) {
                    Some(trained) => {
                        plan.add_evaluation(
                            checkpoint,
                            &task.name,
                            &task.recipe(),
                            trained,
                            suite,
                        )?;
                    }
                    None => {
                        for seed in &suite.seeds {
                            let start = (checkpoint, *pretraining);
                            plan.add_finetuning(start, &task.name, &task.recipe(), *seed, suite)?;
                        }
                    }
                }
            }
        }
        Ok(plan)
    }

    fn add_pretraining(
        &mut self,
        checkpoint: &CheckpointEntry,
        entry: &RecipeEntry,
        suite: &SuiteFile,
    ) -> anyhow::Result<usize> {
        let recipe = self.recipe(entry, suite, true)?;
        let id = format!("{}.{PRETRAIN}", slug(&checkpoint.name));
        self.push(id, checkpoint, PRETRAIN, Action::Pretrain, recipe, None);
        Ok(self.cells.len() - 1)
    }

    fn add_finetuning(
        &mut self,
        (checkpoint, pretraining): (&CheckpointEntry, Option<usize>),
        task: &str,
        entry: &RecipeEntry,
        seed: u64,
        suite: &SuiteFile,
    ) -> anyhow::Result<()> {
        let mut recipe = self.recipe(entry, suite, false)?;
        recipe.set_value("trainer.seed", i64::try_from(seed)?.into())?;
        let init = match pretraining {
            Some(at) => Some((self.cells[at].folder.clone(), None)),
            None => {
                let weights = checkpoint.weights.clone();
                weights.map(|weights| (weights, checkpoint.dialect.clone()))
            }
        };
        let id = format!("{}.{}.s{seed}", slug(&checkpoint.name), slug(task));
        self.push(
            id,
            checkpoint,
            task,
            Action::Finetune(init),
            recipe,
            pretraining,
        );
        Ok(())
    }

    fn add_evaluation(
        &mut self,
        checkpoint: &CheckpointEntry,
        task: &str,
        entry: &RecipeEntry,
        trained: &TrainedEntry,
        suite: &SuiteFile,
    ) -> anyhow::Result<()> {
        let recipe = self.recipe(entry, suite, false)?;
        let id = format!("{}.{}", slug(&checkpoint.name), slug(task));
        let action = Action::Evaluate(trained.weights.clone(), trained.dialect.clone());
        self.push(id, checkpoint, task, action, recipe, None);
        Ok(())
    }

    fn push(
        &mut self,
        id: String,
        checkpoint: &CheckpointEntry,
        task: &str,
        action: Action,
        recipe: RecipeText,
        needs: Option<usize>,
    ) {
        self.cells.push(Cell {
            folder: self.out.join(&id),
            id,
            system: checkpoint.name.clone(),
            task: task.to_owned(),
            action,
            recipe,
            needs,
        });
    }

    /// A recipe with the suite's replacements and this plan's threads.
    fn recipe(
        &self,
        entry: &RecipeEntry,
        suite: &SuiteFile,
        pretraining: bool,
    ) -> anyhow::Result<RecipeText> {
        let mut recipe = RecipeText::read(&entry.recipe)?;
        let is_pretraining = recipe.string("task") == Some("pretrain");
        if is_pretraining != pretraining {
            bail!(
                "{} is {}: name it under {}",
                entry.recipe.display(),
                if is_pretraining {
                    "a pre-training recipe"
                } else {
                    "no pre-training recipe"
                },
                if is_pretraining {
                    "a checkpoint's pretrain"
                } else {
                    "a [[task]]"
                }
            );
        }
        if let Some(root) = &entry.data {
            let root = root
                .to_str()
                .with_context(|| format!("{} is not UTF-8", root.display()))?;
            recipe.set_value("data.root", root.into())?;
        }
        if let Some(device) = &suite.device {
            recipe.set_value("run.device", device.as_str().into())?;
        }
        for assignment in &entry.set {
            recipe.set(assignment)?;
        }
        let threads = i64::try_from(self.threads)?;
        recipe.set_value("trainer.threads", threads.into())?;
        recipe.set_value("data.threads", threads.into())?;
        Ok(recipe)
    }

    /// How cells share the machine, in words.
    pub fn sharing(&self) -> String {
        let threads = match self.threads {
            1 => "1 thread".to_owned(),
            several => format!("{several} threads"),
        };
        match self.jobs {
            1 => format!("one at a time with {threads}"),
            jobs => format!("{jobs} side by side with {threads} each"),
        }
    }

    /// The cell of this name.
    pub fn find(&self, id: &str) -> anyhow::Result<usize> {
        let place = self.cells.iter().position(|cell| cell.id == id);
        place.with_context(|| {
            let known: Vec<&str> = self.cells.iter().map(|cell| cell.id.as_str()).collect();
            format!(
                "--only {id}: there is no such cell; the cells are {}",
                known.join(", ")
            )
        })
    }

    /// Writes `suite.json`, from which `deepmim compare` knows the cells.
    pub fn write(&self) -> anyhow::Result<()> {
        let cells = self.cells.iter().filter(|cell| cell.task != PRETRAIN);
        let record = PlanRecord {
            title: self.title.clone(),
            cells: cells
                .map(|cell| PlannedCell {
                    system: cell.system.clone(),
                    task: cell.task.clone(),
                    folder: PathBuf::from(&cell.id),
                })
                .collect(),
        };
        Ok(eval::write_json(&self.out.join(PLAN), &record)?)
    }
}

/// The finished cells of a suite's folder; none where the folder is no suite's.
///
/// # Errors
/// When the plan in it cannot be read, or no cell is finished.
pub fn suite_requests(folder: &Path) -> anyhow::Result<Option<Vec<Request>>> {
    let path = folder.join(PLAN);
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let record: PlanRecord = serde_json::from_str(&text)
        .with_context(|| format!("{} is damaged: start deepmim suite again", path.display()))?;
    let all = record.cells.len();
    let requests: Vec<Request> = record
        .cells
        .into_iter()
        .map(|cell| Request {
            path: folder.join(cell.folder),
            system: Some(cell.system),
            task: Some(cell.task),
        })
        .filter(|request| super::status::evaluated(&request.path))
        .collect();
    ensure!(
        !requests.is_empty(),
        "{}: none of its {all} cells is finished: go on with deepmim suite",
        folder.display()
    );
    if requests.len() < all {
        eprintln!(
            "note: {} of {all} cells of {} are finished",
            requests.len(),
            folder.display()
        );
    }
    Ok(Some(requests))
}

/// Values of a recipe by dotted path, without those that change nothing but where and how it computes.
pub fn binding(recipe: &RecipeText) -> BTreeMap<String, String> {
    const FREE: [&str; 3] = ["trainer.threads", "data.threads", "run.device"];
    let mut values = recipe.flat();
    values.retain(|key, _| !FREE.contains(&key.as_str()));
    values
}
