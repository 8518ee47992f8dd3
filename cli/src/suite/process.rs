//! A cell's process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::Context;
use deepmim_cli::STOP_WITH_STDIN;

use super::plan::{Action, Cell, Plan};

/// A running cell. Its process stops, saves and ends when this is dropped or this program dies, however it
/// dies: it reads the end of its standard input then.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Cell {
    /// What comes after the program's name.
    pub fn arguments(&self, recipe: &Path) -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        let mut arguments = vec![self.action.word().to_owned(), text(recipe)];
        arguments.extend(["--out".to_owned(), text(&self.folder)]);
        let (flag, weights, dialect) = match &self.action {
            Action::Pretrain | Action::Finetune(None) => ("", None, None),
            Action::Finetune(Some((weights, dialect))) => {
                ("--init", Some(weights), dialect.as_ref())
            }
            Action::Evaluate(weights, dialect) => ("--weights", Some(weights), dialect.as_ref()),
        };
        if !matches!(self.action, Action::Evaluate(..)) {
            arguments.push("--resume".to_owned());
        }
        if let Some(weights) = weights {
            arguments.extend([flag.to_owned(), text(weights)]);
        }
        if let Some(dialect) = dialect {
            arguments.extend(["--dialect".to_owned(), dialect.clone()]);
        }
        arguments
    }
}

/// The program that trains, with one cell's share of the threads.
pub fn program(threads: usize) -> anyhow::Result<Command> {
    let own = std::env::current_exe().context("this program's own path is not known")?;
    let mut command = Command::new(own.with_file_name("deepmim-model"));
    for variable in ["OMP_NUM_THREADS", "RAYON_NUM_THREADS"] {
        command.env(variable, threads.to_string());
    }
    Ok(command)
}

impl Process {
    /// Starts a cell; what it says is added to its log.
    pub fn start(plan: &Plan, cell: &Cell, Log(mut file): Log) -> anyhow::Result<Self> {
        let log = plan.log_file(cell);
        let mut open = || -> std::io::Result<File> {
            let arguments = cell.arguments(&plan.recipe_file(cell));
            writeln!(file, "--- {}", arguments.join(" "))?;
            file.try_clone()
        };
        let out = open().with_context(|| format!("cannot write {}", log.display()))?;
        let child = program(plan.threads)?
            .args(cell.arguments(&plan.recipe_file(cell)))
            .env(STOP_WITH_STDIN, "1")
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(file)
            .spawn()
            .context("deepmim-model cannot be started; it is built together with deepmim, so keep both in one folder")?;
        Ok(Self { child, log })
    }

    /// Asks it to save and end.
    pub fn stop(&mut self) {
        drop(self.child.stdin.take());
    }

    /// How it ended, where it did.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The last error it told, or how it ended.
    pub fn failure(&self, status: ExitStatus) -> String {
        let said = std::fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        // Only what this start said.
        let own = said.rfind("\n--- ").map_or(&*said, |at| &said[at..]);
        match own
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("error: "))
        {
            Some(error) => error.to_owned(),
            None => format!("{status}; its last words are in {}", self.log.display()),
        }
    }
}

/// The log of a cell, locked. The cell's process inherits the lock with its output and holds it until it ends,
/// even where the suite that started it is dead by then.
pub struct Log(File);

impl Log {
    /// Opens a cell's log; none while a process of an earlier suite still holds it.
    pub fn open(path: &Path) -> anyhow::Result<Option<Self>> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Ok(None),
            // Some network file systems have no locks; they are no reason not to run.
            _ => Ok(Some(Self(file))),
        }
    }
}
