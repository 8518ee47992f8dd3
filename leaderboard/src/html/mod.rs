//! A leaderboard as one page that needs nothing beside it: no network, no files, no scripts.

mod classes;
mod curves;
mod differences;
mod examples;
mod layers;
mod legend;
mod numbers;
mod pictures;
mod plots;
mod precision_recall;
mod ranking;
mod runs;
mod summary;
mod tables;
mod task;

use std::path::{Path, PathBuf};

use askama::Template;

use crate::board::Board;
pub use layers::layer_plots;
use legend::Legend;

/// A page that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HtmlError {
    /// A picture of the board is not there or may not be read.
    #[error("{}: the picture cannot be read ({source})", .path.display())]
    Read {
        /// The picture's file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A picture of the board is of another format.
    #[error("{}: neither a JPEG nor a PNG picture; a page can embed only those", .path.display())]
    Format {
        /// The picture's file.
        path: PathBuf,
    },
    /// A plot could not be drawn.
    #[error("a plot could not be drawn ({0})")]
    Plot(String),
    /// The page could not be put together.
    #[error("the page could not be put together ({0})")]
    Page(#[from] askama::Error),
}

/// Everything the page shows, ready to be written down.
#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    title: &'a str,
    reading: Reading,
    summary: summary::Summary,
    differences: Vec<differences::Table>,
    notes: &'a [String],
    tasks: Vec<task::Section>,
    curves: curves::Curves,
    analyses: Vec<layers::Section>,
    runs: Vec<runs::Run>,
}

/// What the introduction says about the numbers.
struct Reading {
    /// "95".
    confidence: String,
    /// "0.05".
    level: String,
    /// "10,000".
    resamples: String,
    /// "2,000 (classification), 79 (detection)"; empty without tasks.
    pictures: String,
    /// Whether any system was trained with several seeds.
    seeds: bool,
    /// Whether systems are compared at all.
    compared: bool,
}

/// The board as one HTML page with its plots and pictures inside, without scripts.
///
/// # Errors
///
/// A picture of an example or a reconstruction cannot be read, or is neither JPEG nor PNG.
pub fn html(board: &Board) -> Result<String, HtmlError> {
    let legend = Legend::new(board)?;
    let mut tasks = Vec::new();
    for (place, task) in board.tasks.iter().enumerate() {
        tasks.push(task::Section::new(place, task, &legend)?);
    }
    let mut analyses = Vec::new();
    for (place, analysis) in board.analyses.iter().enumerate() {
        analyses.push(layers::Section::new(place, analysis, &legend)?);
    }
    let page = Page {
        title: &board.title,
        reading: Reading::new(board),
        summary: summary::Summary::new(board, &legend)?,
        differences: differences::tables(board),
        notes: &board.notes,
        tasks,
        curves: curves::Curves::new(board, &legend)?,
        analyses,
        runs: board.runs.iter().map(runs::Run::new).collect(),
    };
    Ok(page.render()?)
}

impl Reading {
    fn new(board: &Board) -> Self {
        let pictures: Vec<String> = board
            .tasks
            .iter()
            .map(|task| format!("{} ({})", numbers::grouped(task.pictures as u64), task.name))
            .collect();
        let mut systems = board.tasks.iter().flat_map(|task| &task.systems);
        Self {
            confidence: numbers::trimmed(board.confidence * 100.0),
            level: numbers::trimmed(1.0 - board.confidence),
            resamples: numbers::grouped(board.resamples as u64),
            pictures: pictures.join(", "),
            seeds: systems.any(|system| system.seeds > 1),
            compared: board.tasks.iter().any(|task| !task.differences.is_empty()),
        }
    }
}

/// What a path is called in a caption.
fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}
