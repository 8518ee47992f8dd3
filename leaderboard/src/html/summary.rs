//! The leaderboard itself: systems by headline metrics, and a plot of each.

use super::legend::Legend;
use super::plots::{self, ForestRow};
use super::ranking::standings;
use super::tables::{Cell, Head};
use super::{HtmlError, numbers};
use crate::board::{Board, TaskBoard};
use crate::grid::headlines;

/// The table with its plots.
pub struct Summary {
    /// One per task.
    pub groups: Vec<Group>,
    /// One per headline metric of all tasks.
    pub heads: Vec<Head>,
    /// Systems.
    pub rows: Vec<Row>,
    /// Results of papers.
    pub published: Vec<Row>,
    /// Which of the marks the table uses.
    pub marks: Marks,
    /// One per headline metric.
    pub plots: Vec<Plot>,
}

/// The columns of a task.
pub struct Group {
    /// The task's name.
    pub name: String,
    /// Where its section is.
    pub anchor: String,
    /// Its headline metrics.
    pub columns: usize,
}

/// A system, or a model of a paper.
pub struct Row {
    /// Its name.
    pub name: String,
    /// Where it was published; empty for systems.
    pub source: String,
    /// One per headline metric.
    pub cells: Vec<Cell>,
}

/// Marks that need an explanation.
#[derive(Default)]
pub struct Marks {
    /// A best value.
    pub best: bool,
    /// A value not told apart from it.
    pub near: bool,
    /// A value not compared with it.
    pub untested: bool,
}

/// A plot with its caption.
pub struct Plot {
    /// The caption.
    pub title: String,
    /// The drawing.
    pub svg: String,
}

impl Summary {
    /// Empty where no task has a headline metric.
    pub fn new(board: &Board, legend: &Legend) -> Result<Self, HtmlError> {
        let columns: Vec<(&TaskBoard, usize)> = board
            .tasks
            .iter()
            .flat_map(|task| headlines(task).map(move |(place, _)| (task, place)))
            .collect();
        let groups = board.tasks.iter().enumerate().map(|(place, task)| Group {
            name: task.name.clone(),
            anchor: super::task::anchor(place),
            columns: headlines(task).count(),
        });
        let rows = rows(board, &columns);
        let mut plots = Vec::new();
        for (task, place) in &columns {
            plots.extend(plot(task, *place, legend)?);
        }
        Ok(Self {
            groups: groups.filter(|group| group.columns > 0).collect(),
            heads: columns
                .iter()
                .map(|(task, place)| Head::from(&task.metrics[*place]))
                .collect(),
            marks: Marks::of(rows.iter().flat_map(|row| &row.cells)),
            rows,
            published: published(board, &columns),
            plots,
        })
    }
}

impl Marks {
    /// Those of the cells.
    pub fn of<'a>(cells: impl Iterator<Item = &'a Cell>) -> Self {
        cells.fold(Self::default(), |marks, cell| Self {
            best: marks.best || cell.best(),
            near: marks.near || cell.near(),
            untested: marks.untested || cell.untested(),
        })
    }
}

fn rows(board: &Board, columns: &[(&TaskBoard, usize)]) -> Vec<Row> {
    let standings: Vec<_> = columns
        .iter()
        .map(|(task, place)| standings(task, *place))
        .collect();
    let cell = |name: &str, column: usize| {
        let (task, place) = columns[column];
        let at = task.systems.iter().position(|system| system.system == name);
        Cell {
            standing: at.map(|at| standings[column][at]).unwrap_or_default(),
            ..Cell::new(at.map(|at| &task.systems[at]), place, &task.metrics[place])
        }
    };
    let row = |name: &String| Row {
        name: name.clone(),
        source: String::new(),
        cells: (0..columns.len())
            .map(|column| cell(name, column))
            .collect(),
    };
    board.systems.iter().map(row).collect()
}

/// One row per model and source: a paper reports several tasks.
fn published(board: &Board, columns: &[(&TaskBoard, usize)]) -> Vec<Row> {
    let all = || board.tasks.iter().flat_map(|task| &task.published);
    let mut models: Vec<(&str, &str)> = Vec::new();
    for row in all() {
        let model = (row.name.as_str(), row.source.as_str());
        if !models.contains(&model) {
            models.push(model);
        }
    }
    let cell = |(name, source): (&str, &str), (task, place): &(&TaskBoard, usize)| {
        let metric = &task.metrics[*place];
        let of_model = (task.published.iter())
            .filter(|row| row.name == name && row.source == source)
            .flat_map(|row| &row.scores);
        let mut values = of_model.filter(|(key, _)| *key == metric.key);
        Cell::bare(values.next().map_or(f64::NAN, |(_, value)| *value), metric)
    };
    let row = |model: (&str, &str)| Row {
        name: model.0.to_owned(),
        source: model.1.to_owned(),
        cells: columns.iter().map(|column| cell(model, column)).collect(),
    };
    models.into_iter().map(row).collect()
}

fn plot(task: &TaskBoard, place: usize, legend: &Legend) -> Result<Option<Plot>, HtmlError> {
    let metric = &task.metrics[place];
    let rows: Vec<ForestRow> = task
        .systems
        .iter()
        .filter_map(|system| {
            let score = system
                .scores
                .get(place)
                .filter(|score| score.value.is_finite())?;
            Some(ForestRow {
                series: legend.series(&system.system),
                name: system.system.clone(),
                score: *score,
            })
        })
        .collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let title = format!("{}: {}", task.name, metric.title);
    let values: Vec<String> = rows
        .iter()
        .map(|row| {
            format!(
                "{} {}",
                row.name,
                numbers::number(row.score.value, metric.decimals)
            )
        })
        .collect();
    let label = format!("{title} with intervals. {}.", values.join(", "));
    let svg = plots::forest(&label, &metric.title, &rows)?;
    Ok(Some(Plot { title, svg }))
}
