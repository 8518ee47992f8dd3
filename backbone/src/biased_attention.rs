//! Attention with relative position biases: a learnt number for each distance of two places and head.
//!
//! Source: BEiT (arXiv 2106.08254) and DeepMIM `Segmentation/backbone/mae.py::Attention`, whose names
//! these are. Parity: `upernet`, features.

use tch::{Device, Kind, Tensor, nn, nn::Init};

use crate::relative_bias::{relative_bias_index, table_rows};

/// A table `relative_position_bias_table [(2 * rows - 1) * (2 * columns - 1) + 3, heads]`, zero at first,
/// and the attention that uses it.
#[derive(Debug)]
pub(crate) struct BiasTable {
    table: Tensor,
    grid: [i64; 2],
}

impl BiasTable {
    /// Adds the table under `path`.
    pub(crate) fn new(path: &nn::Path, grid: [i64; 2], heads: i64) -> Self {
        let shape = [table_rows(grid[0], grid[1]), heads];
        Self {
            table: path.var("relative_position_bias_table", &shape, Init::Const(0.0)),
            grid,
        }
    }

    /// Attention of `qkv [B, 1 + N, 3 * C]`, before the output projection: `[B, 1 + N, C]`.
    pub(crate) fn attend(&self, qkv: &Tensor, heads: i64) -> Tensor {
        if qkv.device() != Device::Cpu {
            return self.attend_anywhere(qkv, heads);
        }
        // The kernel is for one element type; under autocast the projection's output is narrower.
        let kind = qkv.kind();
        let wide = match kind {
            Kind::BFloat16 | Kind::Half => Kind::Float,
            kind => kind,
        };
        let table = self.table.to_kind(wide);
        native::biased_attention(&qkv.to_kind(wide), &table, heads, self.grid).to_kind(kind)
    }

    /// The same by libtorch's own attention on any device, with the biases of all pairs laid out.
    fn attend_anywhere(&self, qkv: &Tensor, heads: i64) -> Tensor {
        let (batch, tokens, width) = qkv.size3().expect("attention takes qkv [B, T, 3 C]");
        let parts = qkv
            .view([batch, tokens, 3, heads, width / 3 / heads])
            .permute([2, 0, 3, 1, 4]);
        let bias = self.of_pairs().to_kind(qkv.kind());
        Tensor::scaled_dot_product_attention(
            &parts.get(0),
            &parts.get(1),
            &parts.get(2),
            Some(&bias),
            0.0,
            false,
            None,
            false,
        )
        .transpose(1, 2)
        .reshape([batch, tokens, width / 3])
    }

    /// The bias of every head, query and key: `[1, heads, T, T]`.
    pub(crate) fn of_pairs(&self) -> Tensor {
        let index = relative_bias_index(self.grid[0], self.grid[1]).to_device(self.table.device());
        let (tokens, heads) = (index.size()[0], self.table.size()[1]);
        self.table
            .index_select(0, &index.flatten(0, 1))
            .view([tokens, tokens, heads])
            .permute([2, 0, 1])
            .unsqueeze(0)
    }

    pub(crate) fn shallow_clone(&self) -> Self {
        Self {
            table: self.table.shallow_clone(),
            grid: self.grid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form for other devices is checked where there is a CPU to check it on.
    #[test]
    fn the_general_form_equals_the_cpu_kernel() {
        tch::manual_seed(3);
        let store = nn::VarStore::new(Device::Cpu);
        let table = BiasTable::new(&store.root(), [3, 4], 2);
        tch::no_grad(|| {
            let _ = table.table.shallow_clone().normal_(0.0, 1.0);
        });
        let qkv = Tensor::randn([2, 13, 24], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let run = |out: Tensor| {
            let loss = out.square().sum(Kind::Float);
            let gradients = Tensor::run_backward(&[loss], &[&qkv, &table.table], false, false);
            (out, gradients)
        };
        let (wanted, wanted_gradients) = run(table.attend(&qkv, 2));
        let (found, gradients) = run(table.attend_anywhere(&qkv, 2));
        assert!(found.allclose(&wanted, 1e-5, 1e-5, false));
        for (a, b) in gradients.iter().zip(&wanted_gradients) {
            assert!(a.allclose(b, 1e-4, 1e-5, false));
        }
    }
}
