//! Position tables: the fixed sin-cos one, and resampling of any table to another grid.
//!
//! Sources: facebookresearch/mae `util/pos_embed.py`; detectron2 `modeling/backbone/utils.py::get_abs_pos`.
//! Parity: `pos_embed_resample`.

use tch::Tensor;

use crate::BackboneError;

/// The fixed two-dimensional table, float32 `[1, (1 +) grid_h * grid_w, width]`; `width` is a multiple
/// of 4. The first half of the channels encodes the column, the second the row; each half is sines,
/// then cosines, of frequencies `10000^(-2 i / (width / 2))`. The class token's row, where asked for,
/// is zero. Computed in float64.
pub fn sincos_2d(width: i64, grid_h: i64, grid_w: i64, class_token: bool) -> Tensor {
    assert!(
        width % 4 == 0,
        "a sin-cos table needs a width that is a multiple of 4, not {width}"
    );
    let quarter = width / 4;
    let frequencies: Vec<f64> = (0..quarter)
        .map(|i| 10000f64.powf(-(i as f64) / quarter as f64))
        .collect();
    let rows = grid_h * grid_w + i64::from(class_token);
    let mut table = Vec::with_capacity((rows * width) as usize);
    if class_token {
        table.resize(width as usize, 0f32);
    }
    for y in 0..grid_h {
        for x in 0..grid_w {
            for place in [x as f64, y as f64] {
                table.extend(frequencies.iter().map(|f| (place * f).sin() as f32));
                table.extend(frequencies.iter().map(|f| (place * f).cos() as f32));
            }
        }
    }
    Tensor::from_slice(&table).view([1, rows, width])
}

/// Resamples the patch rows of a table `[1, prefix + g * g, C]` to the grid `to = (rows, columns)`,
/// bicubically (a = -0.75, corners not aligned, no antialiasing); the prefix rows stay as they are.
/// Returns `[1, prefix + rows * columns, C]`. A table that already has this grid is returned as is.
///
/// # Errors
/// [`BackboneError::PositionTable`] where the table holds no square grid after its prefix.
pub fn resample_positions(
    table: &Tensor,
    prefix: i64,
    to: (i64, i64),
) -> Result<Tensor, BackboneError> {
    let side = side(table, prefix)?;
    if to == (side, side) {
        return Ok(table.shallow_clone());
    }
    let patches = resample_patches(table, prefix, side, to).flatten(1, 2); // [1, rows * columns, C]
    Ok(Tensor::cat(&[table.narrow(1, 0, prefix), patches], 1))
}

/// The patch rows alone on the grid `to = (rows, columns)`: `[1, prefix + g * g, C] ->
/// [1, rows, columns, C]`, as detectron2's trunk adds them to its feature map.
///
/// # Errors
/// [`BackboneError::PositionTable`] where the table holds no square grid after its prefix.
pub fn position_map(table: &Tensor, prefix: i64, to: (i64, i64)) -> Result<Tensor, BackboneError> {
    let side = side(table, prefix)?;
    if to == (side, side) {
        let width = table.size()[2];
        return Ok(table
            .narrow(1, prefix, side * side)
            .reshape([1, side, side, width]));
    }
    Ok(resample_patches(table, prefix, side, to))
}

/// `[1, rows, columns, C]`
fn resample_patches(table: &Tensor, prefix: i64, side: i64, to: (i64, i64)) -> Tensor {
    let width = table.size()[2];
    table
        .narrow(1, prefix, side * side)
        .reshape([1, side, side, width])
        .permute([0, 3, 1, 2])
        .upsample_bicubic2d([to.0, to.1], false, None, None)
        .permute([0, 2, 3, 1])
}

/// Side of the square grid behind the prefix.
fn side(table: &Tensor, prefix: i64) -> Result<i64, BackboneError> {
    let shape = table.size();
    let wrong = || BackboneError::PositionTable {
        shape: shape.clone(),
        prefix,
    };
    let &[1, rows, _] = shape.as_slice() else {
        return Err(wrong());
    };
    let patches = rows - prefix;
    if prefix < 0 || patches < 1 {
        return Err(wrong());
    }
    let side = (patches as f64).sqrt().round() as i64;
    if side * side == patches {
        Ok(side)
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn tables_without_a_square_grid_are_refused() {
        for shape in [vec![1, 6, 4], vec![2, 5, 4], vec![5, 4], vec![1, 1, 4]] {
            let table = Tensor::zeros(shape.as_slice(), (Kind::Float, Device::Cpu));
            assert!(resample_positions(&table, 1, (3, 3)).is_err(), "{shape:?}");
        }
    }

    /// By hand: width 4 has one frequency, 1; patch (row 1, column 2) of a 2 x 3 grid is row 1 + 5.
    #[test]
    fn columns_come_first_and_the_class_row_is_zero() {
        let table = sincos_2d(4, 2, 3, true);
        assert_eq!(table.size(), [1, 7, 4]);
        assert_eq!(
            table.get(0).get(0).abs().sum(Kind::Float).double_value(&[]),
            0.0
        );
        let last = Vec::<f32>::try_from(table.get(0).get(6)).unwrap();
        let wanted = [2f64.sin(), 2f64.cos(), 1f64.sin(), 1f64.cos()];
        for (found, wanted) in last.iter().zip(wanted) {
            assert!((f64::from(*found) - wanted).abs() < 1e-7);
        }
    }
}
