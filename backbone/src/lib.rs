//! The ViT trunk of every task: configuration, blocks, taps, position tables and the layer rule of
//! learning-rate decay.

mod batch_norm;
mod biased_attention;
mod block;
mod config;
mod depth;
mod error;
mod layers;
mod patch;
mod positions;
mod pyramid;
mod relative;
mod relative_bias;
mod rescale;
mod spline;
mod vit;
pub mod weights;

pub use batch_norm::{BatchNorm, SumOverProcesses, synchronised_batch_norm};
pub use block::{Block, BlockConfig};
pub use config::{Activation, Position, RelativeBias, VitConfig, VitPreset, WindowConfig};
pub use depth::{layer_id, layer_lr_scale};
pub use error::BackboneError;
pub use layers::{DropPath, LayerNorm, LayerScale, Linear};
pub use patch::{PatchEmbed, patch_grid, pick_patches};
pub use positions::{position_map, resample_positions, sincos_2d};
pub use pyramid::{ChannelNorm, FeatureLevel, NormedConv, SimpleFeaturePyramid, convolve_map};
pub use relative::MapAttention;
pub use relative_bias::{relative_bias_index, resample_relative_bias};
pub use rescale::RescalingNecks;
pub use vit::{Observed, Vit};
