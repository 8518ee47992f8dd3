//! How long the cells of a plan will take, by timing a few steps.

use anyhow::{Context, bail};
use serde::Deserialize;

use super::plan::{Action, Plan};
use super::process::program;
use super::status::Status;

/// What `--estimate` prints; the fields that are needed here.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Estimate {
    total_seconds: f64,
    seconds_per_evaluation: f64,
}

/// Seconds of each cell from its beginning; cells of the same recipe are timed once. Finished cells are not
/// timed.
pub fn estimates(plan: &Plan, statuses: &[Status]) -> anyhow::Result<Vec<Option<f64>>> {
    let mut known: Vec<(String, Estimate)> = Vec::new();
    let mut seconds = Vec::with_capacity(plan.cells.len());
    for (cell, status) in plan.cells.iter().zip(statuses) {
        if *status == Status::Finished {
            seconds.push(None);
            continue;
        }
        // What differs between seeds takes no time.
        let mut recipe = cell.recipe.clone();
        recipe.set_value("trainer.seed", 0.into())?;
        let text = recipe.to_toml()?;
        let estimate = match known.iter().find(|(timed, _)| *timed == text) {
            Some((_, estimate)) => *estimate,
            None => {
                eprintln!("timing a few steps of {}", cell.what());
                let estimate = timed(plan, &cell.action, &text)
                    .with_context(|| format!("the cell {} cannot be timed", cell.id))?;
                known.push((text, estimate));
                estimate
            }
        };
        seconds.push(Some(match cell.action {
            Action::Evaluate(..) => estimate.seconds_per_evaluation,
            Action::Pretrain | Action::Finetune(_) => estimate.total_seconds,
        }));
    }
    Ok(seconds)
}

fn timed(plan: &Plan, action: &Action, recipe: &str) -> anyhow::Result<Estimate> {
    let folder = tempfile::tempdir().context("there is no folder for temporary files")?;
    let path = folder.path().join("recipe.toml");
    std::fs::write(&path, recipe).with_context(|| format!("cannot write {}", path.display()))?;
    let command = match action {
        Action::Pretrain => "pretrain",
        Action::Finetune(_) | Action::Evaluate(..) => "finetune",
    };
    let output = program(plan.threads)?
        .arg(command)
        .arg(&path)
        .arg("--estimate")
        .output()
        .context("deepmim-model cannot be started; it is built together with deepmim, so keep both in one folder")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let error = said
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("error: "));
        bail!("{}", error.unwrap_or("deepmim-model failed without a word"));
    }
    serde_json::from_slice(&output.stdout).context("deepmim-model gave no estimate")
}
