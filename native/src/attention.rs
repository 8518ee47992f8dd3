//! Self-attention over a grid of tokens with decomposed relative positions.

use tch::Tensor;
use torch_sys::C_tensor;

use crate::ffi;

/// Attention of every token of a grid `H x W` to every other, per head: the score of query `(y, x)`
/// and key `(i, j)` is `q.k / sqrt(d) + q.rel_h[y, i] + q.rel_w[x, j]` (MViTv2, arXiv 2112.01526,
/// section 3.1; detectron2 `add_decomposed_rel_pos`).
///
/// `qkv [B, H * W, 3 * C]` holds queries, keys and values side by side, heads within each;
/// `rel_h [H, H, d]` and `rel_w [W, W, d]` are the relative positions' vectors for each pair of rows
/// and of columns, `d = C / heads`. Result: `[B, H * W, C]`, heads side by side. Differentiable in all
/// three, once. No tensor of all pairs is made: threads take strips of a few hundred queries of one
/// head, forward and backward; the result does not depend on how many there are. CPU tensors, float32
/// or float64.
///
/// # Panics
///
/// When the shapes do not fit together.
pub fn relative_attention(qkv: &Tensor, rel_h: &Tensor, rel_w: &Tensor, heads: i64) -> Tensor {
    let (_, tokens, width) = qkv.size3().expect("attention takes qkv [B, T, 3 C]");
    let (height, rows, head) = rel_h.size3().expect("row positions come as [H, H, d]");
    let (columns, same, channels) = rel_w.size3().expect("column positions come as [W, W, d]");
    assert!(
        rows == height && same == columns && channels == head,
        "positions of {height} x {rows} x {head} and {columns} x {same} x {channels} do not fit together"
    );
    assert!(
        tokens == height * columns && width == 3 * heads * head,
        "{tokens} tokens of {width} numbers are no grid of {height} x {columns} with {heads} heads of {head}"
    );
    let mut output: *mut C_tensor = std::ptr::null_mut();
    // SAFETY: three live tensors, read during the call; the shim hands over the output tensor.
    unsafe {
        let message = ffi::deepmim_relative_attention(
            qkv.as_ptr(),
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

    /// The same with a matrix of all pairs.
    fn plain(qkv: &Tensor, rel_h: &Tensor, rel_w: &Tensor, heads: i64) -> Tensor {
        let (batch, tokens, width) = qkv.size3().unwrap();
        let (height, columns) = (rel_h.size()[0], rel_w.size()[0]);
        let head = width / 3 / heads;
        let parts = qkv
            .view([batch, tokens, 3, heads, head])
            .permute([2, 0, 3, 1, 4]);
        let (q, k, v) = (parts.get(0), parts.get(1), parts.get(2));
        let cells = q.reshape([batch * heads, height, columns, head]);
        let bias_h = Tensor::einsum("bhwc,hkc->bhwk", &[&cells, rel_h], None::<&[i64]>);
        let bias_w = Tensor::einsum("bhwc,wkc->bhwk", &[&cells, rel_w], None::<&[i64]>);
        let bias = (bias_h.unsqueeze(4) + bias_w.unsqueeze(3)).reshape([batch, heads, tokens, tokens]);
        let scores = q.matmul(&k.transpose(2, 3)) / (head as f64).sqrt() + bias;
        scores
            .softmax(-1, None)
            .matmul(&v)
            .transpose(1, 2)
            .reshape([batch, tokens, width / 3])
    }

    #[test]
    fn value_and_gradients_equal_those_of_the_whole_matrix() {
        tch::manual_seed(4);
        // The last grid takes several strips, the last of them shorter.
        for (batch, height, width, heads, head) in
            [(3, 4, 5, 2, 8), (1, 1, 1, 1, 4), (2, 21, 30, 2, 4)]
        {
            let leaf = |shape: &[i64]| {
                Tensor::randn(shape, (Kind::Double, Device::Cpu)).set_requires_grad(true)
            };
            let inputs = [
                leaf(&[batch, height * width, 3 * heads * head]),
                leaf(&[height, height, head]),
                leaf(&[width, width, head]),
            ];
            let weights = Tensor::randn(
                [batch, height * width, heads * head],
                (Kind::Double, Device::Cpu),
            );
            let run = |f: fn(&Tensor, &Tensor, &Tensor, i64) -> Tensor| {
                let out = f(&inputs[0], &inputs[1], &inputs[2], heads);
                let loss = (&out * &weights).sum(Kind::Double);
                let gradients = Tensor::run_backward(&[loss], &inputs, false, false);
                (out, gradients)
            };
            let (wanted, wanted_gradients) = run(plain);
            let (found, gradients) = run(relative_attention);
            let close = |a: &Tensor, b: &Tensor| {
                let gap = (a - b).abs().max().double_value(&[]);
                assert!(
                    gap <= 1e-10 * b.abs().max().double_value(&[]).max(1.0),
                    "{gap}"
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
        let (qkv, rel_h, rel_w) = (random(&[2, 12, 24]), random(&[3, 3, 4]), random(&[4, 4, 4]));
        let wanted = relative_attention(&qkv, &rel_h, &rel_w, 2);
        let _autocast = crate::Autocast::bf16(Device::Cpu).unwrap();
        assert!(relative_attention(&qkv, &rel_h, &rel_w, 2).equal(&wanted));
    }
}
