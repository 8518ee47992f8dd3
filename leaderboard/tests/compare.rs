//! Leaderboards out of files: bare predictions of every kind, records, and what cannot be compared.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use deepmim_leaderboard::{
    Board, BoardOptions, EvaluationRecord, GivenTruth, Kind, Request, Truth, build, csv,
    file_sha256, json, markdown, table,
};
use eval::{BootstrapConfig, Prediction, PredictionsWriter};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn request(path: &Path, system: &str) -> Request {
    Request {
        path: path.to_owned(),
        system: Some(system.to_owned()),
        task: None,
    }
}

fn options() -> BoardOptions {
    BoardOptions {
        title: "Test".into(),
        bootstrap: BootstrapConfig {
            resamples: 500,
            ..BootstrapConfig::default()
        },
        ..BoardOptions::default()
    }
}

fn made(requests: &[Request], options: &BoardOptions) -> Result<Board, String> {
    build(requests, options, &|_, _, _| ()).map_err(|error| error.to_string())
}

/// Predictions on 600 pictures of 3 classes: right where `right` says so.
fn predictions(path: &Path, right: impl Fn(usize) -> bool) {
    let names: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
    let mut writer = PredictionsWriter::create(path, &names).unwrap();
    for at in 0..600 {
        let label = at % 3;
        let best = if right(at) { label } else { (label + 1) % 3 };
        let mut logits = [0.0_f32; 3];
        logits[best] = 2.0;
        let name = format!("{at:04}.png");
        writer
            .add(&Prediction::from_logits(name, Some(label), &logits).unwrap())
            .unwrap();
    }
    writer.finish().unwrap();
}

/// Right with this probability on average: which pictures, a seed decides.
fn noisy(path: &Path, accuracy: f64, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let right: Vec<bool> = (0..600)
        .map(|at| {
            // Half of the pictures are easy for everybody.
            let chance = if at % 2 == 0 {
                0.98
            } else {
                2.0 * accuracy - 0.98
            };
            rng.random::<f64>() < chance
        })
        .collect();
    predictions(path, |at| right[at]);
}

#[test]
fn noise_is_not_called_a_difference_and_a_difference_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(format!("{name}.csv"));
    noisy(&file("base"), 0.70, 1);
    noisy(&file("noise"), 0.70, 2);
    noisy(&file("better"), 0.80, 3);
    let requests = ["base", "noise", "better"].map(|name| request(&file(name), name));
    let board = made(&requests, &options()).unwrap();
    let task = &board.tasks[0];
    assert_eq!((task.kind, task.pictures), (Kind::Classify, 600));
    assert_eq!(task.metrics[0].key, "top1");
    let gap = |system: &str, base: &str| {
        let mut gaps = task.differences.iter();
        gaps.find(|gap| gap.system == system && gap.base == base)
            .unwrap()
    };
    let noise = gap("noise", "base");
    let covers_zero = noise.difference.low < 0.0 && noise.difference.high > 0.0;
    assert!(covers_zero && !noise.significant, "{noise:?}");
    let better = gap("better", "base");
    assert!(
        better.difference.low > 0.0 && better.significant,
        "{better:?}"
    );
    // The score is the share of right pictures, and lies in its interval.
    let score = task.systems[0].scores[0];
    assert!(score.low < score.value && score.value < score.high);
    assert_eq!(task.classes.support, [200, 200, 200]);
    let mean: f64 = task.classes.values[0].iter().sum::<f64>() / 3.0;
    assert!((mean - score.value).abs() < 1e-9);
}

#[test]
fn seeds_of_one_system_are_one_row() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    predictions(&file("one.csv"), |at| at % 10 < 6);
    predictions(&file("two.csv"), |at| at % 10 < 8);
    let requests = [
        request(&file("one.csv"), "MAE"),
        request(&file("two.csv"), "MAE"),
    ];
    let board = made(&requests, &options()).unwrap();
    let row = &board.tasks[0].systems[0];
    assert_eq!((board.systems.len(), row.seeds), (1, 2));
    assert!((row.scores[0].value - 70.0).abs() < 1e-9);
    assert!((row.scores[0].seed_deviation.unwrap() - 200.0_f64.sqrt()).abs() < 1e-9);
    let table = table(&board);
    assert!(table.contains("sd 14.1 of 2 seeds"), "{table}");
}

const TRUTH: &str = r#"{"images":[
{"id":1,"width":90,"height":90,"file_name":"1.png"},{"id":2,"width":90,"height":90,"file_name":"2.png"}],
"categories":[{"id":3,"name":"cat"}],"annotations":[
{"id":1,"image_id":1,"category_id":3,"bbox":[10,10,40,40],"area":1600,"iscrowd":0},
{"id":2,"image_id":2,"category_id":3,"bbox":[20,20,40,40],"area":1600,"iscrowd":0}]}"#;

/// Both objects, so many pixels too far to the right.
fn results(off: f64) -> String {
    let found = [(1, 10.0), (2, 20.0)].map(|(image, at)| {
        let bbox = [at + off, at, 40.0, 40.0];
        serde_json::json!({"image_id": image, "category_id": 3, "bbox": bbox, "score": 0.9})
    });
    serde_json::json!(found).to_string()
}

#[test]
fn detections_and_label_maps_are_compared_with_their_ground_truth() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("gt.json"), TRUTH).unwrap();
    std::fs::write(at.join("exact.json"), results(0.0)).unwrap();
    std::fs::write(at.join("off.json"), results(9.0)).unwrap();
    for name in ["gt", "good", "bad"] {
        std::fs::create_dir(at.join(name)).unwrap();
    }
    for picture in ["1.png", "2.png"] {
        label_map(&at.join("gt").join(picture), &[0, 0, 1, 1]);
        label_map(&at.join("good").join(picture), &[0, 0, 1, 1]);
        label_map(&at.join("bad").join(picture), &[0, 1, 1, 1]);
    }
    let requests = [
        request(&at.join("exact.json"), "A"),
        request(&at.join("off.json"), "B"),
        request(&at.join("good"), "A"),
        request(&at.join("bad"), "B"),
    ];
    let needs = made(&requests[..1], &options()).unwrap_err();
    assert!(
        needs.contains("exact.json") && needs.contains("--gt"),
        "{needs}"
    );
    let mut options = options();
    options.truth = GivenTruth {
        files: vec![at.join("gt.json"), at.join("gt")],
        classes: Some(2),
        ..GivenTruth::default()
    };
    options.all_published = true;
    let board = made(&requests, &options).unwrap();
    let value = |task: usize, system: usize, key: &str| {
        let task = &board.tasks[task];
        let at = task.metrics.iter().position(|metric| metric.key == key);
        task.systems[system].scores[at.unwrap()].value
    };
    assert!((value(0, 0, "box_ap") - 100.0).abs() < 1e-9);
    // 31 / 49 of the union: right at the thresholds 0.50, 0.55 and 0.60.
    assert!((value(0, 1, "box_ap") - 30.0).abs() < 1e-9);
    assert!((value(1, 0, "miou") - 100.0).abs() < 1e-9);
    assert!((value(1, 1, "miou") - 100.0 * (0.5 + 2.0 / 3.0) / 2.0).abs() < 1e-9);
    let curves = &board.tasks[0].precision_recall;
    assert_eq!(curves.len(), 2, "boxes of two systems; there are no masks");
    assert!(
        curves[1]
            .at_50
            .iter()
            .all(|precision| (precision - 1.0).abs() < 1e-9)
    );
    assert!(curves[1].at_75.iter().all(|precision| *precision == 0.0));

    // Every form has every row, and says what was published.
    let published = board.tasks[0].published[0].name.clone();
    for text in [
        table(&board),
        markdown(&board),
        csv(&board).unwrap(),
        json(&board).unwrap(),
    ] {
        assert!(
            text.contains(&published) && text.contains("published"),
            "{text}"
        );
    }
    let rows = csv(&board).unwrap();
    let row = rows.lines().find(|line| line.contains(",B,miou,")).unwrap();
    assert!(
        row.ends_with(",measured") && row.contains("58.3333"),
        "{row}"
    );
}

#[test]
fn a_ground_truth_that_changed_or_went_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let evaluation = at.join("run");
    std::fs::create_dir(&evaluation).unwrap();
    let truth = at.join("gt.json");
    std::fs::write(&truth, TRUTH).unwrap();
    std::fs::write(evaluation.join("instances.json"), results(0.0)).unwrap();
    let record = EvaluationRecord {
        kind: Kind::Detect,
        pictures: 2,
        truth: Truth::Annotations {
            file: truth.clone(),
            sha256: file_sha256(&truth).unwrap(),
            masks: false,
        },
        weights: None,
        recipe: "task = \"detect\"\n".into(),
        environment: serde_json::Map::new(),
        examples: Vec::new(),
    };
    record.write(&evaluation).unwrap();
    let requests = [request(&evaluation, "A")];
    assert!(made(&requests, &options()).is_ok());
    std::fs::write(&truth, TRUTH.replace("\"cat\"", "\"dog\"")).unwrap();
    let changed = made(&requests, &options()).unwrap_err();
    assert!(
        changed.contains("gt.json") && changed.contains("evaluate again"),
        "{changed}"
    );
    let moved: PathBuf = at.join("elsewhere.json");
    std::fs::write(&moved, TRUTH).unwrap();
    std::fs::remove_file(&truth).unwrap();
    let gone = made(&requests, &options()).unwrap_err();
    assert!(
        gone.contains("not there any more") && gone.contains("--gt"),
        "{gone}"
    );
    let mut options = options();
    options.truth.files = vec![moved];
    assert!(made(&requests, &options).is_ok());
}

/// Writes a map of one row.
fn label_map(path: &Path, labels: &[u8]) {
    let file = std::fs::File::create(path).unwrap();
    let mut encoder = png::Encoder::new(file, labels.len() as u32, 1);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(labels).unwrap();
}
