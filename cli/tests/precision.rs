//! Training in narrow number formats, every task: norms, softmax and losses stay in float32 (the trainer refuses
//! a loss that is not), so a step's losses are those of float32 but for the products' rounding.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "shared with other tests")]
mod support;

use std::path::Path;

use support::{draw, run, smoke};

/// The losses of the first step.
fn first_losses(run: &Path) -> Vec<(String, f64)> {
    let mut rows = csv::Reader::from_path(run.join("metrics.csv")).unwrap();
    let rows: Vec<csv::StringRecord> = rows.records().map(|row| row.unwrap()).collect();
    rows.iter()
        .filter(|row| &row[0] == "1" && row[2].contains("loss") && &row[2] != "train/loss_scale")
        .map(|row| (row[2].to_owned(), row[3].parse().unwrap()))
        .collect()
}

#[test]
fn every_task_trains_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    for what in ["detection", "segmentation"] {
        let command =
            format!("data synth {what} --out {what} --pictures 8 --val-pictures 2 --size 96");
        run(at, &command.split(' ').collect::<Vec<_>>());
    }
    for (command, recipe, data) in [
        ("pretrain", "pretrain_deepmim.toml", "data"),
        ("finetune", "finetune.toml", "data"),
        ("finetune", "detect.toml", "detection"),
        ("finetune", "segment.toml", "segmentation"),
    ] {
        let recipe = smoke(recipe);
        let train = |precision: &str| {
            let out = format!("{data}_{command}_{precision}");
            let precision = format!("trainer.precision=\"{precision}\"");
            let mut arguments = vec![command, &recipe, "--data", data, "--out", &out];
            for value in [
                precision.as_str(),
                "trainer.max_steps=3",
                "trainer.log_every=1",
                "model.trunk.activation_checkpointing=true",
            ] {
                arguments.extend(["--set", value]);
            }
            run(at, &arguments);
            first_losses(&at.join(&out))
        };
        let wanted = train("f32");
        assert!(!wanted.is_empty());
        for precision in ["bf16", "f16"] {
            let found = train(precision);
            assert_eq!(found.len(), wanted.len(), "{recipe} {precision}");
            for ((name, found), (_, wanted)) in found.iter().zip(&wanted) {
                assert!(
                    (found - wanted).abs() < 0.03 * wanted.abs().max(0.1),
                    "{recipe} {precision} {name}: {found} and {wanted}"
                );
            }
        }
    }
}
