//! Measures of layers against packages and definitions written out (`parity/golden/analysis`).

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::Path;

use backbone::{VitConfig, VitPreset};
use deepmim_pretraining::{AttentionMeasures, Cka, attention_measures, effective_rank};
use tch::{Kind, Tensor};

fn golden() -> HashMap<String, Tensor> {
    let file = "../parity/golden/analysis/analysis.safetensors";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    Tensor::read_safetensors(path)
        .unwrap()
        .into_iter()
        .collect()
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    Vec::<f64>::try_from(tensor.to_kind(Kind::Double).contiguous().view([-1])).unwrap()
}

/// Of torch_cka over the same batches, to 1e-6.
#[test]
fn cka_of_layers_and_models() {
    let golden = golden();
    let features = ["a0", "a1", "a2", "b0", "b1"].map(|name| golden[name].shallow_clone());
    let mut cka = Cka::new(features.len());
    for start in (0..60).step_by(20) {
        let batch: Vec<Tensor> = features.iter().map(|x| x.narrow(0, start, 20)).collect();
        cka.add(&batch);
    }
    let found = cka.matrix().unwrap().concat();
    let wanted = numbers(&golden["cka"]);
    assert!(
        wanted.iter().any(|value| *value < 0.6),
        "there is something to tell apart"
    );
    for (a, b) in found.iter().zip(&wanted) {
        assert!((a - b).abs() < 1e-6, "{found:?}\n{wanted:?}");
    }
}

/// By numpy's singular values, relative 1e-6.
#[test]
fn effective_ranks() {
    let golden = golden();
    let wanted = numbers(&golden["ranks"]);
    for (name, wanted) in ["a0", "a1", "a2", "b0", "b1"].iter().zip(wanted) {
        let found = effective_rank(&golden[*name]);
        assert!(
            (found / wanted - 1.0).abs() < 1e-6,
            "{name}: {found} {wanted}"
        );
    }
}

/// By loops, `kl_div` and `cosine_similarity`, in float64; ours are float32: relative 1e-4 of the largest.
#[test]
fn attention_of_heads_and_layers() {
    let golden = golden();
    let config = VitConfig {
        heads: 3,
        ..VitConfig::preset(VitPreset::Tiny, 12, 4)
    };
    let maps = golden["maps"].to_kind(Kind::Float).unbind(0);
    let found = attention_measures(&maps, &config).unwrap();
    type Field = fn(&AttentionMeasures) -> &Vec<f32>;
    let fields: [(&str, Field); 6] = [
        ("distance", |of| &of.distance),
        ("entropy", |of| &of.entropy),
        ("head_divergence", |of| &of.head_divergence),
        ("head_cosine", |of| &of.head_cosine),
        ("layer_divergence", |of| &of.layer_divergence),
        ("layer_cosine", |of| &of.layer_cosine),
    ];
    for (name, field) in fields {
        let wanted = numbers(&golden[name]);
        let found: Vec<f32> = found
            .iter()
            .flat_map(|picture| field(picture).clone())
            .collect();
        assert_eq!(found.len(), wanted.len(), "{name}");
        let largest = wanted
            .iter()
            .fold(0.0, |most: f64, value| most.max(value.abs()));
        for (a, b) in found.iter().zip(&wanted) {
            assert!(
                (f64::from(*a) - b).abs() < 1e-4 * largest,
                "{name}: {a} {b}"
            );
        }
    }
}
