//! Pre-trained trunks into detectors, and detectors' trunks out.

use deepmim_backbone::resample_positions;
use deepmim_backbone::weights::{Dialect, LoadOptions, StateDict, load_into, load_trunk};
use tch::{Device, Kind, Tensor, nn};

use super::{exact, exact_state, fixture};

/// What a detector adds to and leaves out of the fixtures' trunk (width 8, two blocks, patch 4):
/// no class token and no last norm, but the class token's row before `side²` positions, relative
/// positions of `span` rows, a pyramid and heads.
fn detector(state: &StateDict, side: i64, span: i64) -> nn::VarStore {
    let vs = nn::VarStore::new(Device::Cpu);
    let net = vs.root() / "backbone" / "net";
    let seven = nn::Init::Const(7.0);
    for (name, tensor) in state.iter() {
        let parts: Vec<&str> = name.split('.').collect();
        let (last, folders) = parts.split_last().unwrap();
        let path = folders.iter().fold(net.clone(), |path, part| path / *part);
        if parts[0] == "blocks" || parts[0] == "patch_embed" {
            let _ = path.var(last, &tensor.size(), seven);
        }
    }
    let _ = net.var("pos_embed", &[1, 1 + side * side, 8], seven);
    for block in 0..2 {
        let attention = &net / "blocks" / block / "attn";
        let _ = attention.var("rel_pos_h", &[span, 4], seven);
        let _ = attention.var("rel_pos_w", &[span, 4], seven);
    }
    let _ = (vs.root() / "backbone" / "simfp_2" / 0).var("weight", &[8, 4, 2, 2], seven);
    let _ = (vs.root() / "roi_heads" / "box_head").var("fc1", &[3], seven);
    vs
}

fn trunk(dialect: Dialect, file: &str) -> StateDict {
    let read = dialect.read(fixture(file), None).unwrap();
    read.into_trunk().state
}

#[test]
fn pre_trained_trunks_of_several_dialects_start_a_detector() {
    for (dialect, file) in [
        (Dialect::Mae, "mae_pretrain.pth"),
        (Dialect::Mae, "deepmim_pretrain.pth"),
        (Dialect::Mae, "mae_finetuned.pth"),
        (Dialect::Timm, "timm_bare.pth"),
        (Dialect::Dino, "dino_full.pth"),
    ] {
        let state = trunk(dialect, file);
        let vs = detector(&state, 3, 5);
        let options = LoadOptions::default();
        let report = load_trunk(&vs, "backbone.net", &state, &options).unwrap();
        let variables = vs.variables();
        assert_eq!(report.loaded.len() + report.absent.len(), variables.len());
        assert_eq!(
            report.absent,
            [
                "blocks.0.attn.rel_pos_h",
                "blocks.0.attn.rel_pos_w",
                "blocks.1.attn.rel_pos_h",
                "blocks.1.attn.rel_pos_w",
                "backbone.simfp_2.0.weight",
                "roi_heads.box_head.fc1",
            ]
        );
        assert!(report.unused.contains(&"cls_token".to_owned()));
        for name in &report.loaded {
            let loaded = variables[&format!("backbone.net.{name}")].detach();
            assert_eq!(exact(&loaded), exact(state.get(name).unwrap()), "{name}");
        }
        for untouched in [
            "backbone.net.blocks.1.attn.rel_pos_w",
            "roi_heads.box_head.fc1",
        ] {
            assert_eq!(variables[untouched].min().double_value(&[]), 7.0);
        }
    }
}

/// Three by three positions to five by five, the class token's row as it was.
#[test]
fn another_grid_is_resampled_and_the_class_row_kept() {
    let state = trunk(Dialect::Mae, "mae_pretrain.pth");
    let vs = detector(&state, 5, 5);
    let report = load_trunk(&vs, "backbone.net", &state, &LoadOptions::default()).unwrap();
    assert_eq!(report.resized.len(), 1);
    assert_eq!(report.resized[0].wanted, [1, 26, 8]);
    let table = state.get("pos_embed").unwrap();
    let loaded = vs.variables()["backbone.net.pos_embed"].detach();
    let wanted = resample_positions(table, 1, (5, 5)).unwrap();
    assert_eq!(exact(&loaded), exact(&wanted));
    assert_eq!(
        exact(&loaded.narrow(1, 0, 1)),
        exact(&table.narrow(1, 0, 1))
    );
}

#[test]
fn a_table_without_the_class_row_is_one_clear_sentence() {
    let mut state = trunk(Dialect::Mae, "mae_pretrain.pth");
    let vs = detector(&state, 3, 5);
    let table = state.remove("pos_embed").unwrap();
    state.insert("pos_embed", table.narrow(1, 1, 9));
    let error = load_trunk(&vs, "backbone.net", &state, &LoadOptions::default()).unwrap_err();
    let message = error.to_string();
    for part in [
        "pos_embed is [1, 9, 8] in the file and [1, 10, 8] in the model",
        "one of the two has a row for the class token and the other has none",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let fc1 = &vs.variables()["backbone.net.blocks.0.mlp.fc1.weight"];
    assert_eq!(fc1.max().double_value(&[]), 7.0);
    let options = LoadOptions {
        may_miss: vec!["pos_embed".to_owned()],
        ..LoadOptions::default()
    };
    let report = load_trunk(&vs, "backbone.net", &state, &options).unwrap();
    assert_eq!(report.kept[0].name, "pos_embed");
}

/// A CLIP tower normalises before its blocks, which a detector's trunk does not: that is said.
#[test]
fn a_trunk_of_another_kind_is_refused() {
    let state = trunk(Dialect::Clip, "clip_visual_half.pt");
    let vs = detector(&state, 3, 5);
    let error = load_trunk(&vs, "backbone.net", &state, &LoadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("norm_pre.bias"), "{error}");
}

/// A detector's own trunk comes back through its file, into a detector of other windows too.
#[test]
fn a_detectors_trunk_starts_another_detector() {
    let state = trunk(Dialect::Mae, "mae_pretrain.pth");
    let source = detector(&state, 3, 5);
    load_trunk(&source, "backbone.net", &state, &LoadOptions::default()).unwrap();
    tch::no_grad(|| {
        for (name, variable) in source.variables() {
            if name.ends_with("rel_pos_h") {
                let rows = Tensor::arange(5, (Kind::Float, Device::Cpu)).view([5, 1]);
                variable.shallow_clone().copy_(&rows.expand([5, 4], false));
            }
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("detector.pth");
    let whole = StateDict::from_var_store(&source);
    whole.write(&path, Dialect::Detectron2).unwrap();
    let read = Dialect::Detectron2.read(&path, None).unwrap();
    assert_eq!(exact_state(&read.state), exact_state(&whole));

    // Whole, strictly, into the same detector.
    let same = detector(&state, 3, 5);
    load_into(&same, "", &read.state, &LoadOptions::default()).unwrap();
    let same = StateDict::from_var_store(&same);
    assert_eq!(exact_state(&same), exact_state(&whole));

    // Its trunk into one with windows of four instead of three.
    let read = read.into_trunk();
    assert_eq!(
        read.dropped,
        ["backbone.simfp_2.0.weight", "roi_heads.box_head.fc1"]
    );
    let other = detector(&state, 3, 7);
    let report = load_trunk(&other, "backbone.net", &read.state, &LoadOptions::default()).unwrap();
    assert_eq!(report.resized.len(), 4);
    assert_eq!(
        report.absent,
        ["backbone.simfp_2.0.weight", "roi_heads.box_head.fc1"]
    );
    let table = other.variables()["backbone.net.blocks.1.attn.rel_pos_h"].detach();
    // By hand: row i looks at 5/7 (i + 0.5) - 0.5, kept within 0 and 4.
    for row in 0..7 {
        let wanted = (5.0 / 7.0 * (row as f64 + 0.5) - 0.5).clamp(0.0, 4.0);
        let got = table.double_value(&[row, 2]);
        assert!(
            (got - wanted).abs() < 1e-5,
            "{row}: {got} instead of {wanted}"
        );
    }
}

/// Constants of a detector are no weights, and an optimiser's state stays on the disk.
#[test]
fn a_detectors_constants_are_left_out() {
    let mut state = StateDict::new("detector");
    let one = || Tensor::from_slice(&[1_f32]);
    for name in [
        "model/module.backbone.net.blocks.0.norm1.weight",
        "model/module.proposal_generator.anchor_generator.cell_anchors.0",
        "model/module.pixel_mean",
        "model/module.pixel_std",
        "optimizer/state/0/exp_avg",
    ] {
        state.insert(name, one());
    }
    let read = Dialect::Detectron2.translate(state, None).unwrap();
    assert_eq!(
        read.state.names().collect::<Vec<_>>(),
        ["backbone.net.blocks.0.norm1.weight"]
    );
    assert_eq!(read.dropped.len(), 3);
    let message = Dialect::Detectron2
        .read(fixture("mae_pretrain.pth"), None)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("holds no weights where the detectron2 dialect keeps them"),
        "{message}"
    );
}
