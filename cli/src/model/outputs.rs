//! Where evaluations and predictions leave their files.

use std::path::{Path, PathBuf};

use anyhow::Context;
use deepmim_cli::{EvalArgs, PredictArgs};

/// Folder of an evaluation: `--out`, `eval/` in the run that the weights are of, or a folder by the recipe's
/// name.
pub fn evaluation_folder(args: &EvalArgs, run: Option<&Path>, recipe: &str) -> PathBuf {
    match (&args.out, run) {
        (Some(out), _) => out.clone(),
        (None, Some(run)) => run.join("eval"),
        (None, None) => PathBuf::from("runs").join(format!("{recipe}_eval")),
    }
}

/// Folder of predictions, `--out` or `predictions`, made where it is not there.
pub fn prediction_folder(args: &PredictArgs) -> anyhow::Result<PathBuf> {
    let out = args.out.clone();
    let out = out.unwrap_or_else(|| PathBuf::from("predictions"));
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    Ok(out)
}

/// A name for a picture's files, which `paths` makes of a stem: the picture's own, numbered where a file is
/// the picture itself or already `taken`.
pub fn free_paths<const N: usize>(
    picture: &Path,
    paths: impl Fn(&str) -> [PathBuf; N],
    taken: impl Fn(&Path) -> bool,
) -> anyhow::Result<[PathBuf; N]> {
    let stem = picture
        .file_stem()
        .with_context(|| format!("{} is no file", picture.display()))?
        .to_string_lossy();
    let mut number = 1;
    loop {
        let candidates = match number {
            1 => paths(&stem),
            _ => paths(&format!("{stem}_{number}")),
        };
        let free = |path: &PathBuf| path != picture && !taken(path);
        if candidates.iter().all(free) {
            return Ok(candidates);
        }
        number += 1;
    }
}
