//! Runs that end before their time: a full disk, kills, an interrupt.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "shared with other tests")]
mod support;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{deepmim, draw, one_sentence, run, smoke, weights_hash};

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
