//! What commands do differently when several processes run them together.

use std::rc::Rc;

use deepmim_cli::{Command, Failure, one_sentence};
use engine::{EngineError, Launch, Share, TaskError, World};

/// The processes that run `command` together, as the launcher told this one.
pub fn join(command: &Command) -> anyhow::Result<Rc<World>> {
    let launch = Launch::from_environment()?;
    let together = match command {
        Command::Pretrain(args) => !args.run.estimate,
        Command::Finetune(args) => !args.run.estimate,
        Command::Eval(args) => !args.estimate,
        Command::Analyze(_) => true,
        _ => false,
    };
    if launch.is_some() && !together {
        anyhow::bail!(
            "this command is for one process: start it without a launcher (pretrain, finetune, eval and analyze are what several processes can share, without --estimate)"
        );
    }
    Ok(Rc::new(World::join(launch.as_ref())?))
}

/// Does `body` in every process; none goes on unless it went well in all. What is wrong in several is told by
/// the first of them.
pub fn together<T>(world: &World, body: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let result = body();
    world.all_well(result.as_ref().err().map(one_sentence))?;
    result
}

/// Tells the user what every process knows.
pub fn print_once(world: &World, text: &impl std::fmt::Display) {
    if world.is_main() {
        eprint!("{text}");
    }
}

/// The part of the data that `share` is for.
pub fn shard(share: &Share) -> data::Shard {
    data::Shard {
        rank: share.rank,
        ranks: share.ranks,
        pieces: share.pieces,
    }
}

/// This process's part of a validation set: every so manyth batch.
pub fn evaluation_shard(world: &World) -> data::Shard {
    data::Shard {
        rank: world.rank(),
        ranks: world.size(),
        pieces: 1,
    }
}

/// An error of a task as the command's error, with its kind.
pub fn as_failure(error: TaskError) -> Failure {
    Failure::Error(anyhow::Error::from_boxed(error))
}

/// What this process says of its end. Its own failure it leaves word of, for the others; theirs, and what
/// they all know, rank 0 tells alone.
pub fn settle(world: &World, result: Result<(), Failure>) -> Result<(), Failure> {
    if world.size() == 1 {
        return result;
    }
    match result {
        Err(Failure::Interrupted(_)) if !world.is_main() => Err(Failure::Quiet(130)),
        Err(Failure::Error(error)) => {
            let cause = EngineError::innermost(error.as_ref());
            let of_another = matches!(
                cause,
                Some(EngineError::PeerFailed { .. } | EngineError::PeerLost { .. })
            );
            let known = matches!(cause, Some(EngineError::PeerFailed { .. }))
                || cause.is_some_and(EngineError::is_common);
            if known && !world.is_main() {
                return Err(Failure::Quiet(1));
            }
            if !of_another {
                world.report_failure(&one_sentence(&error));
            }
            Err(Failure::Error(error))
        }
        other => other,
    }
}
