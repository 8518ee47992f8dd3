//! What the layers of checkpoints have learnt: the record of an analysis, and its tables.
//!
//! Several checkpoints under one name are trainings with several seeds; a name is a system, as on the leaderboard.
//! Numbers that are not defined are left out.

mod csv;
mod grid;
mod measure;
mod statistics;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::board::Curve;
use crate::error::LeaderboardError;
use crate::record::{Weights, read_json};
use crate::run_facts::probe_curves;

pub use self::csv::{cka_csv, heads_csv, layer_pairs_csv, layers_csv};
pub(crate) use grid::{differences, explanation, scores};
pub use measure::{LayerMeasure, LayerSet};
pub use statistics::{Measured, Values};

/// Name of an analysis's record, in its folder.
pub const ANALYSIS_FILE: &str = "analysis.json";

/// `analysis.json`: everything that an analysis found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerAnalysis {
    /// The pictures in a few words.
    pub data: String,
    /// Pictures that were looked at.
    pub pictures: usize,
    /// Training pictures, which voted and taught probes where anything was probed.
    pub teaching: usize,
    /// The resolved recipe, TOML.
    pub recipe: String,
    /// Program, device, threads and seed.
    pub environment: serde_json::Map<String, serde_json::Value>,
    /// Names, in the order in which they were given; the first is what the others are compared with.
    pub systems: Vec<String>,
    /// All checkpoints.
    pub checkpoints: Vec<AnalysedCheckpoint>,
    /// Every measure of every system on every set of layers.
    pub scores: Vec<LayerScore>,
    /// The other systems against the first one.
    pub differences: Vec<LayerScore>,
    /// Similarity of the layers of each pair of checkpoints, the first not after the second.
    pub cka: Vec<Similarity>,
}

/// One checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnalysedCheckpoint {
    /// The name that it goes by.
    pub system: String,
    /// The file.
    pub weights: Weights,
    /// Blocks, heads and channels of the trunk.
    pub layers: usize,
    /// Heads of a block.
    pub heads: usize,
    /// Channels of a token.
    pub width: usize,
    /// What was measured, means over pictures.
    pub measures: Vec<MeasuredLayers>,
    /// Where its heads look, unless left out.
    pub attention: Option<HeadMeasures>,
    /// Learning rate of each layer's linear probe, which held-out pictures chose; empty without probes.
    pub probe_rates: Vec<f64>,
    /// What its training logged of nearest neighbours: top-1 in per cent over epochs, by layer.
    pub training: Vec<TrainingCurve>,
}

/// A measure layer by layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredLayers {
    /// What is measured.
    pub measure: LayerMeasure,
    /// Layer, from 1, and value.
    pub values: Vec<(usize, f64)>,
}

/// A logged value of one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingCurve {
    /// The layer, from 1.
    pub layer: usize,
    /// Epoch and value.
    pub points: Vec<[f64; 2]>,
}

/// Attention head by head and layer by layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeadMeasures {
    /// Mean distance in pixels, `[layers][heads]`.
    pub distance: Vec<Vec<f64>>,
    /// Entropy in nats, `[layers][heads]`.
    pub entropy: Vec<Vec<f64>>,
    /// Divergence of a head from another in nats, `[layers][heads * heads]`.
    pub head_divergence: Vec<Vec<f64>>,
    /// Cosine of heads, likewise.
    pub head_cosine: Vec<Vec<f64>>,
    /// Divergence of a layer's mean map from another's in nats, `[layers][layers]`.
    pub layer_divergence: Vec<Vec<f64>>,
    /// Cosine of layers, likewise.
    pub layer_cosine: Vec<Vec<f64>>,
}

/// A measure on a set of layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerScore {
    /// What is measured.
    pub measure: LayerMeasure,
    /// Over which layers it is averaged.
    pub layers: LayerSet,
    /// The system.
    pub system: String,
    /// What it is compared with, where the value is a difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Mean over the system's checkpoints.
    pub value: f64,
    /// Its interval, where there is one.
    pub interval: Option<[f64; 2]>,
    /// What the interval is over.
    pub over: Over,
    /// Checkpoints that went in.
    pub checkpoints: usize,
}

/// What makes an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// The choice of pictures.
    Pictures,
    /// Trainings with several seeds.
    Seeds,
    /// Nothing: one number of one checkpoint.
    Nothing,
}

/// How alike the layers of two checkpoints are (CKA), or of one with itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Similarity {
    /// Place of the first in [`LayerAnalysis::checkpoints`].
    pub first: usize,
    /// Place of the second.
    pub second: usize,
    /// `[layers of the first][layers of the second]`; none where a layer never varies.
    pub values: Vec<Vec<Option<f64>>>,
}

/// What an analysis found of one checkpoint, with what each picture said.
#[derive(Debug)]
pub struct CheckpointFindings {
    /// What is kept; its measures are filled in.
    pub checkpoint: AnalysedCheckpoint,
    /// What was measured.
    pub measured: Vec<Measured>,
}

/// What an analysis was made with.
#[derive(Debug, Clone, Default)]
pub struct Setting {
    /// The pictures in a few words.
    pub data: String,
    /// Pictures that were looked at.
    pub pictures: usize,
    /// Pictures that taught.
    pub teaching: usize,
    /// The resolved recipe, TOML.
    pub recipe: String,
    /// Program, device, threads and seed.
    pub environment: serde_json::Map<String, serde_json::Value>,
}

impl LayerAnalysis {
    /// Puts the findings together: systems, their scores, and the differences from the first one.
    pub fn new(
        setting: Setting,
        mut findings: Vec<CheckpointFindings>,
        cka: Vec<Similarity>,
    ) -> Self {
        let mut systems: Vec<String> = Vec::new();
        let logged = Logged::by_all(&findings);
        for found in &mut findings {
            found.add_training(&logged);
            found.checkpoint.measures = found.measured.iter().map(Measured::by_layer).collect();
            if !systems.contains(&found.checkpoint.system) {
                systems.push(found.checkpoint.system.clone());
            }
        }
        let (scores, differences) = statistics::scores(&systems, &findings);
        Self {
            data: setting.data,
            pictures: setting.pictures,
            teaching: setting.teaching,
            recipe: setting.recipe,
            environment: setting.environment,
            systems,
            checkpoints: findings.into_iter().map(|found| found.checkpoint).collect(),
            scores,
            differences,
            cka,
        }
    }

    /// Writes the record.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), LeaderboardError> {
        let path = folder.join(ANALYSIS_FILE);
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| LeaderboardError::file(&path, error.to_string()))?;
        std::fs::write(&path, text + "\n").map_err(|error| {
            LeaderboardError::file(&path, format!("it cannot be written ({error})"))
        })
    }

    /// Reads the record in a folder; none where there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Self>, LeaderboardError> {
        let path = folder.join(ANALYSIS_FILE);
        match path.is_file() {
            true => read_json(&path).map(Some),
            false => Ok(None),
        }
    }

    /// Checkpoints of a system.
    pub fn checkpoints_of(
        &self,
        system: &str,
    ) -> impl Iterator<Item = (usize, &AnalysedCheckpoint)> {
        (self.checkpoints.iter().enumerate()).filter(move |(_, one)| one.system == system)
    }

    /// The similarity of the layers of two systems, averaged over their checkpoints. Of a system with itself each
    /// checkpoint is compared with itself.
    pub fn similarity(&self, first: &str, second: &str) -> Option<Vec<Vec<f64>>> {
        let of = |place: usize| self.checkpoints[place].system.as_str();
        let mut all = Vec::new();
        for pair in &self.cka {
            let (a, b) = (of(pair.first), of(pair.second));
            if first == second && (a != first || pair.first != pair.second) {
                continue;
            }
            if (a, b) == (first, second) {
                all.push(pair.values.clone());
            } else if (b, a) == (first, second) {
                all.push(transposed(&pair.values));
            }
        }
        mean_matrix(&all)
    }
}

impl AnalysedCheckpoint {
    /// What the log of the run in `folder` says of nearest neighbours.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn read_training(folder: &Path) -> Result<Vec<TrainingCurve>, LeaderboardError> {
        let curves = probe_curves(&folder.join("metrics.csv"))?;
        let curve = |(layer, Curve { points, .. })| TrainingCurve { layer, points };
        Ok(curves.into_iter().map(curve).collect())
    }
}

impl CheckpointFindings {
    /// The mean over epochs of what a training logged, of layers and epochs that all trainings logged: others would
    /// not be compared like with like.
    fn add_training(&mut self, logged: &Logged) {
        let values: Vec<(usize, f64)> = (self.checkpoint.training.iter())
            .filter(|curve| logged.layers.contains(&curve.layer))
            .filter_map(|curve| {
                let common = curve.points.iter().filter(|point| logged.holds(point[0]));
                let values: Vec<f64> = common.map(|point| point[1]).collect();
                let count = values.len();
                (count > 0).then(|| (curve.layer, values.iter().sum::<f64>() / count as f64))
            })
            .collect();
        if !values.is_empty() {
            self.measured.push(Measured {
                measure: LayerMeasure::KnnInTraining,
                values: Values::OfLayers(values),
            });
        }
    }
}

/// What all trainings that logged nearest neighbours logged.
struct Logged {
    layers: Vec<usize>,
    epochs: Vec<f64>,
}

impl Logged {
    fn by_all(findings: &[CheckpointFindings]) -> Self {
        let trainings: Vec<&Vec<TrainingCurve>> = (findings.iter())
            .map(|found| &found.checkpoint.training)
            .filter(|training| !training.is_empty())
            .collect();
        let of = |training: &[TrainingCurve]| training.iter().map(|curve| curve.layer).collect();
        let mut layers: Vec<usize> = trainings.first().map_or_else(Vec::new, |first| of(first));
        layers.retain(|layer| {
            let logged =
                |training: &&Vec<TrainingCurve>| training.iter().any(|curve| curve.layer == *layer);
            trainings.iter().all(logged)
        });
        let curves = || {
            let all = trainings.iter().flat_map(|training| training.iter());
            all.filter(|curve| layers.contains(&curve.layer))
        };
        let first = curves().next();
        let mut epochs: Vec<f64> = first.map_or_else(Vec::new, |first| {
            first.points.iter().map(|point| point[0]).collect()
        });
        epochs.retain(|epoch| {
            curves().all(|curve| curve.points.iter().any(|point| point[0] == *epoch))
        });
        Self { layers, epochs }
    }

    fn holds(&self, epoch: f64) -> bool {
        self.epochs.contains(&epoch)
    }
}

fn transposed(matrix: &[Vec<Option<f64>>]) -> Vec<Vec<Option<f64>>> {
    let columns = matrix.first().map_or(0, Vec::len);
    (0..columns)
        .map(|column| matrix.iter().map(|row| row[column]).collect())
        .collect()
}

/// The mean of matrices of one shape; NaN where one is not defined. None of none, or of several shapes.
fn mean_matrix(all: &[Vec<Vec<Option<f64>>>]) -> Option<Vec<Vec<f64>>> {
    let first = all.first()?;
    let shape = |matrix: &Vec<Vec<Option<f64>>>| matrix.iter().map(Vec::len).collect::<Vec<_>>();
    if all.iter().any(|matrix| shape(matrix) != shape(first)) {
        return None;
    }
    let mean = |row: usize, column: usize| {
        let sum: f64 = all
            .iter()
            .map(|matrix| matrix[row][column].unwrap_or(f64::NAN))
            .sum();
        sum / all.len() as f64
    };
    Some(
        (0..first.len())
            .map(|row| {
                (0..first[row].len())
                    .map(|column| mean(row, column))
                    .collect()
            })
            .collect(),
    )
}
