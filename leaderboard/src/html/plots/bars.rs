//! Grouped bars: classes down the page, one bar per system.

use plotters::element::Rectangle;
use plotters::style::Color;
use plotters::style::text_anchor::{HPos, VPos};

use super::WIDTH;
use super::axes::{Axes, BELOW, chart};
use super::series::{colour, mark};
use super::svg::{INK, MUTED, draw, fit, px, text};
use crate::html::HtmlError;
use crate::html::numbers::UNDEFINED;

/// Pixels for a class's name.
const LEFT: u32 = 112;
/// Pixels of a bar with the gap below it.
const BAR: f64 = 9.0;
/// Pixels between classes.
const GAP: f64 = 9.0;

/// One class.
pub struct BarGroup {
    /// Its name.
    pub name: String,
    /// Place in the legend and value, one per system.
    pub values: Vec<(usize, f64)>,
}

/// Bars from zero to at most `end`.
pub fn bars(
    label: &str,
    x_title: &str,
    end: f64,
    groups: &[BarGroup],
) -> Result<String, HtmlError> {
    let heights = groups
        .iter()
        .map(|group| group.values.len() as f64 * BAR + GAP);
    let height: f64 = heights.sum();
    let size = (WIDTH, height.ceil() as u32 + BELOW + 4);
    let axes = Axes {
        x: 0.0..end,
        y: 0.0..height,
        x_title,
        left: LEFT,
        above: 4,
        y_numbers: false,
    };
    draw(size, label, |area| {
        let chart = chart(area, &axes)?;
        let mut top = height;
        for group in groups {
            let tall = group.values.len() as f64 * BAR;
            let at = |value: f64, down: f64| chart.backend_coord(&(value, top - GAP / 2.0 - down));
            let (zero, middle) = at(0.0, tall / 2.0);
            area.draw_text(
                &fit(&group.name, f64::from(LEFT) - 12.0),
                &text(INK, HPos::Right, VPos::Center),
                (zero - px(6.0), middle),
            )?;
            for (place, (series, value)) in group.values.iter().enumerate() {
                let down = place as f64 * BAR;
                if !value.is_finite() {
                    let (x, y) = at(0.0, down + BAR / 2.0);
                    let style = text(MUTED, HPos::Left, VPos::Center);
                    area.draw_text(UNDEFINED, &style, (x + px(3.0), y))?;
                    continue;
                }
                let shown = value.clamp(0.0, end);
                let body = colour(*series).mix(0.55).filled();
                let corners = [at(0.0, down + 1.0), at(shown, down + BAR - 1.0)];
                area.draw(&Rectangle::new(corners, body))?;
                mark(area, *series, at(shown, down + BAR / 2.0), 3.0)?;
            }
            top -= tall + GAP;
        }
        Ok(())
    })
}
