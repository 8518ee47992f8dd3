//! The trunk against recordings of the reference implementations, and against itself where two ways
//! must give one result.

#![allow(clippy::unwrap_used)]

use deepmim_backbone::{
    Block, BlockConfig, Position, Vit, VitConfig, VitPreset, layer_id, layer_lr_scale,
    position_map, resample_positions, sincos_2d,
};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tch::{Device, Kind, Tensor, nn};

/// Ten times the largest relative float32-float64 difference in the fixture's README (1.2e-6).
const RESAMPLE_TOLERANCE: f64 = 1.2e-5;
/// One unit in the last place of a float32 near 1: the recording is float64, the table float32.
const SINCOS_TOLERANCE: f64 = 6e-8;
/// Two orders of the same float32 sums.
const SAME_RESULT: f64 = 2e-6;

fn fixture(name: &str) -> HashMap<String, Tensor> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../parity/golden/pos_embed_resample");
    Tensor::read_safetensors(folder.join(name))
        .unwrap()
        .into_iter()
        .collect()
}

/// libtorch's generator is global and the tests run side by side: who draws, draws alone.
fn alone() -> MutexGuard<'static, ()> {
    static DRAWING: Mutex<()> = Mutex::new(());
    DRAWING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Largest difference over the largest value expected.
fn gap(found: &Tensor, wanted: &Tensor) -> f64 {
    assert_eq!(found.size(), wanted.size());
    let wanted = wanted.to_kind(Kind::Double);
    let scale = wanted.abs().max().double_value(&[]);
    (found.to_kind(Kind::Double) - &wanted)
        .abs()
        .max()
        .double_value(&[])
        / scale
}

#[test]
fn sincos_tables_equal_maes() {
    let outputs = fixture("mae_outputs.safetensors");
    for (name, width, grid) in [
        ("f64/sincos_dim24_grid14", 24, 14),
        ("f64/sincos_dim32_grid4", 32, 4),
    ] {
        let gap = gap(
            &sincos_2d(width, grid, grid, true).squeeze_dim(0),
            &outputs[name],
        );
        assert!(gap < SINCOS_TOLERANCE, "{name}: {gap:e}");
    }
}

#[test]
fn resampled_tables_equal_maes() {
    let (inputs, outputs) = (
        fixture("mae_inputs.safetensors"),
        fixture("mae_outputs.safetensors"),
    );
    for (name, table) in &inputs {
        let side: i64 = name.rsplit('_').next().unwrap().parse().unwrap();
        let gap = gap(
            &resample_positions(table, 1, (side, side)).unwrap(),
            &outputs[name],
        );
        assert!(gap < RESAMPLE_TOLERANCE, "{name}: {gap:e}");
    }
    assert_eq!(inputs.len(), 3);
}

#[test]
fn position_maps_equal_detectron2s() {
    let (inputs, outputs) = (
        fixture("d2_inputs.safetensors"),
        fixture("d2_outputs.safetensors"),
    );
    let mut checked = 0;
    for (name, table) in inputs.iter().filter(|(name, _)| name.starts_with("abs_")) {
        // abs_14_to_64x48_cls1
        let parts: Vec<&str> = name.split('_').collect();
        let (rows, columns) = parts[3].split_once('x').unwrap();
        let to = (rows.parse().unwrap(), columns.parse().unwrap());
        let prefix = parts[4].strip_prefix("cls").unwrap().parse().unwrap();
        let gap = gap(&position_map(table, prefix, to).unwrap(), &outputs[name]);
        assert!(gap < RESAMPLE_TOLERANCE, "{name}: {gap:e}");
        checked += 1;
    }
    assert_eq!(checked, 8);
}

/// MAE's fine-tuned ViT-B/16 has 86,567,656 trainable parameters with its head of 1000 classes and
/// `fc_norm`; the trunk's part is the rest.
#[test]
fn base_trunk_has_the_published_size() {
    let _alone = alone();
    let config = VitConfig {
        final_norm: false,
        position: Position::Learnable,
        ..VitConfig::preset(VitPreset::Base, 224, 16)
    };
    let store = nn::VarStore::new(Device::Cpu);
    Vit::new(&store.root(), &config).unwrap();
    let trunk: usize = store.trainable_variables().iter().map(Tensor::numel).sum();
    let head = 768 * 1000 + 1000;
    let fc_norm = 2 * 768;
    assert_eq!(trunk + head + fc_norm, 86_567_656);
}

fn small(change: impl FnOnce(&mut VitConfig)) -> VitConfig {
    let mut config = VitConfig::preset(VitPreset::Tiny, 16, 4);
    (config.width, config.depth, config.heads) = (24, 4, 3);
    change(&mut config);
    config
}

fn images(batch: i64) -> Tensor {
    tch::manual_seed(11);
    Tensor::randn([batch, 3, 16, 16], (Kind::Float, Device::Cpu))
}

fn gradients(store: &nn::VarStore) -> Vec<(String, Tensor)> {
    let mut all: Vec<_> = store
        .variables()
        .into_iter()
        .filter(|(_, variable)| variable.requires_grad())
        .map(|(name, variable)| (name, variable.grad()))
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Output and gradients of one training pass with every randomness on.
fn training_pass(checkpointing: bool) -> (Tensor, Vec<(String, Tensor)>) {
    let config = small(|config| {
        config.position = Position::Learnable;
        config.drop_path = 0.5;
        config.layer_scale = Some(0.7);
        config.activation_checkpointing = checkpointing;
    });
    tch::manual_seed(5);
    let store = nn::VarStore::new(Device::Cpu);
    let vit = Vit::new(&store.root(), &config).unwrap();
    let images = images(6);
    tch::manual_seed(6);
    let taps = vit.forward(&images, &[2, 4], true);
    let picked = vit.blocks_for(vit.with_class_token(&vit.patch_tokens(&images)), 0..1, true);
    let weights = Tensor::arange(24, (Kind::Float, Device::Cpu));
    let loss = (&taps[0] * &weights).sin().mean(Kind::Float)
        + (&taps[1] * &weights).sin().mean(Kind::Float)
        + (&picked * &weights).sin().mean(Kind::Float);
    // Whatever is drawn between the two passes must not change what the backward pass recomputes.
    let _ = Tensor::rand([100], (Kind::Float, Device::Cpu));
    loss.backward();
    (loss.detach(), gradients(&store))
}

#[test]
fn checkpointing_changes_neither_output_nor_gradients_with_drop_path_on() {
    let _alone = alone();
    let (plain, plain_gradients) = training_pass(false);
    let (spared, spared_gradients) = training_pass(true);
    assert_eq!(plain.double_value(&[]), spared.double_value(&[]));
    assert_eq!(plain_gradients.len(), spared_gradients.len());
    for ((name, wanted), (other, found)) in plain_gradients.iter().zip(&spared_gradients) {
        assert_eq!(name, other);
        assert!(
            found.defined() && wanted.abs().max().double_value(&[]) > 0.0,
            "{name}"
        );
        let gap = gap(found, wanted);
        // Only the order in which the two passes through a parameter are summed may differ.
        assert!(gap < SAME_RESULT, "{name}: {gap:e}");
    }
}

#[test]
fn drop_path_acts_in_training_only() {
    let _alone = alone();
    let config = small(|config| config.drop_path = 0.9);
    let store = nn::VarStore::new(Device::Cpu);
    let vit = Vit::new(&store.root(), &config).unwrap();
    let images = images(8);
    let calm = vit.forward(&images, &[4], false).remove(0);
    assert_eq!(gap(&vit.forward(&images, &[4], false)[0], &calm), 0.0);
    assert!(gap(&vit.forward(&images, &[4], true)[0], &calm) > 1e-2);
}

#[test]
fn taps_follow_the_blocks_and_only_the_last_is_normalised() {
    let _alone = alone();
    let store = nn::VarStore::new(Device::Cpu);
    let vit = Vit::new(&store.root(), &small(|_| ())).unwrap();
    let images = images(2);
    let all = vit.forward(&images, &[1, 2, 3, 4], false);
    let some = vit.forward(&images, &[2, 4], false);
    assert_eq!(gap(&some[0], &all[1]), 0.0);
    assert_eq!(gap(&some[1], &all[3]), 0.0);
    assert_eq!(all[0].size(), [2, 17, 24]);
    // A fresh norm leaves mean 0 and variance 1 in every token; a block's output has neither.
    let spread = |x: &Tensor| x.var_dim([-1i64].as_slice(), false, false);
    assert!((spread(&all[3]) - 1.0).abs().max().double_value(&[]) < 1e-3);
    assert!((spread(&all[2]) - 1.0).abs().max().double_value(&[]) > 1e-2);
}

#[test]
fn some_queries_of_the_last_block_equal_the_slice_of_all() {
    let _alone = alone();
    let store = nn::VarStore::new(Device::Cpu);
    let vit = Vit::new(&store.root(), &small(|_| ())).unwrap();
    let images = images(3);
    let all = vit.forward(&images, &[4], false).remove(0);
    let part = vit.blocks_for(
        vit.with_class_token(&vit.patch_tokens(&images)),
        5..12,
        false,
    );
    let gap = gap(&part, &all.narrow(1, 5, 7));
    assert!(gap < SAME_RESULT, "{gap:e}");
}

#[test]
fn picked_patch_tokens_equal_a_gather_from_all() {
    let _alone = alone();
    let store = nn::VarStore::new(Device::Cpu);
    let vit = Vit::new(&store.root(), &small(|_| ())).unwrap();
    let images = images(2);
    let ids = Tensor::from_slice(&[3i64, 0, 15, 7, 8, 1]).view([2, 3]);
    let all = vit.patch_tokens(&images);
    let wanted = all.gather(1, &ids.unsqueeze(-1).expand([2, 3, 24], false), false);
    let gap = gap(&vit.patch_tokens_at(&images, &ids), &wanted);
    assert!(gap < SAME_RESULT, "{gap:e}");
}

/// Attention written out, to hold the fused kernel and the head layout to the definition.
#[test]
fn a_block_follows_its_definition() {
    let _alone = alone();
    tch::manual_seed(2);
    let store = nn::VarStore::new(Device::Cpu);
    let config = BlockConfig {
        width: 12,
        heads: 3,
        mlp_ratio: 2.0,
        qkv_bias: true,
        norm_eps: 1e-6,
        activation: deepmim_backbone::Activation::QuickGelu,
        drop_path: 0.0,
        layer_scale: Some(0.3),
        map: None,
    };
    let block = Block::new(&store.root(), &config);
    let p = store.variables();
    tch::no_grad(|| {
        for (name, variable) in &p {
            let mut variable = variable.shallow_clone();
            let seed = name.bytes().map(i64::from).sum();
            tch::manual_seed(seed);
            let _ = variable.g_add_(&(variable.randn_like() * 0.2));
        }
    });
    let x = Tensor::randn([2, 5, 12], (Kind::Float, Device::Cpu));
    let norm = |x: &Tensor, name: &str| {
        let centred = x - x.mean_dim([-1i64].as_slice(), true, Kind::Float);
        let variance = (&centred * &centred).mean_dim([-1i64].as_slice(), true, Kind::Float);
        centred / (variance + 1e-6).sqrt() * &p[&format!("{name}.weight")]
            + &p[&format!("{name}.bias")]
    };
    let linear = |x: &Tensor, name: &str| {
        x.matmul(&p[&format!("{name}.weight")].transpose(0, 1)) + &p[&format!("{name}.bias")]
    };
    let qkv = linear(&norm(&x, "norm1"), "attn.qkv");
    let mut heads = Vec::new();
    for head in 0..3 {
        let part = |which: i64| qkv.narrow(2, which * 12 + head * 4, 4);
        let weights = (part(0).matmul(&part(1).transpose(1, 2)) / 2.0).softmax(-1, Kind::Float);
        heads.push(weights.matmul(&part(2)));
    }
    let y = &x + linear(&Tensor::cat(&heads, 2), "attn.proj") * &p["ls1.gamma"];
    let hidden = linear(&norm(&y, "norm2"), "mlp.fc1");
    let hidden = &hidden * (&hidden * 1.702).sigmoid();
    let wanted = &y + linear(&hidden, "mlp.fc2") * &p["ls2.gamma"];
    let gap = gap(&block.forward(&x, false), &wanted);
    assert!(gap < SAME_RESULT, "{gap:e}");
}

/// MAE's ViT-B rule written out for layer decay 0.65.
#[test]
fn layer_scales_count_down_from_the_head() {
    let scale = |name| layer_lr_scale(0.65, layer_id(name, 12), 12);
    assert_eq!(scale("head.weight"), 1.0);
    assert!((scale("blocks.11.norm1.weight") - 0.65).abs() < 1e-12);
    assert!((scale("cls_token") - 0.65f64.powi(13)).abs() < 1e-12);
}
