//! Self-attention with a learnt bias for each distance of two places.

use tch::Tensor;
use torch_sys::C_tensor;

use crate::ffi;

/// Attention among a class token and the tokens of a grid of `grid = [rows, columns]`, per head: the
/// score of two tokens is `q.k / sqrt(d)` plus the bias of their distance (BEiT, arXiv 2106.08254;
/// DeepMIM `Segmentation/backbone/mae.py::Attention`).
///
/// `qkv [B, 1 + rows * columns, 3 * C]` holds queries, keys and values side by side, heads within each,
/// the class token first. `table [(2 * rows - 1) * (2 * columns - 1) + 3, heads]` has the bias of row
/// distance `dy = y(query) - y(key)` and column distance `dx` at
/// `(dy + rows - 1) * (2 * columns - 1) + dx + columns - 1`; its last three rows are for the class token
/// as query, as key, and with itself. Result: `[B, 1 + rows * columns, C]`, heads side by side.
///
/// Differentiable in both tensors, once. No tensor of all pairs is made. The result does not depend on
/// the number of threads. CPU tensors, float32 or float64.
///
/// # Panics
///
/// When the shapes do not fit together.
pub fn biased_attention(qkv: &Tensor, table: &Tensor, heads: i64, grid: [i64; 2]) -> Tensor {
    let [rows, columns] = grid;
    let (_, tokens, width) = qkv.size3().expect("attention takes qkv [B, T, 3 C]");
    assert!(
        tokens == 1 + rows * columns && heads > 0 && width % (3 * heads) == 0,
        "{tokens} tokens of {width} numbers, {heads} heads and a grid of {rows} x {columns} do not fit together"
    );
    let distances = (2 * rows - 1) * (2 * columns - 1);
    assert!(
        table.size() == [distances + 3, heads],
        "a table of {:?} does not fit {heads} heads and a grid of {rows} x {columns}",
        table.size()
    );
    let mut output: *mut C_tensor = std::ptr::null_mut();
    // SAFETY: two live tensors, read during the call; the shim hands over the output tensor.
    unsafe {
        let message = ffi::deepmim_biased_attention(
            qkv.as_ptr(),
            table.as_ptr(),
            heads,
            rows,
            columns,
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

    /// Which row of the table a pair of tokens takes, by the definition.
    fn entry(query: i64, key: i64, [rows, columns]: [i64; 2]) -> i64 {
        let distances = (2 * rows - 1) * (2 * columns - 1);
        match (query, key) {
            (0, 0) => distances + 2,
            (0, _) => distances,
            (_, 0) => distances + 1,
            (query, key) => {
                let place = |token: i64| ((token - 1) / columns, (token - 1) % columns);
                let ((y, x), (i, j)) = (place(query), place(key));
                (y - i + rows - 1) * (2 * columns - 1) + x - j + columns - 1
            }
        }
    }

    /// The same with a matrix of all pairs.
    fn plain(qkv: &Tensor, table: &Tensor, heads: i64, grid: [i64; 2]) -> Tensor {
        let (batch, tokens, width) = qkv.size3().unwrap();
        let head = width / 3 / heads;
        let parts = qkv
            .view([batch, tokens, 3, heads, head])
            .permute([2, 0, 3, 1, 4]);
        let entries: Vec<i64> = (0..tokens * tokens)
            .map(|pair| entry(pair / tokens, pair % tokens, grid))
            .collect();
        let bias = table
            .index_select(0, &Tensor::from_slice(&entries))
            .view([tokens, tokens, heads])
            .permute([2, 0, 1]);
        let scores = parts.get(0).matmul(&parts.get(1).transpose(2, 3)) / (head as f64).sqrt();
        (scores + bias)
            .softmax(-1, None)
            .matmul(&parts.get(2))
            .transpose(1, 2)
            .reshape([batch, tokens, width / 3])
    }

    #[test]
    fn value_and_gradients_equal_those_of_the_whole_matrix() {
        tch::manual_seed(6);
        // The last two take several strips of queries, the last of them shorter.
        for grid in [[1, 1], [3, 4], [5, 2], [17, 17], [8, 70]] {
            let (batch, heads, head) = (2, 3, 4);
            let distances = (2 * grid[0] - 1) * (2 * grid[1] - 1);
            let leaf = |shape: &[i64]| {
                Tensor::randn(shape, (Kind::Double, Device::Cpu)).set_requires_grad(true)
            };
            let tokens = 1 + grid[0] * grid[1];
            let inputs = [
                leaf(&[batch, tokens, 3 * heads * head]),
                leaf(&[distances + 3, heads]),
            ];
            let weights = Tensor::randn([batch, tokens, heads * head], (Kind::Double, Device::Cpu));
            let run = |f: fn(&Tensor, &Tensor, i64, [i64; 2]) -> Tensor| {
                let out = f(&inputs[0], &inputs[1], heads, grid);
                let loss = (&out * &weights).sum(Kind::Double);
                let gradients = Tensor::run_backward(&[loss], &inputs, false, false);
                (out, gradients)
            };
            let (wanted, wanted_gradients) = run(plain);
            let (found, gradients) = run(biased_attention);
            let close = |a: &Tensor, b: &Tensor| {
                let gap = (a - b).abs().max().double_value(&[]);
                let largest = b.abs().max().double_value(&[]).max(1.0);
                assert!(gap <= 1e-10 * largest, "{grid:?}: {gap}");
            };
            close(&found, &wanted);
            for (a, b) in gradients.iter().zip(&wanted_gradients) {
                close(a, b);
            }
        }
    }

    #[test]
    #[should_panic(expected = "does not fit 2 heads")]
    fn a_table_of_another_grid_is_refused() {
        let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
        let _ = biased_attention(&zeros(&[1, 5, 12]), &zeros(&[12, 3]), 2, [2, 2]);
    }
}
