//! The ViT trunk: patch projection, class token, positions, blocks, taps.
//!
//! Source: timm `vision_transformer.py` and facebookresearch/mae `models_mae.py` (same names, same
//! initialisation); CLIP's visual tower is the same trunk with QuickGELU, `norm_pre`, no patch bias
//! and epsilon 1e-5. Parity: `mae_pixels`, `deepmim_clip` (trunk and teacher), relative 1e-5.

use std::ops::Range;

use tch::{Tensor, nn, nn::Init};

use crate::BackboneError;
use crate::biased_attention::BiasTable;
use crate::block::{Block, BlockConfig};
use crate::config::{Position, RelativeBias, VitConfig};
use crate::layers::LayerNorm;
use crate::patch::PatchEmbed;
use crate::positions::{position_map, sincos_2d};
use crate::relative::MapAttention;

/// A ViT trunk with its parameters, named as timm and MAE name them.
#[derive(Debug)]
pub struct Vit {
    config: VitConfig,
    cls_token: Option<Tensor>,
    pos_embed: Tensor,
    patch_embed: PatchEmbed,
    norm_pre: Option<LayerNorm>,
    blocks: Vec<Block>,
    norm: Option<LayerNorm>,
}

/// What one block made of a batch, as [`Vit::observe`] shows it.
#[derive(Debug)]
pub struct Observed {
    /// Number of the block, from 1.
    pub layer: i64,
    /// Its output, `[B, 1 + N, C]`: the class token first; the last block's after the final norm.
    pub tokens: Tensor,
    /// [`Block::attention_maps`], `[B, heads, 1 + N, 1 + N]`.
    pub attention: Tensor,
}

impl Vit {
    /// Adds the parameters under `path` and initialises them as MAE does.
    ///
    /// # Errors
    /// [`BackboneError::Config`] where the configuration describes no trunk.
    pub fn new(path: &nn::Path, config: &VitConfig) -> Result<Self, BackboneError> {
        config.check()?;
        let width = config.width;
        let rows = config.position_rows();
        let token = Init::Randn {
            mean: 0.0,
            stdev: 0.02,
        };
        let pos_embed = match config.position {
            Position::SinCos => {
                let table = sincos_2d(width, config.grid(), config.grid(), true);
                path.add("pos_embed", table.to_device(path.device()), false)
            }
            Position::Learnable => path.var("pos_embed", &[1, rows, width], token),
        };
        let bias_table = |path: &nn::Path| BiasTable::new(path, [config.grid(); 2], config.heads);
        let shared_bias = match config.relative_bias {
            Some(RelativeBias::Shared) => Some(bias_table(&(path / "rel_pos_bias"))),
            _ => None,
        };
        let blocks = (0..config.depth)
            .map(|index| {
                let block = BlockConfig {
                    width,
                    heads: config.heads,
                    mlp_ratio: config.mlp_ratio,
                    qkv_bias: config.qkv_bias,
                    norm_eps: config.norm_eps,
                    activation: config.activation,
                    drop_path: config.drop_path_at(index),
                    layer_scale: config.layer_scale,
                    map: config.windows.as_ref().map(|windows| MapAttention {
                        window: (!windows.global_blocks.contains(&index)).then_some(windows.size),
                        map_size: config.grid(),
                    }),
                };
                let path = path / "blocks" / index;
                let block = Block::new(&path, &block);
                match (config.relative_bias, &shared_bias) {
                    (Some(RelativeBias::PerBlock), _) => {
                        block.with_bias(bias_table(&(path / "attn")))
                    }
                    (_, Some(table)) => block.with_bias(table.shallow_clone()),
                    _ => block,
                }
            })
            .collect();
        let norm = |name| LayerNorm::new(&(path / name), width, config.norm_eps);
        Ok(Self {
            cls_token: config
                .windows
                .is_none()
                .then(|| path.var("cls_token", &[1, 1, width], token)),
            pos_embed,
            patch_embed: PatchEmbed::new(
                &(path / "patch_embed"),
                config.channels,
                config.patch_size,
                width,
                config.patch_bias,
            ),
            norm_pre: config.pre_norm.then(|| norm("norm_pre")),
            blocks,
            norm: config.final_norm.then(|| norm("norm")),
            config: config.clone(),
        })
    }

    /// What this trunk was built from.
    pub fn config(&self) -> &VitConfig {
        &self.config
    }

    /// Number of blocks.
    pub fn num_blocks(&self) -> i64 {
        self.config.depth
    }

    /// Every patch token with its position, class token not yet there: `[B, 3, H, W] -> [B, N, C]`.
    pub fn patch_tokens(&self, images: &Tensor) -> Tensor {
        self.check_images(images);
        self.patch_embed.forward(images) + self.patch_positions()
    }

    /// The patch tokens `ids [B, M]` (row-major patch numbers) with their positions, in that order:
    /// `[B, 3, H, W] -> [B, M, C]`. Equal to a gather from [`Vit::patch_tokens`]; patches left out
    /// cost nothing.
    pub fn patch_tokens_at(&self, images: &Tensor, ids: &Tensor) -> Tensor {
        self.check_images(images);
        let (batch, count) = ids.size2().expect("patch numbers come as [B, M]");
        let positions = self
            .patch_positions()
            .squeeze_dim(0)
            .index_select(0, &ids.reshape([-1]))
            .view([batch, count, self.config.width]);
        self.patch_embed.forward_at(images, ids) + positions
    }

    /// Puts the class token with its position in front: `[B, M, C] -> [B, 1 + M, C]`. The norm before
    /// the first block, where there is one, is applied here.
    pub fn with_class_token(&self, tokens: &Tensor) -> Tensor {
        let class = self
            .cls_token
            .as_ref()
            .expect("a trunk with windows has no class token")
            + self.pos_embed.narrow(1, 0, 1);
        let class = class.expand([tokens.size()[0], -1, -1], false);
        let tokens = Tensor::cat(&[&class, tokens], 1);
        match &self.norm_pre {
            Some(norm) => norm.forward(&tokens),
            None => tokens,
        }
    }

    /// Runs the blocks on `[B, T, C]`. Result: one `[B, T, C]` per entry of `taps`, which are 1-based
    /// block numbers in ascending order; the tap equal to `depth` is taken after the final norm where
    /// there is one, the others before any norm. Blocks after the last tap are not run.
    pub fn blocks(&self, tokens: Tensor, taps: &[i64], train: bool) -> Vec<Tensor> {
        assert!(
            taps.windows(2).all(|pair| pair[0] < pair[1])
                && taps.iter().all(|tap| (1..=self.config.depth).contains(tap)),
            "taps {taps:?} must ascend within 1 to {}",
            self.config.depth
        );
        let mut outputs = Vec::with_capacity(taps.len());
        let mut x = tokens;
        for (block, number) in self
            .blocks
            .iter()
            .zip(1..=taps.last().copied().unwrap_or(0))
        {
            x = self.run_block(block, &x, None, train);
            if taps.contains(&number) {
                let last = number == self.config.depth;
                outputs.push(if last {
                    self.final_norm(&x)
                } else {
                    x.shallow_clone()
                });
            }
        }
        outputs
    }

    /// Runs all blocks and shows each of them as it goes: its output as a tap has it, and what its heads attend to.
    /// For evaluation, without drop path.
    pub fn observe(&self, images: &Tensor, mut each: impl FnMut(Observed)) {
        let mut x = self.with_class_token(&self.patch_tokens(images));
        for (block, layer) in self.blocks.iter().zip(1..) {
            let attention = block.attention_maps(&x);
            x = block.forward(&x, false);
            each(Observed {
                layer,
                tokens: match layer == self.config.depth {
                    true => self.final_norm(&x),
                    false => x.shallow_clone(),
                },
                attention,
            });
        }
    }

    /// All blocks and the final norm, for the tokens of `queries` only: `[B, T, C] -> [B, len, C]`.
    /// Equal to that slice of the last tap; the last block computes no other token.
    pub fn blocks_for(&self, tokens: Tensor, queries: Range<i64>, train: bool) -> Tensor {
        let mut x = tokens;
        let (last, others) = self
            .blocks
            .split_last()
            .expect("a trunk has at least one block");
        for block in others {
            x = self.run_block(block, &x, None, train);
        }
        self.final_norm(&self.run_block(last, &x, Some(queries), train))
    }

    /// [`Vit::patch_tokens`], [`Vit::with_class_token`] and [`Vit::blocks`] in one.
    pub fn forward(&self, images: &Tensor, taps: &[i64], train: bool) -> Vec<Tensor> {
        self.blocks(
            self.with_class_token(&self.patch_tokens(images)),
            taps,
            train,
        )
    }

    /// The last block's output as a feature map, for a trunk with windows: `[B, 3, H, W] ->
    /// [B, C, H / p, W / p]`, channels last in memory. Height and width are any multiples of the
    /// patch; absolute positions are resampled to the grid.
    pub fn feature_map(&self, images: &Tensor, train: bool) -> Tensor {
        let (batch, _, height, width) = images
            .size4()
            .expect("a trunk takes pictures [B, channels, H, W]");
        let patch = self.config.patch_size;
        let (rows, columns) = (height / patch, width / patch);
        let positions = position_map(&self.pos_embed, 1, (rows, columns))
            .expect("the trunk's own table has a square grid");
        let tokens = self.patch_embed.forward(images); // [B, rows * columns, C]
        let mut map = tokens.view([batch, rows, columns, self.config.width]) + positions;
        for block in &self.blocks {
            map = block.forward_map(&map, train, self.config.activation_checkpointing);
        }
        map.permute([0, 3, 1, 2])
    }

    fn run_block(
        &self,
        block: &Block,
        x: &Tensor,
        queries: Option<Range<i64>>,
        train: bool,
    ) -> Tensor {
        match queries {
            _ if train && self.config.activation_checkpointing => {
                block.forward_checkpointed(x, queries, train)
            }
            Some(queries) => block.forward_queries(x, queries, train),
            None => block.forward(x, train),
        }
    }

    fn final_norm(&self, x: &Tensor) -> Tensor {
        match &self.norm {
            Some(norm) => norm.forward(x),
            None => x.shallow_clone(),
        }
    }

    /// `[1, N, C]`
    fn patch_positions(&self) -> Tensor {
        self.pos_embed.narrow(1, 1, self.config.tokens())
    }

    fn check_images(&self, images: &Tensor) {
        let (_, channels, height, width) = images
            .size4()
            .expect("a trunk takes pictures [B, channels, H, W]");
        let side = self.config.image_size;
        assert!(
            (channels, height, width) == (self.config.channels, side, side),
            "this trunk takes pictures of {} x {side} x {side}, not {channels} x {height} x {width}",
            self.config.channels
        );
    }
}
