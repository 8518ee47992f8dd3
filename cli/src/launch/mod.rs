//! `deepmim launch`: several processes of one training or evaluation on this machine.

mod processes;

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use deepmim_cli::{Failure, LaunchArgs};
use signal_hook::consts::{SIGINT, SIGTERM};

use processes::{End, Processes};

/// How long the others may take to end by themselves once one has failed: rank 0 saves what there is.
const GRACE: Duration = Duration::from_secs(60);
/// Between two looks at the processes.
const POLL: Duration = Duration::from_millis(20);

/// Commands that several processes can share.
const SHARED: [&str; 4] = ["pretrain", "finetune", "eval", "analyze"];
/// Those that go on where they stopped; the others start again.
const RESUMED: [&str; 2] = ["pretrain", "finetune"];

/// Starts the processes, waits for them, and starts them again where they may be.
pub fn run(args: &LaunchArgs) -> Result<(), Failure> {
    let word = args.command.first().and_then(|word| word.to_str());
    let word = word.filter(|word| SHARED.contains(word)).with_context(|| {
        format!(
            "launch starts pretrain, finetune, eval or analyze, not {}",
            args.command[0].to_string_lossy()
        )
    })?;
    if args.processes == 0 {
        return Err(anyhow::anyhow!("--processes is 0; start at least one").into());
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut command = args.command.clone();
    let mut attempt = 0;
    loop {
        let mut processes = Processes::start(args, &command, attempt)?;
        let (first, code) = wait(&mut processes, &stop)?;
        let Some(first) = first else {
            return match code {
                0 => Ok(()),
                code => Err(Failure::Quiet(code)),
            };
        };
        if let End::Killed(signal) = first.end {
            eprintln!("process {} was killed by signal {signal}", first.rank);
        }
        if attempt >= args.max_restarts || stop.load(Ordering::Relaxed) {
            return Err(Failure::Quiet(code));
        }
        attempt += 1;
        eprintln!(
            "starting all processes again (restart {attempt} of {})",
            args.max_restarts
        );
        command = resumed(&command, word);
    }
}

/// The first process that failed.
struct First {
    rank: usize,
    end: End,
}

/// Waits until all have ended; the first that failed, and the exit code of the whole.
fn wait(processes: &mut Processes, stop: &AtomicBool) -> anyhow::Result<(Option<First>, u8)> {
    let mut first: Option<(First, Instant)> = None;
    let mut asked = false;
    let mut code = 0;
    while processes.running() {
        if stop.load(Ordering::Relaxed) && !asked {
            asked = true;
            processes.stop();
        }
        for (rank, end) in processes.ended()? {
            match end {
                End::Code(0) => {}
                // Stopped with a checkpoint, as it was asked to.
                End::Code(130) => code = code.max(130),
                end => {
                    first.get_or_insert_with(|| (First { rank, end }, Instant::now()));
                }
            }
        }
        if let Some((_, since)) = &first
            && since.elapsed() > GRACE
        {
            processes.kill();
        }
        std::thread::sleep(POLL);
    }
    processes.finish_output();
    Ok(match first {
        Some((first, _)) => {
            let code = match first.end {
                End::Code(code) => code,
                End::Killed(_) => 1,
            };
            (Some(first), code)
        }
        None => (None, code),
    })
}

/// The command that goes on with a training; an evaluation starts again.
fn resumed(command: &[OsString], word: &str) -> Vec<OsString> {
    let mut command: Vec<OsString> = command
        .iter()
        .filter(|argument| *argument != "--overwrite")
        .cloned()
        .collect();
    if RESUMED.contains(&word) && !command.iter().any(|argument| argument == "--resume") {
        command.push("--resume".into());
    }
    command
}
