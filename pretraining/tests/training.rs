//! The task as a trainer drives it: a few steps, policies, pictures, and what a user can get wrong.

#![allow(clippy::unwrap_used)]

use backbone::{VitConfig, VitPreset};
use data::{ClassificationSample, RgbImage};
use deepmim_pretraining::{ClipConfig, DecoderConfig, PretrainConfig, PretrainTask, TargetConfig};
use engine::{StepContext, Task};
use tch::{Device, Tensor, nn, nn::OptimizerConfig};

fn recipe(taps: Vec<i64>) -> PretrainConfig {
    let mut trunk = VitConfig::preset(VitPreset::Tiny, 32, 8);
    (trunk.width, trunk.depth, trunk.heads) = (48, 4, 3);
    PretrainConfig {
        trunk,
        taps,
        mask_ratio: 0.75,
        decoder: DecoderConfig {
            width: 32,
            depth: 2,
            heads: 2,
            mlp_ratio: 4.0,
        },
        target: TargetConfig::Pixels { normalize: true },
        tap_targets: Vec::new(),
        tap_weights: Vec::new(),
        colours: data::ColourStatistics::IMAGENET,
    }
}

/// The recipe with the CLIP tower of the `deepmim_clip` fixture, whose grid is 4 x 4 too.
fn clip_recipe(taps: Vec<i64>) -> PretrainConfig {
    let weights = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../parity/golden/deepmim_clip/teacher.safetensors"
    );
    let tower = ClipConfig {
        weights: weights.into(),
        image_size: 32,
        patch_size: 8,
        width: 32,
        depth: 2,
        heads: 2,
        output: 512,
    };
    PretrainConfig {
        target: TargetConfig::Clip(tower),
        ..recipe(taps)
    }
}

/// Pictures with structure to learn: colour ramps that differ per sample.
fn samples(count: usize, size: usize) -> Vec<ClassificationSample> {
    (0..count)
        .map(|index| ClassificationSample {
            image: (0..3 * size * size)
                .map(|at| {
                    let (x, y) = (at % size, at / size % size);
                    ((x * (index + 1) + y * 2) as f32 * 0.21).sin()
                })
                .collect(),
            size,
            label: -1,
            name: format!("picture {index}"),
        })
        .collect()
}

fn context(step: u64) -> StepContext {
    StepContext {
        epoch: 0,
        step,
        seed: 40 + step,
        train: true,
    }
}

fn task(store: &nn::VarStore, config: &PretrainConfig) -> PretrainTask {
    PretrainTask::new(store, config, 0.05).unwrap()
}

#[test]
fn three_steps_lower_every_recipes_loss() {
    for config in [
        recipe(vec![4]),
        recipe(vec![2, 3, 4]),
        clip_recipe(vec![4]),
        clip_recipe(vec![2, 3, 4]),
    ] {
        tch::manual_seed(1);
        let store = nn::VarStore::new(Device::Cpu);
        let task = task(&store, &config);
        let batch = task
            .collate(samples(8, 32), &context(0), Device::Cpu)
            .unwrap();
        let mut optimizer = nn::adamw(0.9, 0.95, 0.05).build(&store, 2e-3).unwrap();
        let before = task.losses(&batch, &context(0)).unwrap();
        assert_eq!(before.parts.len(), config.taps.len());
        assert_eq!(before.parts[0].0, format!("tap{}", config.taps[0]));
        let sum: f64 = before
            .parts
            .iter()
            .map(|(_, loss)| loss.double_value(&[]))
            .sum();
        assert!(
            (sum - before.total.double_value(&[])).abs() < 1e-5,
            "the total is the plain sum"
        );
        for step in 0..3 {
            optimizer.backward_step(&task.losses(&batch, &context(step)).unwrap().total);
        }
        let after = task.losses(&batch, &context(3)).unwrap();
        for ((name, old), (_, new)) in before.parts.iter().zip(&after.parts) {
            let (old, new) = (old.double_value(&[]), new.double_value(&[]));
            assert!(
                new < old,
                "{name} went from {old} to {new} with {:?}",
                config.target
            );
        }
    }
}

#[test]
fn the_same_seed_hides_the_same_patches_and_predictions_agree_with_losses() {
    let store = nn::VarStore::new(Device::Cpu);
    let task = task(&store, &recipe(vec![2, 4]));
    let collate = |step| {
        task.collate(samples(3, 32), &context(step), Device::Cpu)
            .unwrap()
    };
    let batch = collate(5);
    assert!(batch.noise.equal(&collate(5).noise));
    assert!(!batch.noise.equal(&collate(6).noise));
    assert_eq!(task.batch_names(&batch)[2], "picture 2");

    let losses = task.losses(&batch, &context(5)).unwrap();
    let predictions = task.predict(&batch).unwrap();
    assert_eq!(predictions[1].name, "picture 1");
    for (tap, (name, loss)) in losses.parts.iter().enumerate() {
        let mean = predictions.iter().map(|p| p.taps[tap]).sum::<f64>() / 3.0;
        assert!((mean - loss.double_value(&[])).abs() < 1e-5, "{name}");
    }
}

#[test]
fn only_matrices_decay_and_neither_tables_nor_the_teacher_are_trained() {
    let store = nn::VarStore::new(Device::Cpu);
    let config = clip_recipe(vec![2, 4]);
    let task = task(&store, &config);
    for (name, variable) in store.variables() {
        let policy = task.policy(&name, &variable.size());
        assert_eq!(policy.lr_scale, 1.0);
        let decays = !name.ends_with("bias") && !name.contains("norm");
        assert_eq!(
            policy.weight_decay,
            if decays { 0.05 } else { 0.0 },
            "{name}"
        );
        assert_eq!(
            variable.requires_grad(),
            !name.ends_with("pos_embed"),
            "{name}"
        );
    }
    assert!(
        store
            .variables()
            .contains_key("decoder_blocks2.1.attn.qkv.weight")
    );
    assert!(
        !store.variables().contains_key("proj"),
        "the teacher has a store of its own"
    );
}

/// Makes the two taps predict one vector and its negative everywhere. Random weights would do for
/// pixels, but features of both taps may point away from the target, which is black in both columns.
fn predict_opposites(store: &nn::VarStore) {
    let mut parameters: Vec<(String, Tensor)> = store.variables().into_iter().collect();
    parameters.sort_by(|left, right| left.0.cmp(&right.0));
    let predictions = |part: &str| {
        let chosen = |(name, _): &&(String, Tensor)| {
            name.starts_with("decoder_pred") && name.ends_with(part)
        };
        parameters.iter().filter(chosen).collect::<Vec<_>>()
    };
    let (weights, biases) = (predictions(".weight"), predictions(".bias"));
    assert_eq!((weights.len(), biases.len()), (2, 2));
    tch::no_grad(|| {
        for (_, weight) in weights {
            let _ = weight.shallow_clone().zero_();
        }
        let vector = Tensor::randn_like(&biases[0].1);
        biases[0].1.shallow_clone().copy_(&vector);
        biases[1].1.shallow_clone().copy_(&-vector);
    });
}

#[test]
fn a_snapshot_shows_original_mask_and_every_tap() {
    let folder = tempfile::tempdir().unwrap();
    for config in [recipe(vec![2, 4]), clip_recipe(vec![2, 4])] {
        let store = nn::VarStore::new(Device::Cpu);
        let task = task(&store, &config);
        predict_opposites(&store);
        let batch = task
            .collate(samples(3, 32), &context(0), Device::Cpu)
            .unwrap();
        task.snapshot(&batch, folder.path(), &context(0)).unwrap();
        let picture = RgbImage::read(&folder.path().join("reconstructions.png")).unwrap();
        // 4 columns and 3 rows of 32-pixel pictures, enlarged three times, with gaps of 4.
        assert_eq!((picture.width, picture.height), (4 * 100 + 4, 3 * 100 + 4));
        let cell = |column: usize| picture.cropped(4 + column as isize * 100, 4, 96, 96);
        let original = cell(0);
        let value = (f64::from(samples(1, 32)[0].image[0]) * 0.229 + 0.485) * 255.0;
        assert_eq!(original.pixel(1, 1)[0], value.round() as u8);
        let differing = |column: usize| {
            let cell = cell(column);
            let pixels = 0..96 * 96;
            pixels
                .filter(|at| cell.pixel(at % 96, at / 96) != original.pixel(at % 96, at / 96))
                .count()
        };
        // Three quarters of the patches are hidden; a hidden pixel may be grey by chance.
        let hidden = differing(1) as f64 / (96.0 * 96.0);
        assert!((0.7..=0.75).contains(&hidden), "{hidden}");
        assert!(differing(2) > 0 && differing(3) > 0 && cell(2) != cell(3));
    }
}

#[test]
fn what_a_user_can_get_wrong_is_one_sentence() {
    let store = nn::VarStore::new(Device::Cpu);
    let task = task(&store, &recipe(vec![4]));
    let error = task
        .collate(samples(1, 24), &context(0), Device::Cpu)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("picture 0") && error.contains("trunk.image_size"),
        "{error}"
    );
    assert!(task.collate(vec![], &context(0), Device::Cpu).is_err());

    let mut config = clip_recipe(vec![4]);
    if let TargetConfig::Clip(tower) = &mut config.target {
        tower.weights = "no/such/tower.pt".into();
    }
    let store = nn::VarStore::new(Device::Cpu);
    let error = PretrainTask::new(&store, &config, 0.05)
        .unwrap_err()
        .to_string();
    assert!(error.contains("no/such/tower.pt"), "{error}");

    let mut config = clip_recipe(vec![4]);
    if let TargetConfig::Clip(tower) = &mut config.target {
        tower.output = 256;
    }
    let error = PretrainTask::new(&store, &config, 0.05)
        .unwrap_err()
        .to_string();
    assert!(error.contains("proj") && !error.contains('\n'), "{error}");
}

/// A student of 16-pixel patches under a tower of 8-pixel ones: pictures are resized for the tower.
#[test]
fn a_tower_of_another_picture_size_is_fed_resized_pictures() {
    let mut config = clip_recipe(vec![4]);
    (config.trunk.image_size, config.trunk.patch_size) = (64, 16);
    let store = nn::VarStore::new(Device::Cpu);
    let task = task(&store, &config);
    let batch = task
        .collate(samples(2, 64), &context(0), Device::Cpu)
        .unwrap();
    let loss = task
        .losses(&batch, &context(0))
        .unwrap()
        .total
        .double_value(&[]);
    assert!((0.0..=4.0).contains(&loss), "{loss}");
    let _: Tensor = batch.images;
}
