//! How long the cells of a plan will take, by timing a few steps.

use anyhow::{Context, bail};
use serde::Deserialize;

use super::plan::{Action, Plan};
use super::process::program;
use super::status::Status;

/// What `--estimate` prints; the field that is needed here.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Estimate {
    total_seconds: f64,
}

/// Seconds of each cell from its beginning; cells of the same recipe are timed once. Finished cells are not
/// timed.
pub fn estimates(plan: &Plan, statuses: &[Status]) -> anyhow::Result<Vec<Option<f64>>> {
    let mut known: Vec<((&str, String), f64)> = Vec::new();
    let mut seconds = Vec::with_capacity(plan.cells.len());
    for (cell, status) in plan.cells.iter().zip(statuses) {
        if *status == Status::Finished {
            seconds.push(None);
            continue;
        }
        // What differs between seeds takes no time.
        let mut recipe = cell.recipe.clone();
        recipe.set_value("trainer.seed", 0.into())?;
        let key = (cell.action.word(), recipe.to_toml()?);
        let estimate = match known.iter().find(|(timed, _)| *timed == key) {
            Some((_, estimate)) => *estimate,
            None => {
                eprintln!("timing {}", cell.what());
                let estimate = timed(plan, &cell.action, &key.1)
                    .with_context(|| format!("the cell {} cannot be timed", cell.id))?;
                known.push((key, estimate));
                estimate
            }
        };
        seconds.push(Some(estimate));
    }
    Ok(seconds)
}

fn timed(plan: &Plan, action: &Action, recipe: &str) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir().context("there is no folder for temporary files")?;
    let path = folder.path().join("recipe.toml");
    std::fs::write(&path, recipe).with_context(|| format!("cannot write {}", path.display()))?;
    let mut command = program(plan.threads)?;
    command.arg(action.word()).arg(&path).arg("--estimate");
    // Where a fine-tuning starts takes no time, and may not be trained yet.
    if let Action::Evaluate(weights, dialect) = action {
        command.arg("--weights").arg(weights);
        if let Some(dialect) = dialect {
            command.arg("--dialect").arg(dialect);
        }
    }
    let output = command
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
    let estimate: Estimate =
        serde_json::from_slice(&output.stdout).context("deepmim-model gave no estimate")?;
    Ok(estimate.total_seconds)
}
