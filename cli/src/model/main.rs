//! `deepmim-model`: the commands that need libtorch. Users start `deepmim`, which becomes this.

mod analyze;
mod checkpoint;
mod classify;
mod detect;
mod device;
mod estimate;
mod examples;
mod experiment;
mod outputs;
mod pretrain;
mod probe;
mod ranks;
mod record;
mod segment;
mod session;
mod weights;

use std::process::ExitCode;
use std::rc::Rc;

use clap::Parser;
use deepmim_cli::{Cli, Command, Failure, STOP_WITH_STDIN, finish};
use engine::{StopFlag, World};
use experiment::TaskKind;

fn main() -> ExitCode {
    native::keep_freed_memory();
    let command = Cli::parse().command;
    let world = match ranks::join(&command) {
        Ok(world) => world,
        Err(error) => return finish(Err(error.into())),
    };
    let result = stop_with_stdin().and_then(|()| run(command, &world));
    // The others learn that this process is gone when it leaves them, which is after it said why.
    let code = finish(ranks::settle(&world, result));
    drop(world);
    code
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

fn run(command: Command, world: &Rc<World>) -> Result<(), Failure> {
    match command {
        Command::Pretrain(args) => pretrain::run(world, &args),
        Command::Finetune(args) => {
            let text = ranks::together(world, || session::recipe(&args.recipe))?;
            match TaskKind::of(&text) {
                Some(TaskKind::Detect) => detect::finetune(world, &args, &text),
                Some(TaskKind::Segment) => segment::finetune(world, &args, &text),
                _ => classify::finetune(world, &args, &text),
            }
        }
        Command::Eval(args) => {
            let (text, kind) = ranks::together(world, || {
                let mut text = session::recipe(&args.recipe)?;
                session::test_time(&mut text, &args.test_time)?;
                let kind = TaskKind::of(&text);
                if args.submission && kind != Some(TaskKind::Segment) {
                    anyhow::bail!("--submission is for recipes with task = \"segment\"");
                }
                Ok((text, kind))
            })?;
            match kind {
                Some(TaskKind::Detect) => detect::evaluate(world, &args, &text),
                Some(TaskKind::Segment) => segment::evaluate(world, &args, &text),
                _ => classify::evaluate(world, &args, &text),
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
        Command::Analyze(args) => analyze::run(world, &args),
        Command::Checkpoint(command) => checkpoint::run(&command),
        Command::Demo(_)
        | Command::Data(_)
        | Command::Score(_)
        | Command::Compare(_)
        | Command::Suite(_)
        | Command::Launch(_)
        | Command::Completions { .. } => {
            Err(anyhow::anyhow!("start this command as deepmim").into())
        }
    }
}
