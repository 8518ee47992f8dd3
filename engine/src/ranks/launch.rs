//! What a launcher tells each process it starts.

use std::time::Duration;

use crate::EngineError;

/// A process's place among those of one training, as `torchrun`, SLURM's `srun`, Kubernetes' PyTorchJob and
/// `deepmim launch` tell it in the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Number of this process, from 0.
    pub rank: usize,
    /// Processes.
    pub size: usize,
    /// Number among those on this machine, from 0: which of its GPUs is ours.
    pub local_rank: usize,
    /// Host at which the processes meet: rank 0's.
    pub address: String,
    /// Port there.
    pub port: u16,
    /// Whether the launcher holds the store (torchrun's agent); else rank 0 does.
    pub store_is_there: bool,
    /// How often the processes were started before.
    pub attempt: u64,
    /// How long a process waits for the others.
    pub timeout: Duration,
}

/// How long processes wait for each other where nothing else is said: also for rank 0 while it alone scores
/// an evaluation or writes a checkpoint.
const TIMEOUT: Duration = Duration::from_secs(600);

impl Launch {
    /// The variable with the seconds that a process waits for the others.
    pub const TIMEOUT_VARIABLE: &'static str = "DEEPMIM_RANK_TIMEOUT";

    /// What the environment says; none where this process is alone.
    ///
    /// # Errors
    /// When a variable is missing beside others or is not what it should be.
    pub fn from_environment() -> Result<Option<Self>, EngineError> {
        Self::read(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, EngineError> {
        // srun knows ranks but no meeting place; with one set, its own variables do for the rest.
        let of = |name: &str| {
            let slurm = match name {
                "RANK" => "SLURM_PROCID",
                "WORLD_SIZE" => "SLURM_NTASKS",
                "LOCAL_RANK" => "SLURM_LOCALID",
                _ => return variable(name),
            };
            variable(name).or_else(|| variable("MASTER_ADDR").and_then(|_| variable(slurm)))
        };
        let number = |name: &str| -> Result<Option<u64>, EngineError> {
            of(name)
                .map(|text| {
                    text.parse().map_err(|_| {
                        EngineError::Config(format!(
                            "the environment variable {name} is {text:?}, which is no number: the launcher must set it (deepmim launch, torchrun, srun)"
                        ))
                    })
                })
                .transpose()
        };
        let size = number("WORLD_SIZE")?;
        if size.is_none() && variable("RANK").is_none() {
            return Ok(None);
        }
        let given = |name: &str, value: Option<u64>| value.ok_or_else(|| missing(name));
        let size = given("WORLD_SIZE", size)?;
        let rank = given("RANK", number("RANK")?)?;
        if rank >= size {
            return Err(EngineError::Config(format!(
                "RANK is {rank} and WORLD_SIZE is {size}: ranks go from 0 to {}",
                size.saturating_sub(1)
            )));
        }
        if size == 1 {
            return Ok(None);
        }
        let port = given("MASTER_PORT", number("MASTER_PORT")?)?;
        Ok(Some(Self {
            rank: rank as usize,
            size: size as usize,
            local_rank: number("LOCAL_RANK")?.unwrap_or(0) as usize,
            address: of("MASTER_ADDR").ok_or_else(|| missing("MASTER_ADDR"))?,
            port: u16::try_from(port).map_err(|_| {
                EngineError::Config(format!("MASTER_PORT is {port}; ports end at 65535"))
            })?,
            store_is_there: variable("TORCHELASTIC_USE_AGENT_STORE")
                .is_some_and(|value| value.eq_ignore_ascii_case("true")),
            attempt: number("TORCHELASTIC_RESTART_COUNT")?.unwrap_or(0),
            timeout: match number(Self::TIMEOUT_VARIABLE)? {
                Some(0) => {
                    return Err(EngineError::Config(format!(
                        "{} is 0; it is the number of seconds that a process waits for the others",
                        Self::TIMEOUT_VARIABLE
                    )));
                }
                Some(seconds) => Duration::from_secs(seconds),
                None => TIMEOUT,
            },
        }))
    }
}

fn missing(name: &str) -> EngineError {
    EngineError::Config(format!(
        "the environment variable {name} is missing: several processes need RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, which deepmim launch and torchrun set (docs/SCALING.md has a line for each launcher); for one process unset the others"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Launch>, EngineError> {
        Launch::read(|name| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_or_one_process_is_no_launch() {
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&[("RANK", "0"), ("WORLD_SIZE", "1")]).unwrap(), None);
        // An interactive SLURM shell without a meeting place.
        let shell = [("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8")];
        assert_eq!(read(&shell).unwrap(), None);
    }

    #[test]
    fn torchrun_holds_the_store_and_counts_restarts() {
        let launch = read(&[
            ("RANK", "3"),
            ("WORLD_SIZE", "4"),
            ("LOCAL_RANK", "1"),
            ("MASTER_ADDR", "node0"),
            ("MASTER_PORT", "29500"),
            ("TORCHELASTIC_USE_AGENT_STORE", "True"),
            ("TORCHELASTIC_RESTART_COUNT", "2"),
            ("DEEPMIM_RANK_TIMEOUT", "30"),
        ]);
        let wanted = Launch {
            rank: 3,
            size: 4,
            local_rank: 1,
            address: "node0".into(),
            port: 29500,
            store_is_there: true,
            attempt: 2,
            timeout: Duration::from_secs(30),
        };
        assert_eq!(launch.unwrap(), Some(wanted));
    }

    #[test]
    fn srun_needs_a_meeting_place_only() {
        let launch = read(&[
            ("SLURM_PROCID", "9"),
            ("SLURM_NTASKS", "16"),
            ("SLURM_LOCALID", "1"),
            ("MASTER_ADDR", "node0"),
            ("MASTER_PORT", "29500"),
        ])
        .unwrap()
        .unwrap();
        assert_eq!((launch.rank, launch.size, launch.local_rank), (9, 16, 1));
        assert!(!launch.store_is_there);
    }

    #[test]
    fn half_a_launch_names_what_is_missing() {
        let complete = [
            ("RANK", "1"),
            ("WORLD_SIZE", "2"),
            ("MASTER_ADDR", "node0"),
            ("MASTER_PORT", "29500"),
        ];
        for (left_out, _) in complete {
            let rest: Vec<_> = complete
                .into_iter()
                .filter(|(name, _)| *name != left_out)
                .collect();
            let message = read(&rest).unwrap_err().to_string();
            assert!(message.contains(left_out), "{message}");
        }
        for (name, value) in [
            ("RANK", "2"),
            ("RANK", "first"),
            ("MASTER_PORT", "70000"),
            ("DEEPMIM_RANK_TIMEOUT", "0"),
        ] {
            let changed: Vec<_> = std::iter::once((name, value)).chain(complete).collect();
            let message = read(&changed).unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
        }
    }
}
