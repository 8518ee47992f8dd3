//! One fine-tuning step of a ViT classifier per line on standard input, its seconds on standard
//! output: the Rust side of `benches/train_step.py`.
//!
//!     finetune_step base 224 16 16        (trunk, picture side, patch side, pictures per step)
//!
//! A step is: forget gradients, forward with drop path, soft-target loss, backward, AdamW with
//! layer-wise learning-rate decay. The batch is made once and stays in memory.

use std::error::Error;
use std::io::BufRead;
use std::time::Instant;

use backbone::{VitConfig, VitPreset};
use deepmim_classification::{
    ClassificationBatch, ClassificationTask, ClassifierConfig, Pool, Target,
};
use engine::{Optimizer, OptimizerConfig, ParameterGroups, StepContext, Task};
use tch::{Kind, Tensor, nn};

const CLASSES: i64 = 1000;

#[allow(dead_code, reason = "shared with examples that time whole models")]
#[path = "../../benches/stages.rs"]
mod stages;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [preset, side, patch, count] = arguments.as_slice() else {
        return Err("usage: finetune_step tiny|small|base|large|huge SIDE PATCH BATCH".into());
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
    let mut config =
        ClassifierConfig::fine_tuning(VitConfig::preset(preset, side, patch), CLASSES, Pool::Mean);
    config.trunk.drop_path = 0.1;
    let task = ClassificationTask::new(&vs, &config, 0.05)?;
    let groups = ParameterGroups::new(vs.variables().into_iter().collect(), |name, shape| {
        task.policy(name, shape)
    })?;
    let adamw = OptimizerConfig::Adamw {
        betas: [0.9, 0.999],
        eps: 1e-8,
        weight_decay: 0.05,
    };
    let mut optimizer = Optimizer::new(&adamw, groups);
    let float = (Kind::Float, stages::device());
    let batch = ClassificationBatch {
        images: Tensor::randn([count, 3, side, side], float),
        target: Target::Soft(Tensor::randn([count, CLASSES], float).softmax(-1, Kind::Float)),
        labels: vec![0; count as usize],
        names: vec![String::new(); count as usize],
    };
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
