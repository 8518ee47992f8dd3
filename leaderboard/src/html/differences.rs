//! Which differences between systems are more than chance.

use super::numbers;
use crate::board::{Board, Gap, TaskBoard};
use crate::numbers::p_text;

/// The differences of a task.
pub struct Table {
    /// The task's name.
    pub task: String,
    /// One per pair and metric.
    pub rows: Vec<Row>,
}

/// One difference.
pub struct Row {
    /// The system.
    pub system: String,
    /// What it is compared with.
    pub base: String,
    /// The metric's title.
    pub metric: String,
    /// System minus base, with its sign.
    pub difference: String,
    /// Its interval.
    pub interval: String,
    /// Its spread over seeds; empty where there is one seed.
    pub seeds: String,
    /// The adjusted p-value.
    pub p_value: String,
    /// In a word or two.
    pub verdict: &'static str,
    /// Whether it is more than chance.
    pub significant: bool,
}

/// One per task that has any.
pub fn tables(board: &Board) -> Vec<Table> {
    let table = |task: &TaskBoard| Table {
        task: task.name.clone(),
        rows: task
            .differences
            .iter()
            .filter_map(|gap| Row::new(task, gap))
            .collect(),
    };
    let tables = board.tasks.iter().map(table);
    tables.filter(|table| !table.rows.is_empty()).collect()
}

impl Row {
    /// None where the metric is not one of the task's.
    fn new(task: &TaskBoard, gap: &Gap) -> Option<Self> {
        let metric = task.metrics.get(gap.metric)?;
        // Differences are smaller than scores.
        let decimals = metric.decimals + 1;
        let score = &gap.difference;
        let signed = |value| numbers::signed(value, decimals);
        let interval = match score.low.is_nan() || score.high.is_nan() {
            true => numbers::UNDEFINED.to_owned(),
            false => format!("[{}, {}]", signed(score.low), signed(score.high)),
        };
        let better = (score.value > 0.0) == metric.higher_is_better;
        Some(Self {
            system: gap.system.clone(),
            base: gap.base.clone(),
            metric: metric.title.clone(),
            difference: signed(score.value),
            interval,
            seeds: score.seed_deviation.map_or_else(String::new, |deviation| {
                format!("SD {} over seeds", numbers::number(deviation, decimals))
            }),
            p_value: p_text(gap.p_value),
            verdict: match (gap.significant, better) {
                _ if score.value.is_nan() => "not defined",
                (false, _) => "not significant",
                (true, true) => "better",
                (true, false) => "worse",
            },
            significant: gap.significant,
        })
    }
}
