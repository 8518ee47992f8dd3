//! Parity of the segmentor with DeepMIM's trunk and mmsegmentation's heads, losses and inference.
//!
//! Fixture: `parity/golden/upernet`, recorded from the reference in float32; its README states how far
//! float32 is from float64, and a tolerance here is about ten times that, relative to the largest value.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where a fixture is not as described"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use backbone::{Position, RelativeBias, VitConfig, VitPreset};
use deepmim_segmentation::{AuxiliaryConfig, Segmentor, SegmentorConfig, best_class};
use serde_json::Value;
use tch::{Device, Kind, Tensor, nn};

/// Features, logits, losses, running statistics.
const TOLERANCE: f64 = 1e-5;
/// Gradients of single tensors.
const GRADIENT_TOLERANCE: f64 = 4e-5;
/// Norms of gradients; those before a BatchNorm in training are ill-conditioned.
const NORM_TOLERANCE: f64 = 4e-4;

fn golden(file: &str) -> PathBuf {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../parity/golden/upernet");
    PathBuf::from(root).join(file)
}

fn tensors(file: &str) -> BTreeMap<String, Tensor> {
    Tensor::read_safetensors(golden(file))
        .unwrap()
        .into_iter()
        .collect()
}

fn config() -> SegmentorConfig {
    let json: Value =
        serde_json::from_slice(&std::fs::read(golden("config.json")).unwrap()).unwrap();
    let int = |key: &str| json[key].as_i64().unwrap();
    let ints = |key: &str| -> Vec<i64> {
        let list = json[key].as_array().unwrap();
        list.iter().map(|value| value.as_i64().unwrap()).collect()
    };
    let trunk = VitConfig {
        width: int("embed_dim"),
        depth: int("depth"),
        heads: int("num_heads"),
        mlp_ratio: json["mlp_ratio"].as_f64().unwrap(),
        norm_eps: json["norm_eps"].as_f64().unwrap(),
        drop_path: json["drop_path"].as_f64().unwrap(),
        layer_scale: json["init_values"].as_f64(),
        relative_bias: Some(RelativeBias::PerBlock),
        position: Position::Learnable,
        final_norm: false,
        ..VitConfig::preset(VitPreset::Tiny, ints("img_size")[0], int("patch_size"))
    };
    let taps: Vec<i64> = ints("out_indices").iter().map(|index| index + 1).collect();
    SegmentorConfig {
        channels: int("channels"),
        pool_scales: ints("pool_scales"),
        dropout: json["dropout"].as_f64().unwrap(),
        auxiliary: Some(AuxiliaryConfig {
            map: int("aux_in_index") as usize,
            channels: int("aux_channels"),
            convolutions: int("aux_num_convs") as usize,
            weight: json["aux_loss_weight"].as_f64().unwrap(),
        }),
        ..SegmentorConfig::new(trunk, taps.try_into().unwrap(), int("num_classes") as usize)
    }
}

/// The reference's names under ours: layer scale is called otherwise, and the index is no parameter.
fn ours(name: &str) -> Option<String> {
    (!name.ends_with("relative_position_index")).then(|| {
        name.replace("gamma_1", "ls1.gamma")
            .replace("gamma_2", "ls2.gamma")
    })
}

/// The fixture's model with its weights: same names on both sides, same shapes.
fn model(vs: &nn::VarStore) -> Segmentor {
    let model = Segmentor::new(&vs.root(), &config()).unwrap();
    let weights: BTreeMap<String, Tensor> = tensors("weights.safetensors")
        .into_iter()
        .filter_map(|(name, tensor)| Some((ours(&name)?, tensor)))
        .collect();
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

/// Largest difference over the largest wanted value.
fn relative(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.size(), want.size());
    let wide = |of: &Tensor| of.detach().to_kind(Kind::Double);
    let (got, want) = (wide(got), wide(want));
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

fn resize(x: &Tensor, height: i64, width: i64) -> Tensor {
    x.upsample_bilinear2d([height, width], false, None, None)
}

/// Every n-th row and column.
fn every(x: &Tensor, first: i64, step: i64) -> Tensor {
    x.slice(-2, first, None, step).slice(-1, first, None, step)
}

/// The class numbers of a recorded PNG.
fn recorded_map(file: &str) -> Tensor {
    let map = eval::segmentation::read_label_png(&golden(file)).unwrap();
    let eval::segmentation::Labels::U8(labels) = map.labels() else {
        panic!("{file} has 16 bits");
    };
    Tensor::from_slice(labels)
        .view([map.height() as i64, map.width() as i64])
        .to_kind(Kind::Int64)
}

#[test]
fn features_and_logits_in_evaluation() {
    let vs = nn::VarStore::new(Device::Cpu);
    let model = model(&vs);
    let images = tensors("inputs.safetensors").remove("img").unwrap();
    let wanted = tensors("outputs.safetensors");
    let _no_grad = tch::no_grad_guard();
    let maps = model.maps(&images, false);
    let near = |what: &str, got: &Tensor, key: &str| {
        assert_near(what, got, &wanted[key], TOLERANCE);
    };
    near("stride 4", &maps[0].narrow(0, 0, 1), "eval/feature0_first");
    near("stride 8", &maps[1], "eval/feature1");
    near("stride 16", &maps[2], "eval/feature2");
    near("stride 32", &maps[3], "eval/feature3");
    let logits = model.logits(&images);
    near("logits", &logits, "eval/decode_logits");
    let auxiliary = model.auxiliary().unwrap().forward(&maps[2], false);
    near("auxiliary logits", &auxiliary, "eval/aux_logits");
    let enlarged = resize(&logits, 80, 80);
    near(
        "enlarged logits",
        &every(&enlarged, 1, 3),
        "eval/whole_logits_every_3rd",
    );
    let labels = wanted["eval/whole_argmax"].to_kind(Kind::Int64);
    for picture in 0..2 {
        assert!(best_class(&logits.get(picture), (80, 80)).equal(&labels.get(picture)));
    }
}

#[test]
fn sliding_windows_and_the_way_back_to_the_picture() {
    let vs = nn::VarStore::new(Device::Cpu);
    let model = model(&vs);
    let image = tensors("inputs.safetensors").remove("slide_img").unwrap();
    let wanted = tensors("outputs.safetensors");
    let _no_grad = tch::no_grad_guard();
    for windows_at_once in [1, 4] {
        let logits = model.slide(&image.get(0), 53, windows_at_once);
        assert_near(
            "logits of windows",
            &every(&logits, 0, 2),
            &wanted["slide/logits_every_2nd"],
            TOLERANCE,
        );
        let original = resize(&logits.unsqueeze(0), 154, 177).squeeze_dim(0);
        assert_near(
            "logits in the picture's size",
            &every(&original, 0, 6),
            &wanted["slide/original_size_logits_every_6th"],
            TOLERANCE,
        );
        assert!(best_class(&logits, (103, 132)).equal(&recorded_map("slide_argmax.png")));
        let labels = recorded_map("slide_original_size_argmax.png");
        assert!(best_class(&logits, (154, 177)).equal(&labels));
    }
}

#[test]
fn losses_gradients_and_running_statistics_of_a_training_pass() {
    let vs = nn::VarStore::new(Device::Cpu);
    let model = model(&vs);
    let inputs = tensors("inputs.safetensors");
    let wanted = tensors("outputs.safetensors");
    let labels = inputs["labels"].squeeze_dim(1).to_kind(Kind::Int64);
    let losses = model.losses(&inputs["img"], &labels, true);
    for (name, loss) in &losses.losses {
        assert_near(name, loss, &wanted[&format!("train/{name}")], TOLERANCE);
    }
    for (name, accuracy) in &losses.accuracies {
        let wanted = wanted[&format!("train/{name}")].squeeze();
        assert_near(name, accuracy, &wanted, TOLERANCE);
    }
    let total = losses.total();
    assert_near("total", &total, &wanted["train/total"], TOLERANCE);
    total.backward();

    let variables: BTreeMap<_, _> = vs.variables().into_iter().collect();
    let wanted_norm = |name: &str| wanted[&format!("grad_norm/{name}")].double_value(&[]);
    let (mut whole, mut norms, mut buffers) = (0, 0, 0);
    for (key, wanted) in &wanted {
        if let Some(name) = key.strip_prefix("grad/") {
            let gradient = variables[&ours(name).unwrap()].grad();
            assert_near(key, &gradient, wanted, GRADIENT_TOLERANCE);
            whole += 1;
        } else if let Some(name) = key.strip_prefix("grad_norm/") {
            let gradient = variables[&ours(name).unwrap()].grad();
            let norm = gradient.to_kind(Kind::Double).norm();
            // A BatchNorm, at once or behind a 1×1 convolution, takes a channel's mean away, so nothing but
            // rounding comes through to these biases.
            if ["fpn1.0.bias", "fpn1.3.bias", "fpn2.0.bias"]
                .iter()
                .any(|end| name.ends_with(end))
            {
                let weight = wanted_norm(&name.replace("bias", "weight"));
                assert!(norm.double_value(&[]) < 1e-4 * weight);
                continue;
            }
            assert_near(key, &norm, &wanted.reshape_as(&norm), NORM_TOLERANCE);
            norms += 1;
        } else if let Some(name) = key.strip_prefix("bn/") {
            assert_near(key, &variables[name], wanted, TOLERANCE);
            buffers += 1;
        }
    }
    assert!(
        whole == 5 && norms > 100 && buffers > 40,
        "{whole}, {norms}, {buffers}"
    );
}
