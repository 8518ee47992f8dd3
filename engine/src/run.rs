//! The run directory: everything that is known about one training, in one folder.
//!
//! ```text
//! config.toml       the resolved configuration
//! environment.json  program, libtorch, device, threads, seed
//! metrics.csv       step,epoch,name,value
//! tensorboard/      the same as events
//! checkpoints/      see `checkpoint.rs`
//! snapshots/        pictures by step
//! summary.json      how it ended
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Serialize;

use crate::{EngineError, durable, tensor_file::sha256};

const CONFIG: &str = "config.toml";
const ENVIRONMENT: &str = "environment.json";
const LOCK: &str = ".lock";

/// Keys that may differ between the starts of one run: they do not change its result.
const FREE_KEYS: [&str; 7] = [
    "threads",
    "keep",
    "save_every_epochs",
    "save_every_steps",
    "save_every_minutes",
    "snapshot_every",
    "prefetch",
];

/// What to do when the run is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Stop with a sentence.
    Refuse,
    /// Go on from its last checkpoint; start afresh where there is none.
    Resume,
    /// Delete it and start afresh.
    Overwrite,
}

/// Facts about the machine and the program that a result depends on. Holds no host name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Environment {
    /// Version of the program.
    pub program: String,
    /// Git revision of the folder the program was started in, where it has one.
    pub git_revision: Option<String>,
    /// Version of libtorch.
    pub libtorch: String,
    /// Device of the model.
    pub device: String,
    /// Threads of libtorch's CPU kernels.
    pub threads: i32,
    /// Processes that trained together.
    pub processes: usize,
    /// Seed of the run.
    pub seed: u64,
}

impl Environment {
    /// The present program, libtorch and working folder.
    pub fn current(device: tch::Device, seed: u64, processes: usize) -> Self {
        Self {
            program: env!("CARGO_PKG_VERSION").into(),
            git_revision: git_revision(),
            libtorch: native::libtorch_version(),
            device: format!("{device:?}").to_lowercase(),
            threads: tch::get_num_threads(),
            processes,
            seed,
        }
    }
}

fn git_revision() -> Option<String> {
    let answer = Command::new("git")
        .args([
            "describe",
            "--always",
            "--dirty",
            "--abbrev=40",
            "--exclude=*",
        ])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let revision = String::from_utf8(answer.stdout).ok()?.trim().to_owned();
    (answer.status.success() && !revision.is_empty()).then_some(revision)
}

/// The folder of one run, locked against other processes while this lives.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    config: String,
    resuming: bool,
    /// Held, not read: the system releases the lock when the process ends, however it ends.
    _lock: File,
}

impl RunDir {
    /// Opens or makes the run's folder and writes `config` (the resolved configuration) into it.
    ///
    /// # Errors
    /// When a run is there and `existing` refuses it, when another process writes it, when it was
    /// started with another configuration, or when the folder cannot be written.
    pub fn open(path: &Path, existing: Existing, config: &str) -> Result<Self, EngineError> {
        let had_content = has_content(path).map_err(EngineError::io("cannot read", path))?;
        let is_run = path.join(CONFIG).is_file();
        if had_content && !is_run {
            return Err(EngineError::NotARun(path.to_owned()));
        }
        if had_content && existing == Existing::Refuse {
            return Err(EngineError::RunExists(path.to_owned()));
        }
        fs::create_dir_all(path).map_err(EngineError::io("cannot make", path))?;
        let lock = lock(path)?;
        let resuming = existing == Existing::Resume && is_run;
        if resuming {
            let file = path.join(CONFIG);
            let had = fs::read_to_string(&file).map_err(EngineError::io("cannot read", &file))?;
            if let Some((had, now)) = first_difference(&had, config) {
                return Err(EngineError::ConfigChanged {
                    path: path.to_owned(),
                    had,
                    now,
                });
            }
        } else {
            if is_run {
                remove_run(path).map_err(EngineError::io("cannot empty", path))?;
            }
            let file = path.join(CONFIG);
            durable::replace(&file, config.as_bytes())
                .map_err(EngineError::io("cannot write", &file))?;
        }
        for folder in ["checkpoints", "tensorboard"] {
            let folder = path.join(folder);
            fs::create_dir_all(&folder).map_err(EngineError::io("cannot make", &folder))?;
        }
        Ok(Self {
            path: path.to_owned(),
            config: config.to_owned(),
            resuming,
            _lock: lock,
        })
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether an existing run is continued.
    pub fn resuming(&self) -> bool {
        self.resuming
    }

    /// The folder of the checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The file of all logged values.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.csv")
    }

    /// The folder of TensorBoard's event files.
    pub fn tensorboard(&self) -> PathBuf {
        self.path.join("tensorboard")
    }

    /// The folder for pictures made after `step` steps.
    pub fn snapshot(&self, step: u64) -> PathBuf {
        self.path.join("snapshots").join(format!("step-{step:08}"))
    }

    /// SHA-256 of the configuration, without the keys that may change between starts.
    pub fn config_sha256(&self) -> String {
        sha256(binding(&self.config).join("\n").as_bytes())
    }

    /// Writes `environment.json`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_environment(&self, environment: &Environment) -> Result<(), EngineError> {
        self.write_json(ENVIRONMENT, environment)
    }

    /// Writes `summary.json`; readers see the old or the new one, never a part.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_summary(&self, summary: &impl Serialize) -> Result<(), EngineError> {
        self.write_json("summary.json", summary)
    }

    fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), EngineError> {
        let path = self.path.join(name);
        let mut text = serde_json::to_string_pretty(value)
            .map_err(|error| EngineError::io("cannot write", &path)(error.into()))?;
        text.push('\n');
        durable::replace(&path, text.as_bytes()).map_err(EngineError::io("cannot write", &path))
    }
}

fn has_content(path: &Path) -> io::Result<bool> {
    match fs::read_dir(path) {
        Ok(entries) => {
            for entry in entries {
                // A start that was killed at once leaves only these.
                let name = entry?.file_name();
                if name != LOCK && name != "config.toml.new" {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn lock(path: &Path) -> Result<File, EngineError> {
    let file = path.join(LOCK);
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&file)
        .map_err(EngineError::io("cannot write", &file))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(EngineError::RunLocked(path.to_owned())),
        // Some network file systems have no locks; they are no reason not to train.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(lock),
        Err(TryLockError::Error(error)) => Err(EngineError::io("cannot lock", &file)(error)),
    }
}

/// Empties a run's folder; the configuration goes last, so that a killed removal still leaves
/// something that is known as a run.
fn remove_run(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == LOCK || name == CONFIG {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_file(path.join(CONFIG))
}

/// The lines of a configuration that bind all starts of a run.
fn binding(config: &str) -> Vec<&str> {
    let free = |line: &&str| {
        let key = line.split('=').next().unwrap_or_default().trim();
        FREE_KEYS.contains(&key)
    };
    config
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#') && !free(line))
        .collect()
}

fn first_difference(had: &str, now: &str) -> Option<(String, String)> {
    let (had, now) = (binding(had), binding(now));
    (0..had.len().max(now.len())).find_map(|at| {
        let line = |lines: &[&str]| lines.get(at).map_or("nothing", |line| *line).to_owned();
        let (had, now) = (line(&had), line(&now));
        (had != now).then_some((had, now))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_not_overwritten_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs/one");
        let open = |existing| RunDir::open(&path, existing, "a = 1\n");
        drop(open(Existing::Refuse).unwrap());
        fs::write(path.join("metrics.csv"), "x").unwrap();
        let message = open(Existing::Refuse).unwrap_err().to_string();
        assert!(message.contains("--resume"), "{message}");
        assert!(open(Existing::Resume).unwrap().resuming());
        assert!(path.join("metrics.csv").exists());
        assert!(!open(Existing::Overwrite).unwrap().resuming());
        assert!(!path.join("metrics.csv").exists());
    }

    #[test]
    fn a_folder_that_is_no_run_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "x").unwrap();
        for existing in [Existing::Refuse, Existing::Resume, Existing::Overwrite] {
            let error = RunDir::open(folder.path(), existing, "").unwrap_err();
            assert!(matches!(error, EngineError::NotARun(_)), "{error}");
        }
        assert!(folder.path().join("thesis.tex").exists());
    }

    #[test]
    fn two_writers_are_one_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let first = RunDir::open(folder.path(), Existing::Resume, "a = 1").unwrap();
        let second = RunDir::open(folder.path(), Existing::Resume, "a = 1");
        assert!(matches!(second, Err(EngineError::RunLocked(_))));
        drop(first);
        RunDir::open(folder.path(), Existing::Resume, "a = 1").unwrap();
    }

    #[test]
    fn resuming_with_another_configuration_names_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let config = "[train]\nlr = 1\nthreads = 2\n";
        let hash = RunDir::open(folder.path(), Existing::Refuse, config)
            .unwrap()
            .config_sha256();
        let changed = "[train]\nlr = 2\nthreads = 2\n";
        let message = RunDir::open(folder.path(), Existing::Resume, changed)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("`lr = 1`") && message.contains("`lr = 2`"),
            "{message}"
        );
        let free = "# a remark\n[train]\nlr = 1\nthreads = 8\n";
        let run = RunDir::open(folder.path(), Existing::Resume, free).unwrap();
        assert_eq!(run.config_sha256(), hash);
    }
}
