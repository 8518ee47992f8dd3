//! Detection as a user runs it, on a drawn data set.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "shared with tests of classification")]
mod support;

use std::path::Path;

use support::{deepmim, fails, run, smoke, weights_hash};

fn draw(folder: &Path) {
    let command = "data synth detection --out data --pictures 12 --val-pictures 6 --size 96";
    run(folder, &command.split(' ').collect::<Vec<_>>());
}

fn summary(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_detector_is_trained_evaluated_and_draws_what_it_finds() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let recipe = smoke("detect.toml");
    run(
        at,
        &["finetune", &recipe, "--data", "data", "--out", "whole"],
    );
    let whole = at.join("whole");
    for file in [
        "instances.json",
        "summary.csv",
        "bbox/per_category.csv",
        "segm/per_category.csv",
    ] {
        assert!(whole.join("eval").join(file).is_file(), "{file}");
    }

    // Evaluating the run again gives the numbers of training's end.
    let trained = summary(&whole.join("eval/summary.json"));
    let again = [
        "eval",
        &recipe,
        "--data",
        "data",
        "--weights",
        "whole",
        "--out",
        "again",
    ];
    run(at, &again);
    assert_eq!(summary(&at.join("again/summary.json")), trained);
    let mut flipped = again.to_vec();
    flipped.extend(["--flip", "--score-threshold", "0", "--max-detections", "7"]);
    run(at, &flipped);
    let results: Vec<serde_json::Value> =
        serde_json::from_slice(&std::fs::read(at.join("again/instances.json")).unwrap()).unwrap();
    let ids: Vec<i64> = results
        .iter()
        .map(|result| result["image_id"].as_i64().unwrap())
        .collect();
    assert!(!ids.is_empty());
    for id in &ids {
        assert!(ids.iter().filter(|other| *other == id).count() <= 7);
    }

    let picture = "data/val/".to_owned()
        + &std::fs::read_dir(at.join("data/val"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .min()
            .unwrap();
    let told = run(
        at,
        &[
            "predict",
            &recipe,
            "--weights",
            "whole",
            &picture,
            "--score-threshold",
            "0",
            "--out",
            "found",
            "--json",
        ],
    );
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let objects = told[0]["objects"].as_array().unwrap();
    assert!(!objects.is_empty());
    assert!(objects[0]["segmentation"]["counts"].is_string());
    assert!(at.join(told[0]["overlay"].as_str().unwrap()).is_file());
    assert!(at.join("found/detections.json").is_file());

    let sentence = fails(
        at,
        1,
        &[
            "eval",
            &recipe,
            "--data",
            "data",
            "--weights",
            "whole",
            "--set",
            "model.classes=3",
        ],
    );
    assert!(sentence.contains("model.classes=4"), "{sentence}");
}

#[test]
fn a_cascade_without_masks_goes_the_same_way() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let recipe = smoke("detect.toml");
    let finetune = ["finetune", &recipe, "--data", "data", "--out", "boxes"];
    let sets = [
        "model.cascade=true",
        "model.masks=false",
        "trainer.epochs=1",
    ];
    let sets = sets.iter().flat_map(|set| ["--set", *set]);
    run(at, &finetune.into_iter().chain(sets).collect::<Vec<_>>());
    let scores = summary(&at.join("boxes/eval/summary.json"));
    let scores = scores.as_object().unwrap();
    assert!(scores.contains_key("bbox/AP") && !scores.contains_key("segm/AP"));
}

#[test]
fn options_of_the_other_task_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let predict = |recipe: &str, option: &[&str]| {
        let recipe = smoke(recipe);
        let command = ["predict", &recipe, "--weights", "none", "a.png"];
        fails(at, 1, &[&command[..], option].concat())
    };
    for (recipe, option, wanted) in [
        ("detect.toml", &["--top", "3"][..], "classify"),
        ("finetune.toml", &["--out", "found"], "detect"),
        ("finetune.toml", &["--flip"], "detect"),
        ("finetune.toml", &["--max-detections", "3"], "detect"),
    ] {
        let sentence = predict(recipe, option);
        assert!(
            sentence.contains(option[0]) && sentence.contains(wanted),
            "{sentence}"
        );
    }
}

#[test]
fn a_stopped_training_ends_bit_for_bit_where_the_whole_one_ends() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let recipe = smoke("detect.toml");
    let train = [
        "finetune",
        &recipe,
        "--data",
        "data",
        "--set",
        "trainer.epochs=3",
    ];
    let with = |more: &[&'static str]| -> Vec<&str> { [&train[..], more].concat() };
    run(at, &with(&["--out", "whole"]));
    // Killed once a checkpoint is there.
    let mut child = deepmim(at, &with(&["--out", "parts"])).spawn().unwrap();
    let checkpoints = at.join("parts/checkpoints");
    let there = || {
        std::fs::read_dir(&checkpoints).is_ok_and(|entries| {
            entries
                .flatten()
                .any(|entry| entry.path().join("state.json").is_file())
        })
    };
    while !there() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    run(at, &with(&["--out", "parts", "--resume"]));
    assert_eq!(
        weights_hash(&at.join("parts")),
        weights_hash(&at.join("whole"))
    );
}
