//! Masked pre-training: MAE and DeepMIM, on any of several reconstruction targets; and what the layers of trunks
//! have learnt.

mod analysis;
mod config;
mod decoder;
mod error;
mod masking;
mod model;
mod picture;
mod pixels;
mod target;
mod target_config;
mod task;

pub use analysis::{
    AttentionMeasures, AttentionProfile, Cka, FeatureStore, LinearConfig, LinearProbes, Neighbours,
    Observation, ObserveTask, Pool, Study, Subject, Teaching, TrunkObservation, attention_measures,
    effective_rank,
};
pub use config::{DecoderConfig, PretrainConfig};
pub use error::PretrainError;
pub use masking::{Masking, masking_noise};
pub use model::MaskedAutoencoder;
pub use picture::draw_reconstructions;
pub use pixels::{patch_statistics, patchify, patchify_at, unpatchify};
pub use target::{
    ClipTeacher, Distance, EmaTarget, FeaturesTarget, HogTarget, HybridTarget, PixelTarget, Seen,
    Shown, Target, TokenFile, TokensTarget, histograms,
};
pub use target_config::{
    ClipConfig, EmaConfig, FeaturesConfig, HogConfig, HybridPart, TapTarget, TargetConfig,
    TokensConfig,
};
pub use task::{PretrainBatch, PretrainTask, ReconstructionLoss};
