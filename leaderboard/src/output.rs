//! A leaderboard as a table for the terminal, as Markdown, CSV and JSON.

use comfy_table::{CellAlignment, Table, presets};

use crate::board::Board;
use crate::error::LeaderboardError;
use crate::grid::{Grid, differences, explanation, leaderboard};
use crate::layers;

/// Tables for the terminal, with what the numbers mean below.
pub fn table(board: &Board) -> String {
    let mut text = String::new();
    if !board.systems.is_empty() {
        text += &scored(board);
    }
    for analysis in &board.analyses {
        text += &drawn(&layers::scores(analysis), presets::UTF8_FULL_CONDENSED);
        text += "\n";
        let gaps = layers::differences(analysis);
        if !gaps.rows.is_empty() {
            text += &drawn(&gaps, presets::UTF8_FULL_CONDENSED);
            text += "\n";
        }
        text += &layers::explanation(analysis);
        text += "\n";
    }
    text
}

/// The leaderboard itself.
fn scored(board: &Board) -> String {
    let mut text = drawn(&leaderboard(board), presets::UTF8_FULL_CONDENSED);
    let gaps = differences(board);
    if !gaps.rows.is_empty() {
        text += "\n";
        text += &drawn(&gaps, presets::UTF8_FULL_CONDENSED);
    }
    text += "\n";
    text += &explanation(board);
    for note in &board.notes {
        text += &format!("\nnote: {note}");
    }
    text + "\n"
}

/// The same as Markdown.
pub fn markdown(board: &Board) -> String {
    let mut text = format!("# {}\n\n", board.title);
    if !board.systems.is_empty() {
        text += &tables(leaderboard(board), differences(board), &explanation(board));
    }
    for analysis in &board.analyses {
        let [scores, gaps] = [layers::scores(analysis), layers::differences(analysis)];
        text += &format!(
            "## Layers\n\n{}",
            tables(scores, gaps, &layers::explanation(analysis))
        );
    }
    for note in &board.notes {
        text += &format!("\n- {note}");
    }
    text.trim_end().to_owned() + "\n"
}

fn tables(scores: Grid, gaps: Grid, explanation: &str) -> String {
    let mut text = drawn(&escaped(scores), presets::ASCII_MARKDOWN) + "\n";
    if !gaps.rows.is_empty() {
        text += &drawn(&escaped(gaps), presets::ASCII_MARKDOWN);
        text += "\n";
    }
    text + explanation + "\n"
}

/// One line per task, system and metric, all digits; published rows too.
///
/// # Errors
/// None that a user could cause.
pub fn csv(board: &Board) -> Result<String, LeaderboardError> {
    let failed = |error: String| LeaderboardError::Compare(format!("CSV: {error}"));
    let mut rows = csv::Writer::from_writer(Vec::new());
    let header = [
        "task",
        "data",
        "system",
        "metric",
        "value",
        "low",
        "high",
        "seeds",
        "seed_deviation",
        "source",
    ];
    rows.write_record(header)
        .map_err(|error| failed(error.to_string()))?;
    let number = |value: f64| match value.is_nan() {
        true => String::new(),
        false => value.to_string(),
    };
    for task in &board.tasks {
        let measured = task.systems.iter().flat_map(|system| {
            task.metrics
                .iter()
                .zip(&system.scores)
                .map(|(metric, score)| {
                    [
                        system.system.clone(),
                        metric.key.clone(),
                        number(score.value),
                        number(score.low),
                        number(score.high),
                        system.seeds.to_string(),
                        score.seed_deviation.map_or_else(String::new, number),
                        "measured".to_owned(),
                    ]
                })
        });
        let published = task.published.iter().flat_map(|row| {
            row.scores.iter().map(|(key, value)| {
                let none = String::new;
                [
                    row.name.clone(),
                    key.clone(),
                    number(*value),
                    none(),
                    none(),
                    none(),
                    none(),
                    format!("published: {}", row.source),
                ]
            })
        });
        for row in measured.chain(published) {
            let row = [task.name.clone(), task.data.clone()]
                .into_iter()
                .chain(row);
            rows.write_record(row)
                .map_err(|error| failed(error.to_string()))?;
        }
    }
    let bytes = rows
        .into_inner()
        .map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
}

/// Everything, unrounded; numbers that are not defined are null.
///
/// # Errors
/// None that a user could cause.
pub fn json(board: &Board) -> Result<String, LeaderboardError> {
    match serde_json::to_string_pretty(board) {
        Ok(text) => Ok(text + "\n"),
        Err(error) => Err(LeaderboardError::Compare(format!("JSON: {error}"))),
    }
}

fn drawn(grid: &Grid, preset: &str) -> String {
    let mut table = Table::new();
    table
        .load_preset(preset)
        .set_header(&grid.header)
        .add_rows(&grid.rows);
    for column in table.column_iter_mut().skip(grid.words) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{table}\n")
}

/// Cells without what Markdown would take for the table's own lines or for markup.
fn escaped(mut grid: Grid) -> Grid {
    let cells = grid.rows.iter_mut().flatten().chain(&mut grid.header);
    for cell in cells {
        for special in ['\\', '|', '`', '*', '<', '_'] {
            *cell = cell.replace(special, &format!("\\{special}"));
        }
    }
    grid
}
