//! BEiT's relative position biases: which row of the table each pair of tokens takes, and tables for
//! another grid.
//!
//! A table has a row for every offset between two patches of a `rows` x `columns` grid, and three more
//! for the class token's pairs: `[(2 rows - 1) * (2 columns - 1) + 3, heads]`.
//!
//! Sources: OliverRensu/DeepMIM `Segmentation/backbone/mae.py` (`Attention`, `RelativePositionBias`),
//! `Segmentation/mmcv_custom/checkpoint.py::load_checkpoint`; mmsegmentation
//! `models/backbones/beit.py`.
//! Parity: `upernet`, `pos_embed_resample`, `relative_bias`.

use tch::{Kind, TchError, Tensor};

use crate::BackboneError;
use crate::spline::cubic_weights;

/// Rows for pairs of the class token, at the end of a table: from it to a patch, from a patch to it,
/// and to itself.
const CLASS_ROWS: i64 = 3;

/// Rows of the table of a grid.
pub(crate) fn table_rows(rows: i64, columns: i64) -> i64 {
    (2 * rows - 1) * (2 * columns - 1) + CLASS_ROWS
}

/// The table's row for every pair of tokens, int64 `[1 + rows * columns, 1 + rows * columns]`: the
/// first token is the class token, the others are the patches row by row. The pair (i, j) takes the
/// offset of patch i from patch j.
pub fn relative_bias_index(rows: i64, columns: i64) -> Tensor {
    let width = 2 * columns - 1;
    let offsets = (2 * rows - 1) * width;
    let patches = rows * columns;
    let tokens = 1 + patches;
    let mut index = Vec::with_capacity((tokens * tokens) as usize);
    index.push(offsets + 2);
    index.resize(tokens as usize, offsets);
    for i in 0..patches {
        index.push(offsets + 1);
        let (row, column) = (i / columns + rows - 1, i % columns + columns - 1);
        index.extend((0..patches).map(|j| (row - j / columns) * width + column - j % columns));
    }
    Tensor::from_slice(&index).view([tokens, tokens])
}

/// Side of the square grid that a table of so many rows belongs to.
pub(crate) fn bias_grid(rows: i64) -> Option<i64> {
    let offsets = rows
        .checked_sub(CLASS_ROWS)
        .filter(|&offsets| offsets > 0)?;
    let span = (offsets as f64).sqrt().round() as i64;
    (span % 2 == 1 && span.checked_mul(span) == Some(offsets)).then_some((span + 1) / 2)
}

/// A table `[(2 g - 1)² + 3, heads]` of a square grid of side `g` for one of side `side`:
/// float32 `[(2 side - 1)² + 3, heads]`. A table that already has this grid is returned as is.
///
/// Known offsets are spread out in a geometric progression, dense near zero, so that the furthest of
/// them comes to lie at the furthest of the new grid; between them runs a bicubic spline. The class
/// token's rows stay as they are.
///
/// # Errors
/// [`BackboneError::BiasTable`] where the table is of no square grid, or a spline through its offsets
/// would not be determined (side 1 or 2).
pub fn resample_relative_bias(table: &Tensor, side: i64) -> Result<Tensor, BackboneError> {
    let shape = table.size();
    let wrong = || BackboneError::BiasTable {
        shape: shape.clone(),
        side,
    };
    let &[rows, _] = shape.as_slice() else {
        return Err(wrong());
    };
    let from = bias_grid(rows).ok_or_else(wrong)?;
    if from == side {
        return Ok(table.shallow_clone());
    }
    if side < 1 {
        return Err(wrong());
    }
    let at: Vec<f64> = (1 - side..side).map(|offset| offset as f64).collect();
    let weights = cubic_weights(&progression(from, side), &at).ok_or_else(wrong)?;
    interpolate(table, 2 * from - 1, &Tensor::from_slice(&weights)).map_err(|_| wrong())
}

/// `[span² + 3, heads]` by the spline's weights `[new span * span]` along both axes.
fn interpolate(table: &Tensor, span: i64, weights: &Tensor) -> Result<Tensor, TchError> {
    let offsets = span * span;
    let weights = weights.f_view([-1, span])?;
    let table = table.f_to_kind(Kind::Float)?;
    let resampled = table
        .f_narrow(0, 0, offsets)?
        .f_to_kind(Kind::Double)?
        .f_transpose(0, 1)?
        .f_reshape([-1, span, span])?;
    let resampled = weights
        .f_to_device(table.device())?
        .f_matmul(&resampled)?
        .f_matmul(&weights.f_transpose(0, 1)?)?
        .f_flatten(1, 2)?
        .f_transpose(0, 1)?
        .f_to_kind(Kind::Float)?;
    Tensor::f_cat(&[resampled, table.f_narrow(0, offsets, CLASS_ROWS)?], 0)
}

/// Where a grid of side `from` has its `2 from - 1` offsets on the axis of one of side `side`:
/// 0, ±1, ±(1 + q), ±(1 + q + q²), …, with the ratio q between 1.01 and 1.5 that brings the last to
/// `side - 1`. The ratio is the last one that the reference's bisection tries, to the bit.
fn progression(from: i64, side: i64) -> Vec<f64> {
    let (steps, reach) = ((from - 1) as f64, (side - 1) as f64);
    let (mut low, mut high, mut ratio) = (1.01_f64, 1.5_f64, 1.01);
    while high - low > 1e-6 {
        ratio = (low + high) / 2.0;
        if (1.0 - ratio.powf(steps)) / (1.0 - ratio) > reach {
            high = ratio;
        } else {
            low = ratio;
        }
    }
    let mut places = vec![0.0];
    let mut place = 1.0;
    for step in 1..from {
        places.push(place);
        places.insert(0, -place);
        place += ratio.powf(step as f64);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    /// By hand, one row of two patches: offsets -1, 0, 1, then the class token's three.
    #[test]
    fn the_class_tokens_pairs_take_the_last_three_rows() {
        let index = relative_bias_index(1, 2);
        let wanted = Tensor::from_slice(&[5_i64, 3, 3, 4, 1, 0, 4, 2, 1]).view([3, 3]);
        assert_eq!(index, wanted);
    }

    /// Every pair of an oblong grid against the definition, and every row of the table in use.
    #[test]
    fn an_oblong_grid_uses_every_row_of_its_table() {
        let (rows, columns) = (3, 5);
        let index = relative_bias_index(rows, columns);
        for i in 0..rows * columns {
            for j in 0..rows * columns {
                let down = i / columns - j / columns + rows - 1;
                let right = i % columns - j % columns + columns - 1;
                let found = index.int64_value(&[1 + i, 1 + j]);
                assert_eq!(found, down * (2 * columns - 1) + right, "{i} {j}");
            }
        }
        let used: std::collections::BTreeSet<i64> = Vec::<i64>::try_from(index.flatten(0, -1))
            .unwrap()
            .into_iter()
            .collect();
        assert!(used.into_iter().eq(0..5 * 9 + 3));
    }

    #[test]
    fn tables_of_no_square_grid_are_refused() {
        assert_eq!(bias_grid(27 * 27 + 3), Some(14));
        assert_eq!(bias_grid(4), Some(1));
        for rows in [i64::MIN, 0, 3, 7, 8 * 8 + 3, 27 * 25 + 3, i64::MAX] {
            assert_eq!(bias_grid(rows), None, "{rows}");
        }
        for (rows, side) in [(5 * 7 + 3, 6), (3 * 3 + 3, 6), (5 * 5 + 3, 0)] {
            let table = Tensor::zeros([rows, 2], (Kind::Float, Device::Cpu));
            let message = resample_relative_bias(&table, side)
                .unwrap_err()
                .to_string();
            assert!(message.contains(&format!("[{rows}, 2]")), "{message}");
        }
    }
}
