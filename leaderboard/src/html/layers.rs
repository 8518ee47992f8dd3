//! The section of an analysis of layers, and its plots as files.

use super::HtmlError;
use super::legend::{Key, Legend};
use super::plots::{self, HeatPlot, Line, LinePlot, Pen};
use super::summary::Plot;
use crate::grid::Grid;
use crate::layers::{
    self, AnalysedCheckpoint, HeadMeasures, LayerAnalysis, LayerMeasure, LayerScore, LayerSet,
};

/// Everything about one analysis.
pub struct Section {
    /// Where links lead.
    pub anchor: String,
    /// What the numbers mean.
    pub explanation: String,
    /// Scores, then differences.
    pub tables: Vec<Table>,
    /// Plots by subject.
    pub groups: Vec<Group>,
    /// The checkpoints.
    pub checkpoints: Vec<Checkpoint>,
    /// How it was made, TOML.
    pub recipe: String,
}

/// A table of text.
pub struct Table {
    /// Its caption.
    pub caption: &'static str,
    /// Where its caption is.
    pub anchor: String,
    /// Heads of columns, and whether they hold numbers.
    pub header: Vec<(String, bool)>,
    /// Rows of cells, and whether they hold numbers.
    pub rows: Vec<Vec<(String, bool)>>,
}

/// Plots of one subject.
pub struct Group {
    /// The subject.
    pub title: &'static str,
    /// What is drawn.
    pub hint: &'static str,
    /// The systems in it; empty where plots name theirs.
    pub keys: Vec<Key>,
    /// The plots.
    pub plots: Vec<Plot>,
}

/// A checkpoint in a few words.
pub struct Checkpoint {
    /// Its system.
    pub system: String,
    /// Its file or run.
    pub path: String,
    /// Its trunk.
    pub trunk: String,
    /// Of its file.
    pub sha256: String,
}

/// How far apart systems stand on a layer's place of an axis, in layers.
const BESIDE: f64 = 0.14;
/// What is read off the layers.
const READ_OFF: [LayerMeasure; 3] = [LayerMeasure::Linear, LayerMeasure::Knn, LayerMeasure::Rank];
/// What their heads do.
const ATTENTION: [LayerMeasure; 4] = [
    LayerMeasure::Distance,
    LayerMeasure::Entropy,
    LayerMeasure::HeadDivergence,
    LayerMeasure::HeadCosine,
];

impl Section {
    /// Of the analysis in this place.
    pub fn new(place: usize, analysis: &LayerAnalysis, legend: &Legend) -> Result<Self, HtmlError> {
        let anchor = format!("layers-{}", place + 1);
        let table = |caption, grid: Grid, number: usize| Table {
            caption,
            anchor: format!("{anchor}-table-{number}"),
            header: marked(grid.header, grid.words),
            rows: grid
                .rows
                .into_iter()
                .map(|row| marked(row, grid.words))
                .collect(),
        };
        let mut tables = vec![table("Means over layers", layers::scores(analysis), 1)];
        if analysis.systems.len() > 1 {
            tables.push(table("Differences", layers::differences(analysis), 2));
        }
        let path = |checkpoint: &AnalysedCheckpoint| {
            let weights = &checkpoint.weights;
            let path = weights.run.as_ref().unwrap_or(&weights.file);
            path.display().to_string()
        };
        Ok(Self {
            explanation: layers::explanation(analysis),
            tables,
            groups: groups(analysis, legend)?,
            checkpoints: (analysis.checkpoints.iter())
                .map(|checkpoint| Checkpoint {
                    system: checkpoint.system.clone(),
                    path: path(checkpoint),
                    trunk: format!(
                        "{} blocks of {} heads, width {}",
                        checkpoint.layers, checkpoint.heads, checkpoint.width
                    ),
                    sha256: checkpoint.weights.sha256.clone(),
                })
                .collect(),
            recipe: analysis.recipe.clone(),
            anchor,
        })
    }
}

/// The plots of an analysis as SVG documents, with names for their files.
///
/// # Errors
/// A plot could not be drawn.
pub fn layer_plots(analysis: &LayerAnalysis) -> Result<Vec<(String, String)>, HtmlError> {
    let legend = Legend::of(analysis.systems.iter())?;
    let mut files: Vec<(String, String)> = Vec::new();
    for group in groups(analysis, &legend)? {
        for plot in group.plots {
            let name: String = plot
                .title
                .chars()
                .map(|letter| match letter.is_alphanumeric() {
                    true => letter.to_ascii_lowercase(),
                    false => ' ',
                })
                .collect();
            let name = name.split_whitespace().collect::<Vec<_>>().join("_");
            let document = plots::document(&plot.title, &group.keys, &plot.svg);
            let taken = |name: &str| files.iter().any(|(other, _)| other == name);
            let mut file = format!("{name}.svg");
            // Names of systems may differ in what no file name keeps.
            for number in 2.. {
                if !taken(&file) {
                    break;
                }
                file = format!("{name}_{number}.svg");
            }
            files.push((file, document));
        }
    }
    Ok(files)
}

fn marked(row: Vec<String>, words: usize) -> Vec<(String, bool)> {
    row.into_iter()
        .enumerate()
        .map(|(column, text)| (text, column >= words))
        .collect()
}

fn groups(analysis: &LayerAnalysis, legend: &Legend) -> Result<Vec<Group>, HtmlError> {
    let keys = legend.keys(analysis.systems.iter().map(|name| legend.series(name)));
    let lines = |measures: &[LayerMeasure]| -> Result<Vec<Plot>, HtmlError> {
        let plots = measures
            .iter()
            .map(|measure| over_layers(analysis, *measure, legend));
        Ok(plots
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect())
    };
    let all = [
        Group {
            title: "What is read off each layer",
            hint: "Bars are 95 % intervals. The last layer comes after the trunk's final norm, where it has one.",
            keys: keys.clone(),
            plots: lines(&READ_OFF)?,
        },
        Group {
            title: "During pre-training",
            hint: "Votes of nearest neighbours as the trainings logged them, one curve for each.",
            keys: keys.clone(),
            plots: training(analysis, legend)?,
        },
        Group {
            title: "Attention",
            hint: "Means over heads, or over pairs of different heads. Where heads are shown one by one, each is a mark.",
            keys,
            plots: lines(&ATTENTION)?
                .into_iter()
                .chain(heads(analysis, legend)?)
                .collect(),
        },
        Group {
            title: "Layers beside layers",
            hint: "Similarity of features (CKA) and of attention (cosine), means over a system's checkpoints.",
            keys: Vec::new(),
            plots: matrices(analysis)?,
        },
    ];
    Ok(all
        .into_iter()
        .filter(|group| !group.plots.is_empty())
        .collect())
}

fn over_layers(
    analysis: &LayerAnalysis,
    measure: LayerMeasure,
    legend: &Legend,
) -> Result<Option<Plot>, HtmlError> {
    let of = |system: &str| -> Vec<&LayerScore> {
        let mut scores: Vec<&LayerScore> = (analysis.scores.iter())
            .filter(|score| score.measure == measure && score.system == system)
            .filter(|score| matches!(score.layers, LayerSet::One(_)))
            .collect();
        scores.sort_by_key(|score| score.layers);
        scores
    };
    // Side by side, so that one system's interval does not hide another's.
    let middle = (analysis.systems.len() as f64 - 1.0) / 2.0;
    let layer = |place: usize, score: &LayerScore| match score.layers {
        LayerSet::One(layer) => layer as f64 + BESIDE * (place as f64 - middle),
        _ => f64::NAN,
    };
    let lines: Vec<Line> = (analysis.systems.iter().enumerate())
        .map(|(place, system)| (place, system, of(system)))
        .filter(|(_, _, scores)| !scores.is_empty())
        .map(|(place, system, scores)| Line {
            series: legend.series(system),
            pen: Pen::Solid,
            points: scores
                .iter()
                .map(|score| [layer(place, score), score.value])
                .collect(),
            intervals: scores
                .iter()
                .filter_map(|score| {
                    let [low, high] = score.interval?;
                    Some([layer(place, score), low, high])
                })
                .collect(),
        })
        .collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let title = measure.title().to_owned();
    let svg = plots::lines(&LinePlot {
        label: &format!("{title} over layers."),
        x_title: "layer",
        y_title: measure.unit(),
        x: None,
        y: None,
        lines: &lines,
    })?;
    Ok(Some(Plot { title, svg }))
}

fn training(analysis: &LayerAnalysis, legend: &Legend) -> Result<Vec<Plot>, HtmlError> {
    let mut layers: Vec<usize> = (analysis.checkpoints.iter())
        .flat_map(|checkpoint| &checkpoint.training)
        .map(|curve| curve.layer)
        .collect();
    layers.sort_unstable();
    layers.dedup();
    let plot = |layer: usize| {
        let of = |checkpoint: &AnalysedCheckpoint| {
            let mut curves = checkpoint.training.iter();
            let curve = curves.find(|curve| curve.layer == layer)?;
            Some(Line {
                series: legend.series(&checkpoint.system),
                pen: Pen::Solid,
                points: curve.points.clone(),
                intervals: Vec::new(),
            })
        };
        let lines: Vec<Line> = analysis.checkpoints.iter().filter_map(of).collect();
        let title = format!("k-NN of layer {layer} during pre-training");
        let svg = plots::lines(&LinePlot {
            label: &format!("{title}: top-1 over epochs."),
            x_title: "epoch",
            y_title: "top-1 %",
            x: None,
            y: None,
            lines: &lines,
        })?;
        Ok(Plot { title, svg })
    };
    layers.into_iter().map(plot).collect()
}

/// Distance head by head, a plot for each system's first checkpoint: heads of others are others.
fn heads(analysis: &LayerAnalysis, legend: &Legend) -> Result<Vec<Plot>, HtmlError> {
    let largest = (analysis.checkpoints.iter())
        .filter_map(|checkpoint| checkpoint.attention.as_ref())
        .flat_map(|attention| attention.distance.iter().flatten())
        .fold(0.0, |most: f64, distance| most.max(*distance));
    let plot = |system: &String, attention: &HeadMeasures| {
        let heads = attention.distance.first().map_or(0, Vec::len);
        let lines: Vec<Line> = (0..heads)
            .map(|head| Line {
                series: legend.series(system),
                pen: Pen::Marks,
                points: (1..)
                    .zip(&attention.distance)
                    .map(|(layer, heads)| [f64::from(layer), heads[head]])
                    .collect(),
                intervals: Vec::new(),
            })
            .collect();
        let title = format!("Attention distance of the heads of {system}");
        let svg = plots::lines(&LinePlot {
            label: &format!("{title}, in pixels over layers."),
            x_title: "layer",
            y_title: "pixels",
            x: None,
            y: Some(0.0..1.05 * largest.max(1.0)),
            lines: &lines,
        })?;
        Ok(Plot { title, svg })
    };
    analysis
        .systems
        .iter()
        .filter_map(|system| {
            let (_, first) = analysis.checkpoints_of(system).next()?;
            Some(plot(system, first.attention.as_ref()?))
        })
        .collect()
}

fn matrices(analysis: &LayerAnalysis) -> Result<Vec<Plot>, HtmlError> {
    let mut drawn = Vec::new();
    let mut draw = |title: String, [x, y]: [&str; 2], low: f64, values: &[Vec<f64>]| {
        let layers = |system: &str| format!("layer of {system}");
        let svg = plots::heat(&HeatPlot {
            label: &format!("{title}, layer by layer, colours from {low} to 1."),
            x_title: &layers(x),
            y_title: &layers(y),
            low,
            values,
        })?;
        drawn.push(Plot { title, svg });
        Ok::<_, HtmlError>(())
    };
    let mut similar = Vec::new();
    for (place, system) in analysis.systems.iter().enumerate() {
        for other in &analysis.systems[place..] {
            if let Some(values) = analysis.similarity(system, other) {
                let title = match system == other {
                    true => format!("CKA within {system}"),
                    false => format!("CKA of {system} and {other}"),
                };
                similar.push((title, [other, system], values));
            }
        }
    }
    // One scale for all, from the tenth below the least.
    let least = (similar
        .iter()
        .flat_map(|(_, _, values)| values.iter().flatten()))
    .fold(1.0, |least: f64, value| least.min(*value));
    let low = ((10.0 * least).floor() / 10.0).clamp(0.0, 0.9);
    for (title, [x, y], values) in &similar {
        draw(title.clone(), [x, y], low, values)?;
    }
    for system in &analysis.systems {
        let all: Vec<&HeadMeasures> = analysis
            .checkpoints_of(system)
            .filter_map(|(_, checkpoint)| checkpoint.attention.as_ref())
            .collect();
        let Some(first) = all.first() else {
            continue;
        };
        let count = all.len() as f64;
        let layers = first.layer_cosine.len();
        if all.iter().any(|one| one.layer_cosine.len() != layers) {
            continue;
        }
        let mean = |row: usize, column: usize| {
            let sum: f64 = all.iter().map(|one| one.layer_cosine[row][column]).sum();
            sum / count
        };
        let values: Vec<Vec<f64>> = (0..layers)
            .map(|row| (0..layers).map(|column| mean(row, column)).collect())
            .collect();
        let title = format!("Cosine of attention within {system}");
        draw(title, [system, system], 0.0, &values)?;
    }
    Ok(drawn)
}
