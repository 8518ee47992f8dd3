//! A tap's decoder: from the visible patches' features to a prediction for the hidden ones.
//!
//! Source: facebookresearch/mae and OliverRensu/DeepMIM `models_mae.py::forward_decoder`. The
//! reference puts mask tokens between the visible ones, in picture order. Attention does not care
//! about order and positions are added per token, so here tokens stay as `[class, visible, hidden]`:
//! nothing is gathered back and forth, the last block computes the hidden tokens only, and so does
//! the prediction layer. Same results and gradients.

use backbone::{Activation, Block, BlockConfig, LayerNorm, Linear};
use tch::{Tensor, nn, nn::Init};

use crate::config::DecoderConfig;
use crate::masking::Masking;

/// A decoder with its parameters.
#[derive(Debug)]
pub(crate) struct Decoder {
    embed: Linear,
    mask_token: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
    pred: Linear,
    checkpointing: bool,
}

/// Sizes that a decoder takes from what surrounds it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings {
    /// Channels of a trunk token.
    pub trunk_width: i64,
    /// Epsilon of the trunk's norms, and of the decoder's.
    pub norm_eps: f64,
    /// Channels predicted per patch.
    pub target_width: i64,
    /// Recompute blocks in the backward pass.
    pub checkpointing: bool,
}

impl Decoder {
    /// Adds `decoder_embedK`, `mask_tokenK`, `decoder_blocksK`, `decoder_normK` and `decoder_predK`
    /// under `path`, with `K = suffix`: empty in MAE, the tap's 1-based place in DeepMIM.
    pub(crate) fn new(
        path: &nn::Path,
        suffix: &str,
        config: &DecoderConfig,
        around: Surroundings,
    ) -> Self {
        let width = config.width;
        let at = |name: &str| path / format!("{name}{suffix}");
        let blocks = at("decoder_blocks");
        let block = BlockConfig {
            width,
            heads: config.heads,
            mlp_ratio: config.mlp_ratio,
            qkv_bias: true,
            norm_eps: around.norm_eps,
            activation: Activation::Gelu,
            drop_path: 0.0,
            layer_scale: None,
            map: None,
        };
        let token = Init::Randn {
            mean: 0.0,
            stdev: 0.02,
        };
        Self {
            embed: Linear::new(&at("decoder_embed"), around.trunk_width, width, true),
            mask_token: path.var(&format!("mask_token{suffix}"), &[1, 1, width], token),
            blocks: (0..config.depth)
                .map(|index| Block::new(&(&blocks / index), &block))
                .collect(),
            norm: LayerNorm::new(&at("decoder_norm"), width, around.norm_eps),
            pred: Linear::new(&at("decoder_pred"), width, around.target_width, true),
            checkpointing: around.checkpointing,
        }
    }

    /// Predictions for the hidden patches, in the order of [`Masking::hidden`]:
    /// `[B, 1 + K, C] -> [B, L - K, P]`. `positions` are those of `ordered_positions`.
    pub fn predict_hidden(
        &self,
        latent: &Tensor,
        positions: &Tensor,
        masking: &Masking,
        train: bool,
    ) -> Tensor {
        let mut x = self.tokens(latent, positions);
        let first_hidden = 1 + masking.visible_count();
        let hidden = first_hidden..x.size()[1];
        let (last, others) = self
            .blocks
            .split_last()
            .expect("a decoder has at least one block");
        let checkpoint = train && self.checkpointing;
        for block in others {
            x = match checkpoint {
                true => block.forward_checkpointed(&x, None, train),
                false => block.forward(&x, train),
            };
        }
        let x = match checkpoint {
            true => last.forward_checkpointed(&x, Some(hidden), train),
            false => last.forward_queries(&x, hidden, train),
        };
        self.pred.forward(&self.norm.forward(&x))
    }

    /// Predictions for every token, class token first, then patches in picture order:
    /// `[B, 1 + K, C] -> [B, 1 + L, P]`. For pictures and tests; training needs the hidden ones only.
    pub fn predict_all(&self, latent: &Tensor, positions: &Tensor, masking: &Masking) -> Tensor {
        let mut x = self.tokens(latent, positions);
        for block in &self.blocks {
            x = block.forward(&x, false);
        }
        let predictions = self.pred.forward(&self.norm.forward(&x)); // [B, 1 + L, P]
        let (batch, tokens, width) = predictions
            .size3()
            .expect("a prediction layer keeps [B, T, P]");
        let places = (masking.restore() + 1)
            .unsqueeze(-1)
            .expand([batch, tokens - 1, width], false);
        Tensor::cat(
            &[
                predictions.narrow(1, 0, 1),
                predictions.gather(1, &places, false),
            ],
            1,
        )
    }

    /// `[class, visible, hidden]` decoder tokens with their positions: `[B, 1 + L, D]`.
    fn tokens(&self, latent: &Tensor, positions: &Tensor) -> Tensor {
        let embedded = self.embed.forward(latent); // [B, 1 + K, D]
        let (batch, known, width) = embedded.size3().expect("a decoder takes [B, 1 + K, C]");
        let hidden = positions.size()[1] - known;
        let masks = self.mask_token.expand([batch, hidden, width], false);
        Tensor::cat(&[&embedded, &masks], 1) + positions
    }
}

/// The decoder's position table `[1, 1 + L, D]` in the order of a masking, class token first:
/// `[B, 1 + L, D]`. Shared by all taps.
pub(crate) fn ordered_positions(table: &Tensor, masking: &Masking) -> Tensor {
    let (_, rows, width) = table.size3().expect("a position table is [1, 1 + L, D]");
    let (batch, tokens) = masking.order().size2().expect("a masking orders [B, L]");
    let patches = table
        .narrow(1, 1, rows - 1)
        .squeeze_dim(0)
        .index_select(0, &masking.order().reshape([-1]))
        .view([batch, tokens, width]);
    let class = table.narrow(1, 0, 1).expand([batch, 1, width], false);
    Tensor::cat(&[class, patches], 1)
}
