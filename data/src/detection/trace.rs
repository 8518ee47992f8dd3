//! Masks to polygons: outlines along the pixels' sides.

use super::arrangement::{Point, snap};
use super::clip::rings;

/// The outer outlines `x0, y0, x1, y1, ..` of a mask's pieces, corners alone; pixels that touch at a corner
/// belong to different pieces. `inside` tells whether a pixel at column and row belongs to the mask.
pub(super) fn trace(
    width: usize,
    height: usize,
    inside: impl Fn(usize, usize) -> bool,
) -> Vec<Vec<f64>> {
    let taken = |x: isize, y: isize| {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else {
            return false;
        };
        x < width && y < height && inside(x, y)
    };
    let mut border: Vec<(Point, Point)> = Vec::new();
    for y in 0..height as isize {
        for x in (0..width as isize).filter(|&x| taken(x, y)) {
            // Each side with the pixel on its left (y upwards), and the pixel beyond it.
            let sides = [
                ([0, 0], [1, 0], (x, y - 1)),
                ([1, 0], [1, 1], (x + 1, y)),
                ([1, 1], [0, 1], (x, y + 1)),
                ([0, 1], [0, 0], (x - 1, y)),
            ];
            for (from, to, beyond) in sides {
                if !taken(beyond.0, beyond.1) {
                    let corner = |[dx, dy]: [isize; 2]| snap((x + dx) as f64, (y + dy) as f64);
                    border.push((corner(from), corner(to)));
                }
            }
        }
    }
    rings(&border).iter().map(|ring| corners(ring)).collect()
}

/// The points at which a ring turns, in pixels.
fn corners(ring: &[Point]) -> Vec<f64> {
    let unit = snap(1.0, 0.0).0;
    let count = ring.len();
    let turning = (0..count).filter(|&i| {
        let (a, b, c) = (
            ring[(i + count - 1) % count],
            ring[i],
            ring[(i + 1) % count],
        );
        (a.0 == b.0) != (b.0 == c.0)
    });
    turning
        .flat_map(|i| [(ring[i].0 / unit) as f64, (ring[i].1 / unit) as f64])
        .collect()
}

#[cfg(test)]
mod tests {
    use eval::Rle;

    use super::*;

    #[test]
    fn a_square_has_four_corners() {
        let outlines = trace(6, 5, |x, y| (1..4).contains(&x) && (2..4).contains(&y));
        assert_eq!(outlines.len(), 1);
        assert_eq!(outlines[0].len(), 8);
    }

    /// Drawn again by COCO's rasteriser, an outline is the mask it came from, holes apart.
    #[test]
    fn outlines_draw_the_mask_again() {
        let inside =
            |x: usize, y: usize| (x * x + 3 * y * y) % 17 < 9 && !(x + y).is_multiple_of(5);
        let (width, height) = (23, 19);
        let outlines = trace(width, height, inside);
        let drawn = Rle::from_polygons(
            height as u32,
            width as u32,
            outlines.iter().map(Vec::as_slice),
        )
        .unwrap()
        .decode_row_major();
        let mut filled = 0;
        for y in 0..height {
            for x in 0..width {
                let drawn = drawn[y * width + x] == 1;
                assert!(drawn || !inside(x, y), "{x} {y}");
                filled += usize::from(drawn && !inside(x, y));
            }
        }
        assert!(filled < width * height / 8, "{filled} pixels of holes");
    }
}
