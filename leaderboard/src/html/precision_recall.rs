//! Precision–recall curves of detectors.

use super::HtmlError;
use super::legend::{Key, Legend};
use super::plots::{self, Line, LinePlot, Pen};
use super::summary::Plot;
use crate::board::{PrecisionRecall, TaskBoard};

/// Curves of boxes and of masks.
pub struct Section {
    /// The systems.
    pub keys: Vec<Key>,
    /// One per kind of region.
    pub plots: Vec<Plot>,
}

impl Section {
    /// None where the task has no such curves.
    pub fn new(task: &TaskBoard, legend: &Legend) -> Result<Option<Self>, HtmlError> {
        let curves = &task.precision_recall;
        let mut kinds: Vec<&str> = Vec::new();
        for curve in curves {
            if !kinds.contains(&curve.of.as_str()) {
                kinds.push(&curve.of);
            }
        }
        let mut plots = Vec::new();
        for of in kinds {
            let lines: Vec<Line> = curves
                .iter()
                .filter(|curve| curve.of == of)
                .flat_map(|curve| both(curve, legend.series(&curve.system)))
                .collect();
            let title = format!("Precision over recall, {of}");
            let label = format!("{}: {title}, IoU 0.50 solid and 0.75 dashed.", task.name);
            let svg = plots::lines(&LinePlot {
                label: &label,
                x_title: "recall",
                y_title: "precision",
                x: Some(0.0..1.0),
                y: Some(0.0..1.0),
                lines: &lines,
            })?;
            plots.push(Plot { title, svg });
        }
        if plots.is_empty() {
            return Ok(None);
        }
        let series = curves.iter().map(|curve| legend.series(&curve.system));
        let keys = legend.keys(series);
        Ok(Some(Self { keys, plots }))
    }
}

fn both(curve: &PrecisionRecall, series: usize) -> [Line; 2] {
    let line = |precision: &[f64], pen| {
        let points = curve.recall.iter().zip(precision);
        let mut points: Vec<[f64; 2]> = points.map(|(x, y)| [*x, *y]).collect();
        // Recalls that no detection reaches have precision zero; drawn, they would cover the axis.
        let reached = points.iter().rposition(|point| point[1] > 0.0);
        points.truncate(reached.map_or(0, |last| last + 2));
        Line {
            series,
            pen,
            points,
            intervals: Vec::new(),
        }
    };
    [
        line(&curve.at_50, Pen::Solid),
        line(&curve.at_75, Pen::Dashed),
    ]
}
