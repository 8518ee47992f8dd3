//! The processes of one launch.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use anyhow::Context;
use deepmim_cli::{LaunchArgs, STOP_WITH_STDIN};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With an exit code.
    Code(u8),
    /// By a signal.
    Killed(i32),
}

/// Running processes. They stop, save and end when this program dies, however it dies: they read the end of
/// their standard input then.
pub struct Processes {
    /// None once it has ended.
    children: Vec<Option<Child>>,
    output: Vec<JoinHandle<()>>,
}

impl Processes {
    /// Starts all of them. Rank 0 speaks for itself; what the others say gets their number before it.
    pub fn start(args: &LaunchArgs, command: &[OsString], attempt: u32) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("this program's own path is not known")?;
        let port = match args.port {
            Some(port) => port,
            None => free_port().context("this machine has no free port")?,
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (cores / args.processes).max(1).to_string();
        let mut started = Self {
            children: Vec::new(),
            output: Vec::new(),
        };
        for rank in 0..args.processes {
            let mut process = Command::new(own.with_file_name("deepmim-model"));
            process
                .args(command)
                .env("RANK", rank.to_string())
                .env("LOCAL_RANK", rank.to_string())
                .env("WORLD_SIZE", args.processes.to_string())
                .env("MASTER_ADDR", "127.0.0.1")
                .env("MASTER_PORT", port.to_string())
                .env("TORCHELASTIC_RESTART_COUNT", attempt.to_string())
                .env_remove("TORCHELASTIC_USE_AGENT_STORE")
                .env(STOP_WITH_STDIN, "1")
                .stdin(Stdio::piped());
            for variable in ["OMP_NUM_THREADS", "RAYON_NUM_THREADS"] {
                if std::env::var_os(variable).is_none() {
                    process.env(variable, &threads);
                }
            }
            if let Some(seconds) = args.timeout {
                process.env("DEEPMIM_RANK_TIMEOUT", seconds.to_string());
            }
            if rank > 0 {
                process.stdout(Stdio::piped()).stderr(Stdio::piped());
            }
            let mut child = process.spawn().context(
                "deepmim-model cannot be started; it is built together with deepmim, so keep both in one folder",
            )?;
            if let Some(said) = child.stdout.take() {
                started.forward(rank, said, |line| println!("{line}"));
            }
            if let Some(said) = child.stderr.take() {
                started.forward(rank, said, |line| eprintln!("{line}"));
            }
            started.children.push(Some(child));
        }
        Ok(started)
    }

    fn forward(&mut self, rank: usize, said: impl Read + Send + 'static, say: fn(&str)) {
        self.output.push(std::thread::spawn(move || {
            let mut lines = BufReader::new(said).split(b'\n');
            while let Some(Ok(line)) = lines.next() {
                say(&format!("[{rank}] {}", String::from_utf8_lossy(&line)));
            }
        }));
    }

    /// Whether any still runs.
    pub fn running(&self) -> bool {
        self.children.iter().any(Option::is_some)
    }

    /// Those that ended since the last call.
    pub fn ended(&mut self) -> std::io::Result<Vec<(usize, End)>> {
        let mut ended = Vec::new();
        for (rank, slot) in self.children.iter_mut().enumerate() {
            let Some(child) = slot else {
                continue;
            };
            if let Some(status) = child.try_wait()? {
                *slot = None;
                let end = match (status.code(), status.signal()) {
                    (Some(code), _) => End::Code(u8::try_from(code).unwrap_or(1)),
                    (None, signal) => End::Killed(signal.unwrap_or_default()),
                };
                ended.push((rank, end));
            }
        }
        Ok(ended)
    }

    /// Asks all to save and end.
    pub fn stop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            drop(child.stdin.take());
        }
    }

    /// Ends all at once.
    pub fn kill(&mut self) {
        for child in self.children.iter_mut().flatten() {
            // It may have ended by itself.
            let _ = child.kill();
        }
    }

    /// Waits until everything that was said is passed on.
    pub fn finish_output(&mut self) {
        for thread in self.output.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A port that was free a moment ago.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
