//! Curves: learning curves, precision over recall.

use std::ops::Range;

use plotters::element::PathElement;
use plotters::style::text_anchor::{HPos, VPos};

use super::WIDTH;
use super::axes::{Axes, BELOW, around, chart};
use super::series::{colour, mark, stroke};
use super::svg::{DASHED, MUTED, draw, px, text};
use crate::html::HtmlError;

/// Pixels of the area inside the axes.
const INSIDE: u32 = 200;
/// Pixels left of the axes, for numbers such as "0.0025".
const LEFT: u32 = 48;
/// Pixels above the axes, for the title of the vertical one.
const ABOVE: u32 = 26;
/// Points of a curve that are all marked; of longer ones, so many are.
const MARKED: usize = 6;

/// How a curve is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pen {
    /// For smooth curves.
    Solid,
    /// For the second of two curves of a system.
    Dashed,
    /// For noisy curves, which cover each other.
    Thin,
    /// No curve, only the marks of all points.
    Marks,
}

/// One curve.
pub struct Line {
    /// Place in the legend.
    pub series: usize,
    /// How it is drawn.
    pub pen: Pen,
    /// Where it goes; a number that is not defined leaves a gap.
    pub points: Vec<[f64; 2]>,
    /// Intervals through points: where, and their ends.
    pub intervals: Vec<[f64; 3]>,
}

/// Curves over common axes.
pub struct LinePlot<'a> {
    /// What a screen reader says.
    pub label: &'a str,
    /// Title of the horizontal axis.
    pub x_title: &'a str,
    /// Title of the vertical axis.
    pub y_title: &'a str,
    /// Values of the horizontal axis; those of the curves where there are none.
    pub x: Option<Range<f64>>,
    /// Values of the vertical axis, likewise.
    pub y: Option<Range<f64>>,
    /// The curves.
    pub lines: &'a [Line],
}

/// Draws curves, each with marks of its system.
pub fn lines(plot: &LinePlot) -> Result<String, HtmlError> {
    let points = || plot.lines.iter().flat_map(|line| &line.points);
    let ends = plot.lines.iter().flat_map(|line| &line.intervals);
    let ends: Vec<[f64; 2]> = ends
        .flat_map(|[x, low, high]| [[*x, *low], [*x, *high]])
        .collect();
    let values =
        |axis: usize, room: f64| around(points().chain(&ends).map(|point| point[axis]), room);
    let axes = Axes {
        x: plot.x.clone().unwrap_or_else(|| values(0, 0.0)),
        y: plot.y.clone().unwrap_or_else(|| values(1, 0.05)),
        x_title: plot.x_title,
        left: LEFT,
        above: ABOVE,
        y_numbers: true,
    };
    draw((WIDTH, INSIDE + BELOW + ABOVE), plot.label, |area| {
        let chart = chart(area, &axes)?;
        let style = text(MUTED, HPos::Left, VPos::Top);
        area.draw_text(plot.y_title, &style, (px(4.0), px(4.0)))?;
        for line in plot.lines {
            let width = match line.pen {
                Pen::Solid => 20,
                Pen::Dashed => DASHED,
                Pen::Thin | Pen::Marks => 12,
            };
            let style = stroke(colour(line.series), width);
            let defined = |point: &[f64; 2]| point.iter().all(|value| value.is_finite());
            let at = |point: &[f64; 2]| chart.backend_coord(&(point[0], point[1]));
            for [x, low, high] in &line.intervals {
                let through = [[*x, *low], [*x, *high]];
                if through.iter().all(defined) {
                    let through = through.iter().map(at).collect::<Vec<_>>();
                    area.draw(&PathElement::new(through, style))?;
                }
            }
            let pieces = match line.pen {
                Pen::Marks => &[],
                _ => &line.points[..],
            };
            for piece in pieces.split(|point| !defined(point)) {
                area.draw(&PathElement::new(
                    piece.iter().map(at).collect::<Vec<_>>(),
                    style,
                ))?;
            }
            let every = line.pen == Pen::Marks || !line.intervals.is_empty();
            let marked: Vec<usize> = match every {
                true => (0..line.points.len()).collect(),
                false => marked(line.points.len(), line.series).collect(),
            };
            for point in marked.iter().filter_map(|place| line.points.get(*place)) {
                if defined(point) {
                    mark(area, line.series, at(point), 3.2)?;
                }
            }
        }
        Ok(())
    })
}

/// Places of the marks. Those of different systems are shifted, as equal curves would hide each other's.
fn marked(points: usize, series: usize) -> impl Iterator<Item = usize> {
    let (first, step) = match points <= 2 * MARKED {
        true => (0, 1),
        false => {
            let step = points / MARKED;
            (step * (1 + series % 4) / 5, step)
        }
    };
    (first..points).step_by(step.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_flat_curves_draw() {
        let line = |points: &[[f64; 2]]| Line {
            series: 0,
            pen: Pen::Solid,
            points: points.to_vec(),
            intervals: Vec::new(),
        };
        let flat = [line(&[[1.0, 0.5], [2.0, 0.5], [3.0, f64::NAN], [4.0, 0.5]])];
        let svg = lines(&LinePlot {
            label: "flat",
            x_title: "epoch",
            y_title: "loss",
            x: None,
            y: None,
            lines: &flat,
        });
        assert!(!svg.expect("a plot").contains("NaN"));
        assert_eq!(marked(3, 0).count(), 3);
        assert!((5..=7).contains(&marked(100, 3).count()));
    }
}
