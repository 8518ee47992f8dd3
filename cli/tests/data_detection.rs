//! `data synth detection` and `data check` on what it makes.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use support::{deepmim, fails, run};

#[test]
fn a_made_up_detection_set_is_sound_until_it_is_spoilt() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let synth = [
        "data",
        "synth",
        "detection",
        "--out",
        "shapes",
        "--pictures",
        "6",
        "--val-pictures",
        "3",
        "--size",
        "64",
        "--classes",
        "3",
        "--max-objects",
        "4",
        "--seed",
        "2",
    ];
    let told = run(folder, &synth);
    assert!(told.starts_with("9 pictures with "), "{told}");
    assert!(fails(folder, 1, &synth).contains("it exists already"));

    let check = [
        "data",
        "check",
        "--annotations",
        "shapes/annotations/train.json",
        "--images",
        "shapes/train",
        "--val-annotations",
        "shapes/annotations/val.json",
        "--val-images",
        "shapes/val",
    ];
    let report = run(folder, &check);
    assert!(
        report.contains("train: 6 pictures in 3 classes"),
        "{report}"
    );
    assert!(!report.contains("error: "), "{report}");
    let recipe = "task = \"detect\"
[model]
classes = 3
[data]
root = \"shapes\"
train = { images = \"train\", annotations = \"annotations/train.json\" }
val = { images = \"val\", annotations = \"annotations/val.json\" }
train_transform = { size = 64 }
eval_transform = { short_side = 64, long_side = 64 }
";
    std::fs::write(folder.join("recipe.toml"), recipe).unwrap();
    let of_recipe = ["data", "check", "--config", "recipe.toml"];
    assert_eq!(run(folder, &of_recipe), report);

    std::fs::remove_file(folder.join("shapes/train/000002.png")).unwrap();
    let mut arguments = check.to_vec();
    arguments.extend(["--json", "--classes", "4"]);
    let output = deepmim(folder, &arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let messages = report["findings"].to_string();
    assert!(
        messages.contains("000002.png: cannot be read"),
        "{messages}"
    );
    assert!(messages.contains("4 classes are expected"), "{messages}");
    assert_eq!(report["splits"][0]["unreadable"], 1);
    assert_eq!(report["splits"][1]["objects"]["boxes_only"], 0);
}
