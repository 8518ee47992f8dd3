//! How systems are told apart: by colour and by the shape of their marks.

use plotters::element::{Circle, PathElement, Polygon, Rectangle};
use plotters::style::{Color, RGBColor, ShapeStyle};

use super::Drawn;
use super::svg::{Area, FINE, draw, px};
use crate::html::HtmlError;

/// After Okabe and Ito, darkened to a contrast of 3:1 and more on white; the style sheet has brighter ones
/// for dark screens.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xC8, 0x52, 0x00),
    RGBColor(0x00, 0x8A, 0x65),
    RGBColor(0xA8, 0x45, 0x8A),
    RGBColor(0x8A, 0x6D, 0x00),
    RGBColor(0x5B, 0x5F, 0xC7),
    RGBColor(0x6B, 0x6B, 0x6C),
];
/// Shapes; as seven and six share no factor, 42 systems look different.
const SHAPES: usize = 6;

/// Colour of the system in this place.
pub fn colour(series: usize) -> RGBColor {
    COLOURS[series % COLOURS.len()]
}

/// A line of `width` units.
pub fn stroke(colour: RGBColor, width: u32) -> ShapeStyle {
    colour.stroke_width(width)
}

/// Draws the mark of a system around a point, `radius` pixels.
pub fn mark(area: &Area, series: usize, (x, y): (i32, i32), radius: f64) -> Drawn {
    let colour = colour(series);
    let filled = colour.filled();
    let at = |dx: f64, dy: f64| (x + px(dx * radius), y + px(dy * radius));
    match series % SHAPES {
        0 => area.draw(&Circle::new((x, y), px(radius), filled)),
        1 => area.draw(&Rectangle::new([at(-0.88, -0.88), at(0.88, 0.88)], filled)),
        2 => area.draw(&Polygon::new(
            vec![at(0.0, -1.15), at(1.1, 0.8), at(-1.1, 0.8)],
            filled,
        )),
        3 => area.draw(&Polygon::new(
            vec![at(0.0, -1.25), at(1.25, 0.0), at(0.0, 1.25), at(-1.25, 0.0)],
            filled,
        )),
        4 => area.draw(&Polygon::new(
            vec![at(0.0, 1.15), at(1.1, -0.8), at(-1.1, -0.8)],
            filled,
        )),
        _ => {
            let line = stroke(colour, 2 * FINE.unsigned_abs());
            area.draw(&PathElement::new(vec![at(-0.9, -0.9), at(0.9, 0.9)], line))?;
            area.draw(&PathElement::new(vec![at(-0.9, 0.9), at(0.9, -0.9)], line))
        }
    }
}

/// The mark on a piece of line, for a legend.
pub fn swatch(series: usize) -> Result<String, HtmlError> {
    draw((28, 14), "", |area| {
        let line = stroke(colour(series), 2 * FINE.unsigned_abs());
        let ends = vec![(px(1.0), px(7.0)), (px(27.0), px(7.0))];
        area.draw(&PathElement::new(ends, line))?;
        mark(area, series, (px(14.0), px(7.0)), 4.0)
    })
    // The name stands beside it.
    .map(|svg| svg.replacen("role=\"img\" aria-label=\"\"", "aria-hidden=\"true\"", 1))
}
