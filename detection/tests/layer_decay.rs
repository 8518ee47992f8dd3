//! The optimiser's table against detectron2's, for every parameter of ViTDet-B Mask R-CNN.
//!
//! Fixture: `parity/golden/layer_decay/vitdet.json`.

#![allow(clippy::unwrap_used)]

use deepmim_detection::{vitdet_policy, vitdet_policy_decaying_all};

/// Exact but for the order of the multiplications in a power.
const TOLERANCE: f64 = 1e-12;

#[test]
fn every_parameter_learns_and_decays_as_in_detectron2() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../parity/golden/layer_decay/vitdet.json"
    );
    let table: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let number = |key: &str| table[key].as_f64().unwrap();
    let (decay, weight_decay) = (number("lr_decay_rate"), number("weight_decay"));
    let depth = table["num_layers"].as_i64().unwrap();
    let params = table["params"].as_object().unwrap();
    assert!(params.len() > 200);
    let mut spared = 0;
    for (name, wanted) in params {
        let shape: Vec<i64> = serde_json::from_value(wanted["shape"].clone()).unwrap();
        let got = vitdet_policy(name, &shape, depth, decay, weight_decay);
        let lr_scale = wanted["lr_scale"].as_f64().unwrap();
        let wanted = wanted["weight_decay"].as_f64().unwrap();
        assert!((got.lr_scale - lr_scale).abs() <= TOLERANCE, "{name}");
        assert!((got.weight_decay - wanted).abs() <= TOLERANCE, "{name}");
        assert!(!got.frozen, "{name}");
        spared += i32::from(wanted == 0.0);
        let all = vitdet_policy_decaying_all(name, &shape, depth, decay, weight_decay);
        assert_eq!(
            (all.lr_scale, all.weight_decay),
            (got.lr_scale, weight_decay)
        );
    }
    // The position table, and gain and bias of two norms in each of twelve blocks.
    assert_eq!(spared, 1 + 12 * 2 * 2);
}
