//! Running the program as a user does.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A recipe of `configs/smoke`.
pub fn smoke(name: &str) -> String {
    root()
        .join("configs/smoke")
        .join(name)
        .display()
        .to_string()
}

/// `deepmim` with arguments, in a folder; two libtorch threads, whatever the machine has, because a
/// sum's bits depend on how many threads share it.
pub fn deepmim(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deepmim"));
    command
        .args(arguments)
        .current_dir(folder)
        .env("OMP_NUM_THREADS", "2");
    command
}

/// Runs and expects success; gives stdout.
pub fn run(folder: &Path, arguments: &[&str]) -> String {
    let output = deepmim(folder, arguments).output().unwrap();
    assert!(
        output.status.success(),
        "deepmim {} failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs and expects a failure with exit code `code`, told in one line; gives that line.
pub fn fails(folder: &Path, code: i32, arguments: &[&str]) -> String {
    one_sentence(
        &deepmim(folder, arguments).output().unwrap(),
        code,
        &arguments.join(" "),
    )
}

/// The last line of stderr, which must be the only error line; nothing on stdout, no panic.
pub fn one_sentence(output: &Output, code: i32, what: &str) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{what}: {stderr}");
    assert!(output.stdout.is_empty(), "{what} wrote to stdout");
    assert!(!stderr.contains("panicked"), "{what}: {stderr}");
    let errors: Vec<&str> = stderr
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert_eq!(errors.len(), 1, "{what}: {stderr}");
    assert_eq!(stderr.lines().last(), Some(errors[0]), "{what}: {stderr}");
    errors[0].to_owned()
}

/// A drawn data set of four classes in `folder/data`.
pub fn draw(folder: &Path) {
    run(
        folder,
        &[
            "data",
            "synth",
            "classification",
            "--out",
            "data",
            "--classes",
            "4",
            "--per-class",
            "12",
            "--val-per-class",
            "5",
            "--size",
            "32",
        ],
    );
}

/// The hash of a run's last weights, from its summary.
pub fn weights_hash(run: &Path) -> String {
    let text = std::fs::read_to_string(run.join("summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(summary["outcome"], "finished");
    summary["weights_sha256"].as_str().unwrap().to_owned()
}

/// All files under a folder, sorted.
pub fn walk(folder: &Path) -> Vec<String> {
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
