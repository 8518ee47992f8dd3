//! `data synth segmentation`, `data labels` and `data check` on what they make.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use support::{deepmim, fails, run};

/// Arguments as one would type them.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn a_made_up_segmentation_set_is_sound_until_it_is_spoilt() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let synth = words(
        "data synth segmentation --out scenes --pictures 8 --val-pictures 4 --size 64 --classes 4 --max-objects 4 --seed 2",
    );
    let told = run(folder, &synth);
    assert!(told.starts_with("12 pictures of 4 classes, "), "{told}");
    assert!(fails(folder, 1, &synth).contains("it exists already"));
    let names = std::fs::read_to_string(folder.join("scenes/classes.txt")).unwrap();
    assert_eq!(names, "sky\nwater\ndisc\nsquare\n");

    let check = words(
        "data check --images scenes/images/training --labels scenes/annotations/training --val-images scenes/images/validation --val-labels scenes/annotations/validation --classes-file scenes/classes.txt --reduce-zero-label",
    );
    let report = run(folder, &check);
    assert!(
        report.contains("train: 8 pictures in 4 classes"),
        "{report}"
    );
    assert!(report.contains("val: 4 label maps, "), "{report}");
    assert!(report.contains("sky "), "{report}");
    assert!(!report.contains("error: "), "{report}");
    let recipe = "task = \"segment\"
[model]
classes = 4
[data]
root = \"scenes\"
train = { images = \"images/training\", labels = \"annotations/training\" }
val = { images = \"images/validation\", labels = \"annotations/validation\" }
classes = { names = \"classes.txt\", reduce_zero_label = true }
train_transform = { size = 64 }
";
    std::fs::write(folder.join("recipe.toml"), recipe).unwrap();
    assert_eq!(
        run(folder, &words("data check --config recipe.toml")),
        report
    );

    std::fs::remove_file(folder.join("scenes/images/training/000002.jpg")).unwrap();
    std::fs::write(folder.join("scenes/images/training/000003.jpg"), b"x").unwrap();
    // Without --reduce-zero-label, 4 is no class.
    let mut arguments = check[..check.len() - 1].to_vec();
    arguments.extend(["--json", "--classes", "5"]);
    let output = deepmim(folder, &arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let messages = report["findings"].to_string();
    for expected in [
        "1 of 8 label maps have no picture",
        "000003.jpg: not a readable picture",
        "label 4 is none of the 4 classes (0 to 3)",
        "it gives 4 classes but 5 are expected",
    ] {
        assert!(messages.contains(expected), "{expected}: {messages}");
    }
    assert_eq!(report["splits"][0]["unreadable"], 1);
    assert_eq!(report["splits"][1]["labels"]["classes"][1]["name"], "water");
}

#[test]
fn detection_sets_become_label_maps() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    run(
        folder,
        &words(
            "data synth detection --out shapes --pictures 6 --val-pictures 3 --size 64 --classes 3 --seed 2",
        ),
    );
    for split in ["train", "val"] {
        let line = format!(
            "data labels --annotations shapes/annotations/{split}.json --images shapes/{split} --out shapes/labels"
        );
        let told = run(folder, &words(&line));
        assert!(told.contains("of 4 classes in"), "{told}");
        assert!(fails(folder, 1, &words(&line)).contains("it exists already"));
    }
    let names = std::fs::read_to_string(folder.join("shapes/labels/classes.txt")).unwrap();
    assert_eq!(names, "background\ndisc\nsquare\ntriangle\n");
    let report = run(
        folder,
        &words(
            "data check --images shapes/train --labels shapes/labels/annotations/train --val-images shapes/val --val-labels shapes/labels/annotations/val --classes-file shapes/labels/classes.txt",
        ),
    );
    assert!(!report.contains("error: "), "{report}");
    assert!(report.contains("background "), "{report}");
    let told = run(
        folder,
        &words(
            "data labels --annotations shapes/annotations/val.json --images shapes/val --out things --ignore-background --keep-crowds --split v",
        ),
    );
    assert!(
        told.contains("of 3 classes in things/annotations/v,"),
        "{told}"
    );
}

#[test]
fn flags_of_one_task_do_not_mix_with_anothers() {
    let dir = tempfile::tempdir().unwrap();
    for line in [
        "data check --labels l",
        "data check --images i",
        "data check --train t --labels l --images i",
        "data check --images i --labels l --annotations a.json",
        "data check --images i --labels l --val-labels v",
        "data check --train t --reduce-zero-label",
        "data check --config r.toml --labels l --images i",
    ] {
        let output = deepmim(dir.path(), &words(line)).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}");
    }
}
