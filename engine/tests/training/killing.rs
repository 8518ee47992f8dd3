//! Runs in processes of their own: killed at random moments, stopped by signals, out of disk.
//!
//! The child is this very test program, told by environment variables what to do.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use deepmim_engine::{Checkpoint, Existing, StopFlag};

use crate::toy::{self, Toy};

const RUN: &str = "DEEPMIM_TOY_RUN";
const SLOW: &str = "DEEPMIM_TOY_SLOW";
const WIDTH: &str = "DEEPMIM_TOY_WIDTH";
/// What the child says when its signal handlers are there.
const READY: &str = "ready";

/// A longer toy: 15 epochs of two steps, a checkpoint after each.
fn long() -> Toy {
    Toy {
        epochs: 15,
        save_every_steps: Some(1),
        ..Toy::default()
    }
}

/// Not a test: what the child processes of the others run.
#[test]
#[ignore = "run by the other tests in a process of its own"]
fn child() {
    let Ok(run) = std::env::var(RUN) else { return };
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |value| value.parse().unwrap())
    };
    let toy = Toy {
        slow: number(SLOW, 0),
        width: number(WIDTH, 8) as i64,
        stop: StopFlag::on_signals().unwrap(),
        ..long()
    };
    eprintln!("{READY}");
    match toy.train(Path::new(&run), Existing::Resume) {
        Ok(_) => std::process::exit(0),
        Err(error) => {
            eprintln!("error: {error}");
            std::process::exit(1);
        }
    }
}

fn command(run: &Path, before: &str) -> Command {
    let mut command = Command::new("bash");
    command
        .arg("-c")
        .arg(format!(
            "{before} exec \"$0\" killing::child --exact --ignored --nocapture"
        ))
        .arg(std::env::current_exe().unwrap())
        .env(RUN, run)
        .env("OMP_NUM_THREADS", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// A few pseudo-random numbers; the moments of the kills need no quality.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = deepmim_engine::step_seed(self.0, 1);
        self.0 % below
    }
}

fn steps_done(run: &Path) -> u64 {
    match Checkpoint::latest(&run.join("checkpoints")) {
        Ok((Some(newest), _)) => newest.state.step,
        _ => 0,
    }
}

fn wait_for_step(child: &mut Child, run: &Path, step: u64) {
    while steps_done(run) < step && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(3));
    }
}

#[test]
fn killed_at_ten_random_moments_it_ends_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    long().train(&whole, Existing::Refuse).unwrap();
    let mut dice = Dice(u64::from(std::process::id()));
    for kill in 1..=10 {
        let mut child = command(&killed, "").env(SLOW, "5").spawn().unwrap();
        // Somewhere within or between the steps that follow, saving included.
        wait_for_step(&mut child, &killed, 2 * kill);
        std::thread::sleep(Duration::from_micros(dice.roll(20_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            steps_done(&killed) < 30,
            "the child was never killed in time"
        );
    }
    assert!(command(&killed, "").status().unwrap().success());
    for (name, wanted) in toy::weights(&whole) {
        assert!(toy::weights(&killed)[&name].equal(&wanted), "{name}");
    }
    let newest = |run: &Path| {
        Checkpoint::latest(&run.join("checkpoints"))
            .unwrap()
            .0
            .unwrap()
    };
    for name in [
        "weights.safetensors",
        "optimizer.safetensors",
        "ema.safetensors",
    ] {
        let bytes = |run| fs::read(newest(run).path.join(name)).unwrap();
        assert!(bytes(&killed) == bytes(&whole), "{name}");
    }
    let metrics = |run: &Path| -> Vec<String> {
        let text = fs::read_to_string(run.join("metrics.csv")).unwrap();
        let lines = text.lines().filter(|line| !line.contains("second"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(metrics(&killed), metrics(&whole));
}

#[test]
fn a_signal_ends_with_a_checkpoint_and_a_second_one_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let send = |signal: &str, child: &Child| {
        let sent = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    };
    for signal in ["-TERM", "-INT"] {
        let before = steps_done(&run);
        let mut child = command(&run, "").env(SLOW, "100").spawn().unwrap();
        wait_for_step(&mut child, &run, before + 2);
        send(signal, &child);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("stopped after step"), "{said}");
        let done = steps_done(&run);
        assert!((before + 2..before + 6).contains(&done), "{done}");
    }

    let mut child = command(&run, "").env(SLOW, "10000").spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), READY);
    std::thread::sleep(Duration::from_millis(300));
    send("-TERM", &child);
    std::thread::sleep(Duration::from_millis(200));
    assert!(
        child.try_wait().unwrap().is_none(),
        "the step under way is finished first"
    );
    send("-TERM", &child);
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(128 + 15), None));
}

/// The system refuses writes past 16 KiB a file, which the wider model's checkpoint needs: as on a
/// full disk, a write fails half way.
#[test]
fn a_full_disk_is_one_sentence_and_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let width = "2000";
    let mut child = command(&run, "")
        .env(WIDTH, width)
        .env(SLOW, "30")
        .spawn()
        .unwrap();
    wait_for_step(&mut child, &run, 3);
    child.kill().unwrap();
    child.wait().unwrap();
    let before = steps_done(&run);

    let limited = "trap '' XFSZ; ulimit -f 16;";
    let output = command(&run, limited).env(WIDTH, width).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let message = said
        .lines()
        .find(|line| line.starts_with("error: "))
        .unwrap();
    for part in [
        format!("cannot save the checkpoint of step {}", before + 1),
        format!("the one of step {before} is untouched"),
        "--resume".into(),
    ] {
        assert!(message.contains(&part), "{part} in {message}");
    }
    assert_eq!(steps_done(&run), before);
    let left: Vec<_> = fs::read_dir(run.join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("step-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");

    // With room again it ends where an undisturbed run ends.
    assert!(
        command(&run, "")
            .env(WIDTH, width)
            .status()
            .unwrap()
            .success()
    );
    let whole = folder.path().join("whole");
    assert!(
        command(&whole, "")
            .env(WIDTH, width)
            .status()
            .unwrap()
            .success()
    );
    for (name, wanted) in toy::weights(&whole) {
        assert!(toy::weights(&run)[&name].equal(&wanted), "{name}");
    }
}
