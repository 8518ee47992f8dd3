//! Several processes of one training or evaluation, as a user starts them.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "shared with tests of single processes")]
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::{deepmim, draw, run, smoke, weights_hash};

/// One thread a process, whoever runs it: a sum's bits depend on their number.
fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = deepmim(folder, arguments);
    command.env("OMP_NUM_THREADS", "1").stdin(Stdio::null());
    command
}

fn well(folder: &Path, arguments: &[&str]) -> Output {
    let output = command(folder, arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", arguments.join(" "));
    output
}

/// `launch -n processes`, then `arguments`.
fn launched<'a>(processes: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    [&["launch", "-n", processes], arguments].concat()
}

/// Each step's losses and gradient norms. Not accuracies, which are means over forward passes of shares of
/// the labelled pixels.
fn steps(run: &Path) -> BTreeMap<(u64, String), f64> {
    let mut rows = csv::Reader::from_path(run.join("metrics.csv")).unwrap();
    rows.records()
        .map(|row| row.unwrap())
        .filter(|row| row[2].starts_with("train/"))
        .filter(|row| !row[2].contains("second") && !row[2].contains("acc_seg"))
        .map(|row| {
            let key = (row[0].parse().unwrap(), row[2].to_owned());
            (key, row[3].parse().unwrap())
        })
        .collect()
}

/// Checks that two runs had the same losses, learning rates and gradient norms in each step (`tolerance`
/// relative) and end with the same weights (`weights` absolute).
fn same_runs(folder: &Path, one: &str, other: &str, tolerance: f64, weights: &str) {
    let (ours, theirs) = (steps(&folder.join(one)), steps(&folder.join(other)));
    assert!(ours.len() > 20);
    assert!(ours.keys().eq(theirs.keys()), "{one} {other}");
    for ((key, a), b) in ours.iter().zip(theirs.values()) {
        let off = (a - b).abs() / a.abs().max(1e-3);
        assert!(off <= tolerance, "{one} {other} {key:?}: {a} and {b}");
    }
    run(
        folder,
        &["checkpoint", "diff", one, other, "--tolerance", weights],
    );
}

fn synth(folder: &Path, what: &str) {
    let command =
        format!("data synth {what} --out {what} --pictures 12 --val-pictures 7 --size 96");
    run(folder, &command.split(' ').collect::<Vec<_>>());
}

/// Steps of four samples each, by one, two and four processes. Two processes add the same numbers in the same
/// order as one, four add them in another, so those differ by rounding that training then magnifies.
#[test]
fn pretraining_is_the_same_whoever_computes_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let recipe = smoke("pretrain_deepmim.toml");
    let train = |out| {
        let mut arguments = vec!["pretrain", &recipe, "--data", "data", "--out", out];
        arguments.extend(["--set", "trainer.batch_size=1"]);
        arguments.extend(["--set", "trainer.accumulate=4"]);
        arguments.extend(["--set", "trainer.clip_grad=1.0"]);
        arguments
    };
    well(at, &train("one"));
    well(at, &launched("2", &train("two")));
    well(at, &launched("4", &train("four")));
    same_runs(at, "one", "two", 1e-5, "1e-5");
    same_runs(at, "one", "four", 1e-5, "1e-5");
    let environment = std::fs::read_to_string(at.join("four/environment.json")).unwrap();
    assert!(environment.contains("\"processes\": 4"), "{environment}");
}

/// With mixup, drop path and averaged weights; a batch is cut where there are more processes than batches.
/// Evaluations, shared out over processes, have the digits of one process.
#[test]
fn a_classifier_is_the_same_whoever_computes_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let recipe = smoke("finetune.toml");
    let train = |out, batch, accumulate| {
        let mut arguments = vec!["finetune", &recipe, "--data", "data", "--out", out];
        arguments.extend(["--set", batch, "--set", accumulate]);
        arguments.extend([
            "--set",
            "trainer.ema_decay=0.9",
            "--set",
            "trainer.log_every=1",
        ]);
        arguments
    };
    let cut = train("one", "trainer.batch_size=2", "trainer.accumulate=4");
    well(at, &cut);
    let whole = train("four", "trainer.batch_size=4", "trainer.accumulate=2");
    well(at, &launched("4", &whole));
    same_runs(at, "one", "four", 1e-5, "1e-5");
    let halves = train("two", "trainer.batch_size=2", "trainer.accumulate=4");
    well(at, &launched("2", &halves));
    same_runs(at, "one", "two", 1e-5, "1e-5");

    // 20 pictures in batches of 8: the third process has the last, of four; with four, one has none.
    let files = ["predictions.csv", "summary.json", "per_class.csv"];
    let evaluate = |out| {
        vec![
            "eval",
            &recipe,
            "--data",
            "data",
            "--weights",
            "one",
            "--out",
            out,
        ]
    };
    well(at, &evaluate("alone"));
    for processes in ["2", "3", "4"] {
        well(at, &launched(processes, &evaluate("together")));
        for file in files {
            let read = |out: &str| std::fs::read(at.join(out).join(file)).unwrap();
            assert_eq!(
                read("alone"),
                read("together"),
                "{file}, {processes} processes"
            );
        }
    }
}

/// Losses are normalised by what a picture holds, as in the reference, and heads without a positive region
/// have no gradient in some processes.
#[test]
fn a_detector_is_the_same_whoever_computes_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    synth(at, "detection");
    let recipe = smoke("detect.toml");
    let train = |out, accumulate| {
        let mut arguments = vec!["finetune", &recipe, "--data", "detection", "--out", out];
        arguments.extend(["--set", "trainer.batch_size=1", "--set", accumulate]);
        arguments.extend(["--set", "model.trunk.activation_checkpointing=true"]);
        arguments
    };
    let (two, four) = ("trainer.accumulate=2", "trainer.accumulate=4");
    well(at, &train("one", two));
    well(at, &launched("2", &train("two", two)));
    same_runs(at, "one", "two", 1e-5, "1e-5");
    // Sums in another order: in time some ReLU or region decides otherwise, which moves a gradient's norm by up
    // to 2e-3, as it does between float32 and float64 of the reference.
    well(at, &train("alone", four));
    well(at, &launched("4", &train("four", four)));
    same_runs(at, "alone", "four", 2e-3, "1e-3");
    let results = |run: &str| std::fs::read(at.join(run).join("eval/instances.json")).unwrap();
    assert_eq!(results("one"), results("two"));
}

/// Synchronised BatchNorm: one process sees the batch of four that two and four see in parts. Nothing is
/// dropped at random, since that is drawn for each forward pass. A bias before BatchNorm has no gradient but
/// rounding, which AdamW blows up to steps of the learning rate; hence the looser tolerance of weights.
#[test]
fn a_segmentor_is_the_same_whoever_computes_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    synth(at, "segmentation");
    let recipe = smoke("segment.toml");
    let train = |out| {
        let mut arguments = vec!["finetune", &recipe, "--data", "segmentation", "--out", out];
        for value in [
            "trainer.batch_size=4",
            "trainer.epochs=3",
            "model.dropout=0.0",
            "model.trunk.drop_path=0.0",
        ] {
            arguments.extend(["--set", value]);
        }
        arguments
    };
    well(at, &train("one"));
    well(at, &launched("2", &train("two")));
    well(at, &launched("4", &train("four")));
    same_runs(at, "one", "two", 1e-4, "1e-3");
    same_runs(at, "one", "four", 1e-4, "1e-3");
}

/// A long pre-training by two processes, running.
struct Running {
    launcher: Child,
    started: Instant,
}

const LONG: [&str; 4] = [
    "--set",
    "trainer.epochs=40",
    "--set",
    "trainer.accumulate=2",
];

fn long<'a>(recipe: &'a str, out: &'a str) -> Vec<&'a str> {
    [
        &["pretrain", recipe, "--data", "data", "--out", out],
        &LONG[..],
    ]
    .concat()
}

impl Running {
    /// Starts `arguments` and waits until `run` has made some steps.
    fn start(folder: &Path, arguments: &[&str], run: &str) -> Self {
        let launcher = command(folder, arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let running = Self {
            launcher,
            started: Instant::now(),
        };
        let metrics = folder.join(run).join("metrics.csv");
        while std::fs::read(&metrics).map_or(0, |text| text.len()) < 1500 {
            assert!(running.started.elapsed() < Duration::from_secs(120));
            std::thread::sleep(Duration::from_millis(5));
        }
        running
    }

    /// The processes that were launched, in the order of ranks.
    fn ranks(&self) -> Vec<String> {
        let id = self.launcher.id();
        let children = format!("/proc/{id}/task/{id}/children");
        let children = std::fs::read_to_string(children).unwrap();
        children.split_whitespace().map(str::to_owned).collect()
    }

    fn end(self) -> (Option<i32>, String, Duration) {
        let output = self.launcher.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked"), "{said}");
        (output.status.code(), said, self.started.elapsed())
    }
}

fn signal(process: &str, signal: &str) {
    let status = Command::new("kill").args([signal, process]).status();
    assert!(status.unwrap().success());
}

#[test]
fn a_killed_process_ends_all_and_the_restart_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let recipe = smoke("pretrain_mae.toml");
    well(at, &launched("2", &long(&recipe, "whole")));
    let whole = weights_hash(&at.join("whole"));

    for (rank, run) in [(0, "first"), (1, "second")] {
        let running = Running::start(at, &launched("2", &long(&recipe, run)), run);
        let killed = Instant::now();
        signal(&running.ranks()[rank], "-9");
        let (code, said, _) = running.end();
        assert_eq!(code, Some(1), "{said}");
        assert!(killed.elapsed() < Duration::from_secs(30), "{said}");
        assert!(
            said.contains(&format!("process {rank} was killed by signal 9")),
            "{said}"
        );
        if rank == 1 {
            assert!(said.contains("the state before it is saved in"), "{said}");
        }
        let resumed = [&long(&recipe, run)[..], &["--resume"]].concat();
        well(at, &launched("2", &resumed));
        assert_eq!(weights_hash(&at.join(run)), whole, "rank {rank}");
    }

    let again = [
        &["launch", "-n", "2", "--max-restarts", "1"],
        &long(&recipe, "again")[..],
    ]
    .concat();
    let running = Running::start(at, &again, "again");
    signal(&running.ranks()[1], "-9");
    let (code, said, _) = running.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("restart 1 of 1"), "{said}");
    assert_eq!(weights_hash(&at.join("again")), whole);
}

#[test]
fn a_signal_stops_all_at_the_same_step() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let recipe = smoke("pretrain_mae.toml");
    well(at, &long(&recipe, "alone"));
    // To the launcher, and to one process only.
    for (to_launcher, run) in [(true, "launcher"), (false, "rank")] {
        let running = Running::start(at, &launched("2", &long(&recipe, run)), run);
        match to_launcher {
            true => signal(&running.launcher.id().to_string(), "-TERM"),
            false => signal(&running.ranks()[1], "-INT"),
        }
        let (code, said, _) = running.end();
        assert_eq!(code, Some(130), "{said}");
        // By one process, too: the number of processes is no part of a run.
        well(at, &[&long(&recipe, run)[..], &["--resume"]].concat());
        same_runs(at, "alone", run, 1e-5, "1e-5");
    }
}

/// The picture is in a batch of one process; the other one tells what that one said, not that it is gone.
#[test]
fn the_process_that_fails_says_why_and_the_others_save() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let recipe = smoke("pretrain_mae.toml");
    well(at, &launched("2", &long(&recipe, "whole")));
    let pictures = at.join("data/train");
    let class = std::fs::read_dir(&pictures)
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let picture = std::fs::read_dir(class.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let good = std::fs::read(&picture).unwrap();
    std::fs::write(&picture, &good[..good.len() / 3]).unwrap();

    let output = command(at, &launched("2", &long(&recipe, "broken")))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let name = picture.file_name().unwrap().to_string_lossy().into_owned();
    let errors: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("error: "))
        .collect();
    assert!(errors[0].contains(&name), "{said}");
    assert!(said.contains("the state before it is saved in"), "{said}");
    assert!(!said.contains("lost another one"), "{said}");

    std::fs::write(&picture, good).unwrap();
    let resumed = [&long(&recipe, "broken")[..], &["--resume"]].concat();
    well(at, &launched("2", &resumed));
    assert_eq!(
        weights_hash(&at.join("broken")),
        weights_hash(&at.join("whole"))
    );
}

#[test]
fn what_cannot_be_shared_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let recipe = smoke("pretrain_mae.toml");
    let train = ["pretrain", &recipe, "--data", "data", "--out", "run"];
    let told = |output: Output| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let errors: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("error: "))
            .collect();
        assert_eq!(errors.len(), 1, "{said}");
        errors[0].to_owned()
    };
    let launch = |processes, arguments: &[&str]| {
        told(
            command(at, &launched(processes, arguments))
                .output()
                .unwrap(),
        )
    };
    let unequal = launch("3", &train);
    assert!(
        unequal.contains("3 processes cannot have equal shares"),
        "{unequal}"
    );
    let missing = launch(
        "2",
        &["pretrain", &recipe, "--data", "nowhere", "--out", "run"],
    );
    assert!(missing.contains("nowhere"), "{missing}");
    let other = launch("2", &["data", "check"]);
    assert!(
        other.contains("pretrain, finetune, eval or analyze"),
        "{other}"
    );
    let none = launch("0", &train);
    assert!(none.contains("at least one"), "{none}");
    assert!(!at.join("run").exists());

    let half = command(at, &train).env("WORLD_SIZE", "2").output().unwrap();
    assert!(told(half).contains("RANK is missing"));
    let alone = command(at, &train)
        .envs([("RANK", "1"), ("WORLD_SIZE", "2")])
        .envs([("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "1")])
        .env("DEEPMIM_RANK_TIMEOUT", "1")
        .output()
        .unwrap();
    let alone = told(alone);
    assert!(
        alone.contains("could not meet the others at 127.0.0.1:1"),
        "{alone}"
    );
}
