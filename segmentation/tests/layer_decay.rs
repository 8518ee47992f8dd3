//! The optimiser's table against DeepMIM's, for every parameter of its ViT-B segmentor.
//!
//! Fixture: `parity/golden/layer_decay/upernet.json`.

#![allow(clippy::unwrap_used)]

use deepmim_segmentation::upernet_policy;

/// Exact but for the order of the multiplications in a power.
const TOLERANCE: f64 = 1e-12;

#[test]
fn every_parameter_learns_and_decays_as_in_deepmim() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../parity/golden/layer_decay/upernet.json"
    );
    let table: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let number = |key: &str| table[key].as_f64().unwrap();
    let (decay, weight_decay) = (number("layer_decay_rate"), number("weight_decay"));
    let depth = table["num_layers"].as_i64().unwrap();
    let params = table["params"].as_object().unwrap();
    assert!(params.len() > 200);
    let mut scales = std::collections::BTreeSet::new();
    for (name, wanted) in params {
        // Layer scale has another name here, which must not matter.
        let ours = name
            .replace("gamma_1", "ls1.gamma")
            .replace("gamma_2", "ls2.gamma");
        let shape: Vec<i64> = serde_json::from_value(wanted["shape"].clone()).unwrap();
        let got = upernet_policy(&ours, &shape, depth, decay, weight_decay);
        let lr_scale = wanted["lr_scale"].as_f64().unwrap();
        let wanted = wanted["weight_decay"].as_f64().unwrap();
        assert!((got.lr_scale - lr_scale).abs() <= TOLERANCE, "{name}");
        assert!((got.weight_decay - wanted).abs() <= TOLERANCE, "{name}");
        assert!(!got.frozen, "{name}");
        scales.insert(lr_scale.to_bits());
    }
    // Embedding, twelve blocks, heads.
    assert_eq!(scales.len(), 14);
}
