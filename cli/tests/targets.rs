//! Pre-training on other targets than pixels, as a user runs it.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "shared with other tests")]
mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{deepmim, draw, fails, run, smoke, weights_hash};

const EMA: &str = "model.target={kind=\"ema\",decay=0.9,blocks=2}";
const HOG: &str = "model.target={kind=\"hog\",cell=4}";

fn pretrain<'a>(recipe: &'a str, out: &'a str, target: &'a str) -> Vec<&'a str> {
    let mut arguments = vec!["pretrain", recipe, "--data", "data", "--out", out];
    arguments.extend(["--set", target, "--set", "trainer.epochs=6"]);
    arguments
}

/// The teacher that follows the trunk is part of a run: stopped and resumed, and by two processes, it ends where
/// it would have ended. Its weights are no part of what is fine-tuned.
#[test]
fn a_teacher_that_follows_the_trunk_resumes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let recipe = smoke("pretrain_deepmim.toml");
    run(at, &pretrain(&recipe, "whole", EMA));

    let stopped = deepmim(at, &pretrain(&recipe, "stopped", EMA))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while std::fs::read(at.join("stopped/metrics.csv")).map_or(0, |text| text.len()) < 1500 {
        assert!(started.elapsed() < Duration::from_secs(120));
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = stopped.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    let ended = stopped.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    let resumed = [&pretrain(&recipe, "stopped", EMA)[..], &["--resume"]].concat();
    run(at, &resumed);
    let hash = |run: &str| weights_hash(&at.join(run));
    assert_eq!(hash("stopped"), hash("whole"));

    for out in ["finetune", "linprobe"] {
        let recipe = smoke(&format!("{out}.toml"));
        run(
            at,
            &[
                "finetune", &recipe, "--data", "data", "--init", "whole", "--out", out,
            ],
        );
    }
}

/// A run is the frozen teacher of another one; tokens are looked up by the pictures' names.
#[test]
fn teachers_and_tokens_come_from_disk() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let recipe = smoke("pretrain_mae.toml");
    run(at, &pretrain(&recipe, "hog", HOG));
    let features = "model.target={kind=\"features\",weights=\"teacher.safetensors\",distance=\"l2\",trunk={image_size=32,patch_size=8,width=32,depth=4,heads=2,position=\"sin_cos\"}}";
    let mut taught = pretrain(&recipe, "taught", features);
    taught.extend(["--teacher", "hog"]);
    run(at, &taught);

    let tokens = "model.target={kind=\"tokens\",folder=\"tokens\",vocabulary=5}";
    let moving = fails(at, 1, &pretrain(&recipe, "tokens_run", tokens));
    assert!(moving.contains("data.transform.crop.kind"), "{moving}");
    let mut fixed = pretrain(&recipe, "tokens_run", tokens);
    fixed.extend(["--set", "data.transform.crop={kind=\"centre\"}"]);
    fixed.extend(["--set", "data.transform.flip=0.0"]);
    let missing = fails(at, 1, &fixed);
    assert!(missing.contains("names.txt"), "{missing}");
    write_tokens(at);
    run(at, &fixed);
}

/// Tokens are made for the recipe that predicts them, the same every time.
#[test]
fn tokens_are_made_for_a_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let recipe = smoke("pretrain_mae.toml");
    let asked = |target: &'static str| {
        let arguments = [
            "--data",
            "data",
            "--set",
            target,
            "--set",
            "data.transform.flip=0.0",
        ];
        let crop = [
            "--set",
            "data.transform.crop={kind=\"centre\",resize=false}",
        ];
        [&arguments[..], &crop].concat()
    };
    const TOKENS: &str = "model.target={kind=\"tokens\",folder=\"made\",vocabulary=40}";
    let make = [&["data", "tokens", &recipe], &asked(TOKENS)[..]].concat();
    let told = run(at, &make);
    assert!(
        told.starts_with("48 pictures of 16 tokens, 40 of 40 words used"),
        "{told}"
    );
    let file = || std::fs::read(at.join("made/tokens.safetensors")).unwrap();
    let first = file();
    assert!(fails(at, 1, &make).contains("--overwrite"));
    run(at, &[&make[..], &["--overwrite"]].concat());
    assert!(file() == first);
    let train = ["--out", "told", "--set", "trainer.epochs=1"];
    run(
        at,
        &[&["pretrain", &recipe], &asked(TOKENS)[..], &train].concat(),
    );

    const MANY: &str = "model.target={kind=\"tokens\",folder=\"made\",vocabulary=5000}";
    for (target, wanted) in [
        (HOG, "model.target.kind is not \"tokens\""),
        (MANY, "5000 words cannot be learnt from 768 patches"),
    ] {
        let arguments = [
            &["data", "tokens", &recipe],
            &asked(target)[..],
            &["--overwrite"],
        ]
        .concat();
        let message = fails(at, 1, &arguments);
        assert!(message.contains(wanted), "{message}");
    }
    let moving = ["data", "tokens", &recipe, "--data", "data", "--set", TOKENS];
    assert!(fails(at, 1, &moving).contains("in one place"));
}

/// Asked for, the log says how well nearest neighbours vote at every tap; two processes count as one does.
#[test]
fn features_are_looked_at_on_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let recipe = smoke("pretrain_deepmim.toml");
    let probe = "probe={train={source={kind=\"folders\",root=\"train\"}},val={source={kind=\"folders\",root=\"val\"}},transform={size=32},batch_size=7,neighbours=5}";
    let train = |out| {
        let mut arguments = pretrain(&recipe, out, HOG);
        arguments.extend(["--set", probe, "--set", "trainer.evaluate_every_epochs=3"]);
        arguments.extend([
            "--set",
            "trainer.accumulate=2",
            "--set",
            "trainer.threads=1",
        ]);
        arguments
    };
    run(at, &train("one"));
    run(at, &[&["launch", "-n", "2"], &train("two")[..]].concat());
    let votes = |run: &str| -> Vec<(String, String, f64)> {
        let mut rows = csv::Reader::from_path(at.join(run).join("metrics.csv")).unwrap();
        rows.records()
            .map(|row| row.unwrap())
            .filter(|row| row[2].starts_with("eval/knn_"))
            .map(|row| {
                (
                    row[0].to_owned(),
                    row[2].to_owned(),
                    row[3].parse().unwrap(),
                )
            })
            .collect()
    };
    let one = votes("one");
    let names: Vec<&str> = one.iter().map(|(_, name, _)| name.as_str()).collect();
    let taps = ["eval/knn_layer2", "eval/knn_layer3", "eval/knn_layer4"];
    assert_eq!(
        names,
        [taps, taps].concat(),
        "after three epochs and after six"
    );
    // Twenty pictures vote.
    let whole = |top1: &f64| (0.0..=100.0).contains(top1) && (top1 / 5.0).fract() == 0.0;
    assert!(one.iter().all(|(_, _, top1)| whole(top1)), "{one:?}");
    assert_eq!(votes("two"), one);

    let unknown = "probe={train={source={kind=\"folders\",root=\"nowhere\"}},val={source={kind=\"folders\",root=\"val\"}},transform={size=32}}";
    let mut broken = pretrain(&recipe, "broken", HOG);
    broken.extend(["--set", unknown]);
    assert!(fails(at, 1, &broken).contains("nowhere"));

    let mut deeper = pretrain(&recipe, "deeper", HOG);
    deeper.extend(["--set", probe, "--set", "probe.layers=[1,9]"]);
    let error = fails(at, 1, &deeper);
    assert!(
        error.contains("probe.layers [1, 9] must ascend within 1 to 4"),
        "{error}"
    );
}

/// Tokens 0 to 4 in turn for every training picture.
fn write_tokens(at: &Path) {
    let mut names = Vec::new();
    for class in std::fs::read_dir(at.join("data/train")).unwrap() {
        let class = class.unwrap().path();
        let class_name = class.file_name().unwrap().to_string_lossy().into_owned();
        for picture in std::fs::read_dir(&class).unwrap() {
            let name = picture.unwrap().file_name().to_string_lossy().into_owned();
            names.push(format!("{class_name}/{name}"));
        }
    }
    std::fs::create_dir(at.join("tokens")).unwrap();
    std::fs::write(at.join("tokens/names.txt"), names.join("\n")).unwrap();
    let count = names.len() as i64 * 16;
    let ids = tch::Tensor::arange(count, (tch::Kind::Int64, tch::Device::Cpu))
        .remainder(5)
        .view([-1, 16]);
    let file = at.join("tokens/tokens.safetensors");
    tch::Tensor::write_safetensors(&[("tokens", ids)], file).unwrap();
}
