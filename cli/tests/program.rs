//! The program end to end on a drawn data set: every command, recipes, bad input, kill and resume.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{deepmim, draw, fails, one_sentence, root, run, smoke, weights_hash};

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
fn every_recipe_is_sound() {
    let mut recipes = walk(&root().join("configs"));
    recipes.retain(|path| path.ends_with(".toml") && !path.contains("/suites/"));
    assert!(recipes.len() >= 18, "{recipes:?}");
    let folder = tempfile::tempdir().unwrap();
    for recipe in recipes {
        let text = std::fs::read_to_string(&recipe).unwrap();
        let command: &[&str] = if text.contains("task = \"pretrain\"") {
            &["pretrain"]
        } else if text.contains("task = \"analyze\"") {
            &["analyze", "--config"]
        } else {
            &["finetune"]
        };
        // Everything in the recipe is typed and checked before its data is looked for.
        let arguments = [command, &[&recipe, "--data", "nowhere"]].concat();
        let message = fails(folder.path(), 1, &arguments);
        assert!(message.contains("nowhere"), "{recipe}: {message}");
        assert!(text.starts_with("# "), "{recipe} does not say what it is");
    }
}

/// The examples of `--help` and the README name recipes that are there.
#[test]
fn recipes_in_examples_exist() {
    let mut named = 0;
    for file in [
        "README.md",
        "docs/RESULTS.md",
        "cli/src/args.rs",
        "cli/src/analyze_args.rs",
    ] {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        for part in text.split("configs/").skip(1) {
            let Some(end) = part.find(".toml") else {
                continue;
            };
            let name = &part[..end];
            if name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_/".contains(c))
            {
                let path = root().join("configs").join(format!("{name}.toml"));
                assert!(path.is_file(), "{file} names {}", path.display());
                named += 1;
            }
        }
    }
    assert!(named > 10, "only {named} recipes are named");
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
        message.contains("[32") && message.contains("[16"),
        "{message}"
    );
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

#[test]
fn a_full_disk_keeps_the_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    draw(folder);
    let recipe = smoke("pretrain_mae.toml");
    let whole = ["pretrain", &recipe, "--data", "data", "--out", "whole"];
    run(folder, &whole);

    // A limit on the size of files stands in for a full disk: the first checkpoints fit, then writing fails.
    let limited = [
        "pretrain",
        &recipe,
        "--data",
        "data",
        "--out",
        "cut",
        "--set",
        "trainer.save_every_steps=2",
    ];
    let weights =
        std::fs::metadata(last_checkpoint(&folder.join("whole")).join("weights.safetensors"))
            .unwrap()
            .len();
    let blocks = weights / 2 / 1024;
    let output = std::process::Command::new("bash")
        .args([
            "-c",
            &format!("ulimit -f {blocks}; trap '' XFSZ; exec \"$@\""),
            "-",
            env!("CARGO_BIN_EXE_deepmim"),
        ])
        .args(limited)
        .current_dir(folder)
        .env("OMP_NUM_THREADS", "2")
        .output()
        .unwrap();
    let message = one_sentence(&output, 1, "a run on a full disk");
    assert!(message.contains("checkpoint"), "{message}");

    // With room again, the run goes on and ends where the undisturbed one ended.
    run(folder, &[&limited[..], &["--resume"]].concat());
    assert_eq!(
        weights_hash(&folder.join("cut")),
        weights_hash(&folder.join("whole"))
    );
}

#[test]
fn ten_kills_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    draw(folder);
    for (command, recipe) in [
        ("pretrain", "pretrain_deepmim.toml"),
        ("finetune", "finetune.toml"),
    ] {
        let recipe = smoke(recipe);
        let arguments = |out: &'static str| {
            vec![
                command,
                recipe.as_str(),
                "--data",
                "data",
                "--out",
                out,
                "--set",
                "trainer.epochs=6",
                "--set",
                "trainer.ema_decay=0.9",
            ]
        };
        let (whole, killed) = if command == "pretrain" {
            ("p_whole", "p_killed")
        } else {
            ("f_whole", "f_killed")
        };
        let started = Instant::now();
        run(folder, &arguments(whole));
        let usual = started.elapsed();

        let mut resume = arguments(killed);
        resume.push("--resume");
        // Moments all over a run's life, start-up included: a fixed sequence, spread by the golden ratio.
        for kill in 1..=10 {
            let share = (f64::from(kill) * 0.618_034).fract();
            let mut child = deepmim(folder, &resume)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(usual.mul_f64(share) + Duration::from_millis(20));
            // SIGKILL: nothing in the process can react.
            let _ = child.kill();
            child.wait().unwrap();
        }
        run_or_finished(folder, &resume);
        assert_eq!(
            weights_hash(&folder.join(killed)),
            weights_hash(&folder.join(whole)),
            "{command}"
        );
        let metrics = |out: &str| without_time(&folder.join(out).join("metrics.csv"));
        assert_eq!(metrics(killed), metrics(whole), "{command}: metrics.csv");
    }
}

#[test]
fn an_interrupt_saves_and_says_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    draw(folder);
    let recipe = smoke("pretrain_mae.toml");
    let arguments = [
        "pretrain",
        &recipe,
        "--data",
        "data",
        "--out",
        "run",
        "--set",
        "trainer.epochs=2000",
        "--set",
        "trainer.save_every_steps=1000000",
    ];
    let child = deepmim(folder, &arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The first logged step shows that training is under way.
    let metrics = folder.join("run/metrics.csv");
    let waiting = Instant::now();
    while std::fs::read_to_string(&metrics).map_or(0, |text| text.lines().count()) < 3 {
        assert!(
            waiting.elapsed() < Duration::from_secs(120),
            "training did not start"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("--resume"), "{stderr}");
    assert!(
        last_checkpoint(&folder.join("run"))
            .join("weights.safetensors")
            .is_file()
    );
}

/// A resumed run that was already finished says so; both ways of ending are fine here.
fn run_or_finished(folder: &Path, arguments: &[&str]) {
    let output = deepmim(folder, arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() || stderr.contains("finished already"),
        "{stderr}"
    );
}

/// metrics.csv without the columns that depend on the clock.
fn without_time(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .filter(|line| !line.contains("per_second") && !line.contains("seconds"))
        .map(str::to_owned)
        .collect()
}

fn last_checkpoint(run: &Path) -> std::path::PathBuf {
    let mut folders: Vec<_> = std::fs::read_dir(run.join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    folders.pop().unwrap()
}

/// All files under a folder, sorted.
fn walk(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path.display().to_string());
            }
        }
    }
    files.sort();
    files
}
