//! Tables of relative position biases against DeepMIM's loader and SciPy's splines.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::Path;

use deepmim_backbone::resample_relative_bias;
use deepmim_backbone::weights::{LoadOptions, StateDict, load_trunk};
use tch::{Device, Kind, Tensor, nn};

/// Both are splines in float64; the results are float32, whose last place is 6e-8 of the value.
const SPLINE_TOLERANCE: f64 = 2e-7;
/// Ten times the largest relative float32-float64 difference of `pos_embed_resample`'s README.
const RESAMPLE_TOLERANCE: f64 = 1.2e-5;

fn fixture(name: &str) -> HashMap<String, Tensor> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../parity/golden");
    Tensor::read_safetensors(golden.join(name))
        .unwrap()
        .into_iter()
        .collect()
}

/// Largest difference over the largest value expected.
fn gap(found: &Tensor, wanted: &Tensor) -> f64 {
    assert_eq!(found.size(), wanted.size());
    let wanted = wanted.to_kind(Kind::Double);
    let scale = wanted.abs().max().double_value(&[]);
    let largest = (found.to_kind(Kind::Double) - wanted).abs().max();
    largest.double_value(&[]) / scale
}

#[test]
fn resampled_tables_equal_scipys() {
    let tensors = fixture("relative_bias/tables.safetensors");
    let mut checked = Vec::new();
    for (name, table) in &tensors {
        let Some(case) = name.strip_suffix("/in") else {
            continue;
        };
        let side: i64 = case.rsplit('_').next().unwrap().parse().unwrap();
        let mut found = resample_relative_bias(table, side).unwrap();
        assert_eq!(
            (found.kind(), found.size()[0]),
            (Kind::Float, (2 * side - 1).pow(2) + 3)
        );
        if let Some(rows) = tensors.get(&format!("{case}/rows")) {
            found = found.index_select(0, rows);
        }
        let gap = gap(&found, &tensors[&format!("{case}/out")]);
        assert!(gap < SPLINE_TOLERANCE, "{case}: {gap:e}");
        checked.push(case);
    }
    checked.sort_unstable();
    assert_eq!(
        checked,
        ["14_to_32", "14_to_6", "3_to_5", "6_to_7", "7_to_4"]
    );
}

/// DeepMIM's loader as a whole: positions, tables of each block, a table that they share.
#[test]
fn trunks_on_another_grid_equal_deepmims() {
    let inputs = fixture("pos_embed_resample/beit_inputs.safetensors");
    let outputs = fixture("pos_embed_resample/beit_outputs.safetensors");
    for plan in ["4_to_6", "7_to_5_shared", "6_to_6"] {
        let of = |tensors: &HashMap<String, Tensor>| {
            let mut state = StateDict::new(plan);
            for (name, tensor) in tensors {
                if let Some(bare) = name.strip_prefix(plan).and_then(|n| n.strip_prefix('/')) {
                    state.insert(bare, tensor.shallow_clone());
                }
            }
            state
        };
        let (state, wanted) = (of(&inputs), of(&outputs));
        let vs = nn::VarStore::new(Device::Cpu);
        for (name, tensor) in wanted.iter() {
            let parts: Vec<&str> = name.split('.').collect();
            let (last, folders) = parts.split_last().unwrap();
            let trunk = vs.root() / "backbone";
            let path = folders.iter().fold(trunk, |path, part| path / *part);
            let _ = path.var(last, &tensor.size(), nn::Init::Const(0.0));
        }
        let report = load_trunk(&vs, "backbone", &state, &LoadOptions::default()).unwrap();
        assert_eq!(report.loaded.len(), 3, "{plan}");
        assert_eq!(report.resized.len(), if plan == "6_to_6" { 0 } else { 3 });
        for (name, wanted) in wanted.iter() {
            let gap = gap(
                &vs.variables()[&format!("backbone.{name}")].detach(),
                wanted,
            );
            assert!(gap < RESAMPLE_TOLERANCE, "{plan}/{name}: {gap:e}");
        }
    }
}
