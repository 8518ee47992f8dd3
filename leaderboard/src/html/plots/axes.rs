//! Axes with their grid and labels.

use std::ops::Range;

use plotters::backend::SVGBackend;
use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::ranged1d::Ranged;
use plotters::coord::types::RangedCoordf64;
use plotters::style::Color;
use plotters::style::text_anchor::{HPos, VPos};

use super::svg::{Area, GRID, MUTED, px, text};
use super::{Drawn, WIDTH};

/// A chart in plain numbers.
pub type Chart<'a, 'b> =
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Labels along an axis, about.
const LABELS: usize = 6;
/// Pixels right of the axes, so that the last label is whole.
pub const RIGHT: u32 = 16;
/// Pixels for the labels and the title of the horizontal axis.
pub const BELOW: u32 = 40;

/// What a chart shows.
pub struct Axes<'a> {
    /// Values along the horizontal axis.
    pub x: Range<f64>,
    /// Values along the vertical axis.
    pub y: Range<f64>,
    /// Title of the horizontal axis.
    pub x_title: &'a str,
    /// Pixels left of the axes.
    pub left: u32,
    /// Pixels above.
    pub above: u32,
    /// Whether the vertical axis has numbers; rows have names of their own.
    pub y_numbers: bool,
}

/// Draws axes, grid and labels.
pub fn chart<'a, 'b>(area: &'a Area<'b>, axes: &Axes) -> Drawn<Chart<'a, 'b>> {
    let fine = |pixels: u32| px(f64::from(pixels));
    let mut chart = ChartBuilder::on(area)
        .margin_top(fine(axes.above))
        .margin_right(fine(RIGHT))
        .x_label_area_size(fine(BELOW))
        .y_label_area_size(fine(axes.left))
        .build_cartesian_2d(axes.x.clone(), axes.y.clone())?;
    let (x_decimals, y_decimals) = (decimals(&axes.x), decimals(&axes.y));
    let x_label = |value: &f64| label(*value, x_decimals);
    let y_label = |value: &f64| label(*value, y_decimals);
    let mut mesh = chart.configure_mesh();
    mesh.bold_line_style(GRID.stroke_width(px(1.0).unsigned_abs()))
        .light_line_style(GRID.mix(0.0))
        .axis_style(MUTED.stroke_width(px(1.0).unsigned_abs()))
        .label_style(text(MUTED, HPos::Center, VPos::Center))
        .set_all_tick_mark_size(px(4.0))
        .x_labels(LABELS)
        .y_labels(LABELS)
        .x_label_formatter(&x_label)
        .y_label_formatter(&y_label);
    if !axes.y_numbers {
        mesh.disable_y_mesh().disable_y_axis().y_labels(0);
    }
    mesh.draw()?;
    let (_, height) = area.dim_in_pixel();
    let middle = (px(f64::from(axes.left)) + px(f64::from(WIDTH - RIGHT))) / 2;
    area.draw_text(
        axes.x_title,
        &text(MUTED, HPos::Center, VPos::Bottom),
        (middle, height.cast_signed() - px(3.0)),
    )?;
    Ok(chart)
}

/// The range of the values with some room, never empty.
pub fn around(values: impl Iterator<Item = f64>, room: f64) -> Range<f64> {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
    if low > high {
        return 0.0..1.0;
    }
    // A flat line gets a range of its own size, so that its labels differ in few digits.
    let span = match high > low {
        true => high - low,
        false => (high.abs() * 0.1).max(0.1),
    };
    low - room * span..high + room * span
}

/// Decimals that tell the labels of an axis apart.
fn decimals(range: &Range<f64>) -> usize {
    let labels = plotters_labels(range);
    let told = |decimals: &usize| {
        let scale = 10f64.powi(i32::try_from(*decimals).unwrap_or(0));
        labels
            .iter()
            .all(|value| (value * scale - (value * scale).round()).abs() < 1e-6)
    };
    (0..6).find(told).unwrap_or(6)
}

fn plotters_labels(range: &Range<f64>) -> Vec<f64> {
    let coordinate: RangedCoordf64 = range.clone().into();
    coordinate.key_points(LABELS)
}

fn label(value: f64, decimals: usize) -> String {
    crate::html::numbers::number(value, decimals)
}
