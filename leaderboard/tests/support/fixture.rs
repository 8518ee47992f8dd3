//! A made-up board: three systems on three tasks, with pictures drawn into a folder.

use std::fs::File;
use std::path::{Path, PathBuf};

use deepmim_leaderboard::{
    AnalysedCheckpoint, Answer, Board, CheckpointFindings, ClassScores, Curve, Example, Gap,
    HeadMeasures, Kind, LayerAnalysis, LayerMeasure, Measured, Metric, PrecisionRecall,
    PublishedRow, RunFacts, Score, Setting, Similarity, SystemScores, TaskBoard, TrainingCurve,
    Values, Weights,
};

pub const SYSTEMS: [&str; 3] = ["random start", "MAE ViT-B, 1600 epochs", "DeepMIM ViT-B"];

/// The board; `folder` gets its pictures.
pub fn board(folder: &Path) -> Board {
    let tasks = vec![
        task(folder, Kind::Classify),
        task(folder, Kind::Detect),
        task(folder, Kind::Segment),
    ];
    let mut runs: Vec<RunFacts> = (1..SYSTEMS.len())
        .map(|system| pretraining(folder, system))
        .collect();
    for (kind, task) in tasks.iter().enumerate() {
        for system in 0..SYSTEMS.len() {
            let seeds = if kind == 0 { 3 } else { 1 };
            runs.extend((0..seeds).map(|seed| training(&task.name, kind, system, seed)));
        }
    }
    Board {
        title: "DeepMIM and MAE on three tasks".into(),
        systems: SYSTEMS.map(String::from).to_vec(),
        resamples: 10_000,
        confidence: 0.95,
        tasks,
        runs,
        analyses: Vec::new(),
        notes: vec![
            "Recipes differ: layer_decay is 0.65 for MAE ViT-B, 1600 epochs and 0.75 for the others (classification).".into(),
            "random start has no pre-training; its fine-tuning is as long as that of the others.".into(),
        ],
    }
}

/// A picture of one colour gradient, `size` × `size`.
pub fn picture(folder: &Path, name: &str, size: u32, hue: usize) -> PathBuf {
    let path = folder.join(name);
    let file = File::create(&path).expect("a file in the test's folder");
    let mut encoder = png::Encoder::new(file, size, size);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().expect("a header");
    let shade = |x: u32, y: u32| {
        let (x, y) = ((x * 255 / size) as u8, (y * 255 / size) as u8);
        [[x, y, 120], [y, 90, x], [200, x, y], [x / 2, 160, y]][hue % 4]
    };
    let pixels: Vec<u8> = (0..size * size)
        .flat_map(|at| shade(at % size, at / size))
        .collect();
    writer.write_image_data(&pixels).expect("pixels");
    path
}

/// One task with every part of the page.
pub fn task(folder: &Path, kind: Kind) -> TaskBoard {
    let (name, data, pictures, classes) = match kind {
        Kind::Classify => (
            "classification",
            "CIFAR-10 test pictures, 10 classes",
            2000,
            10,
        ),
        Kind::Detect => ("detection", "COCO val2017 sample, 80 categories", 79, 80),
        Kind::Segment => ("segmentation", "ADE20K validation, 150 classes", 2000, 150),
    };
    let metrics = metrics(kind);
    let systems: Vec<SystemScores> = (0..SYSTEMS.len())
        .map(|system| SystemScores {
            system: SYSTEMS[system].into(),
            seeds: if kind == Kind::Classify { 3 } else { 1 },
            runs: Vec::new(),
            scores: (0..metrics.len())
                .map(|metric| score(kind, system, metric))
                .collect(),
        })
        .collect();
    TaskBoard {
        name: name.into(),
        kind,
        data: data.into(),
        truth_sha256: "3f79bb7b435b05321651daefd374cdc681dc06faa65e374e38337b88ca046dea".into(),
        pictures,
        differences: differences(&metrics, &systems),
        published: published(kind),
        classes: class_scores(kind, classes),
        precision_recall: match kind {
            Kind::Detect => precision_recall(),
            _ => Vec::new(),
        },
        examples: (0..3).map(|place| example(folder, kind, place)).collect(),
        metrics,
        systems,
    }
}

fn metrics(kind: Kind) -> Vec<Metric> {
    let rows: &[(&str, &str, bool, bool)] = match kind {
        Kind::Classify => &[
            ("top1", "top-1 %", true, true),
            ("top5", "top-5 %", false, true),
            ("nll", "negative log-likelihood", false, false),
            ("ece", "calibration error %", false, false),
        ],
        Kind::Detect => &[
            ("box_ap", "AP-box %", true, true),
            ("mask_ap", "AP-mask %", true, true),
            ("box_ap50", "AP50-box %", false, true),
            ("box_ap_small", "AP-box % of small objects", false, true),
        ],
        Kind::Segment => &[
            ("miou", "mIoU %", true, true),
            ("pixel_accuracy", "pixel accuracy %", false, true),
        ],
    };
    let metric = |(key, title, headline, higher): &(&str, &str, bool, bool)| Metric {
        key: (*key).into(),
        title: (*title).into(),
        decimals: if *key == "nll" { 3 } else { 1 },
        headline: *headline,
        higher_is_better: *higher,
    };
    rows.iter().map(metric).collect()
}

fn score(kind: Kind, system: usize, metric: usize) -> Score {
    let better = [0.0, 9.1, 10.3][system];
    let value = match (kind, metric) {
        (Kind::Classify, 2) => 1.62 - better * 0.03,
        (Kind::Classify, 3) => 6.4 - better * 0.2,
        (Kind::Classify, _) => 72.0 + 12.0 * metric as f64 + better,
        (Kind::Detect, 3) if system == 0 => f64::NAN,
        (Kind::Detect, _) => 38.0 - 3.5 * metric as f64 + better,
        (Kind::Segment, _) => 39.5 + 36.0 * metric as f64 + 0.8 * better,
    };
    let half = match kind {
        Kind::Classify => 0.025 * value,
        Kind::Detect => 3.1,
        Kind::Segment => 0.9,
    };
    let lopsided = if kind == Kind::Detect { 0.6 } else { 1.0 };
    Score {
        value,
        low: value - half,
        high: value + half * lopsided,
        seed_deviation: (kind == Kind::Classify).then_some(0.01 * value),
    }
}

fn differences(metrics: &[Metric], systems: &[SystemScores]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let headline = metrics
        .iter()
        .enumerate()
        .filter(|(_, metric)| metric.headline);
    for (metric, _) in headline {
        for (a, b) in [(1, 0), (2, 0), (2, 1)] {
            let value = systems[a].scores[metric].value - systems[b].scores[metric].value;
            let p_value = if value > 3.0 { 0.0003 } else { 0.214 };
            gaps.push(Gap {
                metric,
                system: systems[a].system.clone(),
                base: systems[b].system.clone(),
                difference: Score {
                    value,
                    low: value - 2.0,
                    high: value + 2.1,
                    seed_deviation: None,
                },
                p_value,
                significant: p_value <= 0.05,
            });
        }
    }
    gaps
}

fn published(kind: Kind) -> Vec<PublishedRow> {
    let scores: &[(&str, f64)] = match kind {
        Kind::Classify => return Vec::new(),
        Kind::Detect => &[("box_ap", 51.6), ("mask_ap", 45.9)],
        Kind::Segment => &[("miou", 48.1)],
    };
    let source = match kind {
        Kind::Detect => "Li et al. 2022, table 7",
        _ => "He et al. 2022, table 5",
    };
    vec![PublishedRow {
        name: "MAE ViT-B".into(),
        scores: scores
            .iter()
            .map(|(key, value)| ((*key).into(), *value))
            .collect(),
        source: source.into(),
    }]
}

fn class_scores(kind: Kind, count: usize) -> ClassScores {
    let animals = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ];
    let name = |class: usize| match kind {
        Kind::Classify => animals[class].to_owned(),
        _ if class == 7 => "a class with a rather long name, for once".to_owned(),
        _ => format!("{} {class}", animals[class % animals.len()]),
    };
    let value = |system: usize, class: usize| {
        let wave = ((class * 37 + system * 11) % 53) as f64;
        match class % 23 == 22 {
            true => f64::NAN,
            false => 30.0 + wave * 0.9 + 4.0 * system as f64,
        }
    };
    ClassScores {
        title: match kind {
            Kind::Classify => "recall %",
            Kind::Detect => "AP-box %",
            Kind::Segment => "IoU %",
        }
        .into(),
        names: (0..count).map(name).collect(),
        support: (0..count)
            .map(|class| (class as u64 * 7919) % 20_011)
            .collect(),
        support_of: match kind {
            Kind::Classify => "pictures",
            Kind::Detect => "objects",
            Kind::Segment => "pixels",
        }
        .into(),
        values: (0..SYSTEMS.len())
            .map(|system| (0..count).map(|class| value(system, class)).collect())
            .collect(),
    }
}

fn precision_recall() -> Vec<PrecisionRecall> {
    let recall: Vec<f64> = (0..=100).map(|step| f64::from(step) / 100.0).collect();
    let curve = |end: f64| -> Vec<f64> {
        let precision = |recall: &f64| (1.0 - (recall / end).powi(3)).max(0.0);
        recall.iter().map(precision).collect()
    };
    let of = |of: &str, system: usize| {
        let end = 0.7 + 0.08 * system as f64 - if of == "masks" { 0.05 } else { 0.0 };
        PrecisionRecall {
            of: of.into(),
            system: SYSTEMS[system].into(),
            recall: recall.clone(),
            at_50: curve(end),
            at_75: curve(end - 0.2),
        }
    };
    ["boxes", "masks"]
        .into_iter()
        .flat_map(|regions| (0..SYSTEMS.len()).map(move |system| (regions, system)))
        .map(|(regions, system)| of(regions, system))
        .collect()
}

fn example(folder: &Path, kind: Kind, place: usize) -> Example {
    let size = if kind == Kind::Classify { 32 } else { 240 };
    let name = format!("{kind:?}_{place}").to_lowercase();
    let classify = kind == Kind::Classify;
    let answer = |system: usize| {
        let right = !(place + system).is_multiple_of(3);
        let file = format!("{name}_{system}.png");
        let caption = match kind {
            Kind::Classify => format!(
                "{} (0.{}3)",
                if right { "ship" } else { "truck" },
                9 - system
            ),
            Kind::Detect => format!("{} of 7 objects found", 3 + system),
            Kind::Segment => String::new(),
        };
        Answer {
            picture: (!classify).then(|| picture(folder, &file, size, system + 1)),
            caption,
            right: classify.then_some(right),
        }
    };
    let lacks = |system: usize| kind == Kind::Segment && place == 2 && system == 0;
    Example {
        truth: picture(folder, &format!("{name}.png"), size, place),
        truth_caption: if classify {
            "ship".into()
        } else {
            String::new()
        },
        answers: (0..SYSTEMS.len())
            .map(|system| (!lacks(system)).then(|| answer(system)))
            .collect(),
        name: format!("{name}.jpg"),
    }
}

fn curve(name: &str, points: usize, value: impl Fn(f64) -> f64) -> Curve {
    let epoch = |at: usize| 1.0 + at as f64 * 29.0 / points.max(2) as f64;
    Curve {
        name: name.into(),
        points: (0..points)
            .map(|at| [epoch(at), value(epoch(at))])
            .collect(),
    }
}

fn facts() -> Vec<(String, String)> {
    let pairs = [
        ("device", "cpu, 2 threads"),
        ("libtorch", "2.11.0"),
        ("duration", "17 min"),
        (
            "weights SHA-256",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ),
    ];
    pairs
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec()
}

fn training(task: &str, kind: usize, system: usize, seed: u64) -> RunFacts {
    let metric = ["eval/top1", "eval/bbox/AP", "eval/mIoU"][kind];
    let (lead, jitter) = (system as f64, seed as f64 * 0.01);
    RunFacts {
        path: format!("runs/{task}_{system}_{seed}").into(),
        system: SYSTEMS[system].into(),
        task: task.into(),
        seed: Some(seed),
        start: "runs/pretrain, epoch 1600".into(),
        facts: facts(),
        recipe: "[trainer]\nepochs = 100\nbatch_size = 1024\n\n[model]\nlayer_decay = 0.65\n"
            .into(),
        curves: vec![
            curve("train/loss", 200, |epoch| {
                2.0 / (1.0 + 0.1 * epoch) + 0.4 - 0.05 * lead + jitter + 0.03 * (epoch * 9.0).sin()
            }),
            curve("train/lr", 200, |epoch| 0.001 / epoch),
            curve(metric, 10, |epoch| {
                0.6 - 0.5 / epoch.sqrt() + 0.05 * lead + jitter
            }),
        ],
        reconstructions: Vec::new(),
    }
}

fn pretraining(folder: &Path, system: usize) -> RunFacts {
    RunFacts {
        path: format!("runs/pretrain_{system}").into(),
        system: SYSTEMS[system].into(),
        task: "pre-training".into(),
        seed: Some(0),
        start: "random weights".into(),
        facts: facts(),
        recipe: "[pretraining]\nmask_ratio = 0.75\n".into(),
        curves: vec![curve("train/loss", 400, |epoch| {
            0.5 + 0.5 / epoch + 0.03 * system as f64
        })],
        reconstructions: (0..2)
            .map(|at| {
                picture(
                    folder,
                    &format!("reconstructed_{system}_{at}.png"),
                    96,
                    at + system,
                )
            })
            .collect(),
    }
}

/// Two systems of two trainings each, with everything that an analysis can hold.
pub fn analysis() -> LayerAnalysis {
    let logged = |place: usize| {
        let plus = place as f64;
        vec![TrainingCurve {
            layer: 2,
            points: vec![[1.0, 20.0 + plus], [2.0, 30.0 + plus]],
        }]
    };
    analysis_of_trainings([0, 1, 2, 3].map(logged))
}

/// The same with other logs of the four trainings.
pub fn analysis_of_trainings(logs: [Vec<TrainingCurve>; 4]) -> LayerAnalysis {
    let layers = 4;
    let found = |place: usize| {
        let plus = place as f64;
        let right = |layer: usize| -> Vec<f64> {
            (0..40)
                .map(|picture| {
                    if (picture * 7 + place) % 10 < 3 + layer {
                        100.0
                    } else {
                        0.0
                    }
                })
                .collect()
        };
        let of_pictures = |measure| Measured {
            measure,
            values: Values::OfPictures((0..layers).map(right).collect()),
        };
        let of_layers = |measure| Measured {
            measure,
            values: Values::OfLayers(
                (1..=layers)
                    .map(|layer| (layer, layer as f64 + plus))
                    .collect(),
            ),
        };
        let matrix = |rows: usize, columns: usize| {
            let row = |row: usize| {
                (0..columns)
                    .map(|column| 0.1 * (row + column) as f64)
                    .collect()
            };
            (0..rows).map(row).collect::<Vec<Vec<f64>>>()
        };
        CheckpointFindings {
            checkpoint: AnalysedCheckpoint {
                system: ["MAE <b>", "DeepMIM"][place / 2].into(),
                weights: Weights {
                    file: format!("runs/{place}/model.safetensors").into(),
                    dialect: "native".into(),
                    sha256: "ab".repeat(32),
                    run: None,
                },
                layers,
                heads: 2,
                width: 8,
                measures: Vec::new(),
                attention: Some(HeadMeasures {
                    distance: matrix(layers, 2),
                    entropy: matrix(layers, 2),
                    head_divergence: matrix(layers, 4),
                    head_cosine: matrix(layers, 4),
                    layer_divergence: matrix(layers, layers),
                    layer_cosine: matrix(layers, layers),
                }),
                probe_rates: vec![0.1; layers],
                training: logs[place].clone(),
            },
            measured: vec![
                of_pictures(LayerMeasure::Linear),
                of_pictures(LayerMeasure::HeadDivergence),
                of_layers(LayerMeasure::Rank),
            ],
        }
    };
    let similar = |first: usize, second: usize| Similarity {
        first,
        second,
        values: vec![
            vec![
                Some(0.5 + 0.1 * (first + second) as f64),
                None,
                Some(1.0),
                Some(0.2)
            ];
            layers
        ],
    };
    let pairs = (0..4).flat_map(|first| (first..4).map(move |second| similar(first, second)));
    let setting = Setting {
        data: "CIFAR-10, 10 classes, 32 px".into(),
        pictures: 40,
        teaching: 100,
        recipe: "task = \"analyze\"\n".into(),
        ..Setting::default()
    };
    LayerAnalysis::new(setting, (0..4).map(found).collect(), pairs.collect())
}
