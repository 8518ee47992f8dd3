//! Masked autoencoders against recordings of facebookresearch/mae and OliverRensu/DeepMIM: every
//! recorded output, and the gradient of every parameter.

#![allow(clippy::unwrap_used)]

use backbone::{VitConfig, VitPreset};
use data::ColourStatistics;
use deepmim_pretraining::{
    ClipConfig, ClipTeacher, DecoderConfig, MaskedAutoencoder, Masking, PixelTarget,
    PretrainConfig, Seen, Target, TargetConfig, unpatchify,
};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use tch::{Device, Kind, Tensor, nn};

/// Ten times the largest relative float32-float64 difference of values in the fixtures' READMEs
/// (6.1e-7, `mae_pixels` latent).
const VALUES: f64 = 6e-6;
/// The same for gradients and their norms (1.44e-6, `deepmim_pixels` gradient norms).
const GRADIENTS: f64 = 1.4e-5;

struct Fixture {
    folder: PathBuf,
    config: serde_json::Value,
    inputs: HashMap<String, Tensor>,
    outputs: HashMap<String, Tensor>,
    /// Outputs not compared yet: none may be left at the end.
    left: std::cell::RefCell<Vec<String>>,
}

impl Fixture {
    fn open(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../parity/golden")
            .join(name);
        let read = |file: &str| -> HashMap<String, Tensor> {
            Tensor::read_safetensors(folder.join(file))
                .unwrap()
                .into_iter()
                .collect()
        };
        let outputs = read("outputs.safetensors");
        Self {
            config: serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap())
                .unwrap(),
            inputs: read("inputs.safetensors"),
            left: outputs.keys().cloned().collect::<Vec<_>>().into(),
            outputs,
            folder,
        }
    }

    fn whole(&self, key: &str) -> i64 {
        self.config[key]
            .as_i64()
            .unwrap_or_else(|| panic!("config.json has no number {key}"))
    }

    fn pretrain(&self, target: TargetConfig) -> PretrainConfig {
        let mut trunk = VitConfig::preset(
            VitPreset::Tiny,
            self.whole("img_size"),
            self.whole("patch_size"),
        );
        trunk.width = self.whole("embed_dim");
        trunk.depth = self.whole("depth");
        trunk.heads = self.whole("num_heads");
        let taps = match self.config["taps"].as_array() {
            Some(taps) => taps.iter().map(|tap| tap.as_i64().unwrap()).collect(),
            None => vec![trunk.depth],
        };
        PretrainConfig {
            trunk,
            taps,
            mask_ratio: self.config["mask_ratio"].as_f64().unwrap(),
            decoder: DecoderConfig {
                width: self.whole("decoder_embed_dim"),
                depth: self.whole("decoder_depth"),
                heads: self.whole("decoder_num_heads"),
                mlp_ratio: self.config["mlp_ratio"].as_f64().unwrap(),
            },
            target,
            tap_targets: Vec::new(),
            tap_weights: Vec::new(),
            colours: ColourStatistics::IMAGENET,
        }
    }

    /// The model with the recorded weights; names and shapes must be exactly the reference's.
    fn model(&self, config: &PretrainConfig) -> (nn::VarStore, MaskedAutoencoder) {
        let store = nn::VarStore::new(Device::Cpu);
        let model = MaskedAutoencoder::new(&store, config).unwrap();
        let weights: BTreeMap<String, Tensor> =
            Tensor::read_safetensors(self.folder.join("weights.safetensors"))
                .unwrap()
                .into_iter()
                .collect();
        let variables: BTreeMap<_, _> = store.variables().into_iter().collect();
        assert_eq!(
            variables.keys().collect::<Vec<_>>(),
            weights.keys().collect::<Vec<_>>(),
            "names of the model and of the reference"
        );
        for (name, variable) in &variables {
            assert_eq!(variable.size(), weights[name].size(), "{name}");
            if name.ends_with("pos_embed") {
                // Fixed tables: built here, not read.
                let gap = relative_gap(variable, &weights[name]);
                assert!(gap < 1e-7, "{name}: {gap:e}");
                assert!(!variable.requires_grad(), "{name}");
            }
            tch::no_grad(|| variable.shallow_clone().copy_(&weights[name]));
        }
        (store, model)
    }

    fn masking(&self) -> Masking {
        Masking::new(
            &self.inputs["noise"],
            self.config["mask_ratio"].as_f64().unwrap(),
        )
    }

    #[track_caller]
    fn compare(&self, name: &str, found: &Tensor, tolerance: f64) {
        let wanted = &self.outputs[name];
        assert_eq!(found.size(), wanted.size(), "{name}");
        let gap = relative_gap(found, wanted);
        assert!(gap <= tolerance, "{name}: {gap:e} is above {tolerance:e}");
        self.left.borrow_mut().retain(|left| left != name);
    }

    fn compare_masking(&self, masking: &Masking) {
        self.compare("mask", &masking.mask(), 0.0);
        self.compare("ids_restore", &masking.restore(), 0.0);
        assert_eq!(masking.visible_count(), self.whole("len_keep"));
    }

    /// Gradients after `backward`, against the recorded ones and their norms.
    fn compare_gradients(&self, store: &nn::VarStore) {
        let mut norms = 0;
        for (name, variable) in store.variables() {
            if !variable.requires_grad() {
                assert!(
                    !self.outputs.contains_key(&format!("grad_norm/{name}")),
                    "{name}"
                );
                continue;
            }
            let gradient = variable.grad();
            assert!(gradient.defined(), "{name} has no gradient");
            let recorded = format!("grad/{name}");
            if self.outputs.contains_key(&recorded) {
                self.compare(&recorded, &gradient, GRADIENTS);
            }
            self.compare(&format!("grad_norm/{name}"), &gradient.norm(), GRADIENTS);
            norms += 1;
        }
        assert!(norms > 0);
    }

    fn finish(self) {
        let left = self.left.into_inner();
        assert!(left.is_empty(), "recorded but never compared: {left:?}");
    }
}

/// Largest difference over the largest value expected.
fn relative_gap(found: &Tensor, wanted: &Tensor) -> f64 {
    let wanted = wanted.to_kind(Kind::Double);
    let scale = wanted.abs().max().double_value(&[]);
    (found.to_kind(Kind::Double) - &wanted)
        .abs()
        .max()
        .double_value(&[])
        / scale
}

fn sum(losses: &[Tensor]) -> Tensor {
    losses
        .iter()
        .skip(1)
        .fold(losses[0].shallow_clone(), |total, loss| total + loss)
}

fn seen(images: &Tensor) -> Seen<'_> {
    Seen {
        images,
        tokens: None,
    }
}

#[test]
fn mae_on_pixels() {
    let fixture = Fixture::open("mae_pixels");
    let config = fixture.pretrain(TargetConfig::Pixels { normalize: true });
    let (store, model) = fixture.model(&config);
    let (images, masking) = (&fixture.inputs["imgs"], fixture.masking());
    fixture.compare_masking(&masking);

    fixture.compare("latent", &model.encode(images, &masking, true)[0], VALUES);
    let prediction = model.predict_all(images, &masking).remove(0);
    let prediction = prediction.narrow(1, 1, prediction.size()[1] - 1);
    fixture.compare("pred", &prediction, VALUES);
    let first = unpatchify(&prediction.narrow(0, 0, 1), config.trunk.patch_size);
    fixture.compare("unpatchify_pred_first", &first, VALUES);

    let plain = PixelTarget {
        patch: config.trunk.patch_size,
        normalize: false,
    };
    let hidden = model.predict_hidden(images, &masking, true).remove(0);
    let loss = plain.loss(&hidden, &plain.hidden(seen(images), &masking));
    fixture.compare("loss_norm_pix_false", &loss, VALUES);

    let loss = model.losses(seen(images), &masking, true).remove(0);
    fixture.compare("loss", &loss, VALUES);
    loss.backward();
    fixture.compare_gradients(&store);
    fixture.finish();
}

#[test]
fn deepmim_on_pixels() {
    let fixture = Fixture::open("deepmim_pixels");
    let config = fixture.pretrain(TargetConfig::Pixels { normalize: true });
    let (store, model) = fixture.model(&config);
    let (images, masking) = (&fixture.inputs["imgs"], fixture.masking());
    fixture.compare_masking(&masking);
    for (tap, latent) in config.taps.iter().zip(model.encode(images, &masking, true)) {
        fixture.compare(&format!("tap{tap}"), &latent, VALUES);
    }
    for (place, prediction) in (1..).zip(model.predict_all(images, &masking)) {
        let patches = prediction.narrow(1, 1, prediction.size()[1] - 1);
        fixture.compare(&format!("pred{place}"), &patches, VALUES);
    }
    let losses = model.losses(seen(images), &masking, true);
    for (place, loss) in (1..).zip(&losses) {
        fixture.compare(&format!("loss{place}"), loss, VALUES);
    }
    let total = sum(&losses);
    fixture.compare("total", &total, VALUES);
    total.backward();
    fixture.compare_gradients(&store);
    fixture.finish();
}

fn deepmim_clip_config(fixture: &Fixture) -> PretrainConfig {
    let teacher = &fixture.config["teacher"];
    let whole = |key: &str| teacher[key].as_i64().unwrap();
    fixture.pretrain(TargetConfig::Clip(ClipConfig {
        weights: fixture.folder.join("teacher.safetensors"),
        image_size: whole("input_resolution"),
        patch_size: whole("patch_size"),
        width: whole("width"),
        depth: whole("layers"),
        heads: whole("heads"),
        output: whole("output_dim"),
    }))
}

#[test]
fn deepmim_on_clip_features() {
    let fixture = Fixture::open("deepmim_clip");
    let config = deepmim_clip_config(&fixture);
    let (store, model) = fixture.model(&config);
    let (images, masking) = (&fixture.inputs["imgs"], fixture.masking());
    fixture.compare_masking(&masking);

    let TargetConfig::Clip(tower) = &config.target else {
        panic!("the target is CLIP's tower")
    };
    let teacher = ClipTeacher::load(tower, &config.colours, Device::Cpu).unwrap();
    fixture.compare("teacher_in", &teacher.input(images), VALUES);
    fixture.compare("teacher_out", &teacher.features(images), VALUES);
    assert!(!teacher.features(images).requires_grad());

    for (tap, latent) in config.taps.iter().zip(model.encode(images, &masking, true)) {
        fixture.compare(&format!("tap{tap}"), &latent, VALUES);
    }
    for (place, prediction) in (1..).zip(model.predict_all(images, &masking)) {
        fixture.compare(
            &format!("pred{place}_first"),
            &prediction.narrow(0, 0, 1),
            VALUES,
        );
    }
    let losses = model.losses(seen(images), &masking, true);
    for (place, loss) in (1..).zip(&losses) {
        fixture.compare(&format!("loss{place}"), loss, VALUES);
    }
    let total = sum(&losses);
    fixture.compare("total", &total, VALUES);
    total.backward();
    fixture.compare_gradients(&store);
    fixture.finish();
}

/// The hidden patches alone, in masking order, are the same numbers as all of them in picture order.
#[test]
fn what_is_left_out_changes_nothing() {
    let fixture = Fixture::open("deepmim_clip");
    let config = deepmim_clip_config(&fixture);
    let (_store, model) = fixture.model(&config);
    let (images, masking) = (&fixture.inputs["imgs"], fixture.masking());
    let at_hidden = |all: &Tensor| {
        let width = all.size()[2];
        let ids = masking.hidden();
        all.gather(
            1,
            &ids.unsqueeze(-1)
                .expand([ids.size()[0], ids.size()[1], width], false),
            false,
        )
    };
    let target = model.target(0);
    let gap = relative_gap(
        &target.hidden(seen(images), &masking),
        &at_hidden(&target.all(seen(images))),
    );
    assert!(gap < VALUES, "targets: {gap:e}");
    let hidden = model.predict_hidden(images, &masking, false);
    for (some, all) in hidden.iter().zip(model.predict_all(images, &masking)) {
        let gap = relative_gap(some, &at_hidden(&all.narrow(1, 1, all.size()[1] - 1)));
        assert!(gap < VALUES, "predictions: {gap:e}");
    }
}

/// Same weights, same noise: gradients with and without activation checkpointing.
#[test]
fn checkpointing_keeps_every_gradient() {
    let fixture = Fixture::open("deepmim_pixels");
    let mut config = fixture.pretrain(TargetConfig::Pixels { normalize: true });
    config.trunk.activation_checkpointing = true;
    let (store, model) = fixture.model(&config);
    let losses = model.losses(seen(&fixture.inputs["imgs"]), &fixture.masking(), true);
    let total = sum(&losses);
    fixture.compare("total", &total, VALUES);
    total.backward();
    fixture.compare_gradients(&store);
}
