//! Masked pre-training: MAE and DeepMIM, on any of several reconstruction targets.

mod config;
mod decoder;
mod error;
mod masking;
mod model;
mod picture;
mod pixels;
mod probe;
mod target;
mod target_config;
mod task;

pub use config::{DecoderConfig, PretrainConfig};
pub use error::PretrainError;
pub use masking::{Masking, masking_noise};
pub use model::MaskedAutoencoder;
pub use picture::draw_reconstructions;
pub use pixels::{patch_statistics, patchify, patchify_at, unpatchify};
pub use probe::{FeatureTask, LabelledFeatures, PictureFeatures};
pub use target::{
    ClipTeacher, Distance, EmaTarget, FeaturesTarget, HogTarget, HybridTarget, PixelTarget, Seen,
    Shown, Target, TokenFile, TokensTarget, histograms,
};
pub use target_config::{
    ClipConfig, EmaConfig, FeaturesConfig, HogConfig, HybridPart, TapTarget, TargetConfig,
    TokensConfig,
};
pub use task::{PretrainBatch, PretrainTask, ReconstructionLoss};
