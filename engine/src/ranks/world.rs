//! The processes of one training as one of them sees them.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::net::UdpSocket;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use native::{Backend, GroupOptions, NativeError, ProcessGroup, Reducer, Store};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::{Device, Kind, Tensor};

use super::Launch;
use crate::EngineError;

/// DDP's bucket size: large enough for a network's bandwidth, small enough to overlap with the backward pass.
const BUCKET_BYTES: usize = 25 << 20;

/// Where a process that failed says why.
const FAILURE: &str = "failure";

/// How long a process whose group broke waits for the reason.
const REASON: Duration = Duration::from_secs(3);

/// The processes of one training. Alone, every exchange gives back what was put in.
///
/// All of them must call the same methods in the same order. When one fails, the others' calls fail with
/// [`EngineError::PeerFailed`], where it could still say why, or [`EngineError::PeerLost`].
pub struct World {
    rank: usize,
    local_rank: usize,
    size: usize,
    meeting: Option<Meeting>,
}

/// What several processes have beyond one. It is dropped in this order: the connections first, by which the
/// others notice, then the store, in which they look for the reason.
struct Meeting {
    /// Over host memory, for counts, flags and predictions.
    host: ProcessGroup,
    /// Over the model's device, for gradients and statistics.
    device: OnceCell<ProcessGroup>,
    stay: Stay,
    store: Arc<Store>,
    timeout: Duration,
    address: Option<String>,
}

/// How long the process that holds the store outlives its connections, when it leaves word of a failure.
#[derive(Default)]
struct Stay(Cell<Duration>);

impl Drop for Stay {
    fn drop(&mut self) {
        std::thread::sleep(self.0.get());
    }
}

impl Meeting {
    /// The store's answer, where it has one in time. Where the way to it is cut c10d would wait for ever.
    fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&Store) -> Result<R, NativeError> + Send + 'static,
    ) -> Option<R> {
        let (answer, answered) = mpsc::channel();
        let store = Arc::clone(&self.store);
        std::thread::spawn(move || answer.send(question(&store)));
        answered.recv_timeout(REASON * 2).ok()?.ok()
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "World({} of {})", self.rank, self.size)
    }
}

impl World {
    /// One process alone.
    pub fn alone() -> Self {
        Self {
            rank: 0,
            local_rank: 0,
            size: 1,
            meeting: None,
        }
    }

    /// Meets the others of a launch, or is alone without one.
    ///
    /// # Errors
    /// When they do not come in time.
    pub fn join(launch: Option<&Launch>) -> Result<Self, EngineError> {
        let Some(launch) = launch else {
            return Ok(Self::alone());
        };
        let failed = |error: NativeError| {
            EngineError::Config(format!(
                "process {} of {} could not meet the others at {}:{} within {} s ({error}): check that all were started, that MASTER_ADDR is rank 0's machine, and that the port is free and reachable",
                launch.rank,
                launch.size,
                launch.address,
                launch.port,
                launch.timeout.as_secs()
            ))
        };
        let serve = launch.rank == 0 && !launch.store_is_there;
        let store = Store::open(&launch.address, launch.port, serve, launch.timeout)
            .and_then(|store| store.prefixed(&format!("deepmim/attempt_{}", launch.attempt)))
            .map_err(failed)?;
        let address = own_address(&launch.address, launch.port);
        let host = store
            .prefixed("host")
            .and_then(|view| {
                ProcessGroup::new(
                    &view,
                    &GroupOptions {
                        rank: launch.rank,
                        size: launch.size,
                        backend: Backend::Gloo,
                        address: address.as_deref(),
                        timeout: launch.timeout,
                    },
                )
            })
            .map_err(failed)?;
        Ok(Self {
            rank: launch.rank,
            local_rank: launch.local_rank,
            size: launch.size,
            meeting: Some(Meeting {
                host,
                device: OnceCell::new(),
                stay: Stay::default(),
                store: Arc::new(store),
                timeout: launch.timeout,
                address,
            }),
        })
    }

    /// This process, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Its number on its machine, from 0.
    pub fn local_rank(&self) -> usize {
        self.local_rank
    }

    /// Processes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether this process writes the run: rank 0.
    pub fn is_main(&self) -> bool {
        self.rank == 0
    }

    /// Leaves word of this process's own failure for the others, whose calls are about to fail.
    pub fn report_failure(&self, message: &str) {
        if let Some(meeting) = &self.meeting {
            let text = format!("{} {message}", self.rank);
            // Without a store (rank 0 is gone) nobody is left to read it.
            let _ = meeting.ask(move |store| store.set(FAILURE, &text));
            if self.is_main() {
                meeting.stay.0.set(REASON);
            }
        }
    }

    /// Whether all processes came here well; `problem` is what went wrong in this one. An error names the
    /// first process with a problem, unless that is this one, whose caller knows better.
    ///
    /// # Errors
    /// [`EngineError::PeerFailed`], or that the exchange failed.
    pub fn all_well(&self, problem: Option<String>) -> Result<(), EngineError> {
        let problems: Vec<Option<String>> = self.exchange(&problem)?;
        match problems
            .into_iter()
            .enumerate()
            .find_map(|(rank, found)| Some((rank, found?)))
        {
            Some((rank, message)) if rank != self.rank => Err(EngineError::PeerFailed {
                rank,
                message,
                checkpoint: String::new(),
            }),
            _ => Ok(()),
        }
    }

    /// What each process gave, in the order of ranks. Types that leave fields out when they are serialised
    /// cannot be read back.
    ///
    /// # Errors
    /// When a process is gone.
    pub fn exchange<T: Serialize + DeserializeOwned>(
        &self,
        own: &T,
    ) -> Result<Vec<T>, EngineError> {
        let bytes = postcard::to_allocvec(own).map_err(unreadable)?;
        self.exchange_bytes(bytes)?
            .iter()
            .map(|bytes| postcard::from_bytes(bytes).map_err(unreadable))
            .collect()
    }

    /// As [`World::exchange`], for bytes.
    fn exchange_bytes(&self, own: Vec<u8>) -> Result<Vec<Vec<u8>>, EngineError> {
        let Some(meeting) = &self.meeting else {
            return Ok(vec![own]);
        };
        let gather = |tensor: &Tensor| {
            meeting
                .host
                .all_gather(tensor)
                .map_err(|error| self.broken(&error.to_string()))
        };
        let lengths: Vec<i64> = Vec::try_from(gather(&Tensor::from(own.len() as i64))?)?;
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let padded = Tensor::zeros([longest], (Kind::Uint8, Device::Cpu));
        let mut filled = padded.narrow(0, 0, own.len() as i64);
        filled.copy_(&Tensor::from_slice(&own));
        let gathered = gather(&padded)?;
        lengths
            .iter()
            .enumerate()
            .map(|(rank, length)| {
                let part = gathered.get(rank as i64).narrow(0, 0, *length);
                Ok(Vec::try_from(part)?)
            })
            .collect()
    }

    /// Equally many numbers of each process, in the order of ranks.
    ///
    /// # Errors
    /// When a process is gone.
    pub(crate) fn exchange_numbers(&self, own: Vec<f64>) -> Result<Vec<Vec<f64>>, EngineError> {
        let Some(meeting) = &self.meeting else {
            return Ok(vec![own]);
        };
        let gathered = meeting
            .host
            .all_gather(&Tensor::from_slice(&own))
            .map_err(|error| self.broken(&error.to_string()))?;
        (0..self.size as i64)
            .map(|rank| Ok(Vec::try_from(gathered.get(rank))?))
            .collect()
    }

    /// Replaces each tensor by rank 0's, in place. They have the same shapes everywhere, and any device.
    ///
    /// # Errors
    /// When a process is gone.
    pub(crate) fn take_from_main(&self, tensors: &[Tensor]) -> Result<(), EngineError> {
        let Some(meeting) = &self.meeting else {
            return Ok(());
        };
        tch::no_grad(|| {
            for tensor in tensors {
                let on_host = tensor.to_device(Device::Cpu).contiguous();
                meeting
                    .host
                    .broadcast(&on_host, 0)
                    .map_err(|error| self.broken(&error.to_string()))?;
                tensor.shallow_clone().copy_(&on_host);
            }
            Ok(())
        })
    }

    /// Sums gradients of `parameters` over the processes; none where this one is alone.
    ///
    /// # Errors
    /// When the processes' models differ or one is gone.
    pub(crate) fn reducer(&self, parameters: &[Tensor]) -> Result<Option<Reducer>, EngineError> {
        let (Some(meeting), Some(first)) = (&self.meeting, parameters.first()) else {
            return Ok(None);
        };
        let group = self.device_group(meeting, first.device())?;
        Reducer::new(group, parameters, BUCKET_BYTES)
            .map(Some)
            .map_err(|error| self.broken(&error.to_string()))
    }

    /// The sum of `tensor` over the processes, with the sum of their gradients as its gradient: what
    /// synchronised BatchNorm computes its statistics with. Where the group is broken it gives the tensor
    /// back; the pass cannot end well then, as its gradients have to be summed, too.
    pub fn differentiable_sum(&self, tensor: &Tensor) -> Tensor {
        let sum = self.meeting.as_ref().and_then(|meeting| {
            let group = self.device_group(meeting, tensor.device()).ok()?;
            group.differentiable_sum(tensor).ok()
        });
        sum.unwrap_or_else(|| tensor.shallow_clone())
    }

    fn device_group<'a>(
        &self,
        meeting: &'a Meeting,
        device: Device,
    ) -> Result<&'a ProcessGroup, EngineError> {
        if let Some(group) = meeting.device.get() {
            return Ok(group);
        }
        let backend = match device {
            Device::Cuda(_) => Backend::Nccl,
            _ => Backend::Gloo,
        };
        let group = meeting
            .store
            .prefixed("device")
            .and_then(|view| {
                ProcessGroup::new(
                    &view,
                    &GroupOptions {
                        rank: self.rank,
                        size: self.size,
                        backend,
                        address: meeting.address.as_deref(),
                        timeout: meeting.timeout,
                    },
                )
            })
            .map_err(|error| self.broken(&error.to_string()))?;
        Ok(meeting.device.get_or_init(|| group))
    }

    /// What a failed collective means. c10d only knows that a connection ended; why, the process that failed
    /// first says in the store, if it still could.
    pub(crate) fn broken(&self, message: &str) -> EngineError {
        let Some(meeting) = &self.meeting else {
            return EngineError::Torch(message.to_owned());
        };
        let told = meeting.ask(|store| store.get(FAILURE, REASON));
        let told = told.as_deref().and_then(|text| text.split_once(' '));
        match told.and_then(|(rank, message)| Some((rank.parse().ok()?, message))) {
            Some((rank, message)) if rank != self.rank => EngineError::PeerFailed {
                rank,
                message: message.to_owned(),
                checkpoint: String::new(),
            },
            _ => EngineError::PeerLost {
                rank: self.rank,
                seconds: meeting.timeout.as_secs(),
                reason: message.to_owned(),
                checkpoint: String::new(),
            },
        }
    }

    /// Whether libtorch's message of a failed backward pass is about the processes' connections.
    pub(crate) fn is_about_connections(&self, message: &str) -> bool {
        self.size > 1
            && ["gloo", "ProcessGroup", "NCCL", "c10d", "Reducer"]
                .iter()
                .any(|word| message.contains(word))
    }
}

fn unreadable(error: postcard::Error) -> EngineError {
    EngineError::Torch(format!(
        "what the processes tell each other cannot be read ({error}): start the same build of deepmim everywhere"
    ))
}

/// This machine's address on the way to the meeting place, at which the others can reach it. A machine's name
/// often leads to 127.0.1.1, which only it can.
fn own_address(host: &str, port: u16) -> Option<String> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok();
    let through = |socket: UdpSocket| {
        // Nothing is sent: the system looks up the route.
        socket.connect((host, port)).ok()?;
        Some(socket.local_addr().ok()?.ip().to_string())
    };
    socket
        .and_then(through)
        .or_else(|| UdpSocket::bind(("::", 0)).ok().and_then(through))
}
