//! Update rules against torch's AdamW and facebookresearch/mae's LARS, and by hand.
//!
//! Golden: parity/golden/optimizers (made by the script beside it). Tolerance 1e-6 relative to 1.

// Helpers of tests may fail like tests.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use deepmim_engine::{Optimizer, OptimizerConfig, ParamPolicy, ParameterGroups};
use tch::{Device, Kind, Tensor, nn};

const NAMES: [&str; 3] = ["b", "w", "z"];

fn golden() -> HashMap<String, Tensor> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../parity/golden/optimizers/steps.safetensors"
    );
    Tensor::read_safetensors(path)
        .unwrap()
        .into_iter()
        .collect()
}

fn policy(name: &str, _: &[i64]) -> ParamPolicy {
    match name {
        "b" => ParamPolicy {
            lr_scale: 0.5,
            weight_decay: 0.0,
            frozen: false,
        },
        _ => ParamPolicy::decayed(0.05),
    }
}

fn model(golden: &HashMap<String, Tensor>) -> nn::VarStore {
    let vs = nn::VarStore::new(Device::Cpu);
    for name in NAMES {
        let _ = vs.root().var_copy(name, &golden[&format!("start.{name}")]);
    }
    vs
}

fn groups(vs: &nn::VarStore) -> ParameterGroups {
    ParameterGroups::new(vs.variables().into_iter().collect(), policy).unwrap()
}

/// Gives every parameter the recorded gradient of `step`, through a loss that has just that one.
fn backward(golden: &HashMap<String, Tensor>, vs: &nn::VarStore, step: usize) {
    let mut loss = Tensor::from(0f32);
    for (name, parameter) in vs.variables() {
        if let Some(gradient) = golden.get(&format!("grad.{step}.{name}")) {
            loss += (parameter * gradient).sum(Kind::Float);
        }
    }
    loss.backward();
}

fn assert_step(golden: &HashMap<String, Tensor>, vs: &nn::VarStore, label: &str, step: usize) {
    for (name, got) in vs.variables() {
        let wanted = &golden[&format!("{label}.{step}.{name}")];
        let difference = (got - wanted).abs().max().double_value(&[]);
        assert!(
            difference <= 1e-6,
            "{label} step {step} {name}: off by {difference:e}"
        );
    }
}

fn replay(label: &str, config: &OptimizerConfig) {
    let golden = golden();
    let vs = model(&golden);
    let mut optimizer = Optimizer::new(config, groups(&vs));
    let rates = Vec::<f64>::try_from(&golden["lr"]).unwrap();
    for (step, lr) in rates.iter().enumerate() {
        optimizer.clear_gradients();
        backward(&golden, &vs, step);
        optimizer.step(*lr);
        assert_step(&golden, &vs, label, step);

        // The state moves to a new optimiser after every step: that must not show.
        let kept: Vec<(String, Tensor)> = optimizer
            .state()
            .into_iter()
            .map(|(name, tensor)| (name, tensor.copy()))
            .collect();
        optimizer = Optimizer::new(config, groups(&vs));
        optimizer.load_state(kept).unwrap();
    }
    for (name, got) in optimizer.state() {
        if let Some(wanted) = golden.get(&format!("{label}.{name}")) {
            assert!(
                got.to_kind(Kind::Double)
                    .allclose(wanted, 1e-6, 1e-8, false),
                "{name}"
            );
        }
    }
}

#[test]
fn adamw_is_torchs() {
    replay(
        "adamw",
        &OptimizerConfig::Adamw {
            betas: [0.9, 0.95],
            eps: 1e-8,
            weight_decay: 0.05,
        },
    );
}

#[test]
fn lars_is_maes() {
    replay(
        "lars",
        &OptimizerConfig::Lars {
            momentum: 0.9,
            weight_decay: 0.05,
            trust: 0.001,
        },
    );
}

/// By hand: one parameter 2 with gradient 0.5, lr 0.1, weight decay 0.5, betas 0.9 and 0.99.
/// Decay: 2 * (1 - 0.05) = 1.9. Moments after correction are 0.5 and 0.25, so the step is 0.1.
#[test]
fn adamw_decays_then_steps() {
    let vs = nn::VarStore::new(Device::Cpu);
    let x = vs.root().var_copy("x", &Tensor::from_slice(&[2f32]));
    let config = OptimizerConfig::Adamw {
        betas: [0.9, 0.99],
        eps: 0.0,
        weight_decay: 0.5,
    };
    let groups = ParameterGroups::new(vs.variables().into_iter().collect(), |_, _| {
        ParamPolicy::decayed(0.5)
    });
    let mut optimizer = Optimizer::new(&config, groups.unwrap());
    (&x * 0.5).sum(Kind::Float).backward();
    optimizer.step(0.1);
    assert!((x.double_value(&[0]) - 1.8).abs() < 1e-6);
}

#[test]
fn frozen_parameters_get_no_gradient() {
    let golden = golden();
    let vs = model(&golden);
    let groups = ParameterGroups::new(vs.variables().into_iter().collect(), |name, _| match name {
        "w" => ParamPolicy::frozen(),
        "z" => ParamPolicy {
            lr_scale: 0.0,
            ..ParamPolicy::decayed(0.1)
        },
        _ => ParamPolicy::decayed(0.0),
    })
    .unwrap();
    assert_eq!(groups.frozen(), ["w", "z"]);
    assert_eq!(groups.trained(), 2);
    let variables = vs.variables();
    assert!(!variables["w"].requires_grad() && !variables["z"].requires_grad());
    assert!(variables["b"].requires_grad());

    let all_frozen = ParameterGroups::new(variables.into_iter().collect(), |_, _| {
        ParamPolicy::frozen()
    });
    assert!(all_frozen.unwrap_err().to_string().contains("frozen"));
}

#[test]
fn groups_are_listed_by_policy() {
    let golden = golden();
    let vs = model(&golden);
    let groups = groups(&vs);
    let table: Vec<(f64, f64, Vec<&str>)> = groups
        .groups()
        .iter()
        .map(|group| {
            let names = group.parameters.iter().map(|p| p.name.as_str()).collect();
            (group.lr_scale, group.weight_decay, names)
        })
        .collect();
    assert_eq!(table, [(0.5, 0.0, vec!["b"]), (1.0, 0.05, vec!["w", "z"])]);
    let text = groups.to_string();
    assert!(
        text.ends_with("12 parameters trained, 0 tensors frozen"),
        "{text}"
    );
}

#[test]
fn a_state_of_another_model_is_refused() {
    let golden = golden();
    let vs = model(&golden);
    let config: OptimizerConfig = toml::from_str("name = \"adamw\"").unwrap();
    let mut optimizer = Optimizer::new(&config, groups(&vs));
    let mut state = optimizer.state();
    let (name, _) = state.pop().unwrap();
    assert!(optimizer.load_state(state).unwrap_err().contains(&name));
}

#[test]
fn misspelt_and_impossible_constants_are_refused() {
    let typo = toml::from_str::<OptimizerConfig>("name = \"adamw\"\nweigth_decay = 0.1");
    assert!(typo.unwrap_err().to_string().contains("weigth_decay"));
    let beta: OptimizerConfig = toml::from_str("name = \"adamw\"\nbetas = [0.9, 1.0]").unwrap();
    assert!(beta.check().unwrap_err().to_string().contains("betas[1]"));
    let lars: OptimizerConfig = toml::from_str("name = \"lars\"").unwrap();
    lars.check().unwrap();
}

/// As in torch, a parameter that took no part in the loss keeps value and moments: no decay, no
/// momentum, though it had a gradient before.
#[test]
fn a_parameter_without_a_gradient_is_left_alone() {
    let golden = golden();
    let vs = model(&golden);
    let config: OptimizerConfig = toml::from_str("name = \"adamw\"").unwrap();
    let mut optimizer = Optimizer::new(&config, groups(&vs));
    backward(&golden, &vs, 3);
    optimizer.step(0.1);
    optimizer.clear_gradients();
    let before = vs.variables()["w"].copy();
    (vs.variables()["b"].shallow_clone() * 2.0)
        .sum(Kind::Float)
        .backward();
    optimizer.step(0.1);
    assert!(vs.variables()["w"].equal(&before));
    let steps: HashMap<String, Tensor> = optimizer.state().into_iter().collect();
    assert_eq!(steps["step.w"].int64_value(&[]), 1);
    assert_eq!(steps["step.b"].int64_value(&[]), 2);
}
