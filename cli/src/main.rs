//! The program users start.

mod compare;
mod demo;
mod launch;
mod score;
mod suite;

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use deepmim_cli::{Cli, Command, Failure, finish};

fn main() -> ExitCode {
    finish(run(Cli::parse().command))
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "deepmim", &mut script);
            std::io::stdout().write_all(&script)?;
            Ok(())
        }
        Command::Score(command) => score::run(&command),
        Command::Demo(args) => demo::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Suite(args) => suite::run(&args),
        Command::Launch(args) => launch::run(&args),
        Command::Data(_) => Err(become_program("deepmim-data")),
        _ => Err(become_program("deepmim-model")),
    }
}

/// Replaces this process by another of the package's programs, with the same arguments; returns only
/// when it cannot.
fn become_program(name: &str) -> Failure {
    let program = match std::env::current_exe() {
        Ok(own) => own.with_file_name(name),
        Err(_) => PathBuf::from(name),
    };
    let error = std::process::Command::new(&program)
        .args(std::env::args_os().skip(1))
        .exec();
    anyhow::anyhow!(
        "{} cannot be started ({error}); it is built together with deepmim, so keep both in one folder",
        program.display()
    )
    .into()
}
