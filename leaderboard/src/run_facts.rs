//! What a run's folder tells about the run: recipe, environment, cost, learning curves, reconstructions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::board::{Curve, RunFacts};
use crate::error::LeaderboardError;
use crate::record::{Start, read_json};

/// Points of a curve at most; longer ones are thinned out.
const POINTS: usize = 400;
/// Logged values that are drawn.
const DRAWN: [&str; 5] = [
    "train/loss",
    "eval/top1",
    "eval/bbox/AP",
    "eval/segm/AP",
    "eval/mIoU",
];
/// What the logged votes of nearest neighbours are called, before the number of the layer.
const LAYER_VOTES: &str = "eval/knn_layer";
/// What the task of a pre-training run is called.
pub(crate) const PRETRAINING: &str = "pre-training";

impl RunFacts {
    /// Reads a run's folder; files that a run of an earlier version lacks leave gaps.
    pub(crate) fn read(path: &Path, system: &str, task: &str) -> Result<Self, LeaderboardError> {
        let recipe = std::fs::read_to_string(path.join("config.toml"))
            .map_err(LeaderboardError::read(&path.join("config.toml")))?;
        let object = |name: &str| -> Result<Map<String, Value>, LeaderboardError> {
            let file = path.join(name);
            match file.is_file() {
                true => read_json(&file),
                false => Ok(Map::new()),
            }
        };
        let environment = object("environment.json")?;
        let summary = object("summary.json")?;
        let start = Start::read(path)?;
        let mut facts = Vec::new();
        for key in [
            "outcome",
            "steps",
            "epochs",
            "parameters",
            "seconds",
            "weights_sha256",
        ] {
            if let Some(value) = summary.get(key) {
                facts.push((key.replace('_', " "), shown(value)));
            }
        }
        for (key, value) in &environment {
            if !value.is_null() {
                facts.push((key.replace('_', " "), shown(value)));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            system: system.to_owned(),
            task: task.to_owned(),
            seed: environment.get("seed").and_then(Value::as_u64),
            start: start.map_or_else(String::new, |start| start.describe()),
            facts,
            recipe,
            curves: curves(&path.join("metrics.csv"))?,
            reconstructions: newest_snapshot(path),
        })
    }
}

impl Start {
    /// In a few words.
    fn describe(&self) -> String {
        match &self.weights {
            None => "random weights".to_owned(),
            Some(weights) => {
                let of = weights.run.as_ref().unwrap_or(&weights.file);
                let digits = weights.sha256.len().min(12);
                format!(
                    "{} ({}, SHA-256 {}…)",
                    of.display(),
                    weights.dialect,
                    &weights.sha256[..digits]
                )
            }
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(value) if value.fract() != 0.0 => format!("{value:.1}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// The drawn values of a metrics file, each over epochs, in their order; then the votes of neighbours by layer.
fn curves(path: &Path) -> Result<Vec<Curve>, LeaderboardError> {
    let mut curves = curves_where(path, |name| {
        DRAWN.contains(&name) || layer_of(name).is_some()
    })?;
    let place = |name: &str| DRAWN.iter().position(|drawn| *drawn == name);
    curves.sort_by_key(|curve| {
        (
            place(&curve.name).unwrap_or(DRAWN.len()),
            layer_of(&curve.name),
        )
    });
    Ok(curves)
}

/// The wanted values of a metrics file, each over epochs.
fn curves_where(
    path: &Path,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Curve>, LeaderboardError> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let damaged = |error: csv::Error| LeaderboardError::file(path, error.to_string());
    let mut reader = csv::Reader::from_path(path).map_err(damaged)?;
    let mut points: BTreeMap<String, Vec<[f64; 2]>> = BTreeMap::new();
    for row in reader.deserialize::<(u64, f64, String, f64)>() {
        let (_, epoch, name, value) = row.map_err(damaged)?;
        if wanted(&name) {
            points.entry(name).or_default().push([epoch, value]);
        }
    }
    let curve = |(name, points): (String, Vec<[f64; 2]>)| {
        let every = points.len().div_ceil(POINTS).max(1);
        let last = points.len() - 1;
        Curve {
            name,
            points: points
                .into_iter()
                .enumerate()
                .filter(|(at, _)| at % every == 0 || *at == last)
                .map(|(_, point)| point)
                .collect(),
        }
    };
    Ok(points.into_iter().map(curve).collect())
}

/// The logged votes of nearest neighbours, by layer.
pub(crate) fn probe_curves(path: &Path) -> Result<BTreeMap<usize, Curve>, LeaderboardError> {
    let mut curves = BTreeMap::new();
    for curve in curves_where(path, |name| layer_of(name).is_some())? {
        curves.extend(layer_of(&curve.name).map(|layer| (layer, curve)));
    }
    Ok(curves)
}

/// The layer whose neighbours' votes a logged value is.
fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix(LAYER_VOTES)?.parse().ok()
}

/// Pictures of the newest snapshot, sorted; none where there is none.
fn newest_snapshot(run: &Path) -> Vec<PathBuf> {
    let listed = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    let Some(newest) = listed(&run.join("snapshots")).pop() else {
        return Vec::new();
    };
    let mut pictures = listed(&newest);
    pictures.retain(|path| path.extension().is_some_and(|e| e == "png" || e == "jpg"));
    pictures
}
