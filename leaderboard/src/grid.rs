//! The leaderboard as rows of text, which the terminal's table and Markdown share.

use crate::board::{Board, Metric, Score, SystemScores, TaskBoard};
use crate::numbers::{number, p_text, score_text, signed};

/// A table of text: a header and rows of the same length. The first `words` columns are words, the others
/// numbers.
pub(crate) struct Grid {
    pub header: Vec<String>,
    pub rows: Vec<Vec<String>>,
    pub words: usize,
}

/// A system's score on a metric, with the deviation over seeds where there are several.
fn cell(system: &SystemScores, at: usize, metric: &Metric) -> String {
    let score: &Score = &system.scores[at];
    let text = score_text(score, metric.decimals);
    match score.seed_deviation {
        Some(deviation) => format!(
            "{text}, sd {} of {} seeds",
            number(deviation, metric.decimals),
            system.seeds
        ),
        None => text,
    }
}

/// The headline metrics of a task with their places.
pub(crate) fn headlines(task: &TaskBoard) -> impl Iterator<Item = (usize, &Metric)> {
    task.metrics
        .iter()
        .enumerate()
        .filter(|(_, metric)| metric.headline)
}

/// The metrics' titles; the task's name goes before where two tasks have the same.
fn titles(board: &Board) -> Vec<String> {
    let all: Vec<(&str, &str)> = board
        .tasks
        .iter()
        .flat_map(|task| {
            headlines(task).map(|(_, metric)| (task.name.as_str(), metric.title.as_str()))
        })
        .collect();
    let twice = |title: &str| all.iter().filter(|(_, other)| *other == title).count() > 1;
    all.iter()
        .map(|(task, title)| match twice(title) {
            true => format!("{task} {title}"),
            false => (*title).to_owned(),
        })
        .collect()
}

/// Systems, then published rows, with the headline metrics of every task.
pub(crate) fn leaderboard(board: &Board) -> Grid {
    let mut header = vec![String::new()];
    header.extend(titles(board));
    let mut rows = Vec::new();
    for name in &board.systems {
        let mut row = vec![name.clone()];
        for task in &board.tasks {
            let system = task.systems.iter().find(|system| system.system == *name);
            row.extend(headlines(task).map(|(at, metric)| {
                system.map_or_else(String::new, |system| cell(system, at, metric))
            }));
        }
        rows.push(row);
    }
    for task in &board.tasks {
        for published in &task.published {
            let mut row = vec![format!("{} (published)", published.name)];
            for other in &board.tasks {
                row.extend(headlines(other).map(|(_, metric)| {
                    let known =
                        |(key, _): &&(String, f64)| other.name == task.name && *key == metric.key;
                    let found = published.scores.iter().find(known);
                    found.map_or_else(String::new, |(_, value)| number(*value, metric.decimals))
                }));
            }
            rows.push(row);
        }
    }
    Grid {
        header,
        rows,
        words: 1,
    }
}

/// Every pair of systems on the headline metrics of every task; no rows where nothing is compared.
pub(crate) fn differences(board: &Board) -> Grid {
    let mut rows = Vec::new();
    for task in &board.tasks {
        for gap in &task.differences {
            let metric = &task.metrics[gap.metric];
            // Differences are smaller than scores.
            let value = |value: f64| signed(value, metric.decimals + 1);
            let verdict = match (gap.p_value.is_nan(), gap.significant) {
                (true, _) => "undefined",
                (_, true) => "significant",
                (_, false) => "not significant",
            };
            rows.push(vec![
                gap.system.clone(),
                gap.base.clone(),
                metric.title.clone(),
                verdict.to_owned(),
                value(gap.difference.value),
                format!(
                    "{} to {}",
                    value(gap.difference.low),
                    value(gap.difference.high)
                ),
                p_text(gap.p_value),
            ]);
        }
    }
    Grid {
        header: [
            "",
            "against",
            "score",
            "verdict",
            "difference",
            &format!("{:.0} % interval", 100.0 * board.confidence),
            "p",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows,
        words: 4,
    }
}

/// What the numbers mean, in a few sentences.
pub(crate) fn explanation(board: &Board) -> String {
    let pictures: Vec<String> = board
        .tasks
        .iter()
        .map(|task| format!("{}: {}", task.name, task.data))
        .collect();
    let mut text = format!(
        "{}. ± is the longer side of the {:.0} % interval over the choice of pictures, told by both ends where it is lopsided: paired bootstrap, {} resamples.",
        pictures.join("; "),
        100.0 * board.confidence,
        board.resamples
    );
    let systems = || board.tasks.iter().flat_map(|task| &task.systems);
    if systems().any(|system| system.seeds > 1) {
        text += " Scores of several seeds are means; sd is their standard deviation.";
    }
    if systems().any(|system| system.seeds == 1 && !system.runs.is_empty()) {
        text += " One training tells nothing about the noise of training, which comes on top.";
    }
    if board.tasks.iter().any(|task| task.differences.len() > 1) {
        text += " p is adjusted for the pairs compared on each score (Holm).";
    }
    let sources: Vec<String> = board
        .tasks
        .iter()
        .flat_map(|task| &task.published)
        .map(|row| format!("{} ({})", row.name, row.source))
        .collect();
    if !sources.is_empty() {
        text += &format!(
            " Published rows were measured by others: {}.",
            sources.join("; ")
        );
    }
    text
}
