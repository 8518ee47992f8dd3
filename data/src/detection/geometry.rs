//! Sizes and places of the pictures that detection trains and is evaluated on.
//!
//! Source: detectron2 `data/transforms/augmentation_impl.py` (`ResizeScale`, `FixedSizeCrop`,
//! `ResizeShortestEdge`) and `transform.py`.

use crate::resize::CropBox;

/// Width and height after scaling so that the picture fits a square of `scale * target` pixels
/// (`ResizeScale`); halves are rounded to even, and a side is at least 1.
pub fn jittered_size(width: usize, height: usize, target: usize, scale: f64) -> (usize, usize) {
    let most = target as f64 * scale;
    let factor = (most / height as f64).min(most / width as f64);
    let side = |v: usize| ((v as f64 * factor).round_ties_even() as usize).max(1);
    (side(width), side(height))
}

/// Width and height with the shorter side `short`, or less where the longer would exceed `long`
/// (`ResizeShortestEdge.get_output_shape`); halves are rounded up, and a side is at least 1.
pub fn shortest_edge_size(
    width: usize,
    height: usize,
    short: usize,
    long: usize,
) -> (usize, usize) {
    let (w, h) = (width as f64, height as f64);
    let size = short as f64;
    let scale = size / w.min(h);
    let (mut new_w, mut new_h) = if h < w {
        (scale * w, size)
    } else {
        (size, scale * h)
    };
    let longest = new_w.max(new_h);
    if longest > long as f64 {
        let scale = long as f64 / longest;
        new_w *= scale;
        new_h *= scale;
    }
    let side = |v: f64| ((v + 0.5) as usize).max(1);
    (side(new_w), side(new_h))
}

/// The part that a square of `size` pixels shows of a picture (`FixedSizeCrop` without padding): `share` of
/// what is too much, one number for both axes, lies left of and above it. A smaller picture stays whole.
pub fn fixed_size_window(width: usize, height: usize, size: usize, share: f64) -> CropBox {
    let offset =
        |side: usize| (side.saturating_sub(size) as f64 * share).round_ties_even() as usize;
    CropBox {
        x: offset(width),
        y: offset(height),
        width: width.min(size),
        height: height.min(size),
    }
}

/// Where a transform puts the points of a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// Width and height of the picture as it is.
    pub source: (usize, usize),
    /// Whether it is mirrored left to right, which comes first.
    pub mirrored: bool,
    /// Width and height it is then resized to.
    pub resized: (usize, usize),
    /// What is shown of that.
    pub window: CropBox,
}

impl View {
    /// A point of the picture in pixels of the window; it may lie outside.
    pub fn place(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let x = if self.mirrored {
            self.source.0 as f64 - x
        } else {
            x
        };
        let factor = |new: usize, old: usize| new as f64 / old as f64;
        [
            x * factor(self.resized.0, self.source.0) - self.window.x as f64,
            y * factor(self.resized.1, self.source.1) - self.window.y as f64,
        ]
    }

    /// A box `x0, y0, x1, y1` of the picture, cut to the window.
    pub fn place_box(&self, [x0, y0, x1, y1]: [f64; 4]) -> [f64; 4] {
        let [a, b] = [self.place([x0, y0]), self.place([x1, y1])];
        let (width, height) = (self.window.width as f64, self.window.height as f64);
        [
            a[0].min(b[0]).clamp(0.0, width),
            a[1].min(b[1]).clamp(0.0, height),
            a[0].max(b[0]).clamp(0.0, width),
            a[1].max(b[1]).clamp(0.0, height),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from detectron2 `ResizeShortestEdge.get_output_shape(h, w, 1024, 1024)` and with (800, 1333):
    /// height and width in, height and width out.
    #[test]
    fn shortest_edges_are_detectron2s() {
        let cases = [
            ([427, 640], (1024, 1024), [683, 1024]),
            ([640, 480], (1024, 1024), [1024, 768]),
            ([333, 500], (800, 1333), [800, 1201]),
            ([500, 333], (800, 1333), [1201, 800]),
            ([200, 2000], (800, 1333), [133, 1333]),
            ([1024, 1024], (1024, 1024), [1024, 1024]),
            ([1, 5000], (1024, 1024), [1, 1024]),
        ];
        for ([h, w], (short, long), [out_h, out_w]) in cases {
            assert_eq!(
                shortest_edge_size(w, h, short, long),
                (out_w, out_h),
                "{h}x{w}"
            );
        }
    }

    #[test]
    fn no_side_is_jittered_away() {
        assert_eq!(jittered_size(5000, 3, 1024, 0.1), (102, 1));
    }
}
