//! c10d through the shim, in several processes: each test starts this program again, once a rank, for itself.

#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use deepmim_native::{Backend, GroupOptions, NativeError, ProcessGroup, Reducer, Store};
use tch::{Device, Kind, Tensor};

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);
const SHORT: Duration = Duration::from_secs(20);

/// Tells a process that it is a rank, and where the others are.
const RANK: &str = "DEEPMIM_TEST_RANK";
const PORT: &str = "DEEPMIM_TEST_PORT";

fn group(store: &Store, rank: usize, size: usize) -> Result<ProcessGroup, NativeError> {
    let options = GroupOptions {
        rank,
        size,
        backend: Backend::Gloo,
        address: Some("127.0.0.1"),
        timeout: SHORT,
    };
    ProcessGroup::new(store, &options)
}

/// Runs `body(rank, group)` in `size` processes that form a group. `test` is the caller's name.
fn together(test: &str, size: usize, body: impl FnOnce(usize, ProcessGroup)) {
    let Ok(rank) = std::env::var(RANK) else {
        return start(test, size);
    };
    let rank: usize = rank.parse().unwrap();
    let port: u16 = std::env::var(PORT).unwrap().parse().unwrap();
    let store = Store::open("127.0.0.1", port, rank == 0, SHORT).unwrap();
    body(
        rank,
        group(&store.prefixed("test").unwrap(), rank, size).unwrap(),
    );
    // Rank 0 holds the store until all are through.
    store.set(&format!("through{rank}"), "yes").unwrap();
    if rank == 0 {
        for other in 0..size {
            store.get(&format!("through{other}"), SHORT).unwrap();
        }
    }
}

/// The processes of `together`; all of them must pass.
fn start(test: &str, size: usize) {
    let mut outputs = ranks(test, size);
    // Somebody else may have taken the port since it was found free.
    for _ in 0..3 {
        let taken =
            |output: &Output| String::from_utf8_lossy(&output.stderr).contains("EADDRINUSE");
        if !outputs.iter().any(taken) {
            break;
        }
        outputs = ranks(test, size);
    }
    for (rank, output) in outputs.iter().enumerate() {
        let said = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        let passed = output.status.success() && said.contains("1 passed");
        assert!(passed, "rank {rank}, {}: {said}{complaint}", output.status);
    }
}

fn ranks(test: &str, size: usize) -> Vec<Output> {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let ranks: Vec<_> = (0..size)
        .map(|rank| {
            Command::new(std::env::current_exe().unwrap())
                .args([test, "--exact", "--nocapture"])
                .env(RANK, rank.to_string())
                .env(PORT, port.to_string())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    // All are waited for before any is judged, so that none is left behind.
    let waited = ranks
        .into_iter()
        .map(|rank| rank.wait_with_output().unwrap());
    waited.collect()
}

#[test]
fn collectives_do_what_their_names_say() {
    together("collectives_do_what_their_names_say", 3, |rank, group| {
        let own = Tensor::from_slice(&[rank as f64 + 1.0, 10.0 * rank as f64]);
        let gathered = group.all_gather(&own).unwrap();
        let wanted = Tensor::from_slice(&[1.0, 0.0, 2.0, 10.0, 3.0, 20.0]).view([3, 2]);
        assert_eq!(gathered, wanted);
        let sum = own.copy();
        group.sum(&sum).unwrap();
        assert_eq!(sum, Tensor::from_slice(&[6.0, 30.0]));
        let from_one = own.copy();
        group.broadcast(&from_one, 1).unwrap();
        assert_eq!(from_one, Tensor::from_slice(&[2.0, 10.0]));
    });
}

/// Loss of rank r: (r + 1) * (sum over ranks of x)^2. Gradient of the sum of losses by each x:
/// (1 + 2 + 3) * 2 * sum.
#[test]
fn the_gradient_of_a_sum_over_ranks_is_the_sum_of_gradients() {
    const TEST: &str = "the_gradient_of_a_sum_over_ranks_is_the_sum_of_gradients";
    together(TEST, 3, |rank, group| {
        let x = Tensor::from_slice(&[0.5 + rank as f64]).set_requires_grad(true);
        let sum = group.differentiable_sum(&x).unwrap();
        assert_eq!(sum.double_value(&[0]), 4.5);
        let loss = sum.square().sum(Kind::Double) * (rank as f64 + 1.0);
        loss.backward();
        assert_eq!(x.grad().double_value(&[0]), 6.0 * 2.0 * 4.5);
    });
}

/// Parameters used everywhere, by one rank, by none, and in a recomputed region.
struct Parts {
    all: Tensor,
    one: Tensor,
    none: Tensor,
    recomputed: Tensor,
}

impl Parts {
    fn new() -> Self {
        let leaf = |from: i64, numbers: i64| {
            let values = Tensor::arange(numbers, FLOAT) / 7.0 + from as f64;
            values.detach().set_requires_grad(true)
        };
        Self {
            all: leaf(1, 5),
            one: leaf(2, 400_000),
            none: leaf(3, 6),
            recomputed: leaf(4, 300_000),
        }
    }

    fn list(&self) -> [Tensor; 4] {
        [&self.all, &self.one, &self.none, &self.recomputed].map(Tensor::shallow_clone)
    }

    fn loss(&self, rank: usize, pass: usize) -> Tensor {
        let factor = (rank * 10 + pass + 1) as f64;
        let mut loss = self.all.square().sum(Kind::Float) * factor;
        if rank == 1 && pass == 0 {
            loss += self.one.sin().sum(Kind::Float) * factor;
        }
        let weight = self.recomputed.shallow_clone();
        let region = deepmim_native::checkpoint(&Tensor::from(factor as f32), move |x| &weight * x);
        loss + region.square().sum(Kind::Float)
    }
}

/// Three steps of two passes: buckets are laid out anew after the first. Compared with the same four losses
/// in one process; 1e-5 relative, since sums are made in another order.
#[test]
fn reduced_gradients_are_those_of_one_process() {
    together(
        "reduced_gradients_are_those_of_one_process",
        2,
        |rank, group| {
            let alone = Parts::new();
            for (rank, pass) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                (alone.loss(rank, pass) / 2.0).backward();
            }
            // With buckets of 1 MiB (1.2 and 1.6 MB do not fit into one) and with one for all.
            for bucket_bytes in [1 << 20, 25 << 20] {
                let parts = Parts::new();
                let reducer = Reducer::new(&group, &parts.list(), bucket_bytes).unwrap();
                for _step in 0..3 {
                    for parameter in &mut parts.list() {
                        deepmim_native::clear_grad(parameter);
                    }
                    reducer.begin();
                    parts.loss(rank, 0).backward();
                    let last = reducer.attach(&parts.loss(rank, 1)).unwrap();
                    last.f_backward().unwrap();
                    assert_eq!(reducer.used(), [1.0, rank as f32, 0.0, 1.0]);
                }
                for (at, (found, wanted)) in parts.list().iter().zip(alone.list()).enumerate() {
                    let (found, wanted) = (found.grad(), wanted.grad());
                    match wanted.defined() {
                        true => {
                            assert!(found.allclose(&wanted, 1e-5, 1e-6, false), "gradient {at}")
                        }
                        // Used nowhere: zero from the Reducer, to be cleared by whoever knows that.
                        false => assert_eq!(found.abs().max().double_value(&[]), 0.0),
                    }
                }
            }
        },
    );
}

#[test]
fn a_rank_that_is_gone_is_an_error_and_not_a_wait() {
    together(
        "a_rank_that_is_gone_is_an_error_and_not_a_wait",
        3,
        |rank, group| {
            let tensor = Tensor::ones([1000], FLOAT);
            // Nobody goes before all are connected.
            group.sum(&tensor).unwrap();
            if rank == 2 {
                return;
            }
            let started = Instant::now();
            let error = (0..100).find_map(|_| group.sum(&tensor).err());
            let message = error.expect("the group is broken").to_string();
            assert!(message.starts_with("libtorch: "), "{message}");
            let waited = started.elapsed();
            assert!(waited < SHORT, "{waited:?}: {message}");
        },
    );
}

#[test]
fn another_thread_makes_no_group() {
    together("another_thread_makes_no_group", 1, |_, _| {
        let port: u16 = std::env::var(PORT).unwrap().parse().unwrap();
        let other = std::thread::spawn(move || {
            let store = Store::open("127.0.0.1", port, false, SHORT).unwrap();
            group(&store.prefixed("other").unwrap(), 0, 1).map(drop)
        });
        let message = other.join().unwrap().unwrap_err().to_string();
        assert!(message.contains("belong to the thread"), "{message}");
    });
}

#[test]
fn nobody_at_the_store_is_an_error_after_the_time_out() {
    let started = Instant::now();
    let answer = Store::open("127.0.0.1", 1, false, Duration::from_secs(1));
    assert!(answer.is_err());
    assert!(started.elapsed() < SHORT);
}
