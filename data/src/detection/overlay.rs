//! Detections drawn onto their picture: mask, outline, box, and a plate with name and score.

use opencv::core::{Mat, MatTraitConst, MatTraitConstManual, Point, Scalar};
use opencv::imgproc;

use crate::error::DataError;
use crate::image::RgbImage;

/// One object to draw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OverlayObject<'a> {
    /// `x0, y0, x1, y1` in pixels of the picture; what lies outside is not drawn.
    pub bounds: [f32; 4],
    /// One byte a pixel of the picture, row by row, not 0 on the object; `Rle::decode_row_major` gives it.
    pub mask: Option<&'a [u8]>,
    /// What stands on its plate, such as "dog 97 %"; no plate where it is empty. Letters that are not ASCII
    /// show as question marks.
    pub label: &'a str,
    /// Which of the colours: the class index, or the object's number.
    pub colour: usize,
}

/// How much of the colour lies over the picture inside a mask.
const TINT: f32 = 0.42;

/// A colour for a class, as red, green, blue: neighbouring indices are far apart, and no two of any hundred
/// are equal.
pub fn class_colour(index: usize) -> [u8; 3] {
    // Hues step by the golden ratio; brightness and saturation change more slowly.
    let hue = (0.58 + 0.618_034 * index as f64).fract() * 6.0;
    let value = [0.95, 0.75, 1.0][index / 2 % 3];
    let saturation = [0.85, 0.6, 1.0, 0.72][index / 3 % 4];
    let channel = |shift: f64| {
        let k = (shift + hue) % 6.0;
        let share = saturation * k.min(4.0 - k).clamp(0.0, 1.0);
        (255.0 * value * (1.0 - share)).round() as u8
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

/// Draws objects onto a picture, the first at the bottom. Lines and letters grow with the picture.
///
/// # Errors
/// When OpenCV cannot draw letters.
///
/// # Panics
/// When a mask does not have one byte for each pixel of the picture.
pub fn draw_detections(
    image: &mut RgbImage,
    objects: &[OverlayObject<'_>],
) -> Result<(), DataError> {
    if image.pixels.is_empty() {
        return Ok(());
    }
    let long = image.width.max(image.height) as f64;
    let line = ((long / 400.0).round() as isize).clamp(1, 6);
    for object in objects {
        if let Some(mask) = object.mask {
            assert_eq!(
                mask.len(),
                image.width * image.height,
                "a mask has one byte a pixel of its picture"
            );
            tint(image, mask, class_colour(object.colour), line);
        }
    }
    for object in objects {
        frame(image, object.bounds, class_colour(object.colour), line);
    }
    // Plates come last, so that no later object covers a name.
    let mut plates = Vec::new();
    for object in objects.iter().filter(|object| !object.label.is_empty()) {
        let letters = letters(object.label, long)
            .map_err(|error| DataError::config("overlay", error.message))?;
        plate(image, object, &letters, line, &mut plates);
    }
    Ok(())
}

fn blend(pixel: &mut [u8], colour: [u8; 3], share: f32) {
    for (value, colour) in pixel.iter_mut().zip(colour) {
        let behind = f32::from(*value);
        *value = (behind + share * (f32::from(colour) - behind)).round() as u8;
    }
}

/// Colours a mask through, and its rim fully.
fn tint(image: &mut RgbImage, mask: &[u8], colour: [u8; 3], line: isize) {
    let (width, height) = (image.width as isize, image.height as isize);
    let on = |x: isize, y: isize| {
        (0..width).contains(&x) && (0..height).contains(&y) && mask[(y * width + x) as usize] != 0
    };
    let reach = (line + 1) / 2;
    for y in 0..height {
        for x in 0..width {
            if !on(x, y) {
                continue;
            }
            let near = |dx: isize, dy: isize| on(x + dx, y + dy);
            let rim =
                (1..=reach).any(|d| !(near(d, 0) && near(-d, 0) && near(0, d) && near(0, -d)));
            let at = 3 * (y * width + x) as usize;
            blend(
                &mut image.pixels[at..at + 3],
                colour,
                if rim { 0.95 } else { TINT },
            );
        }
    }
}

/// A frame whose lines lie inside the box.
fn frame(image: &mut RgbImage, bounds: [f32; 4], colour: [u8; 3], line: isize) {
    let [x0, y0, x1, y1] = bounds.map(|v| v.round().clamp(-1e6, 1e6) as isize);
    let (x1, y1) = (x1.max(x0 + 1), y1.max(y0 + 1));
    let inner = [x0 + line, y0 + line, x1 - line, y1 - line];
    fill(image, [x0, y0, x1, y1], colour, 0.9, |x, y| {
        x < inner[0] || y < inner[1] || x >= inner[2] || y >= inner[3]
    });
}

/// Colours those pixels of a box, `x0, y0, x1, y1`, that lie in the picture and are asked for.
fn fill(
    image: &mut RgbImage,
    [x0, y0, x1, y1]: [isize; 4],
    colour: [u8; 3],
    share: f32,
    wanted: impl Fn(isize, isize) -> bool,
) {
    let inside = |v: isize, side: usize| v.clamp(0, side as isize);
    for y in inside(y0, image.height)..inside(y1, image.height) {
        for x in inside(x0, image.width)..inside(x1, image.width) {
            if wanted(x, y) {
                let at = 3 * (y as usize * image.width + x as usize);
                blend(&mut image.pixels[at..at + 3], colour, share);
            }
        }
    }
}

/// Letters as coverage, 0 to 255.
struct Letters {
    width: usize,
    height: usize,
    coverage: Vec<u8>,
}

fn letters(text: &str, long: f64) -> opencv::Result<Letters> {
    let text: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_graphic() || c == ' ' {
                c
            } else {
                '?'
            }
        })
        .collect();
    let font = imgproc::FONT_HERSHEY_SIMPLEX;
    let scale = (long / 1250.0).clamp(0.4, 2.2);
    let thickness = ((1.7 * scale).round() as i32).max(1);
    let mut below = 0;
    let size = imgproc::get_text_size(&text, font, scale, thickness, &mut below)?;
    let border = (4.0 * scale).ceil() as i32 + 1;
    let (width, height) = (
        size.width + 2 * border,
        size.height + below / 2 + 2 * border,
    );
    let mut mat =
        Mat::new_rows_cols_with_default(height, width, opencv::core::CV_8UC1, Scalar::all(0.0))?;
    let origin = Point::new(border, border + size.height);
    imgproc::put_text(
        &mut mat,
        &text,
        origin,
        font,
        scale,
        Scalar::all(255.0),
        thickness,
        imgproc::LINE_AA,
        false,
    )?;
    Ok(Letters {
        width: mat.cols() as usize,
        height: mat.rows() as usize,
        coverage: mat.data_typed::<u8>()?.to_vec(),
    })
}

/// Puts a plate over the box's upper left corner, or inside it where there is no room above, and further
/// down where an earlier plate lies.
fn plate(
    image: &mut RgbImage,
    object: &OverlayObject<'_>,
    letters: &Letters,
    line: isize,
    plates: &mut Vec<[isize; 4]>,
) {
    let (w, h) = (letters.width as isize, letters.height as isize);
    let [x0, y0, ..] = object.bounds.map(|v| v.round().clamp(-1e6, 1e6) as isize);
    let x = x0.min(image.width as isize - w).max(0);
    let mut y = if y0 - h >= 0 { y0 - h } else { y0 + line };
    y = y.min(image.height as isize - h).max(0);
    let covered = |y: isize| {
        plates
            .iter()
            .any(|p| x < p[2] && p[0] < x + w && y < p[3] && p[1] < y + h)
    };
    let room = image.height as isize - h;
    let below = (0..=room - y)
        .find(|&shift| !covered(y + shift))
        .map(|shift| y + shift);
    let above = (0..=y)
        .find(|&shift| !covered(y - shift))
        .map(|shift| y - shift);
    let nearest = [below, above].into_iter().flatten();
    y = nearest.min_by_key(|place| (place - y).abs()).unwrap_or(y);
    plates.push([x, y, x + w, y + h]);
    let colour = class_colour(object.colour);
    fill(image, [x, y, x + w, y + h], colour, 0.92, |_, _| true);
    let [r, g, b] = colour.map(f32::from);
    let bright = 0.3 * r + 0.59 * g + 0.11 * b > 135.0;
    let ink = if bright { [0; 3] } else { [255; 3] };
    for (row, coverage) in letters.coverage.chunks_exact(letters.width).enumerate() {
        for (column, &share) in coverage.iter().enumerate() {
            let (px, py) = (x as usize + column, y as usize + row);
            if share > 0 && px < image.width && py < image.height {
                let at = 3 * (py * image.width + px);
                blend(&mut image.pixels[at..at + 3], ink, f32::from(share) / 255.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object<'a>(bounds: [f32; 4], label: &'a str, mask: Option<&'a [u8]>) -> OverlayObject<'a> {
        OverlayObject {
            bounds,
            mask,
            label,
            colour: 3,
        }
    }

    #[test]
    fn colours_of_classes_differ() {
        let colours: std::collections::HashSet<[u8; 3]> = (0..100).map(class_colour).collect();
        assert_eq!(colours.len(), 100);
        let apart = |a: [u8; 3], b: [u8; 3]| -> i32 {
            (0..3)
                .map(|c| (i32::from(a[c]) - i32::from(b[c])).abs())
                .sum()
        };
        for i in 0..80 {
            assert!(apart(class_colour(i), class_colour(i + 1)) > 120, "{i}");
        }
    }

    #[test]
    fn masks_boxes_and_names_show_where_they_belong() {
        let grey = RgbImage::filled(120, 90, [90; 3]);
        let mut mask = vec![0; 120 * 90];
        for y in 40..60 {
            mask[y * 120 + 50..y * 120 + 70].fill(1);
        }
        let mut image = grey.clone();
        draw_detections(
            &mut image,
            &[object([45.0, 35.0, 75.0, 65.0], "", Some(&mask))],
        )
        .unwrap();
        let [tinted, rim, frame] = [
            image.pixel(60, 50),
            image.pixel(50, 50),
            image.pixel(45, 50),
        ];
        assert!(tinted != [90; 3] && rim != tinted && frame != [90; 3]);
        assert_eq!(image.pixel(47, 38), [90; 3]);
        assert_eq!(image.pixel(20, 20), [90; 3]);
        let named = object([45.0, 35.0, 75.0, 65.0], "disc 97 %", None);
        let mut with_name = grey.clone();
        draw_detections(&mut with_name, &[named]).unwrap();
        assert_ne!(with_name.pixel(48, 30), [90; 3]);
    }

    #[test]
    fn odd_places_and_letters_are_survived() {
        for bounds in [
            [-50.0, -50.0, -10.0, -10.0],
            [1e9, 1e9, 2e9, 2e9],
            [5.0, 5.0, 5.0, 5.0],
            [f32::NAN, 0.0, f32::INFINITY, f32::NEG_INFINITY],
        ] {
            let mut image = RgbImage::filled(20, 9, [1; 3]);
            let label = "a very long name of 猫, longer than the picture 100 %";
            draw_detections(&mut image, &[object(bounds, label, None)]).unwrap();
        }
        draw_detections(&mut RgbImage::default(), &[object([0.0; 4], "x", None)]).unwrap();
    }

    #[test]
    fn names_do_not_cover_each_other() {
        let mut plates = Vec::new();
        let mut image = RgbImage::filled(200, 200, [0; 3]);
        let letters = letters("name", 200.0).unwrap();
        for _ in 0..5 {
            let object = object([50.0, 60.0, 90.0, 90.0], "name", None);
            plate(&mut image, &object, &letters, 1, &mut plates);
        }
        for (i, a) in plates.iter().enumerate() {
            for b in &plates[..i] {
                assert!(a[0] >= b[2] || b[0] >= a[2] || a[1] >= b[3] || b[1] >= a[3]);
            }
        }
    }
}
