//! Histograms of oriented gradients (Dalal and Triggs 2005), the target of MaskFeat (arXiv 2112.09133).
//!
//! The histograms are scikit-image's (`skimage.feature.hog`): central differences that are zero on the border,
//! unsigned orientations in equal bins without interpolation, means over cells. Each colour channel has its own;
//! a patch's are those of its cells in a row, each channel's brought to length 1 (block norm `L2` over the
//! patch). MaskFeat's own layer has Sobel's differences and norms cells one by one. Parity: `targets`.

use data::ColourStatistics;
use tch::{Device, Kind, Tensor};

use super::{Distance, Seen, Target, per_channel, unit_length, wide};
use crate::target_config::HogConfig;

/// Keeps the norm of a patch without gradients from zero.
const EPSILON: f64 = 1e-5;

/// Histograms of a patch's cells.
#[derive(Debug)]
pub struct HogTarget {
    patch: i64,
    cell: i64,
    orientations: i64,
    distance: Distance,
    /// Deviation and mean of the colours, to undo the normalisation.
    colours: [Tensor; 2],
}

impl HogTarget {
    /// For pictures that were normalised with `colours`.
    pub fn new(config: &HogConfig, patch: i64, colours: &ColourStatistics, device: Device) -> Self {
        Self {
            patch,
            cell: config.cell,
            orientations: config.orientations,
            distance: config.distance,
            colours: [colours.std, colours.mean]
                .map(|three| per_channel(three.map(f64::from), device)),
        }
    }
}

/// Histograms of each channel's cells: `[B, C, H, W] -> [B, C, H / cell, W / cell, orientations]`, means of
/// gradient lengths over a cell, by orientation. Gradients in the picture's own units.
pub fn histograms(images: &Tensor, cell: i64, orientations: i64) -> Tensor {
    let along = |dimension: i64| {
        let length = images.size()[dimension as usize];
        let gradient = images.zeros_like();
        let inner =
            images.narrow(dimension, 2, length - 2) - images.narrow(dimension, 0, length - 2);
        gradient.narrow(dimension, 1, length - 2).copy_(&inner);
        gradient
    };
    let (rows, columns) = (along(2), along(3));
    let length = rows.hypot(&columns);
    let degrees = rows.atan2(&columns).rad2deg().remainder(180.0);
    let bin = (degrees / (180.0 / orientations as f64))
        .floor()
        .clamp(0.0, (orientations - 1) as f64);
    let parts: Vec<Tensor> = (0..orientations)
        .map(|number| {
            let of_bin = &length * bin.eq(number as f64).to_kind(length.kind());
            of_bin.avg_pool2d([cell, cell], [cell, cell], [0, 0], false, true, None)
        })
        .collect();
    Tensor::stack(&parts, -1)
}

impl Target for HogTarget {
    fn width(&self) -> i64 {
        let cells = self.patch / self.cell;
        3 * cells * cells * self.orientations
    }

    fn all(&self, seen: Seen) -> Tensor {
        let images = wide(seen.images) * &self.colours[0] + &self.colours[1];
        let cells = self.patch / self.cell;
        let found = histograms(&images, self.cell, self.orientations);
        let (batch, rows, columns) = {
            let size = found.size();
            (size[0], size[2] / cells, size[3] / cells)
        };
        let blocks = found
            .view(&[batch, 3, rows, cells, columns, cells, self.orientations][..])
            .permute([0, 2, 4, 1, 3, 5, 6]) // [B, rows, columns, 3, cells, cells, orientations]
            .reshape([batch, rows * columns, 3, -1]);
        let squares = blocks
            .square()
            .sum_dim_intlist([-1i64].as_slice(), true, Kind::Float);
        let histograms = (blocks / (squares + EPSILON * EPSILON).sqrt()).flatten(2, -1);
        match self.distance {
            Distance::Cosine => unit_length(&histograms).nan_to_num(0.0, None::<f64>, None::<f64>),
            Distance::L2 | Distance::SmoothL1 => histograms,
        }
    }

    fn patch_losses(&self, prediction: &Tensor, target: &Tensor) -> Tensor {
        self.distance.between(prediction, target)
    }
}
