//! Every reconstruction target: against scikit-image, timm and torch, gradients against differences, in training.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use backbone::weights::Dialect;
use backbone::{Position, VitConfig, VitPreset};
use data::{ClassificationSample, ColourStatistics};
use deepmim_pretraining::{
    DecoderConfig, Distance, EmaConfig, FeaturesConfig, FeaturesTarget, HogConfig, HogTarget,
    HybridPart, HybridTarget, PixelTarget, PretrainConfig, PretrainTask, Seen, TapTarget, Target,
    TargetConfig, TokenFile, TokensConfig, TokensTarget,
};
use engine::{StepContext, Task};
use tch::{Device, Kind, Tensor, nn, nn::OptimizerConfig};

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../parity/golden/targets")
}

fn golden() -> HashMap<String, Tensor> {
    let found = Tensor::read_safetensors(folder().join("targets.safetensors")).unwrap();
    found.into_iter().collect()
}

/// Pictures as a trunk sees them.
fn normalised(images: &Tensor) -> Tensor {
    let three = |of: [f32; 3]| Tensor::from_slice(&of).view([1, 3, 1, 1]);
    (images - three(ColourStatistics::IMAGENET.mean)) / three(ColourStatistics::IMAGENET.std)
}

fn seen(images: &Tensor) -> Seen<'_> {
    Seen {
        images,
        tokens: None,
    }
}

/// Largest difference, of the largest value.
fn gap(found: &Tensor, wanted: &Tensor) -> f64 {
    assert_eq!(found.size(), wanted.size());
    let wanted = wanted.to_kind(Kind::Double);
    let off = (found.to_kind(Kind::Double) - &wanted).abs().max();
    off.double_value(&[]) / wanted.abs().max().double_value(&[])
}

/// parity/golden/targets; float32 against float64: 2e-6. A gradient near the border of two bins could fall into
/// the other one; these pictures have none.
#[test]
fn histograms_are_scikit_images() {
    let golden = golden();
    let images = normalised(&golden["images"]);
    for (name, orientations, cell, patch) in [("hog", 9, 8, 16), ("hog_small", 6, 4, 8)] {
        let config = HogConfig {
            orientations,
            cell,
            ..HogConfig::default()
        };
        let target = HogTarget::new(&config, patch, &ColourStatistics::IMAGENET, Device::Cpu);
        let found = target.all(seen(&images));
        assert_eq!(found.size()[2], target.width());
        let gap = gap(&found, &golden[name]);
        assert!(gap < 2e-6, "{name}: {gap:e}");
    }
}

/// A picture of one colour has histograms of zeros.
#[test]
fn flat_pictures_have_a_loss_at_every_distance() {
    let flat = Tensor::zeros([1, 3, 16, 16], (Kind::Float, Device::Cpu));
    let prediction = Tensor::ones([1, 4, 27], (Kind::Float, Device::Cpu));
    for (distance, wanted) in [
        (Distance::L2, 1.0),
        (Distance::SmoothL1, 0.5),
        (Distance::Cosine, 2.0),
    ] {
        let config = HogConfig {
            distance,
            ..HogConfig::default()
        };
        let target = HogTarget::new(&config, 8, &ColourStatistics::IMAGENET, Device::Cpu);
        let loss = target.loss(&prediction, &target.all(seen(&flat)));
        assert_eq!(loss.double_value(&[]), wanted, "{distance:?}");
    }
}

fn features(block: Option<i64>, distance: Distance) -> FeaturesConfig {
    let mut trunk = VitConfig::preset(VitPreset::Tiny, 32, 8);
    (trunk.width, trunk.depth, trunk.heads) = (24, 3, 3);
    trunk.position = Position::Learnable;
    FeaturesConfig {
        weights: folder().join("teacher.safetensors"),
        dialect: Dialect::Native,
        part: None,
        trunk,
        block,
        distance,
        colours: ColourStatistics::IMAGENET,
    }
}

/// float32 against float64: 1e-5.
#[test]
fn features_and_their_distances_are_pytorchs() {
    let golden = golden();
    let images = normalised(&golden["images"]);
    let load = |block, distance| {
        let config = features(block, distance);
        FeaturesTarget::load(&config, &ColourStatistics::IMAGENET, Device::Cpu).unwrap()
    };
    for (block, name) in [(Some(2), "features_2"), (None, "features_3")] {
        let found = load(block, Distance::Cosine).features(&images);
        let gap = gap(&found, &golden[name]);
        assert!(gap < 1e-5, "{name}: {gap:e}");
    }
    for (distance, name) in [
        (Distance::Cosine, "cosine"),
        (Distance::L2, "l2"),
        (Distance::SmoothL1, "smooth_l1"),
    ] {
        let target = load(Some(2), distance);
        let wanted = target.all(seen(&images));
        let found = target.patch_losses(&golden["prediction"], &wanted);
        let gap = gap(&found, &golden[name]);
        assert!(gap < 1e-5, "{name}: {gap:e}");
    }
}

#[test]
fn cross_entropy_of_tokens_is_torchs() {
    let golden = golden();
    let target = TokensTarget::new(11);
    let images = &golden["images"];
    let batch = Seen {
        images,
        tokens: Some(&golden["ids"]),
    };
    let losses = target.patch_losses(&golden["scores"], &target.all(batch));
    let gap = gap(&losses, &golden["cross_entropy"]);
    assert!(gap < 1e-12, "{gap:e}");
}

/// Central differences in float64 along random directions, 1e-7 relative, for every kind of loss.
#[test]
fn gradients_are_the_losses_slopes() {
    tch::manual_seed(3);
    let golden = golden();
    let images = normalised(&golden["images"]);
    let ids = &golden["ids"];
    let batch = Seen {
        images: &images,
        tokens: Some(ids),
    };
    let hog = |distance| {
        let config = HogConfig {
            distance,
            ..HogConfig::default()
        };
        HogTarget::new(&config, 8, &ColourStatistics::IMAGENET, Device::Cpu)
    };
    let of_features = |distance| -> Box<dyn Target> {
        let config = features(None, distance);
        Box::new(FeaturesTarget::load(&config, &ColourStatistics::IMAGENET, Device::Cpu).unwrap())
    };
    let pixels = || PixelTarget {
        patch: 8,
        normalize: true,
    };
    let targets: Vec<Box<dyn Target>> = vec![
        Box::new(pixels()),
        Box::new(hog(Distance::L2)),
        Box::new(hog(Distance::SmoothL1)),
        Box::new(hog(Distance::Cosine)),
        of_features(Distance::Cosine),
        of_features(Distance::L2),
        of_features(Distance::SmoothL1),
        Box::new(TokensTarget::new(11)),
        Box::new(HybridTarget::new(vec![
            (0.5, Box::new(pixels())),
            (2.0, Box::new(TokensTarget::new(11))),
            (1.5, of_features(Distance::Cosine)),
        ])),
    ];
    for target in &targets {
        let wanted = target.all(batch).to_kind(Kind::Double);
        let at = Tensor::randn([2, 16, target.width()], DOUBLE).set_requires_grad(true);
        let loss = |at: &Tensor| target.loss(at, &wanted);
        let gradient = Tensor::run_backward(&[loss(&at)], &[&at], false, false).remove(0);
        for _ in 0..5 {
            let direction = Tensor::randn_like(&at);
            let h = 1e-6;
            let step = |sign: f64| loss(&(&at + &direction * (sign * h))).double_value(&[]);
            let slope = (step(1.0) - step(-1.0)) / (2.0 * h);
            let found = (&gradient * &direction).sum(Kind::Double).double_value(&[]);
            assert!(
                (slope - found).abs() < 1e-7 * slope.abs().max(1.0),
                "{target:?}: {found} and {slope}"
            );
        }
    }
}

fn recipe(target: TargetConfig) -> PretrainConfig {
    let mut trunk = VitConfig::preset(VitPreset::Tiny, 32, 8);
    (trunk.width, trunk.depth, trunk.heads) = (24, 3, 3);
    PretrainConfig {
        trunk,
        taps: vec![2, 3],
        mask_ratio: 0.75,
        decoder: DecoderConfig {
            width: 32,
            depth: 1,
            heads: 2,
            mlp_ratio: 4.0,
        },
        target,
        tap_targets: Vec::new(),
        tap_weights: Vec::new(),
        colours: ColourStatistics::IMAGENET,
    }
}

fn samples(count: usize) -> Vec<ClassificationSample> {
    let wave = |index: usize, at: usize| {
        let (x, y) = (at % 32, at / 32 % 32);
        ((x * (index + 1) + y * 2) as f32 * 0.21).sin()
    };
    let sample = |index: usize| ClassificationSample {
        image: (0..3 * 32 * 32).map(|at| wave(index, at)).collect(),
        size: 32,
        label: -1,
        name: format!("class/{index}.png"),
    };
    (0..count).map(sample).collect()
}

fn context(step: u64) -> StepContext {
    StepContext {
        epoch: 0,
        step,
        seed: 40 + step,
        train: true,
    }
}

/// Tokens of eight pictures, by brightness of the corner.
fn token_folder(to: &Path) {
    let names: String = (0..8).map(|index| format!("class/{index}.png\n")).collect();
    std::fs::write(to.join("names.txt"), names).unwrap();
    let ids = Tensor::arange(8 * 16, (Kind::Int64, Device::Cpu))
        .remainder(11)
        .view([8, 16]);
    Tensor::write_safetensors(&[("tokens", ids)], to.join("tokens.safetensors")).unwrap();
}

fn ema(blocks: i64) -> EmaConfig {
    EmaConfig {
        decay: 0.9,
        decay_end: Some(0.5),
        decay_steps: Some(4),
        blocks,
        distance: Distance::SmoothL1,
    }
}

#[test]
fn a_few_steps_lower_the_loss_of_every_target() {
    let temporary = tempfile::tempdir().unwrap();
    token_folder(temporary.path());
    let tokens = TargetConfig::Tokens(TokensConfig {
        folder: temporary.path().to_owned(),
        vocabulary: 11,
    });
    let part = |weight, target| HybridPart { weight, target };
    let mut mixed = recipe(TargetConfig::Pixels { normalize: true });
    mixed.tap_targets = vec![TapTarget {
        tap: 2,
        target: TargetConfig::Hog(HogConfig::default()),
    }];
    for config in [
        recipe(TargetConfig::Hog(HogConfig::default())),
        recipe(TargetConfig::Features(features(None, Distance::Cosine))),
        recipe(TargetConfig::Features(features(Some(1), Distance::L2))),
        recipe(tokens.clone()),
        recipe(TargetConfig::Ema(ema(2))),
        recipe(TargetConfig::Hybrid {
            parts: vec![
                part(1.0, TargetConfig::Pixels { normalize: false }),
                part(0.1, tokens),
            ],
        }),
        mixed,
    ] {
        tch::manual_seed(1);
        let store = nn::VarStore::new(Device::Cpu);
        let task = PretrainTask::new(&store, &config, 0.05).unwrap();
        let batch = task.collate(samples(8), &context(0), Device::Cpu).unwrap();
        let mut optimizer = nn::adamw(0.9, 0.95, 0.0).build(&store, 2e-3).unwrap();
        let losses = || {
            let losses = task.losses(&batch, &context(0)).unwrap().parts;
            losses
                .iter()
                .map(|(_, l)| l.double_value(&[]))
                .collect::<Vec<f64>>()
        };
        let before = losses();
        for step in 0..6 {
            optimizer.backward_step(&task.losses(&batch, &context(step)).unwrap().total);
        }
        for (before, after) in before.iter().zip(losses()) {
            assert!(after < *before, "{before} to {after}: {:?}", config.target);
        }
        let picture = tempfile::tempdir().unwrap();
        task.snapshot(&batch, picture.path(), &context(0)).unwrap();
        assert!(picture.path().join("reconstructions.png").is_file());
    }
}

/// By hand: after steps with decays 0.8 and 0.7 a weight that went 1, 3, 7 is
/// 0.8 * 1 + 0.2 * 3 = 1.4, then 0.7 * 1.4 + 0.3 * 7 = 3.08.
#[test]
fn the_moving_average_follows_its_schedule() {
    let store = nn::VarStore::new(Device::Cpu);
    let task = PretrainTask::new(&store, &recipe(TargetConfig::Ema(ema(1))), 0.05).unwrap();
    let variables = store.variables();
    let (own, copy) = (&variables["cls_token"], &variables["teacher.cls_token"]);
    assert_eq!(own, copy);
    assert!(!copy.requires_grad());
    assert!(task.policy("teacher.cls_token", &[1, 1, 24]).frozen);
    let set = |value: f64| tch::no_grad(|| drop(own.shallow_clone().fill_(value)));
    set(1.0);
    tch::no_grad(|| drop(copy.shallow_clone().fill_(1.0)));
    // The decay goes from 0.9 to 0.5 over four steps.
    for (step, value, wanted) in [(1, 3.0, 1.4), (2, 7.0, 3.08)] {
        set(value);
        task.after_step(step);
        let found = copy.mean(Kind::Double).double_value(&[]);
        assert!((found - wanted).abs() < 1e-6, "{found} and {wanted}");
    }
}

#[test]
fn weights_of_taps_weigh_their_losses() {
    tch::manual_seed(1);
    let mut config = recipe(TargetConfig::Pixels { normalize: true });
    config.tap_weights = vec![0.25, 3.0];
    let store = nn::VarStore::new(Device::Cpu);
    let task = PretrainTask::new(&store, &config, 0.05).unwrap();
    let batch = task.collate(samples(4), &context(0), Device::Cpu).unwrap();
    let losses = task.losses(&batch, &context(0)).unwrap();
    let part = |at: usize| losses.parts[at].1.double_value(&[]);
    let wanted = 0.25 * part(0) + 3.0 * part(1);
    assert!((losses.total.double_value(&[]) - wanted).abs() < 1e-5);
}

#[test]
fn impossible_targets_are_refused_in_a_sentence() {
    let check = |change: &dyn Fn(&mut PretrainConfig)| {
        let mut config = recipe(TargetConfig::Pixels { normalize: true });
        change(&mut config);
        config.check().unwrap_err().to_string()
    };
    let cell = HogConfig {
        cell: 3,
        ..HogConfig::default()
    };
    for (message, word) in [
        (
            check(&|c| c.target = TargetConfig::Hog(cell.clone())),
            "target.cell = 3",
        ),
        (
            check(&|c| c.target = TargetConfig::Ema(ema(4))),
            "target.blocks = 4",
        ),
        (check(&|c| c.tap_weights = vec![1.0]), "tap_weights"),
        (
            check(&|c| {
                c.tap_targets = vec![TapTarget {
                    tap: 1,
                    target: TargetConfig::Pixels { normalize: true },
                }]
            }),
            "tap_targets.tap = 1",
        ),
        (
            check(&|c| {
                let mut teacher = features(None, Distance::Cosine);
                teacher.trunk.image_size = 64;
                c.target = TargetConfig::Features(teacher);
            }),
            "target.trunk.image_size = 64",
        ),
        (
            check(&|c| {
                c.target = TargetConfig::Ema(ema(2));
                let part = HybridPart {
                    weight: 1.0,
                    target: TargetConfig::Ema(ema(2)),
                };
                c.tap_targets = vec![TapTarget {
                    tap: 2,
                    target: TargetConfig::Hybrid { parts: vec![part] },
                }];
            }),
            "there is one teacher",
        ),
        (
            check(&|c| c.target = TargetConfig::Hybrid { parts: Vec::new() }),
            "target.parts",
        ),
    ] {
        assert!(message.contains(word), "{message}");
    }

    let temporary = tempfile::tempdir().unwrap();
    let at = temporary.path();
    let told = |patches, vocabulary| match TokenFile::read(at, patches, vocabulary) {
        Ok(_) => panic!("the folder must be refused"),
        Err(error) => error.to_string(),
    };
    assert!(told(16, 11).contains("names.txt"));
    token_folder(at);
    assert!(told(9, 11).contains("[8, 9]"), "{}", told(9, 11));
    assert!(told(16, 10).contains("0 to 10"), "{}", told(16, 10));
    let file = TokenFile::read(at, 16, 11).unwrap();
    let row = file.of(&["class/3.png".into()]).unwrap();
    assert_eq!(row.int64_value(&[0, 0]), 48 % 11);
    let missing = file.of(&["class/9.png".into()]).unwrap_err().to_string();
    assert!(missing.starts_with("class/9.png"), "{missing}");
}
