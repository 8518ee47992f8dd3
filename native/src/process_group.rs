//! c10d: the store where processes meet, groups of processes, and their collectives.

use std::ffi::{CStr, CString};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;
use std::thread::{self, ThreadId};
use std::time::Duration;

use tch::Tensor;
use torch_sys::C_tensor;

use crate::{NativeError, ffi};

/// A view of the key-value store at which the processes of a training meet (`torch.distributed.TCPStore`).
#[derive(Debug)]
pub struct Store(*mut ffi::Store);

// SAFETY: the handle owns a reference-counted object without ties to a thread.
unsafe impl Send for Store {}
// SAFETY: c10d's stores take a lock around each exchange with the server.
unsafe impl Sync for Store {}

impl Store {
    /// Connects to the store at `host`:`port`, and with `serve` holds it in this process first. Waits until
    /// it is there, `timeout` at most.
    ///
    /// # Errors
    /// When nothing answers in time, or the port is taken.
    pub fn open(
        host: &str,
        port: u16,
        serve: bool,
        timeout: Duration,
    ) -> Result<Self, NativeError> {
        let host = c_string(host)?;
        let mut output = null_mut();
        // SAFETY: a live string in, a new handle out.
        unsafe {
            ffi::answer(ffi::deepmim_store_open(
                host.as_ptr(),
                port,
                serve,
                milliseconds(timeout),
                &mut output,
            ))?;
        }
        Ok(Self(output))
    }

    /// The same store with `prefix/` before every key.
    ///
    /// # Errors
    /// When `prefix` holds a zero byte.
    pub fn prefixed(&self, prefix: &str) -> Result<Self, NativeError> {
        let prefix = c_string(prefix)?;
        let mut output = null_mut();
        // SAFETY: a live handle and string in, a new handle out.
        unsafe {
            ffi::answer(ffi::deepmim_store_prefixed(
                self.0,
                prefix.as_ptr(),
                &mut output,
            ))?;
        }
        Ok(Self(output))
    }

    /// Writes `value` under `key`.
    ///
    /// # Errors
    /// When the store is gone.
    pub fn set(&self, key: &str, value: &str) -> Result<(), NativeError> {
        let key = c_string(key)?;
        // SAFETY: a live handle and as many bytes as said.
        unsafe {
            ffi::answer(ffi::deepmim_store_set(
                self.0,
                key.as_ptr(),
                value.as_ptr(),
                value.len(),
            ))
        }
    }

    /// What stands under `key`, waiting for it `timeout` at most.
    ///
    /// # Errors
    /// When the time is over or the store is gone.
    pub fn get(&self, key: &str, timeout: Duration) -> Result<String, NativeError> {
        let key = c_string(key)?;
        let mut output = null_mut();
        // SAFETY: a live handle in; the answer is a string that is ours to free.
        unsafe {
            ffi::answer(ffi::deepmim_store_get(
                self.0,
                key.as_ptr(),
                milliseconds(timeout),
                &mut output,
            ))?;
            let text = CStr::from_ptr(output).to_string_lossy().into_owned();
            ffi::deepmim_free_message(output);
            Ok(text)
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: our own handle, freed once.
        unsafe { ffi::deepmim_store_free(self.0) }
    }
}

/// Where a group's tensors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// In host memory.
    Gloo,
    /// On the CUDA device that is current when the group is made.
    Nccl,
}

/// How a process enters a group.
#[derive(Debug, Clone, Copy)]
pub struct GroupOptions<'a> {
    /// Its number, from 0.
    pub rank: usize,
    /// Processes in the group.
    pub size: usize,
    /// Where the group's tensors are.
    pub backend: Backend,
    /// Where the others reach this process (Gloo); none leaves it to the machine's name. The interfaces in
    /// the environment variable GLOO_SOCKET_IFNAME come first.
    pub address: Option<&'a str>,
    /// How long a call waits for the others.
    pub timeout: Duration,
}

/// Processes that call the same collectives in the same order (`torch.distributed.ProcessGroup`). Every call
/// waits for the others and fails when one is gone or the group's time is over; after a failure the group
/// is of no use.
///
/// All groups of a process belong to the thread that asked for the first of them, and so do the backward passes
/// with their sums: c10d enters each group into one table of the process (`FlightRecorder::recordWithResetEnabled`)
/// without a lock.
#[derive(Debug)]
pub struct ProcessGroup(pub(crate) *mut ffi::Group);

/// The thread to which this process's groups belong.
static THREAD_OF_GROUPS: OnceLock<ThreadId> = OnceLock::new();

impl ProcessGroup {
    /// Meets the other processes at `store`.
    ///
    /// # Errors
    /// When they do not come in time, NCCL is asked for in a program without it, or this process's groups
    /// belong to another thread.
    pub fn new(store: &Store, options: &GroupOptions) -> Result<Self, NativeError> {
        let here = thread::current().id();
        if *THREAD_OF_GROUPS.get_or_init(|| here) != here {
            return Err(NativeError(
                "all groups of a process belong to the thread that asked for the first of them"
                    .into(),
            ));
        }
        let number = |n: usize| i32::try_from(n).map_err(|_| NativeError("too many ranks".into()));
        let (rank, size) = (number(options.rank)?, number(options.size)?);
        let address = options.address.map(c_string).transpose()?;
        let mut output = null_mut();
        // SAFETY: a live handle in, a new handle out.
        unsafe {
            ffi::answer(ffi::deepmim_group_new(
                store.0,
                rank,
                size,
                options.backend == Backend::Nccl,
                address.as_ref().map_or(null(), |text| text.as_ptr()),
                milliseconds(options.timeout),
                &mut output,
            ))?;
        }
        Ok(Self(output))
    }

    /// Replaces `tensor` by its sum over the processes, in place.
    ///
    /// # Errors
    /// When a process is gone or does not come in time.
    pub fn sum(&self, tensor: &Tensor) -> Result<(), NativeError> {
        // SAFETY: live handles.
        unsafe { ffi::answer(ffi::deepmim_group_sum(self.0, tensor.as_ptr())) }
    }

    /// Replaces `tensor` by that of rank `root`, in place.
    ///
    /// # Errors
    /// As [`ProcessGroup::sum`].
    pub fn broadcast(&self, tensor: &Tensor, root: i64) -> Result<(), NativeError> {
        // SAFETY: live handles.
        unsafe { ffi::answer(ffi::deepmim_group_broadcast(self.0, tensor.as_ptr(), root)) }
    }

    /// The tensors of all processes, which have one shape, stacked by rank.
    ///
    /// # Errors
    /// As [`ProcessGroup::sum`].
    pub fn all_gather(&self, tensor: &Tensor) -> Result<Tensor, NativeError> {
        let mut output: *mut C_tensor = null_mut();
        // SAFETY: live handles in, a new tensor out.
        unsafe {
            ffi::answer(ffi::deepmim_group_all_gather(
                self.0,
                tensor.as_ptr(),
                &mut output,
            ))?;
            Ok(Tensor::from_ptr(output))
        }
    }

    /// The sum of `tensor` over the processes, differentiable: its gradient is the sum of the processes'
    /// gradients, which the backward passes of all of them add up in the same way.
    ///
    /// # Errors
    /// As [`ProcessGroup::sum`]; a failure in the backward pass is that pass's error.
    pub fn differentiable_sum(&self, tensor: &Tensor) -> Result<Tensor, NativeError> {
        let mut output: *mut C_tensor = null_mut();
        // SAFETY: live handles in, a new tensor out.
        unsafe {
            ffi::answer(ffi::deepmim_group_differentiable_sum(
                self.0,
                tensor.as_ptr(),
                &mut output,
            ))?;
            Ok(Tensor::from_ptr(output))
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // SAFETY: our own handle, freed once.
        unsafe { ffi::deepmim_group_free(self.0) }
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn c_string(text: &str) -> Result<CString, NativeError> {
    CString::new(text).map_err(|_| NativeError(format!("{text:?} holds a zero byte")))
}
