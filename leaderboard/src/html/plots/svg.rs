//! From plotters' drawing to an SVG element of the page.

use askama::filters::{Html, escape};
use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor, TextStyle};

use super::Drawn;
use crate::html::HtmlError;

/// Units of a drawing per CSS pixel: plotters puts everything on whole units.
pub const FINE: i32 = 10;
/// Text and intervals. These three are the colours that the style sheet looks for.
pub const INK: RGBColor = RGBColor(0x11, 0x11, 0x11);
/// Axes and their labels.
pub const MUTED: RGBColor = RGBColor(0x55, 0x55, 0x56);
/// Grid lines.
pub const GRID: RGBColor = RGBColor(0xDD, 0xDD, 0xDE);

/// Height of letters in CSS pixels.
pub const TEXT: f64 = 12.5;
/// What plotters divides sizes by, so that letters become as high as asked for.
const PLOTTERS_TEXT_SCALE: f64 = 1.24;
/// Stroke width that stands for a dashed line of two pixels, and its dashes.
///
/// The backend knows no dashes and plotters' own are an element each; a width that nothing else has is
/// replaced once everything is drawn.
pub const DASHED: u32 = 21;
const DASHES: &str = "stroke-width=\"20\" stroke-dasharray=\"60 40\"";

/// A surface of plotters.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws on `width` × `height` CSS pixels; `label` is what a screen reader says.
pub fn draw(
    (width, height): (u32, u32),
    label: &str,
    paint: impl FnOnce(&Area) -> Drawn,
) -> Result<String, HtmlError> {
    let fine = FINE.unsigned_abs();
    let mut drawn = String::new();
    {
        let backend = SVGBackend::with_string(&mut drawn, (width * fine, height * fine));
        let area = backend.into_drawing_area();
        paint(&area)
            .and_then(|()| area.present())
            .map_err(|error| HtmlError::Plot(error.to_string()))?;
    }
    // The opening tag's fixed size and namespace give way to what an inline picture needs.
    let content = drawn.split_once('>').map_or("", |(_, content)| content);
    let content = content
        .replace(" opacity=\"1\"", "")
        .replace(&format!("stroke-width=\"{DASHED}\""), DASHES);
    let label = escape(label, Html).map_or_else(|_| String::new(), |label| label.to_string());
    Ok(format!(
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{label}\">{content}",
        width * fine,
        height * fine
    ))
}

/// Pixels in units of the drawing.
pub fn px(pixels: f64) -> i32 {
    (pixels * f64::from(FINE)).round() as i32
}

/// Letters of `colour`, anchored.
pub fn text(colour: RGBColor, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    let size = TEXT * PLOTTERS_TEXT_SCALE * f64::from(FINE);
    TextStyle {
        font: ("sans-serif", size).into_font(),
        color: colour.to_backend_color(),
        pos: Pos::new(horizontal, vertical),
    }
}

/// The text, shortened where it is wider than `width` pixels; widths of letters are estimated. The end stays,
/// as names of checkpoints often differ there.
pub fn fit(text: &str, width: f64) -> String {
    let ems = |letter: char| match letter {
        'i' | 'j' | 'l' | 't' | 'f' | 'r' | '.' | ',' | ':' | '|' | ' ' | '(' | ')' => 0.34,
        'm' | 'w' | 'M' | 'W' | '…' | '@' | '%' => 0.92,
        letter if letter.is_uppercase() => 0.7,
        letter if u32::from(letter) >= 0x1100 => 1.0,
        _ => 0.58,
    };
    let wide = |text: &str| text.chars().map(ems).sum::<f64>() * TEXT;
    if wide(text) <= width {
        return text.to_owned();
    }
    let letters: Vec<char> = text.chars().collect();
    let shortened = |kept: usize| {
        let tail = kept / 3;
        let head: String = letters[..kept - tail].iter().collect();
        let tail: String = letters[letters.len() - tail..].iter().collect();
        format!("{}…{}", head.trim_end(), tail.trim_start())
    };
    let mut kept = letters.len().saturating_sub(1);
    while kept > 0 && wide(&shortened(kept)) > width {
        kept -= 1;
    }
    shortened(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_shortened_to_their_width() {
        assert_eq!(fit("cat", 100.0), "cat");
        let short = fit("a very long name of a system, epoch 100", 100.0);
        assert!(short.starts_with("a very"), "{short}");
        assert!(short.ends_with("100") && short.contains('…'), "{short}");
        assert_eq!(fit("cat", 0.0), "…");
    }

    #[test]
    fn labels_are_escaped() {
        let svg = draw((10, 10), "<b>\"", |_| Ok(())).expect("an empty drawing");
        assert!(!svg.contains("<b>") && svg.ends_with("</svg>\n"), "{svg}");
    }
}
