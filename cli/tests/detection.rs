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

/// Changes the training annotations of the drawn set.
fn edit_annotations(folder: &Path, edit: impl Fn(&mut serde_json::Value)) {
    let path = folder.join("data/annotations/train.json");
    let mut annotations = summary(&path);
    edit(&mut annotations);
    std::fs::write(&path, annotations.to_string()).unwrap();
}

#[test]
fn pictures_without_objects_and_with_crowds_only_are_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    // Two pictures of three have nothing to learn from, so whole batches have no positive region.
    edit_annotations(at, |file| {
        let images = file["images"].as_array().unwrap().iter();
        let ids: Vec<i64> = images.map(|of| of["id"].as_i64().unwrap()).collect();
        let place = |of: &serde_json::Value| {
            let image = of["image_id"].as_i64().unwrap();
            ids.iter().position(|id| *id == image).unwrap()
        };
        let annotations = file["annotations"].as_array_mut().unwrap();
        annotations.retain(|of| place(of) % 3 != 0);
        for of in annotations.iter_mut().filter(|of| place(of) % 3 == 1) {
            of["iscrowd"] = 1.into();
        }
    });
    let recipe = smoke("detect.toml");
    let train = |out: &str, batch: &str, skip: &str| {
        let skip = format!("data.skip_pictures_without_objects={skip}");
        let batch = format!("trainer.batch_size={batch}");
        let sets = [
            "trainer.log_every=1",
            "trainer.evaluate_every_steps=4",
            &batch,
            &skip,
        ];
        let sets = sets.iter().flat_map(|set| ["--set", *set]);
        let command = ["finetune", &recipe, "--data", "data", "--out", out];
        run(at, &command.into_iter().chain(sets).collect::<Vec<_>>());
        let metrics = std::fs::read_to_string(at.join(out).join("metrics.csv")).unwrap();
        let steps = |metric: &str| -> Vec<u64> {
            let rows = metrics.lines().filter(|line| line.contains(metric));
            rows.map(|line| line.split(',').next().unwrap().parse().unwrap())
                .collect()
        };
        (steps("train/loss,").len(), steps("eval/bbox/AP,"))
    };
    // Twelve pictures twice over, one a step; evaluated every four steps.
    assert_eq!(train("all", "1", "false"), (24, vec![4, 8, 12, 16, 20, 24]));
    // Four pictures with objects, two a step.
    assert_eq!(train("some", "2", "true"), (4, vec![4]));
}

#[test]
fn a_corrupt_picture_stops_with_its_name_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let recipe = smoke("detect.toml");
    let file = at.join("data/train/000007.png");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let train = ["finetune", &recipe, "--data", "data", "--out", "spoilt"];
    let sentence = fails(at, 1, &train);
    assert!(sentence.contains("000007.png"), "{sentence}");
    assert_eq!(sentence.trim().lines().count(), 1, "{sentence}");
    // Put right, the same run ends as one that was never disturbed.
    std::fs::write(&file, &whole).unwrap();
    run(at, &[&train[..], &["--resume"]].concat());
    run(
        at,
        &["finetune", &recipe, "--data", "data", "--out", "whole"],
    );
    assert_eq!(
        weights_hash(&at.join("spoilt")),
        weights_hash(&at.join("whole"))
    );
    let val = at.join("data/val/000003.png");
    std::fs::write(&val, b"not a picture").unwrap();
    let eval = ["eval", &recipe, "--data", "data", "--weights", "whole"];
    let sentence = fails(at, 1, &eval);
    assert!(sentence.contains("000003.png"), "{sentence}");
}

#[test]
fn detectron2_files_are_written_evaluated_and_started_from() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let recipe = smoke("detect.toml");
    let finetune = ["finetune", &recipe, "--data", "data", "--out"];
    run(at, &[&finetune[..], &["own"]].concat());
    let trained = summary(&at.join("own/eval/summary.json"));
    for file in ["own.pkl", "own.pth"] {
        let convert = ["checkpoint", "convert", "own", file];
        run(
            at,
            &[&convert[..], &["--from", "native", "--to", "detectron2"]].concat(),
        );
        let eval = ["eval", &recipe, "--data", "data", "--weights", file];
        run(
            at,
            &[&eval[..], &["--dialect", "detectron2", "--out", "there"]].concat(),
        );
        assert_eq!(summary(&at.join("there/summary.json")), trained, "{file}");
    }
    // A whole detector is a start for another one; what does not fit is told.
    let start = ["more", "--init", "own.pkl", "--dialect", "detectron2"];
    let start = [&finetune[..], &start[..]].concat();
    run(at, &[&start[..], &["--set", "trainer.epochs=1"]].concat());
    let cascade = ["--overwrite", "--set", "model.cascade=true"];
    let sentence = fails(at, 1, &[&start[..], &cascade[..]].concat());
    assert!(sentence.contains("may_miss"), "{sentence}");
    // The dialect was right, whatever the names resemble.
    let own = [&finetune[..], &["other", "--init", "own"], &cascade[..]].concat();
    let sentence = fails(at, 1, &own);
    assert!(
        sentence.contains("may_miss") && !sentence.contains("probably"),
        "{sentence}"
    );
}
