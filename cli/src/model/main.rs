//! `deepmim-model`: the commands that need libtorch. Users start `deepmim`, which becomes this.

mod checkpoint;
mod classify;
mod demo;
mod device;
mod experiment;
mod pretrain;
mod session;
mod weights;

use std::process::ExitCode;

use clap::Parser;
use deepmim_cli::{Cli, Command, Failure, finish};

fn main() -> ExitCode {
    native::keep_freed_memory();
    finish(run(Cli::parse().command))
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Pretrain(args) => pretrain::run(&args),
        Command::Finetune(args) => classify::finetune(&args),
        Command::Eval(args) => classify::evaluate(&args),
        Command::Predict(args) => classify::predict(&args),
        Command::Checkpoint(command) => checkpoint::run(&command),
        Command::Data(_) | Command::Score(_) | Command::Completions { .. } => {
            Err(anyhow::anyhow!("start this command as deepmim").into())
        }
    }
}
