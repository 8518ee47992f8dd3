//! Scores class by class: bars of the classes that tell the systems apart, and a table of all.

use super::HtmlError;
use super::legend::{Key, Legend};
use super::numbers;
use super::plots::{self, BarGroup};
use crate::board::{ClassScores, TaskBoard};

/// Classes that are drawn; a table lists the others.
const DRAWN: usize = 20;
/// Classes of one drawing, so that two stand side by side.
const PER_PLOT: usize = 10;

/// What the page shows of the classes.
pub struct Classes {
    /// "IoU %".
    pub title: String,
    /// Which classes are drawn, and in which order.
    pub chosen: String,
    /// Systems in the order of the bars.
    pub keys: Vec<Key>,
    /// Drawings, SVG elements.
    pub plots: Vec<String>,
    /// What the support counts.
    pub support_of: String,
    /// Systems, one column each.
    pub systems: Vec<String>,
    /// Every class, in class order.
    pub rows: Vec<Row>,
}

/// A class of the table.
pub struct Row {
    /// Its name.
    pub name: String,
    /// How often it is in the ground truth; empty where that was not counted.
    pub support: String,
    /// One per system.
    pub values: Vec<String>,
}

impl Classes {
    /// None where the task has no classes.
    pub fn new(task: &TaskBoard, legend: &Legend) -> Result<Option<Self>, HtmlError> {
        let scores = &task.classes;
        if scores.names.is_empty() || scores.values.is_empty() {
            return Ok(None);
        }
        let systems = task.systems.iter().take(scores.values.len());
        let series: Vec<usize> = systems
            .clone()
            .map(|system| legend.series(&system.system))
            .collect();
        let (places, chosen) = choose(scores);
        let end = end_of_axis(scores, &places);
        let mut plots = Vec::new();
        for places in places.chunks(PER_PLOT) {
            let group = |place: &usize| BarGroup {
                name: scores.names[*place].clone(),
                values: (series.iter().enumerate())
                    .map(|(system, series)| (*series, value(scores, system, *place)))
                    .collect(),
            };
            let groups: Vec<BarGroup> = places.iter().map(group).collect();
            let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
            let label = format!(
                "{}: {} of {}; the table below has the numbers.",
                task.name,
                scores.title,
                names.join(", ")
            );
            plots.push(plots::bars(&label, &scores.title, end, &groups)?);
        }
        let row = |(place, name): (usize, &String)| Row {
            name: name.clone(),
            support: scores
                .support
                .get(place)
                .map_or_else(String::new, |count| numbers::grouped(*count)),
            values: (0..scores.values.len())
                .map(|system| numbers::number(value(scores, system, place), 1))
                .collect(),
        };
        Ok(Some(Self {
            title: scores.title.clone(),
            chosen,
            keys: legend.keys(series.iter().copied()),
            plots,
            support_of: scores.support_of.clone(),
            systems: systems.map(|system| system.system.clone()).collect(),
            rows: scores.names.iter().enumerate().map(row).collect(),
        }))
    }

    /// Classes of the table.
    pub fn count(&self) -> usize {
        self.rows.len()
    }
}

fn value(scores: &ClassScores, system: usize, class: usize) -> f64 {
    let of_system = scores.values.get(system);
    of_system
        .and_then(|values| values.get(class))
        .copied()
        .unwrap_or(f64::NAN)
}

/// Places of the classes to draw, in order, and what they are.
fn choose(scores: &ClassScores) -> (Vec<usize>, String) {
    let count = scores.names.len();
    let support = |class: &usize| scores.support.get(*class).copied().unwrap_or(0);
    let mut places: Vec<usize> = (0..count).collect();
    places.sort_by_key(|class| std::cmp::Reverse(support(class)));
    if count <= DRAWN {
        return (
            places,
            format!("All {count} classes, the most frequent first"),
        );
    }
    if scores.values.len() < 2 {
        places.truncate(DRAWN);
        return (
            places,
            format!("The {DRAWN} most frequent of {count} classes"),
        );
    }
    let spread = |class: &usize| {
        let values = (0..scores.values.len()).map(|system| value(scores, system, *class));
        let (low, high) = values
            .filter(|value| !value.is_nan())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        (high - low).max(0.0)
    };
    // Stable, so that the more frequent of two equal ones comes first.
    places.sort_by(|a, b| spread(b).total_cmp(&spread(a)));
    places.truncate(DRAWN);
    let chosen = format!(
        "The {DRAWN} of {count} classes on which the systems differ most, the largest difference first"
    );
    (places, chosen)
}

/// A round number that no drawn value exceeds.
fn end_of_axis(scores: &ClassScores, places: &[usize]) -> f64 {
    let values = (0..scores.values.len()).flat_map(|system| {
        places
            .iter()
            .map(move |place| value(scores, system, *place))
    });
    let largest = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
    if largest <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(largest.log10().floor());
    let round = [1.0, 2.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let fits = round
        .iter()
        .map(|step| step * power)
        .find(|end| *end >= largest);
    fits.unwrap_or(10.0 * power)
}
