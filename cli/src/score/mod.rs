//! `deepmim score`: metrics of prediction files. No model, and so neither libtorch nor OpenCV.

mod ade20k;
mod coco;
mod comparison;
mod imagenet;
mod names;

use std::time::Duration;

use deepmim_cli::{Failure, ScoreCommand};
use eval::{BootstrapConfig, Skipped, Strictness};
use indicatif::{ProgressBar, ProgressStyle};

/// Scores what was asked for.
pub fn run(command: &ScoreCommand) -> Result<(), Failure> {
    match command {
        ScoreCommand::Coco(args) => coco::run(args)?,
        ScoreCommand::Ade20k(args) => ade20k::run(args)?,
        ScoreCommand::Imagenet(args) => imagenet::run(args)?,
    }
    Ok(())
}

/// Sets how many threads score.
pub fn set_threads(threads: Option<usize>) -> anyhow::Result<()> {
    if let Some(threads) = threads {
        anyhow::ensure!(threads > 0, "--threads 0: use 1 or more");
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()?;
    }
    Ok(())
}

fn strictness(lenient: bool) -> Strictness {
    if lenient {
        Strictness::Lenient
    } else {
        Strictness::Strict
    }
}

/// Resamples where systems are compared.
const RESAMPLES: usize = 1000;

/// How to resample: as asked for, by default where several systems are compared; 0 is not at all.
fn bootstrap_config(
    resamples: Option<usize>,
    seed: u64,
    systems: usize,
) -> Option<BootstrapConfig> {
    let resamples = resamples.unwrap_or(if systems > 1 { RESAMPLES } else { 0 });
    (resamples > 0).then(|| BootstrapConfig {
        resamples,
        seed,
        ..BootstrapConfig::default()
    })
}

/// Says on stderr how many records were left out, and why the first of them.
fn tell_skipped(skipped: &Skipped) {
    if let Some(first) = skipped.first() {
        eprintln!("left out {} records; the first: {first}", skipped.count());
    }
}

/// A bar of bytes read, or of steps done, that shows after a moment and vanishes when done.
fn bar(template: &str, length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}
