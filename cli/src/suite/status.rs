//! How far a cell is, as its folder tells.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use deepmim_cli::RecipeText;
use leaderboard::{EVALUATION_FILE, EvaluationRecord, Start};
use serde_json::Value;

use super::file::PRETRAIN;
use super::plan::{Action, Cell, Plan, binding};

/// What is taken of a checkpoint of a run that averages its weights; `engine` writes it by this name.
const AVERAGED_WEIGHTS: &str = "ema.safetensors";

/// How far a cell is.
#[derive(Debug, Clone, PartialEq)]
pub enum Status {
    /// Nothing is there.
    Open,
    /// Began; the epochs done, where they are known.
    Begun(Option<f64>),
    /// Failed when it was last tried, with this sentence.
    Failed(String),
    /// Done.
    Finished,
}

/// Whether a folder holds a whole evaluation: of a run, or alone.
pub fn evaluated(folder: &Path) -> bool {
    let whole = |inner: &Path| inner.join(EVALUATION_FILE).is_file();
    whole(folder) || (whole(&folder.join("eval")) && trained(folder))
}

/// Whether a training run is finished.
fn trained(folder: &Path) -> bool {
    summary(folder).is_some_and(|summary| summary["outcome"] == "finished")
}

fn summary(folder: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(folder.join("summary.json")).ok()?;
    serde_json::from_str(&text).ok()
}

impl Plan {
    /// A cell's recipe as it was last started with.
    pub fn recipe_file(&self, cell: &Cell) -> PathBuf {
        self.out.join("recipes").join(format!("{}.toml", cell.id))
    }

    /// Everything that a cell's process says.
    pub fn log_file(&self, cell: &Cell) -> PathBuf {
        self.out.join("logs").join(format!("{}.log", cell.id))
    }

    /// Why a cell failed when it was last tried.
    pub fn failure_file(&self, cell: &Cell) -> PathBuf {
        self.out.join("logs").join(format!("{}.failed", cell.id))
    }

    /// How far a cell is.
    ///
    /// # Errors
    /// When what is there was made by another recipe or from other weights than the plan says.
    pub fn status(&self, cell: &Cell) -> anyhow::Result<Status> {
        self.check_recipe(cell)?;
        let done = match cell.action {
            Action::Pretrain => trained(&cell.folder),
            Action::Finetune(_) | Action::Evaluate(..) => evaluated(&cell.folder),
        };
        if done {
            self.check_start(cell)?;
            return Ok(Status::Finished);
        }
        if let Ok(why) = std::fs::read_to_string(self.failure_file(cell)) {
            return Ok(Status::Failed(why.trim().to_owned()));
        }
        if cell.folder.join("config.toml").is_file() {
            return Ok(Status::Begun(last_epoch(&cell.folder)));
        }
        Ok(Status::Open)
    }

    /// A cell that began with another recipe is no cell of this suite.
    fn check_recipe(&self, cell: &Cell) -> anyhow::Result<()> {
        let path = self.recipe_file(cell);
        if !path.is_file() || !cell.folder.is_dir() {
            return Ok(());
        }
        let (had, now) = (binding(&RecipeText::read(&path)?), binding(&cell.recipe));
        for key in had.keys().chain(now.keys()) {
            let value = |values: &BTreeMap<String, String>| {
                values.get(key).map_or("not set", String::as_str).to_owned()
            };
            if had.get(key) != now.get(key) {
                bail!(
                    "the cell {} was started with {key} = {} and the suite now says {}: put that back, choose another out folder, or delete {} to run it anew",
                    cell.id,
                    value(&had),
                    value(&now),
                    cell.folder.display()
                );
            }
        }
        Ok(())
    }

    /// A finished cell must have started from the weights that the suite names, as they are now.
    fn check_start(&self, cell: &Cell) -> anyhow::Result<()> {
        if let Some(before) = cell.needs.map(|at| &self.cells[at])
            && !trained(&before.folder)
        {
            bail!(
                "the cell {} is finished and {}, which it started from, is not: put {} back, or delete {} to run both anew",
                cell.id,
                before.id,
                before.folder.display(),
                cell.folder.display()
            );
        }
        let (named, record) = match &cell.action {
            Action::Pretrain => return Ok(()),
            Action::Finetune(init) => {
                let Some(start) = Start::read(&cell.folder)? else {
                    return Ok(());
                };
                (init.as_ref().map(|(path, _)| path), start.weights)
            }
            Action::Evaluate(path, _) => {
                (Some(path), EvaluationRecord::read(&cell.folder)?.weights)
            }
        };
        let other = match (named, &record) {
            (None, None) => false,
            (Some(path), Some(had)) => self.digest_now(path)?.is_some_and(|now| now != had.sha256),
            _ => true,
        };
        if other {
            let name = |path: Option<&PathBuf>| {
                path.map_or("random weights".into(), |path| path.display().to_string())
            };
            bail!(
                "the cell {} started from {}, and the suite now says {}, which holds other weights: put the old ones back, choose another out folder, or delete {} to run it anew",
                cell.id,
                name(record.as_ref().map(|had| &had.file)),
                name(named),
                cell.folder.display()
            );
        }
        Ok(())
    }

    /// The digest of the weights behind a path now: of a file, or of a run as a training starts from it. None where
    /// nothing is there any more.
    fn digest_now(&self, path: &Path) -> anyhow::Result<Option<String>> {
        let mut file = path.to_owned();
        if path.is_dir() {
            let Some(summary) = summary(path) else {
                return Ok(None);
            };
            let newest = summary["checkpoint"].as_str().unwrap_or_default();
            file = path.join(newest).join(AVERAGED_WEIGHTS);
            if !file.is_file() {
                return Ok(summary["weights_sha256"].as_str().map(str::to_owned));
            }
        }
        let Ok(there) = file.metadata() else {
            return Ok(None);
        };
        let state = (file, there.len(), there.modified().ok());
        let mut digests = self.digests.borrow_mut();
        if let Some(digest) = digests.get(&state) {
            return Ok(Some(digest.clone()));
        }
        let digest = leaderboard::file_sha256(&state.0)?;
        digests.insert(state, digest.clone());
        Ok(Some(digest))
    }

    /// Writes down with which recipe a cell is started, and forgets an earlier failure.
    pub fn begin(&self, cell: &Cell) -> anyhow::Result<()> {
        let path = self.recipe_file(cell);
        let text = cell.recipe.to_toml()?;
        // Written beside and renamed, so that a kill leaves the old or the new one.
        let new = path.with_extension("toml.new");
        std::fs::write(&new, text)
            .and_then(|()| std::fs::rename(&new, &path))
            .with_context(|| format!("cannot write {}", path.display()))?;
        match std::fs::remove_file(self.failure_file(cell)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error)
                .with_context(|| format!("cannot remove {}", self.failure_file(cell).display())),
            _ => Ok(()),
        }
    }
}

impl Cell {
    /// Epochs of its training, where its recipe tells them.
    pub fn epochs(&self) -> Option<f64> {
        let values = self.recipe.flat();
        values.get("trainer.epochs")?.parse().ok()
    }

    /// What is done to what, in a few words.
    pub fn what(&self) -> String {
        match self.task.as_str() {
            PRETRAIN => format!("{}: pre-training", self.system),
            task => format!("{}: {task}", self.system),
        }
    }
}

/// The epoch of the last row of a run's metrics.
pub fn last_epoch(run: &Path) -> Option<f64> {
    const TAIL: u64 = 512;
    let mut file = std::fs::File::open(run.join("metrics.csv")).ok()?;
    let size = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL))).ok()?;
    let mut tail = String::new();
    file.read_to_string(&mut tail).ok()?;
    // The last line may be half written.
    let whole = &tail[..tail.rfind('\n')?];
    whole.lines().last()?.split(',').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_written_row_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        assert_eq!(last_epoch(folder.path()), None);
        std::fs::write(&path, "step,epoch,name,value\n").unwrap();
        assert_eq!(last_epoch(folder.path()), None);
        std::fs::write(&path, "step,epoch,name,value\n4,0.5,train/loss,1\n8,1.2").unwrap();
        assert_eq!(last_epoch(folder.path()), Some(0.5));
    }
}
