//! UperNets loaded whole, and trunks into and out of them.

use deepmim_backbone::weights::{
    ConvertOptions, Dialect, LoadOptions, StateDict, convert, load_into, load_trunk,
};
use deepmim_backbone::{relative_bias_index, resample_positions, resample_relative_bias};
use tch::{Device, Kind, Tensor, nn};

use super::segmentors::{TABLE, native, upernet};
use super::{exact, exact_state, fixture};

/// A segmentor with the parameters of `state`, all seven, on a grid of `side` patches.
fn segmentor(state: &StateDict, side: i64) -> nn::VarStore {
    let vs = nn::VarStore::new(Device::Cpu);
    for (name, tensor) in state.iter() {
        let parts: Vec<&str> = name.split('.').collect();
        let (last, folders) = parts.split_last().unwrap();
        let path = folders.iter().fold(vs.root(), |path, part| path / *part);
        let mut size = tensor.size();
        match *last {
            "pos_embed" => size[1] = 1 + side * side,
            "relative_position_bias_table" => size[0] = (2 * side - 1).pow(2) + 3,
            _ => {}
        }
        if tensor.kind() == Kind::Int64 {
            path.zeros_no_train(last, &size)
                .set_data(&Tensor::from(7_i64));
        } else {
            let _ = path.var(last, &size, nn::Init::Const(7.0));
        }
    }
    vs
}

fn is_seven(tensor: &Tensor) -> bool {
    tensor.min().double_value(&[]) == 7.0 && tensor.max().double_value(&[]) == 7.0
}

/// Neither necks nor heads are part of the trunk; a detector's dialect gets the trunk alone.
#[test]
fn a_segmentors_trunk_comes_out() {
    let trunk = Dialect::DeepmimSeg
        .read(upernet(), None)
        .unwrap()
        .into_trunk();
    assert_eq!(trunk.state.len(), 4 + 4 * 15);
    assert!(trunk.state.names().all(|name| name.starts_with("blocks.")
        || ["cls_token", "pos_embed"].contains(&name)
        || name.starts_with("patch_embed.proj.")));
    for dropped in ["backbone.fpn1.1.running_mean", "decode_head.conv_seg.bias"] {
        assert!(trunk.dropped.contains(&dropped.to_owned()), "{dropped}");
    }
    let folder = tempfile::tempdir().unwrap();
    for (to, name) in [
        (Dialect::Detectron2, "backbone.net.blocks.0.norm1.bias"),
        (Dialect::Timm, "blocks.0.norm1.bias"),
    ] {
        let options = ConvertOptions {
            from: Dialect::DeepmimSeg,
            to,
            part: None,
            precision: None,
            trunk_only: false,
        };
        let path = folder.path().join("trunk.safetensors");
        let done = convert(upernet(), &path, &options).unwrap();
        assert_eq!(done.written.len(), 64);
        assert!(done.written.contains(&name.to_owned()));
    }
    // And a bare trunk takes its place in both languages.
    let bare = || {
        Dialect::Mae
            .read(fixture("mae_pretrain.pth"), None)
            .unwrap()
    };
    for (dialect, name) in [
        (Dialect::Mmseg, "backbone.layers.1.ln2.weight"),
        (Dialect::DeepmimSeg, "backbone.blocks.1.norm2.weight"),
    ] {
        let housed = dialect.from_native(bare().state).unwrap();
        let wanted = exact_state(&bare().state);
        assert_eq!(
            exact(housed.get(name).unwrap()),
            wanted["blocks.1.norm2.weight"]
        );
        let native = dialect.translate(housed, None).unwrap().into_trunk();
        assert_eq!(exact_state(&native.state), wanted);
    }
}

/// The whole file, strictly, into the model it was recorded from: counters too.
#[test]
fn a_segmentor_is_loaded_whole() {
    let state = native();
    let vs = segmentor(&state, 5);
    let report = load_into(&vs, "", &state, &LoadOptions::default()).unwrap();
    assert_eq!(report.loaded.len(), 157);
    assert!(report.converted.is_empty());
    let loaded = StateDict::from_var_store(&vs);
    assert_eq!(exact_state(&loaded), exact_state(&state));
}

/// MAE's trunk: its class token and positions, everything it lacks as it was.
#[test]
fn a_pre_trained_trunk_starts_a_segmentor() {
    let model = native();
    let mut state = StateDict::new("mae");
    for (name, tensor) in Dialect::DeepmimSeg
        .read(upernet(), None)
        .unwrap()
        .into_trunk()
        .state
    {
        if !name.ends_with(TABLE) && !name.contains(".ls") {
            state.insert(name, tensor);
        }
    }
    for name in [
        "norm.weight",
        "decoder_pred.bias",
        "mask_token",
        "head.bias",
    ] {
        state.insert(name, Tensor::from(1_f32));
    }
    let vs = segmentor(&model, 8);
    let report = load_trunk(&vs, "backbone", &state, &LoadOptions::default()).unwrap();
    assert_eq!(report.loaded.len(), 4 + 4 * 12);
    assert_eq!(
        report.unused,
        [
            "decoder_pred.bias",
            "head.bias",
            "mask_token",
            "norm.weight"
        ]
    );
    let count = |part: &str| report.absent.iter().filter(|n| n.contains(part)).count();
    assert_eq!((count(TABLE), count(".ls"), count("fpn1.")), (4, 8, 9));
    assert_eq!(
        report.absent.last().unwrap(),
        "decode_head.psp_modules.3.1.conv.weight"
    );
    assert_eq!(report.resized.len(), 1);
    let variables = vs.variables();
    let positions = resample_positions(state.get("pos_embed").unwrap(), 1, (8, 8)).unwrap();
    assert_eq!(
        exact(&variables["backbone.pos_embed"].detach()),
        exact(&positions)
    );
    let token = state.get("cls_token").unwrap();
    assert_eq!(
        exact(&variables["backbone.cls_token"].detach()),
        exact(token)
    );
    for name in [
        "backbone.blocks.2.ls2.gamma",
        "backbone.blocks.3.attn.relative_position_bias_table",
        "backbone.fpn1.1.running_var",
        "backbone.fpn1.1.num_batches_tracked",
        "auxiliary_head.conv_seg.bias",
    ] {
        assert!(is_seven(&variables[name]), "{name}");
    }
    // A class token that the file lacks is no small difference.
    state.remove("cls_token");
    let error = load_trunk(&vs, "backbone", &state, &LoadOptions::default()).unwrap_err();
    assert!(
        error.to_string().contains("absent from it: cls_token"),
        "{error}"
    );
}

/// A segmentor of 80 pixels starts one of 128: tables too come to the new grid.
#[test]
fn a_segmentors_trunk_starts_a_larger_segmentor() {
    let model = native();
    let trunk = Dialect::DeepmimSeg
        .read(upernet(), None)
        .unwrap()
        .into_trunk();
    let vs = segmentor(&model, 8);
    let report = load_trunk(&vs, "backbone", &trunk.state, &LoadOptions::default()).unwrap();
    assert_eq!(report.loaded.len(), 64);
    assert_eq!(report.resized.len(), 5);
    for block in 0..4 {
        let name = format!("blocks.{block}.{TABLE}");
        let table = trunk.state.get(&name).unwrap();
        let wanted = resample_relative_bias(table, 8).unwrap();
        assert_eq!(wanted.size(), [15 * 15 + 3, 4]);
        let loaded = vs.variables()[&format!("backbone.{name}")].detach();
        assert_eq!(exact(&loaded), exact(&wanted));
        assert_eq!(
            exact(&loaded.narrow(0, 225, 3)),
            exact(&table.narrow(0, 81, 3))
        );
    }
}

/// BEiT's pre-training has one table for all blocks and its index beside it.
#[test]
fn a_shared_table_goes_to_every_block() {
    let model = native();
    let mut state = StateDict::new("beit");
    let mut tables = Vec::new();
    for (name, tensor) in Dialect::DeepmimSeg
        .read(upernet(), None)
        .unwrap()
        .into_trunk()
        .state
    {
        if name.ends_with(TABLE) {
            tables.push(tensor);
        } else {
            state.insert(name, tensor);
        }
    }
    let shared = tables.remove(2);
    state.insert(
        "rel_pos_bias.relative_position_bias_table",
        shared.shallow_clone(),
    );
    state.insert(
        "rel_pos_bias.relative_position_index",
        relative_bias_index(5, 5),
    );
    let vs = segmentor(&model, 5);
    let report = load_trunk(&vs, "backbone", &state, &LoadOptions::default()).unwrap();
    assert_eq!(report.unused, ["rel_pos_bias.relative_position_index"]);
    assert_eq!(report.loaded.len(), 64);
    for block in 0..4 {
        let loaded = &vs.variables()[&format!("backbone.blocks.{block}.{TABLE}")];
        assert_eq!(exact(&loaded.detach()), exact(&shared), "{block}");
    }
    // A model that shares it takes it as it is.
    let mut sharing = StateDict::new("sharing");
    for (name, tensor) in model {
        if !name.ends_with(TABLE) {
            sharing.insert(name, tensor);
        }
    }
    let place = "backbone.rel_pos_bias.relative_position_bias_table";
    sharing.insert(place, shared.shallow_clone());
    let vs = segmentor(&sharing, 5);
    load_trunk(&vs, "backbone", &state, &LoadOptions::default()).unwrap();
    assert_eq!(exact(&vs.variables()[place].detach()), exact(&shared));
}
