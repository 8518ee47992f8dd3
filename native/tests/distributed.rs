//! c10d through the shim. The ranks are threads: each has its own store client, groups and autograd graph.

#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::time::{Duration, Instant};

use deepmim_native::{Backend, GroupOptions, ProcessGroup, Reducer, Store};
use tch::{Device, Kind, Tensor};

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);
const SHORT: Duration = Duration::from_secs(20);

/// Runs `body(rank, group)` on `size` threads that form a group; results in the order of ranks.
fn together<R: Send>(size: usize, body: impl Fn(usize, ProcessGroup) -> R + Sync) -> Vec<R> {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let body = &body;
    std::thread::scope(|scope| {
        let ranks: Vec<_> = (0..size)
            .map(|rank| {
                scope.spawn(move || {
                    let store = Store::open("127.0.0.1", port, rank == 0, SHORT).unwrap();
                    let view = store.prefixed("test").unwrap();
                    let options = GroupOptions {
                        rank,
                        size,
                        backend: Backend::Gloo,
                        address: Some("127.0.0.1"),
                        timeout: SHORT,
                    };
                    let group = ProcessGroup::new(&view, &options).unwrap();
                    let result = body(rank, group);
                    // Rank 0 holds the store until all are through.
                    store.set(&format!("through{rank}"), "yes").unwrap();
                    if rank == 0 {
                        for other in 0..size {
                            store.get(&format!("through{other}"), SHORT).unwrap();
                        }
                    }
                    result
                })
            })
            .collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

#[test]
fn collectives_do_what_their_names_say() {
    together(3, |rank, group| {
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
    together(3, |rank, group| {
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
    let alone = Parts::new();
    for (rank, pass) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        (alone.loss(rank, pass) / 2.0).backward();
    }
    // With buckets of 1 MiB (1.2 and 1.6 MB do not fit into one) and with one for all.
    for bucket_bytes in [1 << 20, 25 << 20] {
        let results = together(2, |rank, group| {
            let parts = Parts::new();
            let reducer = Reducer::new(&group, &parts.list(), bucket_bytes).unwrap();
            let mut used = Vec::new();
            for _step in 0..3 {
                for parameter in &mut parts.list() {
                    deepmim_native::clear_grad(parameter);
                }
                reducer.begin();
                parts.loss(rank, 0).backward();
                let last = reducer.attach(&parts.loss(rank, 1)).unwrap();
                last.f_backward().unwrap();
                used = reducer.used();
            }
            (used, parts.list().map(|parameter| parameter.grad()))
        });
        assert_eq!(results[0].0, [1.0, 0.0, 0.0, 1.0]);
        assert_eq!(results[1].0, [1.0, 1.0, 0.0, 1.0]);
        for (_, gradients) in &results {
            for (at, (found, wanted)) in gradients.iter().zip(alone.list()).enumerate() {
                let wanted = wanted.grad();
                match wanted.defined() {
                    true => assert!(found.allclose(&wanted, 1e-5, 1e-6, false), "gradient {at}"),
                    // Used nowhere: zero from the Reducer, to be cleared by whoever knows that.
                    false => assert_eq!(found.abs().max().double_value(&[]), 0.0),
                }
            }
        }
    }
}

#[test]
fn a_rank_that_is_gone_is_an_error_and_not_a_wait() {
    let answers = together(3, |rank, group| {
        if rank == 2 {
            return None;
        }
        let started = Instant::now();
        let tensor = Tensor::ones([1000], FLOAT);
        let error = (0..100).find_map(|_| group.sum(&tensor).err());
        Some((error, started.elapsed()))
    });
    for (error, waited) in answers.into_iter().flatten() {
        let message = error.expect("the group is broken").to_string();
        assert!(message.starts_with("libtorch: "), "{message}");
        assert!(waited < SHORT, "{waited:?}: {message}");
    }
}

#[test]
fn nobody_at_the_store_is_an_error_after_the_time_out() {
    let started = Instant::now();
    let answer = Store::open("127.0.0.1", 1, false, Duration::from_secs(1));
    assert!(answer.is_err());
    assert!(started.elapsed() < SHORT);
}
