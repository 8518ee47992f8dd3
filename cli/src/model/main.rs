//! `deepmim-model`: the commands that need libtorch. Users start `deepmim`, which becomes this.

mod checkpoint;
mod classify;
mod detect;
mod device;
mod estimate;
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
use deepmim_cli::{Cli, Command, Failure, STOP_WITH_STDIN, finish};
use engine::StopFlag;
use experiment::TaskKind;

fn main() -> ExitCode {
    native::keep_freed_memory();
    let command = Cli::parse().command;
    finish(stop_with_stdin().and_then(|()| run(command)))
}

/// Stops and saves when standard input ends, where the program that started this one wants that.
fn stop_with_stdin() -> Result<(), Failure> {
    if std::env::var_os(STOP_WITH_STDIN).is_none() {
        return Ok(());
    }
    let stop = StopFlag::on_signals()?;
    std::thread::spawn(move || {
        // An error is an end, too.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        stop.raise();
    });
    Ok(())
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
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
        Command::Demo(_)
        | Command::Data(_)
        | Command::Score(_)
        | Command::Compare(_)
        | Command::Suite(_)
        | Command::Completions { .. } => {
            Err(anyhow::anyhow!("start this command as deepmim").into())
        }
    }
}
