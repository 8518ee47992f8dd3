//! Pictures to patch tokens.
//!
//! The patch projection is a convolution whose stride is its kernel, so it is computed as one matrix
//! product over patches: the patches that a masked autoencoder hides are then never projected.
//! Parameter names and shapes stay those of the convolution (`proj.weight [C, channels, p, p]`).

use tch::{Tensor, nn, nn::Init};

use crate::layers::xavier_uniform;

/// The patches of `[B, channels, H, W]` as a strided view, nothing copied:
/// `[B, H / p, W / p, channels, p, p]`.
pub fn patch_grid(images: &Tensor, patch: i64) -> Tensor {
    let (batch, channels, height, width) = images
        .size4()
        .expect("patches are cut from pictures [B, channels, H, W]");
    assert!(
        height % patch == 0 && width % patch == 0,
        "pictures of {height} x {width} pixels cannot be cut into patches of {patch}"
    );
    images
        .reshape([batch, channels, height / patch, patch, width / patch, patch])
        .permute([0, 2, 4, 1, 3, 5])
}

/// The entries `ids [B, M]` (row-major patch numbers) of a grid `[B, rows, columns, ..]`: `[B, M, ..]`.
pub fn pick_patches(grid: &Tensor, ids: &Tensor) -> Tensor {
    let size = grid.size();
    let columns = size[2];
    let batch = Tensor::arange(size[0], (tch::Kind::Int64, ids.device())).unsqueeze(1); // [B, 1]
    let row = ids.divide_scalar_mode(columns, "floor");
    let column = ids.remainder(columns);
    grid.index(&[Some(batch), Some(row), Some(column)])
}

/// The patch projection.
#[derive(Debug)]
pub struct PatchEmbed {
    weight: Tensor,
    bias: Option<Tensor>,
    patch: i64,
}

impl PatchEmbed {
    /// Adds `proj.weight` and, where asked for, `proj.bias` under `path`. The weight starts as a
    /// linear layer's would (MAE `initialize_weights`), the bias as a convolution's.
    pub fn new(path: &nn::Path, channels: i64, patch: i64, width: i64, bias: bool) -> Self {
        let proj = path / "proj";
        let inputs = channels * patch * patch;
        let bound = 1.0 / (inputs as f64).sqrt();
        Self {
            weight: proj.var(
                "weight",
                &[width, channels, patch, patch],
                xavier_uniform(inputs, width),
            ),
            bias: bias.then(|| {
                proj.var(
                    "bias",
                    &[width],
                    Init::Uniform {
                        lo: -bound,
                        up: bound,
                    },
                )
            }),
            patch,
        }
    }

    /// Every patch: `[B, channels, H, W] -> [B, H / p * W / p, C]`.
    pub fn forward(&self, images: &Tensor) -> Tensor {
        let grid = patch_grid(images, self.patch);
        let size = grid.size();
        self.project(&grid.reshape([size[0], size[1] * size[2], -1]))
    }

    /// The patches `ids [B, M]` only: `[B, M, C]`.
    pub fn forward_at(&self, images: &Tensor, ids: &Tensor) -> Tensor {
        self.project(&pick_patches(&patch_grid(images, self.patch), ids).flatten(2, -1))
    }

    /// `[B, M, channels * p * p] -> [B, M, C]`.
    fn project(&self, patches: &Tensor) -> Tensor {
        patches.linear(&self.weight.flatten(1, -1), self.bias.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind, nn};

    #[test]
    fn the_matrix_product_equals_the_convolution() {
        tch::manual_seed(3);
        let store = nn::VarStore::new(Device::Cpu);
        let embed = PatchEmbed::new(&store.root(), 3, 4, 10, true);
        let images = Tensor::randn([2, 3, 12, 8], (Kind::Float, Device::Cpu));
        let conv = images
            .conv2d(
                &embed.weight,
                embed.bias.as_ref(),
                [4, 4],
                [0, 0],
                [1, 1],
                1,
            )
            .flatten(2, 3)
            .transpose(1, 2);
        let all = embed.forward(&images);
        assert!((&all - &conv).abs().max().double_value(&[]) < 1e-5);

        let ids = Tensor::from_slice(&[5i64, 0, 3, 2]).view([2, 2]);
        let some = embed.forward_at(&images, &ids);
        for (sample, place, id) in [(0, 0, 5), (0, 1, 0), (1, 0, 3), (1, 1, 2)] {
            let gap = some.get(sample).get(place) - all.get(sample).get(id);
            assert!(
                gap.abs().max().double_value(&[]) < 1e-5,
                "sample {sample}, patch {id}"
            );
        }
    }
}
