//! What the Rust sides of the benchmarks of whole models share: rounds with the seconds of their parts, peak
//! memory, the line of JSON that the scripts read, and the optimiser.

use std::collections::BTreeMap;
use std::time::Instant;

use engine::{EngineError, Optimizer, OptimizerConfig, ParamPolicy, ParameterGroups};
use tch::{Cuda, Device, nn};

/// Where the scripts want a model, `cpu` or `cuda`.
pub fn device() -> Device {
    match std::env::var("DEEPMIM_BENCH_DEVICE").as_deref() {
        Ok("cuda") if native::load_cuda() => Device::Cuda(0),
        _ => Device::Cpu,
    }
}

/// The autocast region that the scripts want: none, or bfloat16.
pub fn autocast(device: Device) -> Result<Option<native::Autocast>, native::NativeError> {
    match std::env::var("DEEPMIM_BENCH_PRECISION").as_deref() {
        Ok("bf16") => native::Autocast::bf16(device).map(Some),
        _ => Ok(None),
    }
}

/// Waits for what the device still computes.
pub fn finish(device: Device) {
    if let Device::Cuda(index) = device {
        Cuda::synchronize(index as i64);
    }
}

/// Seconds of rounds and of the parts of each.
#[derive(Default)]
pub struct Stages {
    seconds: Vec<f64>,
    parts: Vec<BTreeMap<&'static str, f64>>,
}

impl Stages {
    /// Runs and times one round.
    pub fn round<T, E>(&mut self, round: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        self.parts.push(BTreeMap::new());
        let start = Instant::now();
        let result = round(self)?;
        finish(device());
        self.seconds.push(start.elapsed().as_secs_f64());
        Ok(result)
    }

    /// Runs a part of a round and adds up its seconds.
    pub fn timed<T>(&mut self, name: &'static str, part: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = part();
        if let Some(round) = self.parts.last_mut() {
            *round.entry(name).or_default() += start.elapsed().as_secs_f64();
        }
        result
    }

    /// Median seconds of the parts, of all rounds but the first.
    fn medians(&self) -> BTreeMap<&'static str, f64> {
        let rounds = match &self.parts[..] {
            [_, later @ ..] if !later.is_empty() => later,
            all => all,
        };
        let median = |name: &'static str| {
            let mut all: Vec<f64> = rounds.iter().filter_map(|r| r.get(name).copied()).collect();
            all.sort_by(f64::total_cmp);
            (name, all[all.len() / 2])
        };
        rounds
            .first()
            .map(|round| round.keys().map(|name| median(name)).collect())
            .unwrap_or_default()
    }

    /// One line of JSON: seconds of every round, peak resident memory, seconds of the parts.
    pub fn report(&self) -> String {
        serde_json::json!({
            "seconds": self.seconds,
            "peak_mib": peak_mib(),
            "stages": self.medians(),
        })
        .to_string()
    }
}

/// AdamW with PyTorch's betas over a model's parameters, in the groups of `policy` (name and shape in).
pub fn adamw(
    vs: &nn::VarStore,
    weight_decay: f64,
    policy: impl Fn(&str, &[i64]) -> ParamPolicy,
) -> Result<Optimizer, EngineError> {
    let variables = vs.variables().into_iter().collect();
    let config = OptimizerConfig::Adamw {
        betas: [0.9, 0.999],
        eps: 1e-8,
        weight_decay,
    };
    Ok(Optimizer::new(
        &config,
        ParameterGroups::new(variables, policy)?,
    ))
}

/// Largest resident size of this process so far, or most memory that tensors took on a GPU.
pub fn peak_mib() -> Option<f64> {
    if let Device::Cuda(index) = device() {
        let bytes = native::peak_cuda_memory(index).ok()?;
        return Some(bytes as f64 / f64::from(1 << 20));
    }
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}
