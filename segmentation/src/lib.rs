//! Semantic segmentation: UperNet on a tapped vision transformer, on ADE20K and data sets like it.
//!
//! The trunk and its names are DeepMIM's segmentation trunk; heads, losses and inference are
//! mmsegmentation's.

mod config;
mod conv;
mod error;
mod fcn_head;
mod fusion;
mod inference;
mod losses;
mod model;
mod policy;
mod predictions;
mod task;
mod uper_head;

pub use config::{AuxiliaryConfig, InferenceMode, SegmentorConfig, TestTime};
pub use error::SegmentationError;
pub use fcn_head::FcnHead;
pub use inference::best_class;
pub use losses::{PixelLoss, cross_entropy};
pub use model::{Segmentor, SegmentorLosses};
pub use policy::upernet_policy;
pub use predictions::{
    GroundTruthLabels, LABELS_FOLDER, SUBMISSION_FOLDER, SegmentationEvaluation, evaluate_segmentor,
};
pub use task::{SegmentationBatch, SegmentationTask, SegmentedPicture};
pub use uper_head::UperHead;
