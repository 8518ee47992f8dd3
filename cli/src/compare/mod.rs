//! `deepmim compare`: leaderboards of runs and predictions. No model, and so neither libtorch nor OpenCV.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use deepmim_cli::{CompareArgs, Failure, FormatArg, ResampleArgs, print_text};
use eval::BootstrapConfig;
use indicatif::{ProgressBar, ProgressStyle};
use leaderboard::{Board, BoardOptions, GivenTruth, Request};

use crate::score::set_threads;
use crate::suite::suite_requests;

/// Compares what was asked for.
pub fn run(args: &CompareArgs) -> Result<(), Failure> {
    set_threads(args.threads)?;
    let mut requests = Vec::new();
    for run in &args.runs {
        requests.extend(requested(run)?);
    }
    let options = BoardOptions {
        title: args.title.clone(),
        truth: GivenTruth {
            files: args.gt.clone(),
            class_names: args.class_names.clone(),
            classes: args.classes,
            reduce_zero_label: args.reduce_zero_label,
        },
        bootstrap: bootstrap(&args.resample),
        all_published: args.resample.published,
    };
    let board = build(&requests, &options)?;
    let text = written(&board, args.format)?;
    match &args.out {
        Some(path) => {
            std::fs::write(path, text)
                .with_context(|| format!("{} cannot be written", path.display()))?;
            eprintln!("written: {}", path.display());
        }
        None => print_text(&text)?,
    }
    Ok(())
}

/// How pictures are resampled, as asked for.
pub fn bootstrap(args: &ResampleArgs) -> BootstrapConfig {
    BootstrapConfig {
        resamples: args.resamples,
        seed: args.bootstrap_seed,
        ..BootstrapConfig::default()
    }
}

/// Builds a leaderboard with a progress bar.
pub fn build(requests: &[Request], options: &BoardOptions) -> anyhow::Result<Board> {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("comparing {msg} {bar:30} {pos}/{len}, {eta} left");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    let board = leaderboard::build(requests, options, &|task, done, all| {
        if done == 1 {
            bar.set_message(task.to_owned());
        }
        bar.set_length(all);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    Ok(board)
}

/// A leaderboard in a form.
pub fn written(board: &Board, format: FormatArg) -> anyhow::Result<String> {
    Ok(match format {
        FormatArg::Table => leaderboard::table(board),
        FormatArg::Csv => leaderboard::csv(board)?,
        FormatArg::Md => leaderboard::markdown(board),
        FormatArg::Html => leaderboard::html(board)?,
        FormatArg::Json => leaderboard::json(board)?,
    })
}

/// `[NAME=]PATH`; a suite's folder stands for all of its cells.
fn requested(text: &str) -> anyhow::Result<Vec<Request>> {
    let (system, path) = match text.split_once('=') {
        Some((name, path)) if !Path::new(text).exists() && !name.is_empty() => {
            (Some(name.to_owned()), PathBuf::from(path))
        }
        _ => (None, PathBuf::from(text)),
    };
    if let Some(requests) = suite_requests(&path)? {
        anyhow::ensure!(
            system.is_none(),
            "{text}: a suite's checkpoints have names of their own, so leave the name out"
        );
        return Ok(requests);
    }
    Ok(vec![Request {
        path,
        system,
        task: None,
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_before_paths_and_a_path_may_hold_an_equals_sign() {
        let one = |text: &str| requested(text).unwrap().remove(0);
        let named = one("MAE=runs/a=b");
        assert_eq!(named.system.as_deref(), Some("MAE"));
        assert_eq!(named.path, Path::new("runs/a=b"));
        assert_eq!(one("runs/a").system, None);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x=y");
        std::fs::create_dir(&path).unwrap();
        assert_eq!(one(path.to_str().unwrap()).path, path);
    }
}
