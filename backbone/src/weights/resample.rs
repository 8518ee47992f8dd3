//! Tables of positions for a model of another grid.

use tch::{Kind, Tensor};

use super::load::{LoadOptions, ShapeChange};
use crate::relative_bias::bias_grid;
use crate::{resample_positions, resample_relative_bias};

/// The table for the model's grid, where that is allowed and only the grid differs: positions
/// `[1, rows, C]` bicubically on square grids, with or without a row for the class token in both;
/// relative positions `[2 n - 1, C]` linearly; biases of relative positions `[(2 n - 1)² + 3, heads]`
/// by BEiT's geometric scheme on square grids.
pub(super) fn resampled(
    entry: &Tensor,
    change: &ShapeChange,
    options: &LoadOptions,
) -> Option<Tensor> {
    if !options.resample_positions {
        return None;
    }
    match (change.found.as_slice(), change.wanted.as_slice()) {
        (&[1, found, width], &[1, wanted, wanted_width])
            if is_positions(&change.name) && width == wanted_width =>
        {
            let ((prefix, _), (wanted_prefix, side)) = (grid(found)?, grid(wanted)?);
            (prefix == wanted_prefix).then_some(())?;
            resample_positions(&entry.to_kind(Kind::Float), prefix, (side, side)).ok()
        }
        (&[length, width], &[wanted, wanted_width])
            if is_relative(&change.name) && width == wanted_width && length > 0 && wanted > 0 =>
        {
            resample_relative(entry, wanted).ok()
        }
        (&[_, heads], &[wanted, wanted_heads])
            if is_bias_table(&change.name) && heads == wanted_heads =>
        {
            resample_relative_bias(entry, bias_grid(wanted)?).ok()
        }
        _ => None,
    }
}

fn is_positions(name: &str) -> bool {
    name.ends_with("pos_embed")
}

fn is_relative(name: &str) -> bool {
    name.ends_with("rel_pos_h") || name.ends_with("rel_pos_w")
}

fn is_bias_table(name: &str) -> bool {
    name.ends_with("relative_position_bias_table")
}

/// Rows of a position table as (rows for the class token, side of the grid), for square grids. No
/// number but 1 is a square and a square plus one.
pub(super) fn grid(rows: i64) -> Option<(i64, i64)> {
    [0, 1].into_iter().find_map(|prefix| {
        let cells = rows.checked_sub(prefix)?;
        let side = (cells.max(0) as f64).sqrt().round() as i64;
        (side > 0 && side.checked_mul(side) == Some(cells)).then_some((prefix, side))
    })
}

/// `[L, C]` to `[length, C]`, as detectron2's `get_rel_pos` does in every forward pass whose table
/// has another length.
fn resample_relative(table: &Tensor, length: i64) -> Result<Tensor, tch::TchError> {
    table
        .f_to_kind(Kind::Float)?
        .f_transpose(0, 1)?
        .f_unsqueeze(0)?
        .f_upsample_linear1d([length], false, None)?
        .f_squeeze_dim(0)?
        .f_transpose(0, 1)
}

/// What to do about wrong shapes.
pub(super) fn remedy(shapes: &[ShapeChange]) -> &'static str {
    let all = |test: fn(&ShapeChange) -> bool| shapes.iter().all(test);
    let any = |test: fn(&ShapeChange) -> bool| shapes.iter().any(test);
    let rows = |shape: &[i64]| grid(shape.get(1).copied()?).map(|(prefix, _)| prefix);
    if any(|change| change.name.starts_with("head.") && change.found.len() == change.wanted.len())
        && all(|change| change.name.starts_with("head."))
    {
        "set the number of classes to the file's, or list head.* in may_miss for a new head"
    } else if shapes.len() == 1
        && is_positions(&shapes[0].name)
        && rows(&shapes[0].found) != rows(&shapes[0].wanted)
    {
        "one of the two has a row for the class token and the other has none; list pos_embed in \
         may_miss to learn it anew"
    } else if all(|change| {
        let name = &change.name;
        is_positions(name) || is_relative(name) || is_bias_table(name)
    }) {
        "set image, window and patch size to the file's, or allow resampling of positions"
    } else {
        "set the model's width, depth and patch size to the file's, which `checkpoint inspect` shows"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_for_the_class_token_shows_in_the_number_of_rows() {
        assert_eq!(grid(196), Some((0, 14)));
        assert_eq!(grid(197), Some((1, 14)));
        assert_eq!(grid(198), None);
        assert_eq!(grid(0), None);
        assert_eq!(grid(i64::MIN), None);
        assert_eq!(grid(i64::MAX), None);
    }

    /// By hand: three rows to five, corners not aligned, so row i looks at 0.6 (i + 0.5) - 0.5.
    #[test]
    fn relative_positions_are_resampled_linearly() {
        let table = Tensor::from_slice(&[0_f32, 10.0, 1.0, 20.0, 2.0, 30.0]).view([3, 2]);
        let got = resample_relative(&table, 5).expect("resampled");
        for (row, place) in [0.0, 0.4, 1.0, 1.6, 2.0].into_iter().enumerate() {
            for (column, wanted) in [place, 10.0 + 10.0 * place].into_iter().enumerate() {
                let got = got.double_value(&[row as i64, column as i64]);
                assert!((got - wanted).abs() < 1e-5, "{row} {column}: {got}");
            }
        }
    }
}
