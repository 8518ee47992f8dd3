//! `deepmim demo`: the whole story on data made on the spot, as a suite that users can read and change.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use deepmim_cli::{DemoArgs, Failure, ResampleArgs};

use crate::suite;

/// Recipes of the demo, by name.
const RECIPES: [(&str, &str); 5] = [
    (
        "pretrain_mae.toml",
        include_str!("../../configs/demo/pretrain_mae.toml"),
    ),
    (
        "pretrain_deepmim.toml",
        include_str!("../../configs/demo/pretrain_deepmim.toml"),
    ),
    (
        "classify.toml",
        include_str!("../../configs/demo/classify.toml"),
    ),
    (
        "detect.toml",
        include_str!("../../configs/demo/detect.toml"),
    ),
    (
        "segment.toml",
        include_str!("../../configs/demo/segment.toml"),
    ),
];

/// The drawn sets and how `deepmim data synth` makes them.
const SETS: [(&str, &str); 3] = [
    (
        "classification",
        "--plain --classes 6 --per-class 800 --val-per-class 100 --size 64",
    ),
    (
        "detection",
        "--plain --pictures 3000 --val-pictures 200 --classes 5 --max-objects 3 --size 64",
    ),
    (
        "segmentation",
        "--plain --pictures 1800 --val-pictures 200 --classes 5 --max-objects 3 --size 64",
    ),
];

/// More cells side by side than this find no work for long.
const MOST_JOBS: usize = 6;
/// File of a drawn set that says how it was drawn.
const DRAWN: &str = "drawn.txt";

/// Draws the data, writes the suite and runs it; what is finished is skipped.
pub fn run(args: &DemoArgs) -> Result<(), Failure> {
    let started = Instant::now();
    for (set, options) in SETS {
        draw(&args.out, set, options, args.seed)?;
    }
    let suite = write_suite(args)?;
    suite::run_file(
        &suite,
        &ResampleArgs {
            resamples: 1000,
            bootstrap_seed: 0,
            published: false,
        },
    )?;
    eprintln!(
        "the suite is {}; change it, or run it again with deepmim suite ({:.0} s in all)",
        suite.display(),
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Draws a set unless it is there.
fn draw(out: &Path, set: &str, options: &str, seed: u64) -> anyhow::Result<()> {
    let folder = out.join("data").join(set);
    let marker = folder.join(DRAWN);
    let wanted = format!("{options} --seed {seed}\n");
    if let Ok(had) = std::fs::read_to_string(&marker) {
        ensure!(
            had == wanted,
            "{} was drawn with {} and would now be drawn with {}: choose another --out, or delete {}",
            folder.display(),
            had.trim(),
            wanted.trim(),
            out.display()
        );
        return Ok(());
    }
    if folder.is_dir() {
        // A drawing that was interrupted.
        std::fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    let own = std::env::current_exe().context("this program's own path is not known")?;
    let status = Command::new(own.with_file_name("deepmim-data"))
        .args(["data", "synth", set, "--out"])
        .arg(&folder)
        .args(wanted.split_whitespace())
        .stdout(std::io::stderr())
        .status()
        .context("deepmim-data cannot be started; it is built together with deepmim, so keep both in one folder")?;
    ensure!(status.success(), "drawing {} failed", folder.display());
    std::fs::write(&marker, wanted)
        .with_context(|| format!("{} cannot be written", marker.display()))
}

/// Writes the recipes and the suite's file.
fn write_suite(args: &DemoArgs) -> anyhow::Result<std::path::PathBuf> {
    let recipes = args.out.join("configs");
    std::fs::create_dir_all(&recipes)
        .with_context(|| format!("cannot make {}", recipes.display()))?;
    for (name, text) in RECIPES {
        let path = recipes.join(name);
        std::fs::write(&path, text)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let quoted = |path: &Path| -> anyhow::Result<String> {
        let text = path.to_str();
        let text = text.with_context(|| format!("{} is not UTF-8", path.display()))?;
        Ok(toml::Value::from(text).to_string())
    };
    let recipe = |name: &str| quoted(&recipes.join(name));
    let data = |name: &str| quoted(&args.out.join("data").join(name));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // One thread for each cell, so that every machine does the same sums.
    let jobs = cores.min(MOST_JOBS);
    let mut text = format!(
        "# Three starts on three tasks: what `deepmim demo` runs.\n\ntitle = \"deepmim demo\"\nout = {}\nseeds = [{}]\njobs = {jobs}\nthreads = {jobs}\n\n[[checkpoint]]\nname = \"random\"\n",
        quoted(&args.out)?,
        args.seed,
    );
    for (name, file) in [
        ("MAE", "pretrain_mae.toml"),
        ("DeepMIM", "pretrain_deepmim.toml"),
    ] {
        text += &format!(
            "\n[[checkpoint]]\nname = \"{name}\"\npretrain = {{ recipe = {}, data = {}, set = [\"trainer.seed={}\"] }}\n",
            recipe(file)?,
            data("detection")?,
            args.seed
        );
    }
    for (task, file) in [
        ("classification", "classify.toml"),
        ("detection", "detect.toml"),
        ("segmentation", "segment.toml"),
    ] {
        text += &format!(
            "\n[[task]]\nname = \"{task}\"\nrecipe = {}\ndata = {}\n",
            recipe(file)?,
            data(task)?
        );
    }
    let path = args.out.join("suite.toml");
    std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path)
}
