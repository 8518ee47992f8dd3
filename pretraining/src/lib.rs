//! Masked pre-training: MAE, DeepMIM, and both with CLIP features as the target.

mod config;
mod decoder;
mod error;
mod masking;
mod model;
mod picture;
mod pixels;
mod target;
mod task;
mod teacher;

pub use config::{ClipConfig, DecoderConfig, PretrainConfig, TargetConfig};
pub use error::PretrainError;
pub use masking::{Masking, masking_noise};
pub use model::MaskedAutoencoder;
pub use picture::draw_reconstructions;
pub use pixels::{patch_statistics, patchify, patchify_at, unpatchify};
pub use target::Target;
pub use task::{PretrainBatch, PretrainTask, ReconstructionLoss};
pub use teacher::ClipTeacher;
