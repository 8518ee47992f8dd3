//! Self-attention over a grid of tokens with decomposed relative positions.

use tch::Tensor;
use torch_sys::C_tensor;

use crate::ffi;

/// Attention among the tokens of each window of a feature map, per head: the score of query `(y, x)`
/// and key `(i, j)` of one window is `q.k / sqrt(d) + q.rel_h[y, i] + q.rel_w[x, j]` (MViTv2, arXiv
/// 2112.01526, section 3.1; detectron2 `window_partition`, `add_decomposed_rel_pos`).
///
/// `qkv [B, H, W, 3 * C]` holds queries, keys and values side by side, heads within each.
/// `rel_h [rows, rows, d]` and `rel_w [columns, columns, d]`, `d = C / heads`, are the relative
/// positions' vectors for each pair of rows and of columns; windows have that many rows and columns,
/// and one as large as the map makes attention global. Windows that reach over the edge are filled up
/// with tokens `bias [3 * C]`, which is what projecting a zero gives. Result: `[B, H, W, C]`, heads side
/// by side.
///
/// Differentiable in all four tensors, once. No tensor of all pairs is made: a thread takes a few
/// hundred queries of one head and window at a time, forward and backward. The result does not depend
/// on the number of threads. CPU tensors, float32 or float64.
///
/// # Panics
///
/// When the shapes do not fit together.
pub fn relative_attention(
    qkv: &Tensor,
    bias: &Tensor,
    rel_h: &Tensor,
    rel_w: &Tensor,
    heads: i64,
) -> Tensor {
    let (_, _, _, width) = qkv.size4().expect("attention takes qkv [B, H, W, 3 C]");
    let (rows, same_rows, head) = rel_h
        .size3()
        .expect("row positions come as [rows, rows, d]");
    let (columns, same_columns, channels) = rel_w
        .size3()
        .expect("column positions come as [columns, columns, d]");
    assert!(
        rows == same_rows && columns == same_columns && channels == head,
        "positions of {rows} x {same_rows} x {head} and {columns} x {same_columns} x {channels} do not fit together"
    );
    assert!(
        width == 3 * heads * head && bias.size() == [width],
        "tokens of {width} numbers, a bias of {:?} and {heads} heads of {head} do not fit together",
        bias.size()
    );
    let mut output: *mut C_tensor = std::ptr::null_mut();
    // SAFETY: four live tensors, read during the call; the shim hands over the output tensor.
    unsafe {
        let message = ffi::deepmim_relative_attention(
            qkv.as_ptr(),
            bias.as_ptr(),
            rel_h.as_ptr(),
            rel_w.as_ptr(),
            heads,
            &mut output,
        );
        if let Err(error) = ffi::answer(message) {
            panic!("attention: {error}");
        }
        Tensor::from_ptr(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    /// The same with padding, partitioning and a matrix of all pairs.
    fn plain(qkv: &Tensor, bias: &Tensor, rel_h: &Tensor, rel_w: &Tensor, heads: i64) -> Tensor {
        let (batch, height, width, channels) = qkv.size4().unwrap();
        let (rows, columns) = (rel_h.size()[0], rel_w.size()[0]);
        let head = channels / 3 / heads;
        let (down, across) = ((height + rows - 1) / rows, (width + columns - 1) / columns);
        let beyond = [0, 0, 0, across * columns - width, 0, down * rows - height];
        let windows = (qkv - bias).constant_pad_nd(beyond) + bias;
        let parts = windows
            .reshape([batch, down, rows, across, columns, 3, heads, head])
            .permute([5, 0, 1, 3, 6, 2, 4, 7])
            .reshape([3, batch * down * across * heads, rows, columns, head]);
        let flat = |i| parts.get(i).reshape([-1, rows * columns, head]);
        let cells = parts.get(0);
        let bias_h = Tensor::einsum("bhwc,hkc->bhwk", &[&cells, rel_h], None::<&[i64]>);
        let bias_w = Tensor::einsum("bhwc,wkc->bhwk", &[&cells, rel_w], None::<&[i64]>);
        let biases = (bias_h.unsqueeze(4) + bias_w.unsqueeze(3)).reshape([
            -1,
            rows * columns,
            rows * columns,
        ]);
        let scores = flat(0).matmul(&flat(1).transpose(1, 2)) / (head as f64).sqrt() + biases;
        scores
            .softmax(-1, None)
            .matmul(&flat(2))
            .reshape([batch, down, across, heads, rows, columns, head])
            .permute([0, 1, 4, 2, 5, 3, 6])
            .reshape([batch, down * rows, across * columns, channels / 3])
            .slice(1, 0, height, 1)
            .slice(2, 0, width, 1)
    }

    #[test]
    fn value_and_gradients_equal_those_of_the_whole_matrix() {
        tch::manual_seed(4);
        // Map, window: whole maps (the second in several strips, the last of them shorter), windows that
        // fit, and windows that reach over one edge and over both.
        for ([height, width], [rows, columns]) in [
            ([4, 5], [4, 5]),
            ([21, 30], [21, 30]),
            ([1, 1], [1, 1]),
            ([6, 4], [3, 2]),
            ([6, 5], [3, 3]),
            ([7, 5], [4, 4]),
        ] {
            let (batch, heads, head) = (2, 3, 4);
            let leaf = |shape: &[i64]| {
                Tensor::randn(shape, (Kind::Double, Device::Cpu)).set_requires_grad(true)
            };
            let inputs = [
                leaf(&[batch, height, width, 3 * heads * head]),
                leaf(&[3 * heads * head]),
                leaf(&[rows, rows, head]),
                leaf(&[columns, columns, head]),
            ];
            let weights = Tensor::randn(
                [batch, height, width, heads * head],
                (Kind::Double, Device::Cpu),
            );
            let run = |f: fn(&Tensor, &Tensor, &Tensor, &Tensor, i64) -> Tensor| {
                let out = f(&inputs[0], &inputs[1], &inputs[2], &inputs[3], heads);
                let loss = (&out * &weights).sum(Kind::Double);
                let gradients = Tensor::run_backward(&[loss], &inputs, false, false);
                (out, gradients)
            };
            let (wanted, wanted_gradients) = run(plain);
            let (found, gradients) = run(relative_attention);
            let close = |a: &Tensor, b: &Tensor| {
                let gap = (a - b).abs().max().double_value(&[]);
                let largest = b.abs().max().double_value(&[]).max(1.0);
                assert!(
                    gap <= 1e-10 * largest,
                    "{height} x {width} in {rows} x {columns}: {gap}"
                );
            };
            close(&found, &wanted);
            for (a, b) in gradients.iter().zip(&wanted_gradients) {
                close(a, b);
            }
        }
    }

    #[test]
    fn autocast_outside_changes_nothing_inside() {
        tch::manual_seed(5);
        let random = |shape: &[i64]| Tensor::randn(shape, (Kind::Float, Device::Cpu));
        let (qkv, bias) = (random(&[2, 3, 4, 24]), random(&[24]));
        let (rel_h, rel_w) = (random(&[3, 3, 4]), random(&[4, 4, 4]));
        let wanted = relative_attention(&qkv, &bias, &rel_h, &rel_w, 2);
        let _autocast = crate::Autocast::bf16(Device::Cpu).unwrap();
        assert!(relative_attention(&qkv, &bias, &rel_h, &rel_w, 2).equal(&wanted));
    }
}
