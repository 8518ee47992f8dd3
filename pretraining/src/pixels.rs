//! Pictures as sequences of patches of pixels, and back.
//!
//! Source: facebookresearch/mae `models_mae.py`: `patchify` (`nchpwq -> nhwpqc`), `unpatchify`, and
//! the normalisation in `forward_loss`.

use backbone::{patch_grid, pick_patches};
use tch::{Kind, Tensor};

/// Added to a patch's variance before the root.
const VARIANCE_EPSILON: f64 = 1e-6;

/// Every patch's pixels, channel last: `[B, 3, H, W] -> [B, L, p * p * 3]`.
pub fn patchify(images: &Tensor, patch: i64) -> Tensor {
    let grid = pixel_grid(images, patch);
    let size = grid.size();
    grid.reshape([size[0], size[1] * size[2], -1])
}

/// The pixels of the patches `ids [B, M]` only: `[B, 3, H, W] -> [B, M, p * p * 3]`.
pub fn patchify_at(images: &Tensor, patch: i64, ids: &Tensor) -> Tensor {
    pick_patches(&pixel_grid(images, patch), ids).flatten(2, -1)
}

/// Pictures from the patches of a square grid: `[B, L, p * p * 3] -> [B, 3, H, W]`.
pub fn unpatchify(patches: &Tensor, patch: i64) -> Tensor {
    let (batch, count, values) = patches.size3().expect("patches come as [B, L, p * p * 3]");
    let side = (count as f64).sqrt().round() as i64;
    assert!(
        side * side == count && values == patch * patch * 3,
        "{count} patches of {values} values make no square RGB picture with patches of {patch}"
    );
    patches
        .reshape([batch, side, side, patch, patch, 3])
        .permute([0, 5, 1, 3, 2, 4]) // [B, 3, side, p, side, p]
        .reshape([batch, 3, side * patch, side * patch])
}

/// Mean and deviation (root of the unbiased variance plus 1e-6) of each patch: two `[B, M, 1]`.
pub fn patch_statistics(patches: &Tensor) -> (Tensor, Tensor) {
    let last = [-1i64];
    let mean = patches.mean_dim(last.as_slice(), true, Kind::Float);
    let variance = patches.var_dim(last.as_slice(), true, true);
    (mean, (variance + VARIANCE_EPSILON).sqrt())
}

/// A strided view `[B, rows, columns, p, p, 3]`.
fn pixel_grid(images: &Tensor, patch: i64) -> Tensor {
    patch_grid(images, patch).permute([0, 1, 2, 4, 5, 3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    /// By hand: a 4 x 4 picture whose value is `100 c + 10 y + x`, patches of 2.
    #[test]
    fn patches_run_row_by_row_with_the_channel_last() {
        let axis = |shape: [i64; 4], step: f64| {
            let count: i64 = shape.iter().product();
            Tensor::arange(count, (Kind::Float, Device::Cpu)).view(shape) * step
        };
        let images = axis([1, 3, 1, 1], 100.0) + axis([1, 1, 4, 1], 10.0) + axis([1, 1, 1, 4], 1.0);
        let patches = patchify(&images, 2);
        let second = Vec::<f32>::try_from(patches.get(0).get(1)).unwrap();
        assert_eq!(
            second,
            [
                2., 102., 202., 3., 103., 203., 12., 112., 212., 13., 113., 213.
            ]
        );
        assert!(unpatchify(&patches, 2).equal(&images));
        let ids = Tensor::from_slice(&[3i64, 1]).view([1, 2]);
        assert!(patchify_at(&images, 2, &ids).equal(&patches.index_select(1, &ids.get(0))));
    }
}
