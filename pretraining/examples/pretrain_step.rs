//! One MAE pre-training step per line on standard input, its seconds on standard output: the Rust
//! side of `benches/train_step.py`.
//!
//!     pretrain_step base 224 16 16        (trunk, picture side, patch side, pictures per step)
//!
//! A step is: forget gradients, draw the masks, forward, normalised-pixel loss, backward, AdamW. The
//! batch is made once and stays in memory.

use std::error::Error;
use std::io::BufRead;
use std::time::Instant;

use backbone::{VitConfig, VitPreset};
use deepmim_pretraining::{
    DecoderConfig, PretrainBatch, PretrainConfig, PretrainTask, TargetConfig, masking_noise,
};
use engine::{Optimizer, OptimizerConfig, ParameterGroups, StepContext, Task};
use tch::{Kind, Tensor, nn};

#[allow(dead_code, reason = "shared with examples that time whole models")]
#[path = "../../benches/stages.rs"]
mod stages;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [preset, side, patch, count] = arguments.as_slice() else {
        return Err("usage: pretrain_step tiny|small|base|large|huge SIDE PATCH BATCH".into());
    };
    let preset: VitPreset = serde_json::from_value(preset.as_str().into())?;
    let (side, patch, count): (i64, i64, i64) = (side.parse()?, patch.parse()?, count.parse()?);
    if let Some(threads) = std::env::var("OMP_NUM_THREADS")
        .ok()
        .and_then(|n| n.parse().ok())
    {
        tch::set_num_threads(threads);
    }
    // As deepmim-model does.
    native::keep_freed_memory();
    tch::manual_seed(0);
    let vs = nn::VarStore::new(stages::device());
    let trunk = VitConfig::preset(preset, side, patch);
    let config = PretrainConfig {
        taps: vec![trunk.depth],
        trunk,
        mask_ratio: 0.75,
        decoder: DecoderConfig::default(),
        target: TargetConfig::Pixels { normalize: true },
        tap_targets: Vec::new(),
        tap_weights: Vec::new(),
        colours: Default::default(),
    };
    let task = PretrainTask::new(&vs, &config, 0.05)?;
    let groups = ParameterGroups::new(vs.variables().into_iter().collect(), |name, shape| {
        task.policy(name, shape)
    })?;
    let adamw = OptimizerConfig::Adamw {
        betas: [0.9, 0.95],
        eps: 1e-8,
        weight_decay: 0.05,
    };
    let mut optimizer = Optimizer::new(&adamw, groups);
    let images = Tensor::randn([count, 3, side, side], (Kind::Float, stages::device()));
    for (step, line) in std::io::stdin().lock().lines().enumerate() {
        line?;
        let context = StepContext {
            epoch: 0,
            step: step as u64,
            seed: step as u64,
            train: true,
        };
        let start = Instant::now();
        optimizer.clear_gradients();
        let cleared = start.elapsed();
        let batch = PretrainBatch {
            images: images.shallow_clone(),
            noise: masking_noise(context.seed, count, config.trunk.tokens(), stages::device()),
            tokens: None,
            names: Vec::new(),
        };
        let losses = {
            let _autocast = stages::autocast(stages::device())?;
            task.losses(&batch, &context)?
        };
        let forwarded = start.elapsed();
        losses.total.backward();
        let differentiated = start.elapsed();
        optimizer.step(1e-4);
        stages::finish(stages::device());
        let updated = start.elapsed();
        println!(
            "{}",
            serde_json::json!({
                "seconds": updated.as_secs_f64(),
                "peak_mib": stages::peak_mib(),
                "loss": losses.total.double_value(&[]),
                "clear": cleared.as_secs_f64(),
                "forward": (forwarded - cleared).as_secs_f64(),
                "backward": (differentiated - forwarded).as_secs_f64(),
                "update": (updated - differentiated).as_secs_f64(),
            })
        );
    }
    Ok(())
}
