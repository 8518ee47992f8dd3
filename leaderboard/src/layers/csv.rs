//! An analysis as CSV files, all digits.

use super::LayerAnalysis;
use crate::error::LeaderboardError;

type Text = Result<String, LeaderboardError>;

/// One line per system, measure and set of layers; differences have a base.
///
/// # Errors
/// None that a user could cause; so with the others.
pub fn layers_csv(analysis: &LayerAnalysis) -> Text {
    let header = [
        "system",
        "base",
        "measure",
        "layers",
        "value",
        "low",
        "high",
        "interval_over",
        "checkpoints",
    ];
    let rows = analysis
        .scores
        .iter()
        .chain(&analysis.differences)
        .map(|score| {
            let end = |at: usize| {
                score
                    .interval
                    .map_or_else(String::new, |ends| ends[at].to_string())
            };
            vec![
                score.system.clone(),
                score.base.clone().unwrap_or_default(),
                score.measure.key().to_owned(),
                score.layers.to_string(),
                score.value.to_string(),
                end(0),
                end(1),
                format!("{:?}", score.over).to_lowercase(),
                score.checkpoints.to_string(),
            ]
        });
    written(&header, rows)
}

/// One line per checkpoint, layer and head.
///
/// # Errors
/// As [`layers_csv`].
pub fn heads_csv(analysis: &LayerAnalysis) -> Text {
    let header = [
        "system",
        "checkpoint",
        "layer",
        "head",
        "distance_px",
        "entropy_nats",
    ];
    let mut rows = Vec::new();
    for (name, checkpoint) in named(analysis) {
        let Some(attention) = &checkpoint.attention else {
            continue;
        };
        for (layer, (distances, entropies)) in
            (1..).zip(attention.distance.iter().zip(&attention.entropy))
        {
            for (head, (distance, entropy)) in (1..).zip(distances.iter().zip(entropies)) {
                rows.push(vec![
                    checkpoint.system.clone(),
                    name.clone(),
                    layer.to_string(),
                    i32::to_string(&head),
                    distance.to_string(),
                    entropy.to_string(),
                ]);
            }
        }
    }
    written(&header, rows.into_iter())
}

/// One line per checkpoint and pair of layers: their attention.
///
/// # Errors
/// As [`layers_csv`].
pub fn layer_pairs_csv(analysis: &LayerAnalysis) -> Text {
    let header = [
        "system",
        "checkpoint",
        "layer",
        "other_layer",
        "divergence_nats",
        "cosine",
    ];
    let mut rows = Vec::new();
    for (name, checkpoint) in named(analysis) {
        let Some(attention) = &checkpoint.attention else {
            continue;
        };
        let layers = attention.layer_divergence.len();
        for (first, second) in (0..layers).flat_map(|a| (0..layers).map(move |b| (a, b))) {
            rows.push(vec![
                checkpoint.system.clone(),
                name.clone(),
                (first + 1).to_string(),
                (second + 1).to_string(),
                attention.layer_divergence[first][second].to_string(),
                attention.layer_cosine[first][second].to_string(),
            ]);
        }
    }
    written(&header, rows.into_iter())
}

/// One line per pair of layers of all checkpoints.
///
/// # Errors
/// As [`layers_csv`].
pub fn cka_csv(analysis: &LayerAnalysis) -> Text {
    let header = [
        "system",
        "checkpoint",
        "layer",
        "other_system",
        "other_checkpoint",
        "other_layer",
        "cka",
    ];
    let names: Vec<String> = named(analysis).map(|(name, _)| name).collect();
    let mut rows = Vec::new();
    for pair in &analysis.cka {
        let system = |place: usize| analysis.checkpoints[place].system.clone();
        for (layer, values) in (1..).zip(&pair.values) {
            for (other, value) in (1..).zip(values) {
                rows.push(vec![
                    system(pair.first),
                    names[pair.first].clone(),
                    i32::to_string(&layer),
                    system(pair.second),
                    names[pair.second].clone(),
                    i32::to_string(&other),
                    value.map_or_else(String::new, |value| value.to_string()),
                ]);
            }
        }
    }
    written(&header, rows.into_iter())
}

/// Checkpoints with the paths that tell them apart.
fn named(analysis: &LayerAnalysis) -> impl Iterator<Item = (String, &super::AnalysedCheckpoint)> {
    analysis.checkpoints.iter().map(|checkpoint| {
        let weights = &checkpoint.weights;
        let path = weights.run.as_ref().unwrap_or(&weights.file);
        (path.display().to_string(), checkpoint)
    })
}

fn written(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Text {
    let failed = |error: String| LeaderboardError::Compare(format!("CSV: {error}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer
        .write_record(header)
        .map_err(|error| failed(error.to_string()))?;
    for row in rows {
        writer
            .write_record(row)
            .map_err(|error| failed(error.to_string()))?;
    }
    let bytes = writer
        .into_inner()
        .map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
}
