//! Cells of scores, for the leaderboard and the tables of each task.

use super::numbers;
use super::ranking::Standing;
use crate::board::{Metric, Score, SystemScores};

/// A score in a table.
#[derive(Default)]
pub struct Cell {
    /// The value, or a dash.
    pub value: String,
    /// Its interval; empty where it has none.
    pub interval: String,
    /// Its spread over seeds; empty where there is one seed.
    pub seeds: String,
    /// How it compares with the other systems.
    pub standing: Standing,
}

impl Cell {
    /// The score of a system, which may lack.
    pub fn new(system: Option<&SystemScores>, place: usize, metric: &Metric) -> Self {
        let score = system.and_then(|system| Some((system, system.scores.get(place)?)));
        let Some((system, score)) = score else {
            return Self::bare(f64::NAN, metric);
        };
        Self {
            interval: numbers::interval(score, metric.decimals).unwrap_or_default(),
            seeds: seeds(system.seeds, score, metric.decimals),
            ..Self::bare(score.value, metric)
        }
    }

    /// A number without an interval.
    pub fn bare(value: f64, metric: &Metric) -> Self {
        Self {
            value: numbers::number(value, metric.decimals),
            ..Self::default()
        }
    }

    /// No other system's is better.
    pub fn best(&self) -> bool {
        self.standing == Standing::Best
    }

    /// Not told apart from the best.
    pub fn near(&self) -> bool {
        self.standing == Standing::Near
    }

    /// Not compared with the best.
    pub fn untested(&self) -> bool {
        self.standing == Standing::Untested
    }
}

fn seeds(count: usize, score: &Score, decimals: usize) -> String {
    match score.seed_deviation {
        Some(deviation) if count > 1 => {
            let deviation = numbers::number(deviation, decimals + 1);
            format!("SD {deviation} over {count} seeds")
        }
        _ => String::new(),
    }
}

/// A metric as the head of a row or column.
pub struct Head {
    /// Its title.
    pub title: String,
    /// Whether less is better, which is worth saying.
    pub lower: bool,
}

impl From<&Metric> for Head {
    fn from(metric: &Metric) -> Self {
        Self {
            title: metric.title.clone(),
            lower: !metric.higher_is_better,
        }
    }
}
