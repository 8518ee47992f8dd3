//! Plots as inline SVG, in fixed colours that the page's style sheet restyles for dark screens.

mod axes;
mod bars;
mod file;
mod forest;
mod heat;
mod lines;
mod series;
mod svg;

pub(super) use axes::around;
pub(super) use bars::{BarGroup, bars};
pub(super) use file::document;
pub(super) use forest::{ForestRow, forest};
pub(super) use heat::{HeatPlot, heat};
pub(super) use lines::{Line, LinePlot, Pen, lines};
pub(super) use series::swatch;

use plotters::drawing::DrawingAreaErrorKind;

/// Width of every plot in CSS pixels: a phone shows one beside no other, a desktop two or three.
const WIDTH: u32 = 360;

/// What drawing into a string returns.
type Drawn<T = ()> = Result<T, DrawingAreaErrorKind<std::io::Error>>;
