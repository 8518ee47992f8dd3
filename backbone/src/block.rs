//! One transformer block: `x + attention(norm1(x))`, then `x + mlp(norm2(x))`.
//!
//! `[B, T, C]` in and out. Parameter names and the order of operations are timm's
//! (`vision_transformer.py::Block`): `norm1, attn.qkv, attn.proj, norm2, mlp.fc1, mlp.fc2`, and
//! `ls1.gamma, ls2.gamma` where layer scale is on. Inside, tokens are rows of a matrix `[B * T, C]`:
//! a linear layer's output is then no view of another tensor, and the residual can be added in place.

use std::ops::Range;

use tch::{Kind, Tensor, nn};

use crate::biased_attention::BiasTable;
use crate::config::{Activation, mlp_width};
use crate::layers::{DropPath, LayerNorm, LayerScale, Linear};
use crate::relative::{MapAttention, RelativePositions};

/// What a block is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockConfig {
    /// Channels of a token.
    pub width: i64,
    /// Attention heads; divides `width`.
    pub heads: i64,
    /// Hidden channels of the MLP over `width`.
    pub mlp_ratio: f64,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// Epsilon of both norms.
    pub norm_eps: f64,
    /// Non-linearity of the MLP.
    pub activation: Activation,
    /// Chance that a sample skips one of the two branches in training.
    pub drop_path: f64,
    /// Start value of layer scale, where wanted.
    pub layer_scale: Option<f64>,
    /// Attention among the tokens of windows of a feature map, where wanted.
    pub map: Option<MapAttention>,
}

/// A transformer block with its parameters.
#[derive(Debug)]
pub struct Block {
    norm1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    scale1: Option<LayerScale>,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    scale2: Option<LayerScale>,
    drop_path: DropPath,
    heads: i64,
    activation: Activation,
    relative: Option<RelativePositions>,
    bias: Option<BiasTable>,
}

/// Drop-path factors of the two branches, where any.
type Drops = [Option<Tensor>; 2];

impl Block {
    /// Adds the parameters under `path`.
    pub fn new(path: &nn::Path, config: &BlockConfig) -> Self {
        let width = config.width;
        let hidden = mlp_width(width, config.mlp_ratio);
        let attn = path / "attn";
        let mlp = path / "mlp";
        let scale = |name| {
            config
                .layer_scale
                .map(|start| LayerScale::new(&(path / name), width, start))
        };
        Self {
            norm1: LayerNorm::new(&(path / "norm1"), width, config.norm_eps),
            qkv: Linear::new(&(&attn / "qkv"), width, 3 * width, config.qkv_bias),
            proj: Linear::new(&(&attn / "proj"), width, width, true),
            scale1: scale("ls1"),
            norm2: LayerNorm::new(&(path / "norm2"), width, config.norm_eps),
            fc1: Linear::new(&(&mlp / "fc1"), width, hidden, true),
            fc2: Linear::new(&(&mlp / "fc2"), hidden, width, true),
            scale2: scale("ls2"),
            drop_path: DropPath::new(config.drop_path),
            heads: config.heads,
            activation: config.activation,
            relative: config
                .map
                .map(|map| RelativePositions::new(&attn, &map, width / config.heads)),
            bias: None,
        }
    }

    /// Adds a bias to the scores of attention. Tables may share their storage with other blocks.
    #[must_use]
    pub(crate) fn with_bias(mut self, table: BiasTable) -> Self {
        self.bias = Some(table);
        self
    }

    /// A feature map, as attention within windows takes it: `[B, H, W, C] -> [B, H, W, C]`; with
    /// `checkpointing` only `x` is kept for the backward pass. The block must have been made with
    /// [`BlockConfig::map`].
    pub fn forward_map(&self, x: &Tensor, train: bool, checkpointing: bool) -> Tensor {
        let (batch, height, width, channels) = x.size4().expect("a map is [B, H, W, C]");
        let tokens = x.view([batch, height * width, channels]);
        let drops = self.draw(&tokens, train);
        let extent = Extent::Map([height, width]);
        let out = if checkpointing && train {
            let block = self.shallow_clone();
            native::checkpoint(&tokens, move |x| block.run(x, &extent, &drops))
        } else {
            self.run(&tokens, &extent, &drops)
        };
        out.view([batch, height, width, channels])
    }

    /// All tokens: `[B, T, C] -> [B, T, C]`. `train` turns drop path on.
    pub fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        self.run(x, &Extent::All, &self.draw(x, train))
    }

    /// What each token takes from which: the softmax of the scores of attention, `[B, T, C] -> [B, heads, T, T]`,
    /// rows of sum 1. [`Block::forward`] never has this matrix; it is for looking at.
    pub fn attention_maps(&self, x: &Tensor) -> Tensor {
        let (batch, tokens, width) = x.size3().expect("a block takes tokens [B, T, C]");
        let rows = x.reshape([batch * tokens, width]);
        let qkv = self.qkv.after_norm(&self.norm1, &rows);
        let head = width / self.heads;
        let parts = qkv
            .view([batch, tokens, 3, self.heads, head])
            .permute([2, 0, 3, 1, 4]); // [3, B, heads, T, head]
        let keys = parts.get(1).transpose(-2, -1);
        let scores = parts.get(0).matmul(&keys) / (head as f64).sqrt();
        let scores = match &self.bias {
            Some(table) => scores + table.of_pairs(),
            None => scores,
        };
        scores.softmax(-1, Kind::Float)
    }

    /// Only the tokens of `queries`, attending to all of them: `[B, T, C] -> [B, len, C]`. Equal to
    /// that slice of [`Block::forward`] and cheaper, for a last block some of whose tokens nobody
    /// reads.
    pub fn forward_queries(&self, x: &Tensor, queries: Range<i64>, train: bool) -> Tensor {
        self.run(x, &Extent::Queries(queries), &self.draw(x, train))
    }

    /// As [`Block::forward`], or [`Block::forward_queries`] where `queries` are given, but keeping
    /// only `x` for the backward pass, which computes the block again. Drop path is drawn here, once,
    /// so both passes drop the same branches.
    pub fn forward_checkpointed(
        &self,
        x: &Tensor,
        queries: Option<Range<i64>>,
        train: bool,
    ) -> Tensor {
        let drops = self.draw(x, train);
        let block = self.shallow_clone();
        let extent = queries.map_or(Extent::All, Extent::Queries);
        native::checkpoint(x, move |x| block.run(x, &extent, &drops))
    }

    fn draw(&self, x: &Tensor, train: bool) -> Drops {
        [self.drop_path.draw(x, train), self.drop_path.draw(x, train)]
    }

    fn run(&self, x: &Tensor, extent: &Extent, drops: &Drops) -> Tensor {
        let (batch, tokens, width) = x.size3().expect("a block takes tokens [B, T, C]");
        let rows = x.reshape([batch * tokens, width]);
        let qkv = self.qkv.after_norm(&self.norm1, &rows); // [B * T, 3 * C]
        let attended = match extent {
            Extent::All => self.attend(&qkv, [batch, tokens, width], None),
            Extent::Queries(part) => self.attend(&qkv, [batch, tokens, width], Some(part)),
            Extent::Map([rows, columns]) => {
                self.attend_in_windows(&qkv, [batch, *rows, *columns, width])
            }
        };
        let (kept, stream) = match extent {
            Extent::Queries(part) => {
                let kept = part.end - part.start;
                (
                    kept,
                    x.narrow(1, part.start, kept).reshape([batch * kept, width]),
                )
            }
            Extent::All | Extent::Map(_) => (tokens, rows),
        };
        let stream = residual(
            self.proj.forward(&attended),
            &stream,
            self.scale1.as_ref(),
            drops[0].as_ref(),
            kept,
        );
        let hidden = self.fc1.after_norm(&self.norm2, &stream); // [B * T, hidden]
        let branch = match self.activation {
            Activation::Gelu => self.fc2.after_gelu(&hidden),
            Activation::QuickGelu => {
                let gated = &hidden * (&hidden * 1.702).sigmoid();
                self.fc2.forward(&gated)
            }
        };
        let stream = residual(
            branch,
            &stream,
            self.scale2.as_ref(),
            drops[1].as_ref(),
            kept,
        );
        stream.view([batch, kept, width])
    }

    /// Multi-head attention of queries, keys and values `[B * T, 3 * C]`, before the output projection:
    /// `[B * len, C]`.
    fn attend(
        &self,
        qkv: &Tensor,
        [batch, tokens, width]: [i64; 3],
        queries: Option<&Range<i64>>,
    ) -> Tensor {
        if let Some(table) = &self.bias {
            let out = table.attend(&qkv.view([batch, tokens, 3 * width]), self.heads);
            return match queries {
                Some(part) => out.narrow(1, part.start, part.end - part.start),
                None => out,
            }
            .reshape([-1, width]);
        }
        let head = width / self.heads;
        // Unbinding the middle dimension (and not one moved to the front) lets the backward pass
        // write the three gradients side by side in one copy.
        let parts = qkv.view([batch, tokens, 3, width]).unbind(2);
        let split = |part: &Tensor| {
            let length = part.size()[1];
            part.view([batch, length, self.heads, head]).transpose(1, 2) // [B, heads, T, head]
        };
        let asked = match queries {
            Some(part) => split(&parts[0].narrow(1, part.start, part.end - part.start)),
            None => split(&parts[0]),
        };
        let out = Tensor::scaled_dot_product_attention::<&Tensor>(
            &asked,
            &split(&parts[1]),
            &split(&parts[2]),
            None,
            0.0,
            false,
            None,
            false,
        ); // [B, heads, len, head]
        out.transpose(1, 2).reshape([-1, width])
    }

    /// Attention of queries, keys and values `[B * H * W, 3 * C]` within windows, before the output
    /// projection.
    fn attend_in_windows(
        &self,
        qkv: &Tensor,
        [batch, height, width, channels]: [i64; 4],
    ) -> Tensor {
        let relative = self
            .relative
            .as_ref()
            .expect("a block takes maps when it was made with BlockConfig::map");
        relative
            .attend(
                &qkv.view([batch, height, width, 3 * channels]),
                self.qkv.bias(),
                self.heads,
            )
            .view([-1, channels])
    }

    fn shallow_clone(&self) -> Self {
        Self {
            norm1: self.norm1.shallow_clone(),
            qkv: self.qkv.shallow_clone(),
            proj: self.proj.shallow_clone(),
            scale1: self.scale1.as_ref().map(LayerScale::shallow_clone),
            norm2: self.norm2.shallow_clone(),
            fc1: self.fc1.shallow_clone(),
            fc2: self.fc2.shallow_clone(),
            scale2: self.scale2.as_ref().map(LayerScale::shallow_clone),
            drop_path: self.drop_path,
            heads: self.heads,
            activation: self.activation,
            relative: self.relative.as_ref().map(RelativePositions::shallow_clone),
            bias: self.bias.as_ref().map(BiasTable::shallow_clone),
        }
    }
}

/// Which tokens a block computes, and how they lie.
enum Extent {
    /// All of a sequence.
    All,
    /// A range of a sequence, attending to all of it.
    Queries(Range<i64>),
    /// All of a map of `[height, width]`.
    Map([i64; 2]),
}

/// `stream + scale(branch)` with dropped samples left out; rows `[B * tokens, C]`.
fn residual(
    branch: Tensor,
    stream: &Tensor,
    scale: Option<&LayerScale>,
    drop: Option<&Tensor>,
    tokens: i64,
) -> Tensor {
    let mut branch = match scale {
        Some(scale) => scale.forward(&branch),
        None => branch,
    };
    if let Some(factors) = drop {
        // [B, 1, 1] -> one factor per row
        let per_row = factors.expand([-1, tokens, 1], false).reshape([-1, 1]);
        branch = branch.g_mul_(&per_row);
    }
    if branch.kind() == stream.kind() {
        branch.g_add_(stream)
    } else {
        // Under autocast the branch is narrower than the stream, which must not be narrowed.
        stream + branch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    /// What the fused kernels compute is the values, averaged by the maps; with and without biases of distance.
    #[test]
    fn maps_of_attention_average_the_values() {
        tch::manual_seed(5);
        let config = BlockConfig {
            width: 12,
            heads: 3,
            mlp_ratio: 2.0,
            qkv_bias: true,
            norm_eps: 1e-6,
            activation: Activation::Gelu,
            drop_path: 0.0,
            layer_scale: None,
            map: None,
        };
        for biased in [false, true] {
            let store = nn::VarStore::new(Device::Cpu);
            let mut block = Block::new(&(store.root() / "block"), &config);
            if biased {
                block = block.with_bias(BiasTable::new(&(store.root() / "attn"), [3, 4], 3));
            }
            let _no_grad = tch::no_grad_guard();
            for (_, mut variable) in store.variables() {
                let _ = variable.normal_(0.0, 0.5);
            }
            let x = Tensor::randn([2, 13, 12], (Kind::Float, Device::Cpu));
            let maps = block.attention_maps(&x);
            assert_eq!(maps.size(), [2, 3, 13, 13]);
            let qkv = block.qkv.after_norm(&block.norm1, &x.view([26, 12]));
            let values = qkv.view([2, 13, 3, 3, 4]).select(2, 2).transpose(1, 2);
            let averaged = maps.matmul(&values).transpose(1, 2).reshape([26, 12]);
            let attended = block.attend(&qkv, [2, 13, 12], None);
            assert!(
                averaged.allclose(&attended, 1e-4, 1e-5, false),
                "biased: {biased}"
            );
        }
    }
}
