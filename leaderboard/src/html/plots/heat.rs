//! A matrix as colours: layers beside layers.

use plotters::element::Rectangle;
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use super::WIDTH;
use super::svg::{GRID, MUTED, draw, fit, px, text};
use crate::html::HtmlError;
use crate::html::numbers::trimmed;

/// Pixels of the matrix's side, left of it, above it and below it.
const SIDE: f64 = 250.0;
const LEFT: f64 = 44.0;
const ABOVE: f64 = 26.0;
const BELOW: f64 = 40.0;
/// Pixels of the scale, and between it and the matrix.
const SCALE: f64 = 12.0;
const GAP: f64 = 14.0;
/// Steps of the scale.
const STEPS: usize = 50;
/// Numbers along a side, about.
const LABELS: usize = 12;
/// From dark to light at equal steps, close to matplotlib's viridis.
const COLOURS: [[f64; 3]; 5] = [
    [68.0, 1.0, 84.0],
    [59.0, 82.0, 139.0],
    [33.0, 145.0, 140.0],
    [94.0, 201.0, 98.0],
    [253.0, 231.0, 37.0],
];

/// A matrix of numbers up to 1.
pub struct HeatPlot<'a> {
    /// What a screen reader says.
    pub label: &'a str,
    /// What its columns are.
    pub x_title: &'a str,
    /// What its rows are.
    pub y_title: &'a str,
    /// Where the scale begins.
    pub low: f64,
    /// `[rows][columns]`, counted from 1, the first row at the bottom; what is not defined stays grey.
    pub values: &'a [Vec<f64>],
}

/// Draws the matrix with its scale.
pub fn heat(plot: &HeatPlot) -> Result<String, HtmlError> {
    let rows = plot.values.len();
    let columns = plot.values.iter().map(Vec::len).max().unwrap_or(0);
    let size = (WIDTH, (ABOVE + SIDE + BELOW) as u32);
    draw(size, plot.label, |area| {
        let room = f64::from(WIDTH) - LEFT;
        let title = |words: &str| fit(words, room);
        let style = text(MUTED, HPos::Left, VPos::Top);
        area.draw_text(&title(plot.y_title), &style, (px(4.0), px(4.0)))?;
        let style = text(MUTED, HPos::Center, VPos::Bottom);
        let bottom = px(ABOVE + SIDE + BELOW - 3.0);
        area.draw_text(
            &title(plot.x_title),
            &style,
            (px(LEFT + SIDE / 2.0), bottom),
        )?;
        let at = |column: f64, row: f64| {
            let x = LEFT + SIDE * column / columns.max(1) as f64;
            let y = ABOVE + SIDE - SIDE * row / rows.max(1) as f64;
            (px(x), px(y))
        };
        for (row, values) in plot.values.iter().enumerate() {
            for (column, value) in values.iter().enumerate() {
                let (row, column) = (row as f64, column as f64);
                let corners = [at(column, row + 1.0), at(column + 1.0, row)];
                let share = (value - plot.low) / (1.0 - plot.low);
                area.draw(&Rectangle::new(corners, colour(share).filled()))?;
            }
        }
        let style = text(MUTED, HPos::Center, VPos::Top);
        for number in labelled(columns) {
            let (x, y) = at(number as f64 - 0.5, 0.0);
            area.draw_text(&number.to_string(), &style, (x, y + px(4.0)))?;
        }
        let style = text(MUTED, HPos::Right, VPos::Center);
        for number in labelled(rows) {
            let (x, y) = at(0.0, number as f64 - 0.5);
            area.draw_text(&number.to_string(), &style, (x - px(5.0), y))?;
        }
        let left = LEFT + SIDE + GAP;
        let height = |share: f64| px(ABOVE + SIDE * (1.0 - share));
        for step in 0..STEPS {
            let [low, high] = [step, step + 1].map(|step| step as f64 / STEPS as f64);
            let corners = [(px(left), height(high)), (px(left + SCALE), height(low))];
            area.draw(&Rectangle::new(
                corners,
                colour((low + high) / 2.0).filled(),
            ))?;
        }
        let style = text(MUTED, HPos::Left, VPos::Center);
        for share in [0.0, 0.5, 1.0] {
            let number = trimmed(plot.low + share * (1.0 - plot.low));
            area.draw_text(&number, &style, (px(left + SCALE + 4.0), height(share)))?;
        }
        Ok(())
    })
}

/// Every layer, or every second one and so on, so that numbers do not touch.
fn labelled(count: usize) -> impl Iterator<Item = usize> {
    (1..=count).step_by(count.div_ceil(LABELS).max(1))
}

fn colour(value: f64) -> RGBColor {
    if !value.is_finite() {
        return GRID;
    }
    let place = value.clamp(0.0, 1.0) * (COLOURS.len() - 1) as f64;
    let below = (place as usize).min(COLOURS.len() - 2);
    let share = place - below as f64;
    let part = |channel: usize| {
        let [a, b] = [below, below + 1].map(|at| COLOURS[at][channel]);
        (a + share * (b - a)).round() as u8
    };
    RGBColor(part(0), part(1), part(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_has_its_colour() {
        let values = [vec![0.0, 1.0], vec![f64::NAN, 0.5]];
        let svg = heat(&HeatPlot {
            label: "two layers",
            x_title: "layer",
            y_title: "layer",
            low: 0.0,
            values: &values,
        });
        let svg = svg.expect("a plot");
        assert_eq!(svg.matches("<rect").count(), 4 + STEPS);
        for cell in ["#440154", "#FDE725", "#DDDDDE", "#21918C"] {
            assert!(svg.contains(cell), "{cell} in {svg}");
        }
    }
}
