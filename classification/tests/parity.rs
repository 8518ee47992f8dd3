//! Parity of classification with MAE's `models_vit.py`, timm's losses and `util/lr_decay.py`.
//!
//! Fixtures: `parity/golden/{vit_classifier_gap,vit_classifier_cls,vit_finetune_step,layer_decay}`,
//! recorded from the reference in float32 (and `linear_probe`, recorded with torch alone); each README there states how far float32 is from
//! float64, and a tolerance here is about ten times that, relative to the largest value.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where a fixture is not as described"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use backbone::{Activation, Position, VitConfig, VitPreset};
use deepmim_classification::{
    ClassificationTask, Classifier, ClassifierConfig, Pool, cross_entropy,
    label_smoothing_cross_entropy, layer_decay_policy, soft_target_cross_entropy, trainable_values,
};
use engine::{Optimizer, OptimizerConfig, ParameterGroups, ScheduleConfig, Task};
use serde_json::Value;
use tch::{Device, Kind, Tensor, nn};

/// Features, logits, losses: ten times the largest float32-float64 difference of the two fixtures.
const FORWARD_TOLERANCE: f64 = 8e-6;
/// Gradients and their norms.
const GRADIENT_TOLERANCE: f64 = 7e-6;
/// Losses, weights and moments after five AdamW steps.
const STEP_TOLERANCE: f64 = 7e-6;
/// Five LARS steps: ten times the difference that `make.py` prints.
const PROBE_TOLERANCE: f64 = 1.5e-6;

fn golden(folder: &str, file: &str) -> PathBuf {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../parity/golden");
    PathBuf::from(root).join(folder).join(file)
}

fn tensors(folder: &str, file: &str) -> BTreeMap<String, Tensor> {
    Tensor::read_safetensors(golden(folder, file))
        .unwrap()
        .into_iter()
        .collect()
}

fn json(folder: &str, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(folder, file)).unwrap()).unwrap()
}

/// Largest difference over the largest wanted value.
fn relative(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.size(), want.size());
    let (got, want) = (
        got.detach().to_kind(Kind::Double),
        want.to_kind(Kind::Double),
    );
    let scale = want.abs().max().double_value(&[]).max(f64::MIN_POSITIVE);
    (got - &want).abs().max().double_value(&[]) / scale
}

fn assert_near(what: &str, got: &Tensor, want: &Tensor, tolerance: f64) {
    let difference = relative(got, want);
    assert!(
        difference <= tolerance,
        "{what}: {difference:e} > {tolerance:e}"
    );
}

fn config(json: &Value) -> ClassifierConfig {
    let int = |key: &str| json[key].as_i64().unwrap();
    let trunk = VitConfig {
        width: int("embed_dim"),
        depth: int("depth"),
        heads: int("num_heads"),
        mlp_ratio: json["mlp_ratio"].as_f64().unwrap(),
        norm_eps: json["norm_eps"].as_f64().unwrap(),
        drop_path: json["drop_path"].as_f64().unwrap(),
        activation: Activation::Gelu,
        position: Position::Learnable,
        ..VitConfig::preset(VitPreset::Tiny, int("img_size"), int("patch_size"))
    };
    let pool = if json["global_pool"].as_bool().unwrap() {
        Pool::Mean
    } else {
        Pool::ClassToken
    };
    ClassifierConfig {
        label_smoothing: json["label_smoothing"].as_f64().unwrap(),
        ..ClassifierConfig::fine_tuning(trunk, int("num_classes"), pool)
    }
}

/// Builds the fixture's model with its weights: same names on both sides, same shapes.
fn model(vs: &nn::VarStore, config: &ClassifierConfig, folder: &str) -> Classifier {
    let model = Classifier::new(vs, config).unwrap();
    let weights = tensors(folder, "weights.safetensors");
    let variables: BTreeMap<_, _> = vs.variables().into_iter().collect();
    assert_eq!(
        variables.keys().collect::<Vec<_>>(),
        weights.keys().collect::<Vec<_>>()
    );
    for (name, variable) in &variables {
        assert_eq!(variable.size(), weights[name].size(), "{name}");
        tch::no_grad(|| variable.shallow_clone().copy_(&weights[name]));
    }
    model
}

fn classifier_parity(folder: &str) {
    let config = config(&json(folder, "config.json"));
    let vs = nn::VarStore::new(Device::Cpu);
    let model = model(&vs, &config, folder);
    let inputs = tensors(folder, "inputs.safetensors");
    let want = tensors(folder, "outputs.safetensors");

    let features = model.features(&inputs["imgs"], false);
    assert_near("features", &features, &want["features"], FORWARD_TOLERANCE);
    let logits = model.classify(&features, false);
    assert_near("logits", &logits, &want["logits"], FORWARD_TOLERANCE);
    let plain = cross_entropy(&logits, &inputs["target"]);
    assert_near(
        "cross entropy",
        &plain,
        &want["loss_cross_entropy"],
        FORWARD_TOLERANCE,
    );
    let loss = label_smoothing_cross_entropy(&logits, &inputs["target"], config.label_smoothing);
    assert_near(
        "label smoothing",
        &loss,
        &want["loss_label_smoothing"],
        FORWARD_TOLERANCE,
    );
    loss.backward();
    let gradients: BTreeMap<String, Tensor> = vs
        .variables()
        .into_iter()
        .map(|(name, variable)| (name, variable.grad()))
        .collect();
    let (mut norms, mut full) = (0, 0);
    for (key, want) in &want {
        if let Some(name) = key.strip_prefix("grad_norm/") {
            let norm = gradients[name].norm();
            assert_near(key, &norm, want, GRADIENT_TOLERANCE);
            norms += 1;
        } else if let Some(name) = key.strip_prefix("grad/") {
            assert_near(key, &gradients[name], want, GRADIENT_TOLERANCE);
            full += 1;
        }
    }
    assert_eq!(norms, gradients.len());
    assert_eq!(full, 4);
}

#[test]
fn mean_pooling_matches_the_reference() {
    classifier_parity("vit_classifier_gap");
}

#[test]
fn class_token_matches_the_reference() {
    classifier_parity("vit_classifier_cls");
}

/// Soft targets that are smoothed one-hot rows give timm's label-smoothed loss, recorded in the
/// fixture; with a one-hot row they give the plain one.
#[test]
fn soft_targets_agree_with_the_recorded_losses() {
    let folder = "vit_classifier_gap";
    let config = config(&json(folder, "config.json"));
    let inputs = tensors(folder, "inputs.safetensors");
    let want = tensors(folder, "outputs.safetensors");
    let one_hot = inputs["target"]
        .one_hot(config.classes)
        .to_kind(Kind::Float);
    let plain = soft_target_cross_entropy(&want["logits"], &one_hot);
    assert_near("one-hot", &plain, &want["loss_cross_entropy"], 1e-6);
    let smoothing = config.label_smoothing;
    let smooth = one_hot * (1.0 - smoothing) + smoothing / config.classes as f64;
    let loss = soft_target_cross_entropy(&want["logits"], &smooth);
    assert_near("smoothed", &loss, &want["loss_label_smoothing"], 1e-6);
}

/// Every parameter of a full ViT-B/16: name, shape, learning-rate scale, weight decay.
fn layer_decay_parity(file: &str) {
    let table = json("layer_decay", file);
    let pool = if table["global_pool"].as_bool().unwrap() {
        Pool::Mean
    } else {
        Pool::ClassToken
    };
    let trunk = VitConfig::preset(VitPreset::Base, 224, 16);
    let config = ClassifierConfig::fine_tuning(trunk, 1000, pool);
    let vs = nn::VarStore::new(Device::Cpu);
    Classifier::new(&vs, &config).unwrap();
    let variables: BTreeMap<_, _> = vs.variables().into_iter().collect();
    let params = table["params"].as_object().unwrap();
    assert_eq!(variables.len(), params.len());
    for (name, variable) in &variables {
        let want = params
            .get(name)
            .unwrap_or_else(|| panic!("{name} is ours alone"));
        let shape: Vec<i64> = serde_json::from_value(want["shape"].clone()).unwrap();
        assert_eq!(variable.size(), shape, "{name}");
        assert!(variable.requires_grad(), "{name}");
        let got = layer_decay_policy(
            name,
            &shape,
            12,
            table["layer_decay"].as_f64().unwrap(),
            table["weight_decay"].as_f64().unwrap(),
        );
        assert!(
            (got.lr_scale - want["lr_scale"].as_f64().unwrap()).abs() <= 1e-12,
            "{name}"
        );
        assert_eq!(
            got.weight_decay,
            want["weight_decay"].as_f64().unwrap(),
            "{name}"
        );
        assert!(!got.frozen, "{name}");
    }
    assert_eq!(trainable_values(&vs), 86_567_656);
}

#[test]
fn layer_decay_of_a_full_vit_b_with_mean_pooling() {
    layer_decay_parity("mae_finetune_gap.json");
}

#[test]
fn layer_decay_of_a_full_vit_b_with_class_token() {
    layer_decay_parity("mae_finetune_cls.json");
}

/// Gradients of the key part of `qkv.bias` are rounding noise that AdamW blows up, see the fixture.
fn without_key_bias(name: &str, value: &Tensor) -> Tensor {
    if !name.ends_with("qkv.bias") {
        return value.detach();
    }
    let width = value.numel() as i64 / 3;
    let value = value.detach();
    Tensor::cat(
        &[value.narrow(0, 0, width), value.narrow(0, 2 * width, width)],
        0,
    )
}

/// Five steps as `main_finetune.py` makes them, through the engine's schedule and AdamW.
#[test]
fn five_fine_tuning_steps_match_the_reference() {
    let folder = "vit_finetune_step";
    let settings = json(folder, "config.json");
    let number = |key: &str| settings["optimizer"][key].as_f64().unwrap();
    let config = ClassifierConfig {
        layer_decay: number("layer_decay"),
        ..config(&settings)
    };
    let vs = nn::VarStore::new(Device::Cpu);
    let model = model(&vs, &config, folder);
    let policy = |name: &str, shape: &[i64]| {
        layer_decay_policy(
            name,
            shape,
            config.trunk.depth,
            config.layer_decay,
            number("weight_decay"),
        )
    };
    let groups = ParameterGroups::new(vs.variables().into_iter().collect(), policy).unwrap();
    let schedule = ScheduleConfig::Cosine {
        base_lr: None,
        lr: Some(number("lr")),
        min_lr: number("min_lr"),
        warmup_epochs: number("warmup_epochs"),
    };
    let schedule = schedule.resolve(2, number("epochs") as u64).unwrap();
    let optimizer = OptimizerConfig::Adamw {
        betas: [0.9, 0.999],
        eps: number("eps"),
        weight_decay: number("weight_decay"),
    };
    let mut optimizer = Optimizer::new(&optimizer, groups);

    let inputs = tensors(folder, "inputs.safetensors");
    let want = tensors(folder, "outputs.safetensors");
    let groups = json(folder, "param_groups.json");
    let groups = groups.as_array().unwrap();
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for step in 0..settings["steps"].as_i64().unwrap() {
        let lr = schedule.lr(step as f64 / number("iters_per_epoch"), step as u64);
        for (column, group) in groups.iter().enumerate() {
            let recorded = want["f64/lr_per_step_and_group"].double_value(&[step, column as i64]);
            for name in group["params"].as_array().unwrap() {
                let ours = optimizer
                    .groups()
                    .groups()
                    .iter()
                    .find(|ours| ours.parameters.iter().any(|p| p.name == *name))
                    .unwrap();
                assert!((lr * ours.lr_scale - recorded).abs() <= 1e-12, "{name}");
                assert_eq!(ours.weight_decay, group["weight_decay"].as_f64().unwrap());
            }
        }
        optimizer.clear_gradients();
        let logits = model.logits(&inputs["imgs"].get(step), true);
        let loss = label_smoothing_cross_entropy(
            &logits,
            &inputs["target"].get(step),
            config.label_smoothing,
        );
        loss.backward();
        let squares: f64 = vs
            .variables()
            .values()
            .map(|variable| variable.grad().norm().double_value(&[]).powi(2))
            .sum();
        losses.push(loss.double_value(&[]));
        norms.push(squares.sqrt());
        optimizer.step(lr);
    }
    assert_near(
        "losses",
        &Tensor::from_slice(&losses),
        &want["losses"],
        STEP_TOLERANCE,
    );
    assert_near(
        "gradient norms",
        &Tensor::from_slice(&norms),
        &want["grad_norm_per_step"],
        STEP_TOLERANCE,
    );
    let state: BTreeMap<String, Tensor> = optimizer.state().into_iter().collect();
    let weights = vs.variables();
    let mut compared = 0;
    for (key, want) in &want {
        let (name, got) = match key.split_once('/') {
            Some(("final", name)) => (name, &weights[name]),
            Some((moment @ ("exp_avg" | "exp_avg_sq"), name)) => {
                (name, &state[&format!("{moment}.{name}")])
            }
            _ => continue,
        };
        let (got, want) = (without_key_bias(name, got), without_key_bias(name, want));
        assert_near(key, &got, &want, STEP_TOLERANCE);
        compared += 1;
    }
    assert_eq!(compared, weights.len() + 4);
}

/// Five LARS steps of a probe's head (`parity/golden/linear_probe/make.py`).
#[test]
fn five_probing_steps_match_torch() {
    let data = tensors("linear_probe", "data.safetensors");
    let trunk = VitConfig {
        width: 24,
        depth: 1,
        heads: 2,
        ..VitConfig::preset(VitPreset::Tiny, 8, 4)
    };
    let config = ClassifierConfig::probing(trunk, 7, Pool::ClassToken);
    let vs = nn::VarStore::new(Device::Cpu);
    let task = ClassificationTask::new(&vs, &config, 0.01).unwrap();
    let variables = vs.variables();
    for name in ["head.1.weight", "head.1.bias"] {
        let start = &data[&format!("start/{name}")];
        assert_eq!(variables[name].size(), start.size());
        tch::no_grad(|| variables[name].shallow_clone().copy_(start));
    }
    let lars = OptimizerConfig::Lars {
        momentum: 0.9,
        weight_decay: 0.01,
        trust: 0.001,
    };
    let groups = ParameterGroups::new(vs.variables().into_iter().collect(), |name, shape| {
        task.policy(name, shape)
    })
    .unwrap();
    assert_eq!(groups.trained(), 7 * 24 + 7);
    let mut optimizer = Optimizer::new(&lars, groups);
    let mut losses = Vec::new();
    for step in 0..5 {
        optimizer.clear_gradients();
        let logits = task.model().classify(&data["features"].get(step), true);
        let loss = cross_entropy(&logits, &data["target"].get(step));
        loss.backward();
        losses.push(loss.double_value(&[]));
        optimizer.step(0.3);
    }
    assert_near(
        "losses",
        &Tensor::from_slice(&losses),
        &data["losses"],
        PROBE_TOLERANCE,
    );
    for (key, want) in &data {
        if let Some(name) = key.strip_prefix("final/") {
            assert_near(key, &variables[name], want, PROBE_TOLERANCE);
        }
    }
    let logits = task.model().classify(&data["features"].get(0), false);
    assert_near("evaluation", &logits, &data["eval_logits"], PROBE_TOLERANCE);
}
