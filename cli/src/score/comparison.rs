//! Systems times metrics with intervals, and what separates the systems, as tables and JSON.

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use eval::{Bootstrap, Difference, Interval};
use leaderboard::{Score, p_text, score_text};
use serde_json::{Map, Value, json};

/// How one metric of a bootstrap is shown.
pub struct Column {
    /// Number of the metric in the bootstrap.
    pub metric: usize,
    /// Its name in JSON.
    pub key: String,
    /// Its name in tables, with the unit.
    pub title: String,
    /// Scores are multiplied by this: 100 for per cent.
    pub factor: f64,
    /// Decimals in tables.
    pub decimals: usize,
}

/// Several systems, or one, scored on the same images.
pub struct Comparison<'a> {
    /// What the systems are called, in their order in the bootstrap.
    pub names: &'a [String],
    /// What is shown.
    pub columns: &'a [Column],
    /// Scores and resamples.
    pub bootstrap: &'a Bootstrap,
    /// Whether every pair is compared, or every other system with the first.
    pub all_pairs: bool,
}

impl Comparison<'_> {
    /// One line per system: every score with the longer side of its interval.
    pub fn scores(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED);
        let titles = self.columns.iter().map(|column| column.title.clone());
        table.set_header(std::iter::once(String::new()).chain(titles));
        for (system, name) in self.names.iter().enumerate() {
            let cells = self.columns.iter().map(|column| {
                column.with_interval(&self.bootstrap.interval(system, column.metric))
            });
            table.add_row(std::iter::once(name.clone()).chain(cells));
        }
        align_right(&mut table, 1);
        table
    }

    /// One line per metric and pair of systems: the difference, its interval and the verdict.
    pub fn differences(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED);
        let interval = format!("{} % interval", 100.0 * self.bootstrap.confidence());
        table.set_header([
            "",
            "against",
            "score",
            "difference",
            &interval,
            "p",
            "verdict",
        ]);
        for (column, difference) in self.compared() {
            let ends = difference.interval;
            let (shown, range, p_value, verdict) = if difference.p_value.is_nan() {
                ("–".into(), "–".into(), "–".into(), "undefined")
            } else {
                (
                    column.signed(ends.value),
                    format!(
                        "{} to {}",
                        column.signed(ends.low),
                        column.signed(ends.high)
                    ),
                    p_text(difference.adjusted_p_value),
                    if difference.significant {
                        "significant"
                    } else {
                        "not significant"
                    },
                )
            };
            table.add_row([
                self.names[difference.system].clone(),
                self.names[difference.base].clone(),
                column.title.clone(),
                shown,
                range,
                p_value,
                verdict.to_owned(),
            ]);
        }
        align_right(&mut table, 3);
        if let Some(verdict) = table.column_mut(6) {
            verdict.set_cell_alignment(CellAlignment::Left);
        }
        table
    }

    /// What the numbers mean, in a sentence or two below the tables.
    pub fn explanation(&self) -> String {
        let size = self.bootstrap.size();
        let mut text = format!(
            "± is the longer side of the {} % interval, which is told by its ends where it is lopsided: paired bootstrap, {} resamples of {} images. It is about the choice of images; training noise comes on top.",
            100.0 * self.bootstrap.confidence(),
            self.bootstrap.resamples(),
            size.images
        );
        let pairs = match (size.systems, self.all_pairs) {
            (n, true) => n * (n - 1) / 2,
            (n, false) => n - 1,
        };
        if pairs > 1 {
            text += &format!(
                " p is adjusted for {pairs} comparisons per score (Holm); the intervals are not."
            );
        }
        text
    }

    /// Everything, unrounded: bootstrap, systems and differences.
    pub fn to_json(&self) -> Map<String, Value> {
        let system = |(system, name): (usize, &String)| {
            let mut object = Map::new();
            object.insert("file".into(), name.clone().into());
            for column in self.columns {
                let interval = self.bootstrap.interval(system, column.metric);
                object.insert(
                    column.key.clone(),
                    json!({
                        "value": column.factor * interval.value,
                        "low": column.factor * interval.low,
                        "high": column.factor * interval.high,
                        "undefined_resamples": interval.undefined,
                    }),
                );
            }
            Value::Object(object)
        };
        let difference = |(column, difference): (&Column, Difference)| {
            json!({
                "file": self.names[difference.system],
                "against": self.names[difference.base],
                "score": column.key,
                "difference": column.factor * difference.interval.value,
                "low": column.factor * difference.interval.low,
                "high": column.factor * difference.interval.high,
                "p_value": difference.p_value,
                "adjusted_p_value": difference.adjusted_p_value,
                "significant": difference.significant,
            })
        };
        let mut object = Map::new();
        object.insert(
            "bootstrap".into(),
            json!({
                "images": self.bootstrap.size().images,
                "resamples": self.bootstrap.resamples(),
                "confidence": self.bootstrap.confidence(),
            }),
        );
        let systems: Vec<Value> = self.names.iter().enumerate().map(system).collect();
        object.insert("systems".into(), systems.into());
        if self.names.len() > 1 {
            let differences: Vec<Value> = self.compared().into_iter().map(difference).collect();
            object.insert("differences".into(), differences.into());
        }
        object
    }

    fn compared(&self) -> Vec<(&Column, Difference)> {
        let mut compared = Vec::new();
        for column in self.columns {
            let differences = if self.all_pairs {
                self.bootstrap.all_pairs(column.metric)
            } else {
                self.bootstrap.against(0, column.metric)
            };
            compared.extend(
                differences
                    .into_iter()
                    .map(|difference| (column, difference)),
            );
        }
        compared
    }
}

impl Column {
    fn with_interval(&self, interval: &Interval) -> String {
        let [value, low, high] =
            [interval.value, interval.low, interval.high].map(|score| self.factor * score);
        let score = Score {
            value,
            low,
            high,
            seed_deviation: None,
        };
        score_text(&score, self.decimals)
    }

    fn signed(&self, score: f64) -> String {
        format!("{:+.*}", self.decimals, self.factor * score)
    }
}

fn align_right(table: &mut Table, from: usize) {
    for column in table.column_iter_mut().skip(from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}
