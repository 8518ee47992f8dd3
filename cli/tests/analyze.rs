//! `deepmim analyze` as a user runs it: on runs, on foreign files, with several processes, beside a leaderboard.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "shared with other tests")]
mod support;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use support::{draw, fails, root, run, smoke};

const PROBE: &str = "probe={train={source={kind=\"folders\",root=\"train\"}},val={source={kind=\"folders\",root=\"val\"}},transform={size=32},neighbours=5,layers=[1,2,3,4]}";
/// Few passes: what they teach is not what is tested here.
const QUICK: [&str; 4] = [
    "--set",
    "analysis.linear.epochs=2",
    "--set",
    "analysis.threads=1",
];

fn pretrain(at: &Path, recipe: &str, out: &str, seed: &str) {
    let recipe = smoke(recipe);
    let seed = format!("trainer.seed={seed}");
    let more = [
        "pretrain",
        &recipe,
        "--data",
        "data",
        "--out",
        out,
        "--set",
        &seed,
        "--set",
        PROBE,
        "--set",
        "trainer.epochs=2",
        "--set",
        "trainer.evaluate_every_epochs=1",
        "--set",
        "trainer.threads=1",
    ];
    run(at, &more);
}

fn record(folder: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder.join("analysis.json")).unwrap()).unwrap()
}

/// Values of a measure by layer.
fn layers(checkpoint: &Value, measure: &str) -> BTreeMap<u64, f64> {
    let measures = checkpoint["measures"].as_array().unwrap();
    let found = measures.iter().find(|one| one["measure"] == measure);
    let values = found.unwrap_or_else(|| panic!("{measure} was measured"))["values"].as_array();
    let pair = |value: &Value| (value[0].as_u64().unwrap(), value[1].as_f64().unwrap());
    values.unwrap().iter().map(pair).collect()
}

#[test]
fn runs_are_set_beside_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    pretrain(at, "pretrain_mae.toml", "mae0", "0");
    pretrain(at, "pretrain_mae.toml", "mae1", "1");
    pretrain(at, "pretrain_deepmim.toml", "deep0", "0");
    pretrain(at, "pretrain_deepmim.toml", "deep1", "1");
    let asked = ["MAE=mae0", "MAE=mae1", "DeepMIM=deep0", "DeepMIM=deep1"];
    let table = run(at, &[&["analyze"], &asked[..], &QUICK].concat());
    for part in [
        "Linear probe, top-1 %",
        "Divergence of heads",
        "MAE",
        "DeepMIM",
        "shallower half",
    ] {
        assert!(table.contains(part), "{part} in {table}");
    }

    let found = record(&at.join("analysis"));
    assert_eq!(found["pictures"], 20);
    assert_eq!(found["teaching"], 48);
    assert_eq!(found["systems"], serde_json::json!(["MAE", "DeepMIM"]));
    let checkpoints = found["checkpoints"].as_array().unwrap();
    for (checkpoint, name) in checkpoints.iter().zip(["mae0", "mae1", "deep0", "deep1"]) {
        // The training's own probe looked at the same weights, pictures and neighbours at its end.
        let logged = last_logged(&at.join(name));
        let analysed = layers(checkpoint, "knn");
        assert_eq!(logged, analysed, "{name}");
        assert_eq!(layers(checkpoint, "linear").len(), 4);
        for (layer, distance) in layers(checkpoint, "distance") {
            assert!((0.0..32.0 * 1.5).contains(&distance), "{layer}: {distance}");
        }
        for (_, rank) in layers(checkpoint, "rank") {
            assert!((1.0..=20.0).contains(&rank), "of 20 pictures: {rank}");
        }
        assert_eq!(
            checkpoint["attention"]["head_cosine"][0]
                .as_array()
                .unwrap()
                .len(),
            4
        );
    }
    let similar = found["cka"].as_array().unwrap();
    assert_eq!(similar.len(), 10, "four checkpoints have ten pairs");
    for own in similar
        .iter()
        .filter(|pair| pair["first"] == pair["second"])
    {
        for layer in 0..4 {
            let value = own["values"][layer][layer].as_f64().unwrap();
            assert!((value - 1.0).abs() < 1e-9);
        }
    }
    // Two trainings of each: intervals over seeds, and a difference for every measure and set of layers.
    let scores = found["scores"].as_array().unwrap();
    assert!(
        scores
            .iter()
            .all(|score| score["over"] == "seeds" && score["checkpoints"] == 2)
    );
    let differences = found["differences"].as_array().unwrap();
    assert_eq!(2 * differences.len(), scores.len());
    assert!(
        differences
            .iter()
            .all(|gap| gap["system"] == "DeepMIM" && gap["base"] == "MAE")
    );

    let lines = |name: &str| {
        let text = std::fs::read_to_string(at.join("analysis").join(name)).unwrap();
        text.lines().count() - 1
    };
    assert_eq!(lines("layers.csv"), scores.len() + differences.len());
    assert_eq!(lines("heads.csv"), 4 * 4 * 2, "checkpoints, layers, heads");
    assert_eq!(lines("attention_of_layers.csv"), 4 * 16);
    assert_eq!(lines("cka.csv"), 10 * 16);
    let plots = std::fs::read_dir(at.join("analysis/plots"))
        .unwrap()
        .count();
    assert_eq!(
        plots,
        3 + 4 + 4 + 2 + 3 + 2,
        "read off, in training, attention, heads, CKA, cosine"
    );
    let page = std::fs::read_to_string(at.join("analysis/report.html")).unwrap();
    assert!(page.contains("During pre-training") && page.contains("CKA of MAE and DeepMIM"));
    assert!(!page.contains("<script") && !page.contains("NaN"));

    // Several processes find the same.
    let out = ["--out", "shared"];
    run(
        at,
        &[&["launch", "-n", "2", "analyze"], &asked[..], &QUICK, &out].concat(),
    );
    let shared = record(&at.join("shared"));
    for part in ["checkpoints", "scores", "differences", "cka"] {
        assert_eq!(shared[part], found[part], "{part}");
    }

    // Nothing is taken for what nobody said, and nobody's folder is cleared.
    let message = fails(at, 1, &["analyze", "mae0", "mae0"]);
    assert!(message.contains("write NAME=mae0"), "{message}");
    let message = fails(at, 1, &["analyze", "mae0", "--out", "mae1"]);
    assert!(message.contains("a run's folder"), "{message}");
    std::fs::create_dir_all(at.join("mine/plots")).unwrap();
    let message = fails(at, 1, &["analyze", "mae0", "--out", "mine"]);
    assert!(message.contains("not of an analysis"), "{message}");

    // Beside a leaderboard the analysis is a section of the page.
    let finetune = smoke("finetune.toml");
    run(
        at,
        &[
            "finetune", &finetune, "--data", "data", "--init", "mae0", "--out", "tuned",
        ],
    );
    let page = run(at, &["compare", "tuned", "analysis", "--format", "html"]);
    assert!(page.contains("id=\"leaderboard\"") && page.contains("id=\"layers-1\""));
    let table = run(at, &["compare", "analysis"]);
    assert!(
        table.contains("Effective rank") && !table.contains("top1"),
        "{table}"
    );
    // A fine-tuned classifier has layers, too; one checkpoint alone has intervals over pictures.
    run(
        at,
        &[&["analyze", "tuned", "--out", "tuned-analysis"], &QUICK[..]].concat(),
    );
    let tuned = record(&at.join("tuned-analysis"));
    let of_pictures = |score: &&Value| score["over"] == "pictures";
    assert!(
        tuned["scores"]
            .as_array()
            .unwrap()
            .iter()
            .filter(of_pictures)
            .count()
            > 20
    );
}

/// What a run's log says last of neighbours, by layer.
fn last_logged(run: &Path) -> BTreeMap<u64, f64> {
    let mut last = BTreeMap::new();
    for row in csv::Reader::from_path(run.join("metrics.csv"))
        .unwrap()
        .records()
    {
        let row = row.unwrap();
        if let Some(layer) = row[2].strip_prefix("eval/knn_layer") {
            last.insert(layer.parse().unwrap(), row[3].parse().unwrap());
        }
    }
    last
}

/// Files of four projects in one analysis: other depths, widths and picture sizes, CLIP's colours and norms.
#[test]
fn trunks_of_other_projects_are_looked_into() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let mut recipe = String::from(
        "task = \"analyze\"\n[data]\nroot = \"data\"\nbatch_size = 7\npictures = 15\ntrain = { source = { kind = \"folders\", root = \"train\" } }\nval = { source = { kind = \"folders\", root = \"val\" } }\ntransform = { size = 12 }\n",
    );
    let golden = root().join("parity/golden/checkpoints");
    for (name, file, dialect) in [
        ("CLIP", "clip_visual_half.pt", "clip"),
        ("DINO", "dino_full.pth", "dino"),
        ("supervised", "timm_bare.pth", "timm"),
        ("MAE", "mae_pretrain.pth", "mae"),
    ] {
        let path = golden.join(file);
        recipe += &format!(
            "[[checkpoints]]\nname = \"{name}\"\nweights = \"{}\"\ndialect = \"{dialect}\"\nheads = 2\n",
            path.display()
        );
    }
    std::fs::write(at.join("trunks.toml"), recipe).unwrap();
    let base = ["analyze", "--config", "trunks.toml"];
    run(at, &[&base[..], &QUICK].concat());
    let found = record(&at.join("analysis"));
    assert_eq!(
        found["systems"],
        serde_json::json!(["CLIP", "DINO", "supervised", "MAE"])
    );
    assert_eq!(found["pictures"], 15, "of 20");
    for checkpoint in found["checkpoints"].as_array().unwrap() {
        let depth = checkpoint["layers"].as_u64().unwrap();
        assert_eq!(layers(checkpoint, "linear").len() as u64, depth);
        assert!(
            layers(checkpoint, "entropy")
                .values()
                .all(|nats| *nats <= 9f64.ln() + 1e-6)
        );
    }
    assert!(
        found["differences"]
            .as_array()
            .unwrap()
            .iter()
            .any(|gap| gap["over"] == "pictures")
    );

    // Without training pictures nothing is probed, and the rest is as before.
    let mut text = std::fs::read_to_string(at.join("trunks.toml")).unwrap();
    let train = text
        .lines()
        .find(|line| line.starts_with("train"))
        .unwrap()
        .to_owned();
    text = text.replace(&train, "");
    std::fs::write(at.join("bare.toml"), text).unwrap();
    run(
        at,
        &[
            "analyze",
            "--config",
            "bare.toml",
            "--out",
            "bare",
            "--set",
            "analysis.threads=1",
        ],
    );
    let bare = record(&at.join("bare"));
    assert_eq!(bare["teaching"], 0);
    let [with, without] =
        [&found, &bare].map(|record| layers(&record["checkpoints"][0], "distance"));
    assert_eq!(with, without);

    for (arguments, wanted) in [
        (vec!["analyze", "x.pth"], "give --config"),
        (
            vec!["analyze", "--config", "trunks.toml", "none.pth"],
            "none.pth is not there",
        ),
        (
            vec![
                "analyze",
                "--config",
                "trunks.toml",
                "--set",
                "analysis.neighbours=0",
            ],
            "analysis.neighbours = 0",
        ),
        (
            vec![
                "analyze",
                "--config",
                "trunks.toml",
                "--set",
                "analysis.linear.rates=[]",
            ],
            "analysis.linear.rates",
        ),
        (
            vec![
                "analyze",
                "--config",
                "trunks.toml",
                "--set",
                "checkpoints=[]",
            ],
            "no checkpoint is given",
        ),
        (vec!["compare", "layers=analysis"], "leave layers= out"),
    ] {
        let message = fails(at, 1, &arguments);
        assert!(message.contains(wanted), "{arguments:?}: {message}");
    }
    // A file does not tell its heads, where its width is nobody's.
    let mae = golden.join("mae_pretrain.pth").display().to_string();
    let asked = [
        "analyze",
        "--config",
        "trunks.toml",
        &mae,
        "--dialect",
        "mae",
    ];
    let message = fails(at, 1, &asked);
    assert!(
        message.contains("width 8") && message.contains("heads"),
        "{message}"
    );
    // Nor is a dialect guessed, but named.
    for (file, dialect) in [("clip_visual_half.pt", "clip"), ("dino_full.pth", "dino")] {
        let path = golden.join(file).display().to_string();
        let message = fails(at, 1, &["analyze", "--config", "trunks.toml", &path]);
        assert!(
            message.contains(&format!("--dialect {dialect}")),
            "{message}"
        );
    }
}
