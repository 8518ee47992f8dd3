//! A plot as a file of its own, with its title and the legend of its systems.

use askama::filters::{Html, escape};

use super::WIDTH;
use crate::html::legend::Key;

/// Pixels of the title and of a line of the legend.
const TITLE: u32 = 26;
const LINE: u32 = 20;
/// Pixels at the sides.
const MARGIN: u32 = 8;
/// Of the drawing's own units, how many are a pixel.
const FINE: u32 = super::svg::FINE.unsigned_abs();

/// An SVG document around a plot of the page.
pub fn document(title: &str, keys: &[Key], plot: &str) -> String {
    let height = height(plot);
    let legend = LINE * u32::try_from(keys.len()).unwrap_or(0);
    let (width, all) = (WIDTH + 2 * MARGIN, TITLE + legend + height + MARGIN);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{all}\" viewBox=\"0 0 {width} {all}\" font-family=\"sans-serif\" font-size=\"12.5\">\n<rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>\n<text x=\"{MARGIN}\" y=\"18\" font-weight=\"bold\">{}</text>\n",
        escaped(title)
    );
    for (line, key) in (0..).zip(keys) {
        let y = TITLE + LINE * line;
        text += &placed(&key.swatch, MARGIN, y + 3, (28, 14));
        text += &format!(
            "<text x=\"{}\" y=\"{}\">{}</text>\n",
            MARGIN + 36,
            y + 15,
            escaped(&key.name)
        );
    }
    text += &placed(plot, MARGIN, TITLE + legend, (WIDTH, height));
    text + "</svg>\n"
}

/// A drawing at a place inside another.
fn placed(svg: &str, x: u32, y: u32, (width, height): (u32, u32)) -> String {
    let place = format!("<svg x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" viewBox");
    svg.replacen("<svg viewBox", &place, 1) + "\n"
}

/// Height of a drawing in pixels, from its view box.
fn height(svg: &str) -> u32 {
    let numbers = svg.split('"').nth(1).unwrap_or_default();
    let height = numbers.split(' ').nth(3).and_then(|text| text.parse().ok());
    height.unwrap_or(WIDTH * FINE) / FINE
}

fn escaped(text: &str) -> String {
    escape(text, Html).map_or_else(|_| String::new(), |text| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_holds_title_legend_and_plot() {
        let key = Key {
            name: "A & B".into(),
            swatch: "<svg viewBox=\"0 0 280 140\"></svg>".into(),
        };
        let plot = "<svg viewBox=\"0 0 3600 2660\"><rect/></svg>";
        let text = document("k-NN <%>", &[key], plot);
        assert!(
            text.contains("k-NN &#60;%&#62;") && text.contains("A &#38; B"),
            "{text}"
        );
        assert!(
            text.contains("<svg x=\"8\" y=\"46\" width=\"360\" height=\"266\" viewBox"),
            "{text}"
        );
        assert_eq!(text.matches("<svg").count(), text.matches("</svg>").count());
    }
}
