//! Suites and comparisons as a user runs them, on drawn data sets.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "shared with tests of single tasks")]
mod support;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use support::{deepmim, draw, fails, root, run, smoke};

/// Draws a small set for every task.
fn draw_all(folder: &Path) {
    draw(folder);
    for command in [
        "data synth detection --out shapes --pictures 8 --val-pictures 6 --size 96",
        "data synth segmentation --out scenes --pictures 8 --val-pictures 6 --size 96 --classes 8",
    ] {
        run(folder, &command.split(' ').collect::<Vec<_>>());
    }
}

/// Random and MAE, on all tasks, two cells side by side.
fn write_suite(folder: &Path, out: &str, changes: &[(&str, &str)]) -> String {
    let mut text = format!(
        r#"
title = "Smoke"
out = "{out}"
jobs = 2
threads = 2

[[checkpoint]]
name = "random"

[[checkpoint]]
name = "MAE"
pretrain = {{ recipe = "{}", data = "data" }}

[[task]]
name = "classes"
recipe = "{}"
data = "data"

[[task]]
name = "objects"
recipe = "{}"
data = "shapes"
set = ["model.trunk.depth=4", "model.trunk.windows.global_blocks=[1, 3]"]

[[task]]
name = "regions"
recipe = "{}"
data = "scenes"
"#,
        smoke("pretrain_mae.toml"),
        smoke("finetune.toml"),
        smoke("detect.toml"),
        smoke("segment.toml"),
    );
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let name = format!("{out}.toml");
    std::fs::write(folder.join(&name), text).unwrap();
    name
}

fn table(folder: &Path, out: &str) -> String {
    std::fs::read_to_string(folder.join(out).join("leaderboard.csv")).unwrap()
}

#[test]
fn a_suite_runs_compares_and_goes_on_after_being_killed() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw_all(at);
    let whole = write_suite(at, "whole", &[]);

    let plan = run(at, &["suite", &whole, "--dry-run"]);
    assert!(
        plan.contains("mae.objects.s0") && plan.contains("to do"),
        "{plan}"
    );
    assert!(plan.contains("in all"), "{plan}");
    assert!(!at.join("whole").exists(), "a dry run writes nothing");

    let told = run(at, &["suite", &whole]);
    for word in [
        "AP-box",
        "AP-mask",
        "mIoU",
        "top-1",
        "random",
        "MAE",
        "significant",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let rows = table(at, "whole");
    for key in ["top1", "box_ap", "mask_ap", "miou"] {
        let of = |system: &str| {
            rows.lines().any(|line| {
                let mut cells = csv_cells(line);
                cells.nth(2) == Some(system.to_owned()) && cells.next() == Some(key.to_owned())
            })
        };
        assert!(of("random") && of("MAE"), "{key}: {rows}");
    }
    let start = std::fs::read_to_string(at.join("whole/mae.objects.s0/start.json")).unwrap();
    assert!(start.contains("mae.pretrain"), "{start}");

    // Nothing is trained twice.
    let weights = at.join("whole/mae.objects.s0/checkpoints");
    let before = std::fs::metadata(&weights).unwrap().modified().unwrap();
    run(at, &["suite", &whole]);
    assert_eq!(
        std::fs::metadata(&weights).unwrap().modified().unwrap(),
        before
    );
    let plan = run(at, &["suite", &whole, "--dry-run", "--fast"]);
    assert_eq!(plan.matches("finished").count(), 7, "{plan}");

    // Nor is a finished cell believed whose pre-training is gone.
    let [pretraining, away] = ["whole/mae.pretrain", "away"].map(|name| at.join(name));
    std::fs::rename(&pretraining, &away).unwrap();
    let message = fails(at, 1, &["suite", &whole]);
    assert!(
        message.contains("mae.classes.s0") && message.contains("mae.pretrain"),
        "{message}"
    );
    std::fs::rename(&away, &pretraining).unwrap();

    // Killed without warning, again and again, it ends with the same numbers.
    let killed = write_suite(at, "killed", &[]);
    for pause in [0.3, 1.7, 2.9, 1.1, 4.3] {
        let mut suite = deepmim(at, &["suite", &killed])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_secs_f64(pause));
        suite.kill().unwrap();
        suite.wait().unwrap();
    }
    run(at, &["suite", &killed]);
    assert_eq!(table(at, "killed"), rows);

    // What a suite left can be compared in every form, and against single runs of it.
    let json = run(at, &["compare", "whole", "--format", "json"]);
    let board: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(board["systems"], serde_json::json!(["random", "MAE"]));
    assert_eq!(board["tasks"].as_array().unwrap().len(), 3);
    let page = std::fs::read_to_string(at.join("whole/report.html")).unwrap();
    assert!(
        page.contains("<svg") && page.contains("data:image/"),
        "no plots or pictures"
    );
    let rows = run(
        at,
        &[
            "compare",
            "A=whole/random.objects.s0",
            "B=killed/random.objects.s0",
        ],
    );
    assert!(
        rows.contains("+0.0") && rows.contains("not significant"),
        "{rows}"
    );
}

/// Cells of a line of CSV.
fn csv_cells(line: &str) -> impl Iterator<Item = String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(line.as_bytes());
    let row = reader.records().next().unwrap().unwrap();
    let cells: Vec<String> = row.iter().map(str::to_owned).collect();
    cells.into_iter()
}

#[test]
fn a_failed_cell_is_told_at_the_end_and_holds_nothing_else_up() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let only_classes = |changes: &[(&str, &str)]| {
        let name = write_suite(at, "half", changes);
        let text = std::fs::read_to_string(at.join(&name)).unwrap();
        let end = text.find("[[task]]\nname = \"objects\"").unwrap();
        std::fs::write(at.join(&name), &text[..end]).unwrap();
        name
    };
    let bad = (
        "name = \"random\"",
        "name = \"random\"\nweights = \"missing.pth\"",
    );
    let suite = only_classes(&[bad]);
    let output = deepmim(at, &["suite", &suite]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("missing.pth is not there"), "{told}");
    assert!(told.contains("--only random.classes.s0"), "{told}");
    assert!(told.contains("1 of 3 cells are not finished"), "{told}");
    assert!(table(at, "half").contains("MAE"));
    let plan = run(at, &["suite", &suite, "--dry-run", "--fast"]);
    assert!(plan.contains("failed: missing.pth"), "{plan}");

    // Mended, the one cell runs, and the others are left alone.
    let suite = only_classes(&[]);
    run(at, &["suite", &suite, "--only", "random.classes.s0"]);
    assert!(table(at, "half").contains("random"));

    let message = fails(at, 1, &["suite", &suite, "--only", "mae.objects.s0"]);
    assert!(message.contains("the cells are mae.pretrain"), "{message}");
    // A cell that was made by another recipe is not taken for this one's.
    let longer = only_classes(&[(
        "data = \"data\"\n",
        "data = \"data\"\nset = [\"trainer.epochs=3\"]\n",
    )]);
    let message = fails(at, 1, &["suite", &longer]);
    assert!(
        message.contains("trainer.epochs = 2") && message.contains("delete"),
        "{message}"
    );
}

#[test]
fn what_cannot_be_compared_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let recipe = smoke("finetune.toml");
    let train = |data: &str, out: &str| {
        run(at, &["finetune", &recipe, "--data", data, "--out", out]);
    };
    train("data", "one");
    std::fs::rename(at.join("data"), at.join("moved")).unwrap();
    run(
        at,
        &"data synth classification --out data --classes 4 --per-class 12 --val-per-class 6 --size 32"
            .split(' ')
            .collect::<Vec<_>>(),
    );
    train("data", "other");
    let message = fails(at, 1, &["compare", "one", "other"]);
    assert!(message.contains("different ground truths"), "{message}");
    let message = fails(at, 1, &["compare", "nowhere"]);
    assert!(message.contains("nowhere: it is not there"), "{message}");
    std::fs::create_dir(at.join("empty")).unwrap();
    let message = fails(at, 1, &["compare", "empty"]);
    assert!(message.contains("no PNG file"), "{message}");

    // Trainings with two seeds are one row, and a recipe that differs is told.
    run(
        at,
        &[
            "finetune",
            &recipe,
            "--data",
            "moved",
            "--out",
            "two",
            "--set",
            "trainer.seed=1",
            "--set",
            "trainer.clip_grad=3.0",
        ],
    );
    let told = run(at, &["compare", "MAE=one", "MAE=two"]);
    assert!(told.contains("of 2 seeds"), "{told}");
    assert!(
        told.contains("trainer.clip_grad is not set for MAE and 3.0 for MAE"),
        "{told}"
    );

    // A run does not go on from other weights than it started from.
    let other_start = [
        "finetune", &recipe, "--data", "data", "--out", "other", "--resume", "--init", "two",
    ];
    let message = fails(at, 1, &other_start);
    assert!(message.contains("started from random weights"), "{message}");

    // Bare files of predictions are compared like runs.
    std::fs::copy(at.join("one/eval/predictions.csv"), at.join("bare.csv")).unwrap();
    let told = run(at, &["compare", "one", "bare.csv", "--format", "md"]);
    assert!(told.contains("| bare"), "{told}");
}

/// The suites in `configs/` can be planned: their recipes are there and their keys are known.
#[test]
fn every_suite_is_sound() {
    let folder = root().join("configs/suites");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path().display().to_string();
        let plan = run(&root(), &["suite", &path, "--dry-run", "--fast"]);
        assert!(
            plan.contains("to do") || plan.contains("finished"),
            "{path}: {plan}"
        );
        seen += 1;
    }
    assert!(seen > 0);
}

/// Weights that are trained already are evaluated and not trained, and seeds become one row.
#[test]
fn trained_weights_are_evaluated_and_seeds_are_means() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let recipe = smoke("finetune.toml");
    let once = [
        "finetune",
        &recipe,
        "--data",
        "data",
        "--out",
        "once",
        "--set",
        "trainer.ema_decay=0.9",
    ];
    run(at, &once);
    let suite = format!(
        "out = \"o\"\nseeds = [0, 1]\nthreads = 2\n[[checkpoint]]\nname = \"random\"\n[[checkpoint]]\nname = \"trained\"\n[checkpoint.trained]\nclasses = {{ weights = \"once\" }}\n[[task]]\nname = \"classes\"\nrecipe = \"{recipe}\"\ndata = \"data\"\n"
    );
    std::fs::write(at.join("suite.toml"), &suite).unwrap();
    let plan = run(at, &["suite", "suite.toml", "--dry-run"]);
    assert!(
        plan.contains("trained.classes") && plan.contains("in all"),
        "{plan}"
    );
    let told = run(at, &["suite", "suite.toml"]);
    assert!(told.contains("of 2 seeds"), "{told}");
    assert!(
        !at.join("o/trained.classes/checkpoints").exists(),
        "it was trained"
    );
    let number = |path: &Path, key: &str| -> f64 {
        let text = std::fs::read_to_string(path).unwrap();
        let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
        summary[key].as_f64().unwrap()
    };
    let recorded = number(&at.join("once/eval/summary.json"), "top1");
    assert_eq!(
        number(&at.join("o/trained.classes/summary.json"), "top1"),
        recorded
    );
    let mean = [0, 1].map(|seed| {
        number(
            &at.join(format!("o/random.classes.s{seed}/eval/summary.json")),
            "top1",
        )
    });
    let board = std::fs::read_to_string(at.join("o/leaderboard.json")).unwrap();
    let board: serde_json::Value = serde_json::from_str(&board).unwrap();
    let row = &board["tasks"][0]["systems"][0];
    assert_eq!(
        (row["system"].as_str(), row["seeds"].as_u64()),
        (Some("random"), Some(2))
    );
    let shown = row["scores"][0]["value"].as_f64().unwrap();
    assert!((shown - (mean[0] + mean[1]) / 2.0).abs() < 1e-9);

    // The same weights by another name are no others; changed ones behind a finished cell are found out.
    let summary = std::fs::read_to_string(at.join("once/summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    let newest = summary["checkpoint"].as_str().unwrap();
    let file = at.join("once").join(newest).join("ema.safetensors");
    std::fs::copy(&file, at.join("copy.safetensors")).unwrap();
    let copied = suite.replace("\"once\"", "\"copy.safetensors\"");
    std::fs::write(at.join("copied.toml"), &copied).unwrap();
    run(at, &["suite", "copied.toml", "--dry-run"]);
    let pretrained = suite.replace("name = \"random\"", "name = \"random\"\nweights = \"once\"");
    std::fs::write(at.join("pretrained.toml"), pretrained).unwrap();
    let message = fails(at, 1, &["suite", "pretrained.toml"]);
    assert!(
        message.contains("random.classes.s0") && message.contains("random weights"),
        "{message}"
    );
    std::fs::remove_dir_all(at.join("once")).unwrap();
    run(at, &[&once[..], &["--set", "trainer.seed=9"]].concat());
    std::fs::copy(&file, at.join("copy.safetensors")).unwrap();
    for name in ["suite.toml", "copied.toml"] {
        let message = fails(at, 1, &["suite", name]);
        assert!(message.contains("other weights"), "{name}: {message}");
    }
}
