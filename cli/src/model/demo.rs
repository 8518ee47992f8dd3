//! `deepmim demo`: the whole story on a data set made on the spot.

use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use classification::Evaluation;
use comfy_table::{CellAlignment, Table, presets};
use data::{PictureFormat, SynthClassificationConfig, synth_classification};
use deepmim_cli::{DemoArgs, Failure, RecipeText, RunArgs, print_text};

use crate::experiment::{ClassifyRecipe, PretrainRecipe};
use crate::session::path_value;
use crate::weights::Weights;
use crate::{classify, pretrain};

const PRETRAIN_MAE: (&str, &str) = (
    "configs/demo/pretrain_mae.toml",
    include_str!("../../../configs/demo/pretrain_mae.toml"),
);
const PRETRAIN_DEEPMIM: (&str, &str) = (
    "configs/demo/pretrain_deepmim.toml",
    include_str!("../../../configs/demo/pretrain_deepmim.toml"),
);
const CLASSIFY: (&str, &str) = (
    "configs/demo/classify.toml",
    include_str!("../../../configs/demo/classify.toml"),
);

/// A row of the table: what the trunk started from, how it did, and what that cost.
struct Row {
    name: &'static str,
    pretrain_seconds: f64,
    finetune_seconds: f64,
    evaluation: Evaluation,
}

/// Makes the data, pre-trains twice, fine-tunes three times, prints the table.
pub fn run(args: &DemoArgs) -> Result<(), Failure> {
    let started = Instant::now();
    let pictures = args.out.join("data");
    if pictures.is_dir() {
        std::fs::remove_dir_all(&pictures)
            .with_context(|| format!("cannot empty {}", pictures.display()))?;
    }
    let config = SynthClassificationConfig {
        classes: 6,
        train_per_class: 800,
        val_per_class: 100,
        size: 64,
        seed: args.seed,
        format: PictureFormat::Png,
        plain: true,
    };
    let drawn = synth_classification(&pictures, &config)?;
    eprintln!(
        "data: {} pictures of {} classes in {}",
        drawn.pictures,
        drawn.classes.len(),
        pictures.display()
    );

    let mut rows = Vec::new();
    for (name, recipe) in [
        ("random", None),
        ("MAE", Some(PRETRAIN_MAE)),
        ("DeepMIM", Some(PRETRAIN_DEEPMIM)),
    ] {
        let folder = name.to_lowercase();
        let clock = Instant::now();
        let init = match recipe {
            Some(recipe) => {
                eprintln!("pre-training: {name}");
                let out = args.out.join(format!("{folder}_pretrain"));
                let recipe = PretrainRecipe::from_text(&text(recipe, &pictures, args.seed)?)?;
                pretrain::train(&recipe, &folder, &into(&out))?;
                Some(out)
            }
            None => None,
        };
        let pretrain_seconds = clock.elapsed().as_secs_f64();
        eprintln!("fine-tuning: {name}");
        let clock = Instant::now();
        let recipe = ClassifyRecipe::from_text(&text(CLASSIFY, &pictures, args.seed)?, "finetune")?;
        let weights = init
            .map(|path| Weights::find(&path, None, &recipe.init))
            .transpose()?;
        let out = args.out.join(format!("{folder}_finetune"));
        let evaluation = classify::train(&recipe, &folder, weights.as_ref(), &into(&out))?;
        rows.push(Row {
            name,
            pretrain_seconds: if weights.is_some() {
                pretrain_seconds
            } else {
                0.0
            },
            finetune_seconds: clock.elapsed().as_secs_f64(),
            evaluation,
        });
    }
    print_text(&table(&rows))?;
    print_text(&format!(
        "The interval is 95 % of a binomial over {} validation pictures; one seed, so training noise comes on top.\nRuns, curves and pictures of reconstructions: {} ({:.0} s in all)",
        rows.first().map_or(0, |row| row.evaluation.samples),
        args.out.display(),
        started.elapsed().as_secs_f64()
    ))?;
    Ok(())
}

/// A recipe of the demo, for this place and seed.
fn text((name, text): (&str, &str), pictures: &Path, seed: u64) -> anyhow::Result<RecipeText> {
    let mut text = RecipeText::parse(Path::new(name), text.to_owned())?;
    text.set_value("data.root", path_value(pictures)?)?;
    let seed = i64::try_from(seed).context("--seed must be below 2^63")?;
    text.set_value("trainer.seed", seed.into())?;
    Ok(text)
}

fn into(out: &Path) -> RunArgs {
    RunArgs {
        out: Some(out.to_owned()),
        resume: false,
        overwrite: true,
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([
        "start",
        "top-1 %",
        "± 95 %",
        "top-5 %",
        "loss",
        "pre-training s",
        "fine-tuning s",
    ]);
    for row in rows {
        let report = row.evaluation.report();
        let value = |name: &str| report.get(name).unwrap_or(f64::NAN);
        let share = value("top1") / 100.0;
        let interval = 196.0 * (share * (1.0 - share) / row.evaluation.samples as f64).sqrt();
        table.add_row([
            row.name.to_owned(),
            format!("{:.1}", value("top1")),
            format!("{interval:.1}"),
            format!("{:.1}", value("top5")),
            format!("{:.3}", value("loss")),
            format!("{:.0}", row.pretrain_seconds),
            format!("{:.0}", row.finetune_seconds),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
