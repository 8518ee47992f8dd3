//! One of several processes that time an all-reduce, and a backward pass with and without the summing of
//! gradients. `benches/distributed.py` starts them and the same in PyTorch.
//!
//!     distributed_speed MEGABYTES ROWS ROUNDS
//!
//! The model has twelve square layers with MEGABYTES of weights in all and sees ROWS rows. Rank 0 prints the
//! seconds of each round as JSON.

use std::error::Error;
use std::time::{Duration, Instant};

use deepmim_native::{
    Backend, GroupOptions, ProcessGroup, Reducer, Store, clear_grad, keep_freed_memory,
};
use tch::{Device, Kind, Tensor};

const LAYERS: usize = 12;
const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

fn main() -> Result<(), Box<dyn Error>> {
    keep_freed_memory();
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let mut number = || {
        numbers
            .next()
            .ok_or("three numbers: MEGABYTES ROWS ROUNDS")?
            .map_err(|e| e.to_string())
    };
    let (megabytes, rows, rounds) = (number()?, number()?, number()?);
    let variable = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let (rank, size): (usize, usize) =
        (variable("RANK")?.parse()?, variable("WORLD_SIZE")?.parse()?);
    let (address, port) = (variable("MASTER_ADDR")?, variable("MASTER_PORT")?.parse()?);
    let timeout = Duration::from_secs(300);
    let store = Store::open(&address, port, rank == 0, timeout)?;
    let group = |prefix: &str| {
        ProcessGroup::new(
            &store.prefixed(prefix)?,
            &GroupOptions {
                rank,
                size,
                backend: Backend::Gloo,
                address: Some("127.0.0.1"),
                timeout,
            },
        )
    };
    let (group, barrier) = (group("speed")?, group("barrier")?);
    let together = || barrier.sum(&Tensor::zeros([1], FLOAT));

    let values = megabytes * 1_000_000 / 4;
    let tensor = Tensor::ones([values as i64], FLOAT);
    let mut all_reduce = Vec::new();
    for _ in 0..=rounds {
        together()?;
        let started = Instant::now();
        group.sum(&tensor)?;
        all_reduce.push(started.elapsed().as_secs_f64());
        let _ = tensor.shallow_clone().fill_(1.0);
    }

    let side = ((values / LAYERS) as f64).sqrt() as i64;
    let layers: Vec<Tensor> = (0..LAYERS)
        .map(|_| {
            (Tensor::randn([side, side], FLOAT) / (side as f64).sqrt()).set_requires_grad(true)
        })
        .collect();
    let input = Tensor::randn([rows as i64, side], FLOAT);
    let reducer = Reducer::new(&group, &layers, 25 << 20)?;
    let (mut alone, mut summed) = (Vec::new(), Vec::new());
    // The first two rounds lay the buckets out.
    for _ in 0..rounds + 2 {
        for (times, with) in [(&mut alone, false), (&mut summed, true)] {
            layers.iter().for_each(clear_grad);
            let output = layers.iter().fold(input.shallow_clone(), |x, w| {
                x.linear(w, None::<&Tensor>).tanh()
            });
            let mut loss = output.square().mean(Kind::Float);
            reducer.begin();
            if with {
                loss = reducer.attach(&loss)?;
            }
            together()?;
            let started = Instant::now();
            loss.f_backward()?;
            times.push(started.elapsed().as_secs_f64());
        }
    }
    together()?;
    if rank == 0 {
        println!(
            "{{\"all_reduce\": {:?}, \"backward\": {:?}, \"backward_and_sum\": {:?}}}",
            &all_reduce[1..],
            &alone[2..],
            &summed[2..]
        );
    }
    Ok(())
}
