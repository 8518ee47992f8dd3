//! The program end to end on a drawn data set: every command, and bad input.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "shared with other tests")]
mod support;

use std::path::Path;

use support::{deepmim, draw, fails, run, smoke, walk};

#[test]
fn the_main_job_from_pictures_to_predictions() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    draw(folder);
    let checked = run(
        folder,
        &[
            "data",
            "check",
            "--train",
            "data/train",
            "--val",
            "data/val",
            "--classes",
            "4",
        ],
    );
    assert!(checked.contains("48"), "{checked}");

    for kind in ["mae", "deepmim"] {
        let out = format!("runs/{kind}");
        run(
            folder,
            &[
                "pretrain",
                &smoke(&format!("pretrain_{kind}.toml")),
                "--data",
                "data",
                "--out",
                &out,
            ],
        );
        let run_folder = folder.join(&out);
        let metrics = std::fs::read_to_string(run_folder.join("metrics.csv")).unwrap();
        assert!(
            metrics.lines().any(|line| line.contains("tap4")),
            "{metrics}"
        );
        assert!(run_folder.join("environment.json").is_file());
        let pictures = walk(&run_folder.join("snapshots"));
        assert!(
            pictures.iter().any(|path| path.ends_with(".png")),
            "{pictures:?}"
        );
        assert!(!walk(&run_folder.join("tensorboard")).is_empty());
    }

    let finetune = smoke("finetune.toml");
    run(
        folder,
        &[
            "finetune",
            &finetune,
            "--data",
            "data",
            "--init",
            "runs/deepmim",
            "--out",
            "runs/tuned",
        ],
    );
    let probed = run(
        folder,
        &[
            "finetune",
            &smoke("linprobe.toml"),
            "--data",
            "data",
            "--init",
            "runs/mae",
            "--out",
            "runs/probed",
        ],
    );
    assert!(probed.contains("top1"), "{probed}");

    // Evaluating the run again gives the digits it ended with.
    let ended = std::fs::read_to_string(folder.join("runs/tuned/eval/summary.json")).unwrap();
    let json = run(
        folder,
        &[
            "eval",
            &finetune,
            "--data",
            "data",
            "--weights",
            "runs/tuned",
            "--out",
            "again",
            "--json",
        ],
    );
    let ended: serde_json::Value = serde_json::from_str(&ended).unwrap();
    let again: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(ended, again);
    assert_eq!(again["pictures"], 20.0);
    let lines = std::fs::read_to_string(folder.join("again/predictions.csv"))
        .unwrap()
        .lines()
        .count();
    assert_eq!(lines, 21);
    assert_eq!(
        std::fs::read_to_string(folder.join("again/per_class.csv"))
            .unwrap()
            .lines()
            .count(),
        5
    );

    let picture = walk(&folder.join("data/val")).into_iter().next().unwrap();
    let answer = run(
        folder,
        &[
            "predict",
            &finetune,
            "--weights",
            "runs/tuned",
            &picture,
            "--top",
            "2",
            "--json",
        ],
    );
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer[0]["top"].as_array().unwrap().len(), 2);
    assert!(answer[0]["top"][0]["name"].is_string());

    // Out to PyTorch names and back in.
    let inspected = run(folder, &["checkpoint", "inspect", "runs/tuned", "--json"]);
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["vit"]["depth"], 4);
    run(
        folder,
        &[
            "checkpoint",
            "convert",
            "runs/tuned",
            "vit.safetensors",
            "--from",
            "native",
            "--to",
            "timm",
        ],
    );
    let same = run(
        folder,
        &[
            "checkpoint",
            "diff",
            "runs/tuned",
            "vit.safetensors",
            "--right-dialect",
            "timm",
            "--json",
        ],
    );
    assert!(same.contains("\"identical\""), "{same}");
    let other = deepmim(folder, &["checkpoint", "diff", "runs/tuned", "runs/mae"])
        .output()
        .unwrap();
    assert_eq!(other.status.code(), Some(1));
    assert!(!other.stdout.is_empty());
    let json = run(
        folder,
        &[
            "eval",
            &finetune,
            "--data",
            "data",
            "--weights",
            "vit.safetensors",
            "--dialect",
            "timm",
            "--out",
            "converted",
            "--json",
        ],
    );
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&json).unwrap(),
        ended
    );
}

#[test]
fn help_and_completions_need_no_model() {
    let folder = tempfile::tempdir().unwrap();
    for command in [
        "pretrain",
        "finetune",
        "eval",
        "predict",
        "checkpoint",
        "data",
        "demo",
    ] {
        assert!(run(folder.path(), &[command, "--help"]).contains("Usage"));
    }
    assert!(run(folder.path(), &["completions", "bash"]).contains("_deepmim"));
    assert_eq!(
        deepmim(folder.path(), &["pretrain"])
            .output()
            .unwrap()
            .status
            .code(),
        Some(2)
    );
    assert_eq!(
        deepmim(folder.path(), &["trian"])
            .output()
            .unwrap()
            .status
            .code(),
        Some(2)
    );
    // The front program must not pull libtorch or OpenCV in.
    let linked = std::process::Command::new("ldd")
        .arg(env!("CARGO_BIN_EXE_deepmim"))
        .output()
        .unwrap();
    let linked = String::from_utf8_lossy(&linked.stdout).into_owned();
    assert!(linked.contains("libc.so"), "{linked}");
    assert!(
        !linked.contains("torch") && !linked.contains("opencv"),
        "{linked}"
    );
}

#[test]
fn bad_input_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    draw(folder);
    let finetune = smoke("finetune.toml");
    let pretrain = smoke("pretrain_mae.toml");

    let message = fails(folder, 1, &["finetune", "none.toml"]);
    assert!(message.contains("none.toml"), "{message}");
    let message = fails(folder, 1, &["finetune", &pretrain, "--data", "data"]);
    assert!(message.contains("deepmim pretrain"), "{message}");
    let message = fails(
        folder,
        1,
        &[
            "finetune",
            &finetune,
            "--data",
            "data",
            "--set",
            "trainer.epoch=3",
        ],
    );
    assert!(message.contains("epoch"), "{message}");
    let message = fails(
        folder,
        1,
        &[
            "finetune",
            &finetune,
            "--data",
            "data",
            "--set",
            "model.classes=7",
        ],
    );
    assert!(
        message.contains("4 classes") && message.contains('7'),
        "{message}"
    );
    let message = fails(
        folder,
        1,
        &["finetune", &finetune, "--data", "data", "--device", "tpu"],
    );
    assert!(message.contains("tpu"), "{message}");
    let message = fails(
        folder,
        1,
        &[
            "finetune", &finetune, "--data", "data", "--init", "none.pth",
        ],
    );
    assert!(message.contains("none.pth"), "{message}");
    assert!(
        !folder.join("runs").exists(),
        "a run was started in spite of bad input"
    );

    // A checkpoint of another shape names the parameter and both shapes, and starts nothing.
    run(
        folder,
        &[
            "pretrain",
            &pretrain,
            "--data",
            "data",
            "--out",
            "narrow",
            "--set",
            "model.trunk.width=16",
            "--set",
            "trainer.epochs=1",
            "--set",
            "trainer.schedule.warmup_epochs=0",
        ],
    );
    let message = fails(
        folder,
        1,
        &[
            "finetune", &finetune, "--data", "data", "--init", "narrow", "--out", "x",
        ],
    );
    assert!(
        message.contains("[32") && message.contains("[16") && !message.contains("probably"),
        "{message}"
    );
    // One of another dialect names it.
    let mae = support::root().join("parity/golden/checkpoints/mae_pretrain.pth");
    let mae = mae.display().to_string();
    let other = [
        "finetune", &finetune, "--data", "data", "--init", &mae, "--out", "x",
    ];
    let message = fails(folder, 1, &other);
    assert!(message.contains("--dialect mae"), "{message}");
    assert!(
        !folder.join("x").exists(),
        "a run was started in spite of a bad checkpoint"
    );

    // A picture that cannot be read is named, whatever batch it is in.
    let picture = walk(&folder.join("data/train")).into_iter().next().unwrap();
    std::fs::write(&picture, b"\xff\xd8 no picture").unwrap();
    let name = Path::new(&picture)
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    let message = fails(
        folder,
        1,
        &["finetune", &finetune, "--data", "data", "--out", "y"],
    );
    assert!(message.contains(&name), "{message}");
    let message = fails(
        folder,
        1,
        &["predict", &finetune, "--weights", "narrow", &picture],
    );
    assert!(!message.is_empty());
    let output = deepmim(
        folder,
        &[
            "data",
            "check",
            "--train",
            "data/train",
            "--val",
            "data/val",
        ],
    )
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains(&name));
}
