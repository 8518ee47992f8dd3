//! Learning curves of all runs, and what pre-training reconstructs.

use super::legend::{Key, Legend};
use super::pictures::Picture;
use super::plots::{self, Line, LinePlot, Pen};
use super::summary::Plot;
use super::{HtmlError, file_name};
use crate::board::{Board, Curve, RunFacts};
use crate::run_facts::PRETRAINING;

/// Curves of more points are logged step by step and noisy.
const SMOOTH: usize = 60;

/// Curves by task, and reconstructions by run.
pub struct Curves {
    /// One per task that has curves, pre-training first, as it comes first.
    pub tasks: Vec<TaskCurves>,
    /// One per pre-training run that wrote pictures.
    pub reconstructions: Vec<Reconstructions>,
}

/// The curves of a task's runs.
pub struct TaskCurves {
    /// The task's name.
    pub task: String,
    /// The systems.
    pub keys: Vec<Key>,
    /// One per logged value.
    pub plots: Vec<Plot>,
}

/// Pictures of a run.
pub struct Reconstructions {
    /// System and folder.
    pub title: String,
    /// The pictures.
    pub pictures: Vec<Picture>,
}

impl Curves {
    /// Of all runs of the board.
    pub fn new(board: &Board, legend: &Legend) -> Result<Self, HtmlError> {
        let mut names = vec![PRETRAINING];
        let of_tasks = board.tasks.iter().map(|task| task.name.as_str());
        for name in of_tasks.chain(board.runs.iter().map(|run| run.task.as_str())) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let mut tasks = Vec::new();
        for name in names {
            tasks.extend(task_curves(board, name, legend)?);
        }
        let mut reconstructions = Vec::new();
        for run in board
            .runs
            .iter()
            .filter(|run| !run.reconstructions.is_empty())
        {
            reconstructions.push(Reconstructions::read(run)?);
        }
        Ok(Self {
            tasks,
            reconstructions,
        })
    }

    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.reconstructions.is_empty()
    }
}

impl Reconstructions {
    fn read(run: &RunFacts) -> Result<Self, HtmlError> {
        let title = format!("{} ({})", run.system, file_name(&run.path));
        let read = |path: &std::path::PathBuf| {
            let alt = format!("Reconstruction by {}: {}", run.system, file_name(path));
            Picture::read(path, alt)
        };
        let pictures = run.reconstructions.iter().map(read);
        let pictures = pictures.collect::<Result<_, _>>()?;
        Ok(Self { title, pictures })
    }
}

fn task_curves(
    board: &Board,
    task: &str,
    legend: &Legend,
) -> Result<Option<TaskCurves>, HtmlError> {
    let runs = || board.runs.iter().filter(|run| run.task == task);
    let mut names: Vec<&str> = Vec::new();
    for curve in runs().flat_map(|run| &run.curves) {
        if is_drawn(curve) && !names.contains(&curve.name.as_str()) {
            names.push(&curve.name);
        }
    }
    names.sort_by_key(|name| !name.starts_with("train/"));
    let drawn = runs()
        .flat_map(|run| &run.curves)
        .filter(|curve| is_drawn(curve));
    let epochs = plots::around(
        drawn.flat_map(|curve| &curve.points).map(|point| point[0]),
        0.0,
    );
    let mut series = Vec::new();
    let mut plots = Vec::new();
    for name in names {
        let lines: Vec<Line> = runs()
            .flat_map(|run| run.curves.iter().map(move |curve| (run, curve)))
            .filter(|(_, curve)| curve.name == name && is_drawn(curve))
            .map(|(run, curve)| Line {
                series: legend.series(&run.system),
                pen: match curve.points.len() > SMOOTH {
                    true => Pen::Thin,
                    false => Pen::Solid,
                },
                points: curve.points.clone(),
                intervals: Vec::new(),
            })
            .collect();
        series.extend(lines.iter().map(|line| line.series));
        let title = title(name);
        let label = format!("{task}: {title} over epochs.");
        let svg = plots::lines(&LinePlot {
            label: &label,
            x_title: "epoch",
            y_title: name,
            x: Some(epochs.clone()),
            y: None,
            lines: &lines,
        })?;
        plots.push(Plot { title, svg });
    }
    if plots.is_empty() {
        return Ok(None);
    }
    Ok(Some(TaskCurves {
        task: task.to_owned(),
        keys: legend.keys(series.into_iter()),
        plots,
    }))
}

/// Losses and what evaluations measured; learning rates and durations tell nothing of a system, and one
/// point is no curve.
fn is_drawn(curve: &Curve) -> bool {
    let drawn = curve.name.starts_with("train/loss") || curve.name.starts_with("eval/");
    drawn && curve.points.len() >= 2
}

fn title(name: &str) -> String {
    match name.split_once('/') {
        Some(("train", "loss")) => "Training loss".to_owned(),
        Some(("train", part)) => format!("Training: {part}"),
        Some((_, value)) => format!("Evaluation: {value}"),
        None => name.to_owned(),
    }
}
