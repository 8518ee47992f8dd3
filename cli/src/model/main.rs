//! `deepmim-model`: the commands that need libtorch. Users start `deepmim`, which becomes this.

mod checkpoint;
mod classify;
mod demo;
mod detect;
mod device;
mod examples;
mod experiment;
mod outputs;
mod pretrain;
mod record;
mod segment;
mod session;
mod weights;

use std::process::ExitCode;

use clap::Parser;
use deepmim_cli::{Cli, Command, Failure, finish};
use experiment::TaskKind;

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
            match TaskKind::of(&text) {
                Some(TaskKind::Detect) => detect::finetune(&args, &text),
                Some(TaskKind::Segment) => segment::finetune(&args, &text),
                _ => classify::finetune(&args, &text),
            }
        }
        Command::Eval(args) => {
            let mut text = session::recipe(&args.recipe)?;
            session::test_time(&mut text, &args.test_time)?;
            let kind = TaskKind::of(&text);
            if args.submission && kind != Some(TaskKind::Segment) {
                return Err(
                    anyhow::anyhow!("--submission is for recipes with task = \"segment\"").into(),
                );
            }
            match kind {
                Some(TaskKind::Detect) => detect::evaluate(&args, &text),
                Some(TaskKind::Segment) => segment::evaluate(&args, &text),
                _ => classify::evaluate(&args, &text),
            }
        }
        Command::Predict(args) => {
            let mut text = session::recipe(&args.recipe)?;
            session::test_time(&mut text, &args.test_time)?;
            match TaskKind::of(&text) {
                Some(TaskKind::Detect) => detect::predict(&args, &text),
                Some(TaskKind::Segment) => segment::predict(&args, &text),
                _ => classify::predict(&args, &text),
            }
        }
        Command::Checkpoint(command) => checkpoint::run(&command),
        Command::Data(_) | Command::Score(_) | Command::Completions { .. } => {
            Err(anyhow::anyhow!("start this command as deepmim").into())
        }
    }
}
