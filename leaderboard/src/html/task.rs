//! The section of a task.

use super::HtmlError;
use super::classes::Classes;
use super::examples::Grid;
use super::legend::Legend;
use super::precision_recall;
use super::ranking::standings;
use super::summary::Marks;
use super::tables::{Cell, Head};
use crate::board::{Metric, TaskBoard};

/// Everything about a task.
pub struct Section {
    /// Where links lead.
    pub anchor: String,
    /// Its name.
    pub name: String,
    /// The ground truth in a few words.
    pub data: String,
    /// Binds the ground truth.
    pub truth_sha256: String,
    /// Systems across.
    pub systems: Vec<String>,
    /// Metrics down.
    pub metrics: Vec<MetricRow>,
    /// Which marks the table uses.
    pub marks: Marks,
    /// Class by class.
    pub classes: Option<Classes>,
    /// For detection.
    pub precision_recall: Option<precision_recall::Section>,
    /// Pictures under every system.
    pub examples: Option<Grid>,
}

/// A metric with the systems' scores.
pub struct MetricRow {
    /// The metric.
    pub head: Head,
    /// One per system.
    pub cells: Vec<Cell>,
}

/// Where the section of the task in this place is.
pub fn anchor(place: usize) -> String {
    format!("task-{}", place + 1)
}

impl Section {
    /// Of the task in this place.
    pub fn new(place: usize, task: &TaskBoard, legend: &Legend) -> Result<Self, HtmlError> {
        let metrics: Vec<MetricRow> = (task.metrics.iter().enumerate())
            .map(|(place, metric)| row(task, place, metric))
            .collect();
        Ok(Self {
            anchor: anchor(place),
            name: task.name.clone(),
            data: task.data.clone(),
            truth_sha256: task.truth_sha256.clone(),
            systems: task.systems.iter().map(|s| s.system.clone()).collect(),
            marks: Marks::of(metrics.iter().flat_map(|row| &row.cells)),
            metrics,
            classes: Classes::new(task, legend)?,
            precision_recall: precision_recall::Section::new(task, legend)?,
            examples: Grid::new(task)?,
        })
    }

    /// Whether there is anything to tabulate.
    pub fn tabulated(&self) -> bool {
        !self.metrics.is_empty() && !self.systems.is_empty()
    }
}

fn row(task: &TaskBoard, place: usize, metric: &Metric) -> MetricRow {
    let standings = standings(task, place);
    let cell = |(system, standing)| Cell {
        standing,
        ..Cell::new(Some(system), place, metric)
    };
    MetricRow {
        head: Head::from(metric),
        cells: task.systems.iter().zip(standings).map(cell).collect(),
    }
}
