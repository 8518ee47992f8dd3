//! An analysis as rows of text, for the terminal's table, Markdown and the page.

use super::measure::{LayerMeasure, LayerSet};
use super::{LayerAnalysis, LayerScore, Over};
use crate::grid::Grid;
use crate::numbers::{number, signed};

/// Measures by systems, averaged over the sets of layers that say most.
pub(crate) fn scores(analysis: &LayerAnalysis) -> Grid {
    let mut header = vec![String::new(), "layers".to_owned()];
    header.extend(analysis.systems.iter().cloned());
    let mut rows = Vec::new();
    for (measure, set) in lines(analysis) {
        let mut row = vec![measure.title().to_owned(), set_name(analysis, set)];
        for system in &analysis.systems {
            let score = find(&analysis.scores, measure, set, system);
            row.push(score.map_or_else(String::new, |score| text(score, measure.decimals())));
        }
        rows.push(row);
    }
    Grid {
        header,
        rows,
        words: 2,
    }
}

/// The same against the first system: a row for each difference, or with several others a column for each of them.
/// No rows where there is one system.
pub(crate) fn differences(analysis: &LayerAnalysis) -> Grid {
    match analysis.systems.as_slice() {
        [base, others @ ..] if others.len() > 1 => side_by_side(analysis, base, others),
        _ => one_by_one(analysis),
    }
}

fn one_by_one(analysis: &LayerAnalysis) -> Grid {
    let mut rows = Vec::new();
    for (measure, set) in lines(analysis) {
        for system in &analysis.systems {
            let Some(gap) = find(&analysis.differences, measure, set, system) else {
                continue;
            };
            let (difference, interval) = signed_with_interval(gap);
            rows.push(vec![
                system.clone(),
                gap.base.clone().unwrap_or_default(),
                measure.title().to_owned(),
                set_name(analysis, set),
                verdict(gap).to_owned(),
                difference,
                interval.unwrap_or_default(),
            ]);
        }
    }
    Grid {
        header: [
            "",
            "against",
            "measure",
            "layers",
            "verdict",
            "difference",
            "95 % interval",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows,
        words: 5,
    }
}

/// The verdict stands in a cell where the interval excludes 0.
fn side_by_side(analysis: &LayerAnalysis, base: &str, others: &[String]) -> Grid {
    let mut header = vec![format!("against {base}"), "layers".to_owned()];
    header.extend(others.iter().cloned());
    let cell = |gap: &LayerScore| match (verdict(gap), signed_with_interval(gap)) {
        (_, (difference, None)) => difference,
        ("not significant", (difference, Some(interval))) => format!("{difference} ({interval})"),
        (verdict, (difference, Some(interval))) => format!("{verdict} {difference} ({interval})"),
    };
    let rows = lines(analysis)
        .into_iter()
        .map(|(measure, set)| {
            let mut row = vec![measure.title().to_owned(), set_name(analysis, set)];
            row.extend(others.iter().map(|system| {
                find(&analysis.differences, measure, set, system).map_or_else(String::new, cell)
            }));
            row
        })
        .filter(|row| row[2..].iter().any(|cell| !cell.is_empty()))
        .collect();
    // Words, as far as tables go: they may wrap.
    Grid {
        words: header.len(),
        header,
        rows,
    }
}

/// A difference and its interval. Differences are smaller than scores, so they have a digit more.
fn signed_with_interval(gap: &LayerScore) -> (String, Option<String>) {
    let signed = |value| signed(value, gap.measure.decimals() + 1);
    let interval = gap
        .interval
        .map(|[low, high]| format!("{} to {}", signed(low), signed(high)));
    (signed(gap.value), interval)
}

/// What the numbers mean, in a few sentences.
pub(crate) fn explanation(analysis: &LayerAnalysis) -> String {
    let mut text = format!(
        "{}. {} pictures were looked at, {} taught the probes.",
        analysis.data, analysis.pictures, analysis.teaching
    );
    let over = |wanted: Over| analysis.scores.iter().any(|score| score.over == wanted);
    if over(Over::Seeds) {
        text += " Where a system has several trainings, ± is its 95 % interval over them (Student's t; differences Welch's).";
    }
    if over(Over::Pictures) {
        text += " Where it has one, ± is over the choice of pictures (differences picture by picture), and the noise of training comes on top.";
    }
    if !analysis.differences.is_empty() {
        text += " A difference is called higher or lower where its interval leaves out 0.";
    }
    text + " Each interval stands for itself: none is adjusted for the number of measures and layers."
}

/// Whether a difference is more than chance.
pub(crate) fn verdict(gap: &LayerScore) -> &'static str {
    match gap.interval {
        None => "not tested",
        Some([low, _]) if low > 0.0 => "higher",
        Some([_, high]) if high < 0.0 => "lower",
        Some(_) => "not significant",
    }
}

/// A value with the half of its interval.
pub(crate) fn text(score: &LayerScore, decimals: usize) -> String {
    let value = number(score.value, decimals);
    match score.interval {
        Some([low, high]) => format!("{value} ± {}", number((high - low) / 2.0, decimals)),
        None => value,
    }
}

/// The score of a system.
pub(crate) fn find<'a>(
    among: &'a [LayerScore],
    measure: LayerMeasure,
    set: LayerSet,
    system: &str,
) -> Option<&'a LayerScore> {
    among
        .iter()
        .find(|score| (score.measure, score.layers) == (measure, set) && score.system == system)
}

/// What the tables show: every measure over all layers, the shallower half, and the last layer of the deepest trunk.
fn lines(analysis: &LayerAnalysis) -> Vec<(LayerMeasure, LayerSet)> {
    let deepest = analysis.checkpoints.iter().map(|one| one.layers).max();
    let last = LayerSet::One(deepest.unwrap_or(0));
    let mut lines = Vec::new();
    for measure in LayerMeasure::ALL {
        for set in [LayerSet::All, LayerSet::Shallow, last] {
            let known = analysis
                .systems
                .iter()
                .any(|system| find(&analysis.scores, measure, set, system).is_some());
            if known {
                lines.push((measure, set));
            }
        }
    }
    lines
}

fn set_name(analysis: &LayerAnalysis, set: LayerSet) -> String {
    let deepest = analysis.checkpoints.iter().map(|one| one.layers).max();
    match set {
        LayerSet::One(layer) if Some(layer) == deepest => format!("last ({layer})"),
        other => other.to_string(),
    }
}
