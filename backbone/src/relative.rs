//! Decomposed relative positions and the attention that uses them.
//!
//! Source: detectron2 `modeling/backbone/utils.py::get_rel_pos, add_decomposed_rel_pos` and `vit.py`;
//! MViTv2 (arXiv 2112.01526), section 3.1. Parity: `vitdet`, trunk.

use tch::{Kind, Tensor, nn, nn::Init};

/// Attention over a feature map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapAttention {
    /// Side of a window in tokens; none attends to the whole map.
    pub window: Option<i64>,
    /// Side of the map the tables are made for, in tokens. Other sizes resample them.
    pub map_size: i64,
}

/// One vector per distance of rows and one per distance of columns: `rel_pos_h`, `rel_pos_w`
/// `[2 * size - 1, C / heads]`, zero at first.
#[derive(Debug)]
pub(crate) struct RelativePositions {
    rows: Tensor,
    columns: Tensor,
    window: Option<i64>,
}

impl RelativePositions {
    /// Adds the tables under `path`.
    pub(crate) fn new(path: &nn::Path, map: &MapAttention, head: i64) -> Self {
        let distances = 2 * map.window.unwrap_or(map.map_size) - 1;
        let table = |name| path.var(name, &[distances, head], Init::Const(0.0));
        Self {
            rows: table("rel_pos_h"),
            columns: table("rel_pos_w"),
            window: map.window,
        }
    }

    /// Attention within windows: `qkv [B, H, W, 3 * C]` to `[B, H, W, C]`. `bias [3 * C]` is the
    /// projection's, which is what tokens beyond the edge are made of; none stands for zeros.
    pub(crate) fn attend(&self, qkv: &Tensor, bias: Option<&Tensor>, heads: i64) -> Tensor {
        let (_, height, width, channels) = qkv.size4().expect("a map is [B, H, W, 3 C]");
        let (rows, columns) = match self.window {
            Some(side) => (side, side),
            None => (height, width),
        };
        // The kernels are for one element type; under autocast the projection's output is narrower.
        let kind = qkv.kind();
        let wide = |tensor: &Tensor| match kind {
            Kind::BFloat16 | Kind::Half => tensor.to_kind(Kind::Float),
            _ => tensor.to_kind(kind),
        };
        let bias = match bias {
            Some(bias) => wide(bias),
            None => wide(&Tensor::zeros([channels], (Kind::Float, qkv.device()))),
        };
        let rel_h = wide(&vectors(&self.rows, rows));
        let rel_w = wide(&vectors(&self.columns, columns));
        let out = if qkv.device() == tch::Device::Cpu {
            native::relative_attention(&wide(qkv), &bias, &rel_h, &rel_w, heads)
        } else {
            folded_attention(qkv, &bias, &rel_h, &rel_w, heads)
        };
        out.to_kind(kind)
    }

    pub(crate) fn shallow_clone(&self) -> Self {
        Self {
            rows: self.rows.shallow_clone(),
            columns: self.columns.shallow_clone(),
            window: self.window,
        }
    }
}

/// The vector of each pair of places along an axis of `size`: `[size, size, d]` from a table of
/// distances `[L, d]`, which is resampled linearly where it was made for another size.
fn vectors(table: &Tensor, size: i64) -> Tensor {
    let distances = 2 * size - 1;
    let resampled = if table.size()[0] == distances {
        table.shallow_clone()
    } else {
        table
            .transpose(0, 1)
            .unsqueeze(0)
            .upsample_linear1d([distances], false, None)
            .squeeze_dim(0)
            .transpose(0, 1)
    };
    let places = Tensor::arange(size, (Kind::Int64, table.device()));
    let pairs = places.unsqueeze(1) - places.unsqueeze(0) + (size - 1); // [size, size]
    resampled
        .index_select(0, &pairs.flatten(0, 1))
        .view([size, size, -1])
}

/// As [`native::relative_attention`], by libtorch's fused attention on any device: the positions become
/// further channels of queries and keys. `q' = [q / sqrt(d), q.rel_h, q.rel_w]` and `k' = [k, one-hot row,
/// one-hot column]` have the wanted scores as their products.
fn folded_attention(
    qkv: &Tensor,
    bias: &Tensor,
    rel_h: &Tensor,
    rel_w: &Tensor,
    heads: i64,
) -> Tensor {
    let (batch, height, width, channels) = qkv.size4().expect("a map is [B, H, W, 3 C]");
    let (rows, columns) = (rel_h.size()[0], rel_w.size()[0]);
    let head = channels / 3 / heads;
    let (down, across) = ((height + rows - 1) / rows, (width + columns - 1) / columns);
    let (tall, wide) = (down * rows, across * columns);
    let kind = qkv.kind();
    let (bias, rel_h, rel_w) = (bias.to_kind(kind), rel_h.to_kind(kind), rel_w.to_kind(kind));
    let padded = if (tall, wide) == (height, width) {
        qkv.shallow_clone()
    } else {
        let beyond = |size: [i64; 4]| bias.expand(size, false);
        let right = Tensor::cat(&[qkv, &beyond([batch, height, wide - width, channels])], 2);
        Tensor::cat(
            &[&right, &beyond([batch, tall - height, wide, channels])],
            1,
        )
    };
    let parts = padded
        .reshape([batch * down, rows, across, columns, 3 * heads, head])
        .permute([0, 2, 4, 1, 3, 5])
        .reshape([batch * down * across, 3, heads, rows, columns, head]);
    let (q, k, v) = (parts.select(1, 0), parts.select(1, 1), parts.select(1, 2));
    let by_row = Tensor::einsum("nmhwc,hkc->nmhwk", &[&q, &rel_h], None::<&[i64]>);
    let by_column = Tensor::einsum("nmhwc,wkc->nmhwk", &[&q, &rel_w], None::<&[i64]>);
    let one_hot = |size| Tensor::eye(size, (kind, qkv.device()));
    let shape = [batch * down * across, heads, rows, columns, -1];
    let row_codes = one_hot(rows)
        .view([1, 1, rows, 1, rows])
        .expand(shape, false);
    let column_codes = one_hot(columns)
        .view([1, 1, 1, columns, columns])
        .expand(shape, false);
    let queries = Tensor::cat(&[q / (head as f64).sqrt(), by_row, by_column], -1).flatten(2, 3);
    let keys = Tensor::cat(&[k, row_codes, column_codes], -1).flatten(2, 3);
    // The fused kernels want values as wide as keys.
    let values = v.flatten(2, 3).constant_pad_nd([0, rows + columns]);
    Tensor::scaled_dot_product_attention::<&Tensor>(
        &queries, &keys, &values, None, 0.0, false, 1.0, false,
    )
    .narrow(3, 0, head)
    .reshape([batch, down, across, heads, rows, columns, head])
    .permute([0, 1, 4, 2, 5, 3, 6])
    .reshape([batch, tall, wide, channels / 3])
    .slice(1, 0, height, 1)
    .slice(2, 0, width, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    /// The form for other devices is checked where there is a CPU to check it on.
    #[test]
    fn the_folded_form_equals_the_cpu_kernel() {
        tch::manual_seed(2);
        let random = |shape: &[i64]| {
            Tensor::randn(shape, (Kind::Double, Device::Cpu)).set_requires_grad(true)
        };
        for (map, window) in [([5, 7], [5, 7]), ([6, 9], [3, 3]), ([5, 7], [4, 4])] {
            let inputs = [
                random(&[2, map[0], map[1], 24]),
                random(&[24]),
                random(&[window[0], window[0], 4]),
                random(&[window[1], window[1], 4]),
            ];
            let run = |f: fn(&Tensor, &Tensor, &Tensor, &Tensor, i64) -> Tensor| {
                let out = f(&inputs[0], &inputs[1], &inputs[2], &inputs[3], 2);
                let loss = out.square().sum(Kind::Double);
                // The bias takes no part where no window reaches over the edge.
                let used: Vec<&Tensor> = match map[0] % window[0] + map[1] % window[1] {
                    0 => vec![&inputs[0], &inputs[2], &inputs[3]],
                    _ => inputs.iter().collect(),
                };
                let gradients = Tensor::run_backward(&[loss], &used, false, false);
                (out, gradients)
            };
            let (wanted, wanted_gradients) = run(native::relative_attention);
            let (found, gradients) = run(folded_attention);
            assert!(found.allclose(&wanted, 1e-10, 1e-10, false));
            for (a, b) in gradients.iter().zip(&wanted_gradients) {
                assert!(a.allclose(b, 1e-9, 1e-9, false), "{map:?} {window:?}");
            }
        }
    }

    /// By hand: distances -1, 0, 1 of two places; query 0 and key 1 are at distance -1, the first row.
    #[test]
    fn a_pair_takes_the_row_of_its_distance() {
        let table = Tensor::from_slice(&[10f32, 20.0, 30.0]).view([3, 1]);
        let found = Vec::<f32>::try_from(vectors(&table, 2).flatten(0, -1)).unwrap();
        assert_eq!(found, [20.0, 10.0, 30.0, 20.0]);
        // Three distances resampled to five, corners not aligned.
        let longer = Vec::<f32>::try_from(vectors(&table, 3).get(2).flatten(0, -1)).unwrap();
        for (found, wanted) in longer.iter().zip([30.0, 26.0, 20.0]) {
            assert!((found - wanted).abs() < 1e-5, "{longer:?}");
        }
    }
}
