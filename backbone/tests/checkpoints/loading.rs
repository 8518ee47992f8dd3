//! Dialects, and strict loading into a trunk.

use deepmim_backbone::weights::{Dialect, LoadOptions, StateDict, WeightsError, load_into};
use deepmim_backbone::{Activation, Vit, VitConfig, VitPreset, resample_positions};
use tch::{Device, Kind, Tensor, nn};

use super::{exact, exact_state, fixture};

/// The trunk of the fixtures: width 8, two blocks, patch 4.
fn config(image_size: i64) -> VitConfig {
    VitConfig {
        width: 8,
        depth: 2,
        heads: 2,
        mlp_ratio: 2.0,
        ..VitConfig::preset(VitPreset::Tiny, image_size, 4)
    }
}

fn model(config: &VitConfig) -> nn::VarStore {
    let vs = nn::VarStore::new(Device::Cpu);
    Vit::new(&vs.root(), config).unwrap();
    vs
}

fn patterns(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn read(dialect: Dialect, file: &str) -> StateDict {
    dialect.read(fixture(file), None).unwrap().state
}

/// MAE's pre-training file without its decoder is exactly the trunk.
#[test]
fn a_pre_trained_trunk_is_loaded_without_its_decoder() {
    let vs = model(&config(12));
    let state = read(Dialect::Mae, "mae_pretrain.pth");
    let options = LoadOptions {
        may_ignore: patterns(&["decoder_*", "mask_token*"]),
        ..LoadOptions::default()
    };
    let report = load_into(&vs, "", &state, &options).unwrap();
    assert_eq!(report.loaded.len(), vs.variables().len());
    assert!(report.absent.is_empty() && report.resized.is_empty());
    assert!(report.unused.contains(&"mask_token".to_owned()));
    for (name, variable) in vs.variables() {
        assert_eq!(
            exact(&variable.detach()),
            exact(state.get(&name).unwrap()),
            "{name}"
        );
    }
    let text = report.to_string();
    assert!(
        text.contains("mae_pretrain.pth") && text.contains("unused"),
        "{text}"
    );
}

/// DeepMIM's four decoders go the same way, and the trunk below a prefix is found there.
#[test]
fn a_trunk_below_a_prefix_is_loaded() {
    let vs = nn::VarStore::new(Device::Cpu);
    Vit::new(&(vs.root() / "trunk"), &config(12)).unwrap();
    let head = (vs.root() / "head").var("weight", &[3, 8], nn::Init::Const(7.0));
    let state = read(Dialect::Mae, "deepmim_pretrain.pth");
    let options = LoadOptions {
        may_ignore: patterns(&["decoder_*", "mask_token*"]),
        ..LoadOptions::default()
    };
    load_into(&vs, "trunk", &state, &options).unwrap();
    let loaded = &vs.variables()["trunk.blocks.1.mlp.fc2.weight"];
    assert_eq!(
        exact(&loaded.detach()),
        exact(state.get("blocks.1.mlp.fc2.weight").unwrap())
    );
    assert_eq!(head.min().double_value(&[]), 7.0);
}

#[test]
fn every_difference_is_named_and_nothing_is_written() {
    let vs = model(&config(12));
    let head = (vs.root() / "head").var("weight", &[4, 8], nn::Init::Const(7.0));
    let _ = (vs.root() / "extra").var("weight", &[2], nn::Init::Const(7.0));
    let before = exact_state(&StateDict::from_var_store(&vs));
    let state = read(Dialect::Mae, "mae_finetuned.pth"); // five classes, fc_norm
    let error = load_into(&vs, "", &state, &LoadOptions::default()).unwrap_err();
    let message = error.to_string();
    for part in [
        "mae_finetuned.pth",
        "head.weight is [5, 8] in the file and [4, 8] in the model",
        "list head.* in may_miss",
        "3 parameters of the model are absent from it: extra.weight, norm.bias, norm.weight",
        "3 of its entries have no place in the model: fc_norm.bias, fc_norm.weight, head.bias",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!message.contains('\n'));
    let WeightsError::Mismatch(mismatch) = error else {
        panic!("{error}");
    };
    assert_eq!(mismatch.absent.len(), 3);
    assert_eq!(exact_state(&StateDict::from_var_store(&vs)), before);

    // With the differences allowed the rest is loaded, and the new head stays new.
    let options = LoadOptions {
        may_miss: patterns(&["head.*", "extra.*", "norm.*"]),
        may_ignore: patterns(&["fc_norm.*", "head.*"]),
        ..LoadOptions::default()
    };
    let report = load_into(&vs, "", &state, &options).unwrap();
    assert_eq!(report.kept[0].name, "head.weight");
    assert_eq!(report.absent.len(), 3);
    assert_eq!(head.min().double_value(&[]), 7.0);
}

/// From a 12-pixel trunk (3 × 3 patches) to 20 pixels.
#[test]
fn positions_are_resampled_where_allowed() {
    let vs = model(&config(20));
    let state = read(Dialect::Mae, "mae_pretrain.pth");
    let mut options = LoadOptions {
        may_ignore: patterns(&["decoder_*", "mask_token*"]),
        ..LoadOptions::default()
    };
    let message = load_into(&vs, "", &state, &options)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("allow resampling of positions"),
        "{message}"
    );
    options.resample_positions = true;
    let report = load_into(&vs, "", &state, &options).unwrap();
    assert_eq!(report.resized.len(), 1);
    assert_eq!(report.resized[0].wanted, [1, 26, 8]);
    let table = state.get("pos_embed").unwrap();
    let wanted = resample_positions(table, 1, (5, 5)).unwrap();
    assert_eq!(exact(&vs.variables()["pos_embed"].detach()), exact(&wanted));
}

/// A fixed table may be left out of a file.
#[test]
fn a_fixed_position_table_may_miss() {
    let vs = model(&config(12));
    let before = exact(&vs.variables()["pos_embed"]);
    let mut state = read(Dialect::Mae, "legacy.pth");
    state.remove("pos_embed");
    let error = load_into(&vs, "", &state, &LoadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("pos_embed"));
    let options = LoadOptions {
        may_miss: patterns(&["pos_embed"]),
        ..LoadOptions::default()
    };
    let report = load_into(&vs, "", &state, &options).unwrap();
    assert_eq!(report.absent, ["pos_embed"]);
    assert_eq!(exact(&vs.variables()["pos_embed"]), before);
}

/// Half precision in the file, float32 in the model; strided tensors too.
#[test]
fn the_model_keeps_its_own_type() {
    let vs = model(&config(12));
    let mut state = read(Dialect::Timm, "timm_bare.pth");
    state.to_kind(Kind::Half).unwrap();
    let weight = state.remove("blocks.0.attn.proj.weight").unwrap();
    state.insert("blocks.0.attn.proj.weight", weight.transpose(0, 1));
    let options = LoadOptions {
        may_ignore: patterns(&["head.*"]),
        ..LoadOptions::default()
    };
    let report = load_into(&vs, "", &state, &options).unwrap();
    assert_eq!(report.converted.len(), report.loaded.len());
    let loaded = &vs.variables()["blocks.0.attn.proj.weight"];
    assert_eq!(loaded.kind(), Kind::Float);
    let wanted = weight.transpose(0, 1).to_kind(Kind::Float);
    assert_eq!(exact(&loaded.detach()), exact(&wanted.contiguous()));
}

#[test]
fn integers_do_not_become_weights() {
    let vs = nn::VarStore::new(Device::Cpu);
    let _ = vs.root().var("weight", &[2], nn::Init::Const(0.0));
    let mut state = StateDict::new("counts");
    state.insert("weight", Tensor::from_slice(&[1_i64, 2]));
    let message = load_into(&vs, "", &state, &LoadOptions::default())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("weight holds int64 where the model has float32"),
        "{message}"
    );
}

/// The teacher unless asked otherwise; projection heads are left behind by name.
#[test]
fn dino_gives_the_teachers_trunk() {
    let read = Dialect::Dino.read(fixture("dino_full.pth"), None).unwrap();
    assert!(read.dropped.iter().all(|name| name.contains("head.")));
    assert!(!read.dropped.is_empty());
    let teacher = Dialect::Dino
        .read(fixture("dino_full.pth"), Some("teacher"))
        .unwrap();
    assert_eq!(exact_state(&read.state), exact_state(&teacher.state));
    let student = Dialect::Dino
        .read(fixture("dino_full.pth"), Some("student"))
        .unwrap();
    assert_ne!(exact_state(&read.state), exact_state(&student.state));
    let vs = model(&config(12));
    load_into(&vs, "", &read.state, &LoadOptions::default()).unwrap();
}

/// CLIP's visual tower: every parameter finds its place, the text tower is left behind.
#[test]
fn a_clip_tower_is_loaded() {
    let read = Dialect::Clip
        .read(fixture("clip_visual_half.pt"), None)
        .unwrap();
    assert!(read.dropped.contains(&"token_embedding.weight".to_owned()));
    let config = VitConfig {
        pre_norm: true,
        patch_bias: false,
        activation: Activation::QuickGelu,
        mlp_ratio: 4.0,
        norm_eps: 1e-5,
        ..config(8)
    };
    let vs = model(&config);
    let options = LoadOptions {
        may_ignore: patterns(&["proj"]),
        ..LoadOptions::default()
    };
    let report = load_into(&vs, "", &read.state, &options).unwrap();
    assert_eq!(report.unused, ["proj"]);
    assert_eq!(report.loaded.len(), vs.variables().len());
    let raw = StateDict::read(fixture("clip_visual_half.pt")).unwrap();
    let token = raw
        .get("visual.class_embedding")
        .unwrap()
        .to_kind(Kind::Float)
        .view([1, 1, 8]);
    assert_eq!(exact(&vs.variables()["cls_token"].detach()), exact(&token));
    let qkv = raw
        .get("visual.transformer.resblocks.1.attn.in_proj_weight")
        .unwrap();
    let loaded = &vs.variables()["blocks.1.attn.qkv.weight"];
    assert_eq!(exact(&loaded.detach()), exact(&qkv.to_kind(Kind::Float)));
}

/// There and back again: native names to a dialect's and to native ones are the same tensors.
#[test]
fn dialects_round_trip() {
    for (dialect, file) in [
        (Dialect::Mae, "mae_pretrain.pth"),
        (Dialect::Mae, "mae_finetuned.pth"),
        (Dialect::Timm, "timm_bare.pth"),
        (Dialect::Dino, "dino_full.pth"),
        (Dialect::Clip, "clip_visual_half.pt"),
        (Dialect::Native, "expected/timm_bare_pth.safetensors"),
        (Dialect::Detectron2, "detectron2_p2.pkl"),
        (Dialect::DeepmimSeg, "mmseg.pth"),
        (Dialect::Mmseg, "mmseg.pth"),
    ] {
        let native = read(dialect, file);
        let before = exact_state(&native);
        let theirs = dialect.from_native(native).unwrap();
        let back = dialect.to_native(theirs).unwrap();
        assert_eq!(exact_state(&back), before, "{dialect} {file}");
    }
    // CLIP's own names come out, with their own shapes.
    let clip = Dialect::Clip
        .from_native(read(Dialect::Clip, "clip_visual_half.pt"))
        .unwrap();
    let raw = exact_state(&StateDict::read(fixture("clip_visual_half.pt")).unwrap());
    for (name, tensor) in exact_state(&clip) {
        assert_eq!(tensor, raw[&name], "{name}");
    }
    assert_eq!(
        clip.len(),
        raw.keys()
            .filter(|name| name.starts_with("visual."))
            .count()
    );
}

/// BEiT's layer scale and its key-less bias become timm's.
#[test]
fn beit_names_become_timms() {
    let mut state = StateDict::new("beit.pth");
    state.insert(
        "model/blocks.0.gamma_1",
        Tensor::from_slice(&[0.1_f32, 0.2]),
    );
    state.insert(
        "model/blocks.0.attn.q_bias",
        Tensor::from_slice(&[1_f32, 2.0]),
    );
    state.insert(
        "model/blocks.0.attn.v_bias",
        Tensor::from_slice(&[3_f32, 4.0]),
    );
    let native = Dialect::Timm.to_native(state).unwrap();
    assert_eq!(
        native.names().collect::<Vec<_>>(),
        ["blocks.0.attn.qkv.bias", "blocks.0.ls1.gamma"]
    );
    let bias = Tensor::from_slice(&[1_f32, 2.0, 0.0, 0.0, 3.0, 4.0]);
    assert_eq!(
        exact(native.get("blocks.0.attn.qkv.bias").unwrap()),
        exact(&bias)
    );
}

#[test]
fn a_wrong_dialect_is_one_clear_sentence() {
    let message = Dialect::Clip
        .read(fixture("mmseg.pth"), None)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("mmseg.pth: holds no weights where the clip dialect"),
        "{message}"
    );
    let error = Dialect::Dino
        .read(fixture("dino_full.pth"), Some("momentum"))
        .unwrap_err();
    let message = error.to_string();
    assert!(message.contains("(under momentum)"), "{message}");
    // A classifier's names for a name in the configuration.
    assert!(serde_json::from_str::<Dialect>("\"mea\"").is_err());
    assert_eq!(
        serde_json::from_str::<Dialect>("\"mae\"").unwrap(),
        Dialect::Mae
    );
}

/// The names our models save under are the reference's own: those of the recorded weights.
#[test]
fn our_names_are_pytorchs() {
    let golden = |name: &str| {
        let folder = fixture("..").join(name);
        StateDict::read(folder.join("weights.safetensors")).unwrap()
    };
    for name in ["mae_pixels", "vit_classifier_cls"] {
        let reference = golden(name);
        let blocks = reference.names().filter_map(|name| {
            name.strip_prefix("blocks.")?
                .split('.')
                .next()?
                .parse::<i64>()
                .ok()
        });
        let width = reference.get("cls_token").unwrap().size()[2];
        let hidden = reference.get("blocks.0.mlp.fc1.weight").unwrap().size()[0];
        let patch = reference.get("patch_embed.proj.weight").unwrap().size()[3];
        let tokens = reference.get("pos_embed").unwrap().size()[1] - 1;
        let config = VitConfig {
            width,
            depth: blocks.max().unwrap() + 1,
            heads: 1,
            mlp_ratio: hidden as f64 / width as f64,
            ..VitConfig::preset(
                VitPreset::Tiny,
                (tokens as f64).sqrt() as i64 * patch,
                patch,
            )
        };
        let ours = StateDict::from_var_store(&model(&config));
        let ours: Vec<&str> = ours.names().collect();
        let theirs: Vec<&str> = reference
            .names()
            .filter(|name| !name.starts_with("decoder_") && !name.starts_with("head."))
            .filter(|name| *name != "mask_token")
            .collect();
        assert_eq!(ours, theirs, "{name}");
    }
}
