//! Anchors: the boxes that every place of a feature map proposes. Source: detectron2
//! `modeling/anchor_generator.py`, `DefaultAnchorGenerator`.

use crate::boxes::BoxF;

/// Anchors of one size per level and the same shapes on all levels.
#[derive(Debug, Clone, PartialEq)]
pub struct AnchorConfig {
    /// Square root of an anchor's area in pixels of the network's input; one per level.
    pub sizes: Vec<f64>,
    /// Height over width of the anchors at one place.
    pub aspect_ratios: Vec<f64>,
    /// Pixels of the network's input from one place to the next; one per level.
    pub strides: Vec<i64>,
    /// Where in its cell an anchor is centred, in strides: 0 at the corner, 0.5 in the middle. At
    /// least 0 and below 1.
    pub offset: f64,
}

impl AnchorConfig {
    /// The anchors of a feature map of `height` × `width` places, in order (row, column, ratio);
    /// nothing is clipped.
    ///
    /// # Panics
    /// When there is no such level.
    pub fn level_anchors(&self, level: usize, height: i64, width: i64) -> Vec<BoxF> {
        let cell = self.cell_anchors(level);
        let columns = self.centres(level, width);
        let mut anchors = Vec::with_capacity(cell.len() * columns.len() * height.max(0) as usize);
        for y in self.centres(level, height) {
            for &x in &columns {
                anchors.extend(
                    cell.iter()
                        .map(|&[x0, y0, x1, y1]| [x + x0, y + y0, x + x1, y + y1]),
                );
            }
        }
        anchors
    }

    /// The anchors of one place, around the origin.
    fn cell_anchors(&self, level: usize) -> Vec<BoxF> {
        let area = self.sizes[level].powi(2);
        self.aspect_ratios
            .iter()
            .map(|ratio| {
                let width = (area / ratio).sqrt();
                let height = ratio * width;
                // Double precision up to here, as the reference.
                [-width / 2.0, -height / 2.0, width / 2.0, height / 2.0].map(|value| value as f32)
            })
            .collect()
    }

    /// Where along one axis the anchors are centred.
    fn centres(&self, level: usize, places: i64) -> Vec<f32> {
        let stride = self.strides[level] as f64;
        (0..places)
            .map(|place| (self.offset * stride + stride * place as f64) as f32)
            .collect()
    }
}
