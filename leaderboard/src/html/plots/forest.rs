//! Values of systems with their intervals, one row each.

use plotters::element::PathElement;
use plotters::style::text_anchor::{HPos, VPos};

use super::WIDTH;
use super::axes::{Axes, BELOW, RIGHT, around, chart};
use super::series::{colour, mark, stroke};
use super::svg::{INK, draw, fit, px, text};
use crate::board::Score;
use crate::html::HtmlError;

/// Pixels of a row: the system's name above its interval, so that long names have the whole width.
const ROW: u32 = 36;
/// Pixels left of the axis.
const LEFT: u32 = 12;
/// Half the height of an interval's ends.
const CAP: f64 = 4.0;

/// One system.
pub struct ForestRow {
    /// Place in the legend.
    pub series: usize,
    /// Its name.
    pub name: String,
    /// Its score.
    pub score: Score,
}

/// A dot per system with the interval through it.
pub fn forest(label: &str, x_title: &str, rows: &[ForestRow]) -> Result<String, HtmlError> {
    let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let size = (WIDTH, count.saturating_mul(ROW) + BELOW + 4);
    let ends = rows
        .iter()
        .flat_map(|row| [row.score.value, row.score.low, row.score.high]);
    let axes = Axes {
        x: around(ends, 0.06),
        y: 0.0..rows.len() as f64,
        x_title,
        left: LEFT,
        above: 4,
        y_numbers: false,
    };
    draw(size, label, |area| {
        let chart = chart(area, &axes)?;
        for (place, row) in rows.iter().enumerate() {
            let top = axes.y.end - place as f64;
            let at = |value: f64, down: f64| {
                let (x, y) = chart.backend_coord(&(value, top));
                (x, y + px(down))
            };
            let (_, name_y) = at(axes.x.start, 4.0);
            let room = f64::from(WIDTH - LEFT - RIGHT);
            area.draw_text(
                &fit(&row.name, room),
                &text(INK, HPos::Left, VPos::Top),
                (px(f64::from(LEFT)) + px(4.0), name_y),
            )?;
            let Score {
                value, low, high, ..
            } = row.score;
            let middle = 26.0;
            let line = stroke(colour(row.series), px(2.0).unsigned_abs());
            if low.is_finite() && high.is_finite() {
                let through = vec![at(low, middle), at(high, middle)];
                area.draw(&PathElement::new(through, line))?;
                for end in [low, high] {
                    let cap = vec![at(end, middle - CAP), at(end, middle + CAP)];
                    area.draw(&PathElement::new(cap, line))?;
                }
            }
            if value.is_finite() {
                mark(area, row.series, at(value, middle), 4.5)?;
            }
        }
        Ok(())
    })
}
