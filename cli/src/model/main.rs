//! `deepmim-model`: the commands that need libtorch. Users start `deepmim`, which becomes this.

mod checkpoint;
mod classify;
mod demo;
mod detect;
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
        Command::Finetune(args) => {
            let text = session::recipe(&args.recipe)?;
            match experiment::is_detection(&text) {
                true => detect::finetune(&args, &text),
                false => classify::finetune(&args, &text),
            }
        }
        Command::Eval(args) => {
            let mut text = session::recipe(&args.recipe)?;
            session::test_time(&mut text, &args.test_time)?;
            match experiment::is_detection(&text) {
                true => detect::evaluate(&args, &text),
                false => classify::evaluate(&args, &text),
            }
        }
        Command::Predict(args) => {
            let mut text = session::recipe(&args.recipe)?;
            session::test_time(&mut text, &args.test_time)?;
            match experiment::is_detection(&text) {
                true => detect::predict(&args, &text),
                false => classify::predict(&args, &text),
            }
        }
        Command::Checkpoint(command) => checkpoint::run(&command),
        Command::Data(_) | Command::Score(_) | Command::Completions { .. } => {
            Err(anyhow::anyhow!("start this command as deepmim").into())
        }
    }
}
