//! Object detection and instance segmentation: ViTDet Mask R-CNN and Cascade Mask R-CNN on COCO.
//!
//! The operations between the networks' layers work on plain slices of boxes, on the host and on all
//! cores, and give for equal inputs the float32 results of detectron2 and torchvision.

pub mod anchors;
mod box_head;
pub mod boxes;
mod config;
mod error;
pub mod evaluate;
pub mod inference;
mod layers;
pub mod levels;
mod mask_head;
pub mod mask_targets;
pub mod matcher;
mod model;
pub mod nms;
pub mod paste;
mod policy;
mod pooler;
mod predictions;
pub mod results;
pub mod roi_align;
mod roi_heads;
mod rpn;
pub mod sampling;
mod task;
pub mod tta;

pub use box_head::{BoxHead, BoxOutput, SampledRegions};
pub use config::{DetectorConfig, RoiConfig, RpnConfig};
pub use error::DetectionError;
pub use mask_head::{MASK_SIZE, MaskHead, MaskSamples};
pub use model::{Detector, PictureDetections};
pub use policy::{vitdet_policy, vitdet_policy_decaying_all};
pub use predictions::{DetectionEvaluation, evaluate_detector};
pub use roi_heads::{RoiHeads, Sampling, StageOutput, Target};
pub use rpn::{AnchorTargets, Proposals, Rpn, RpnOutput};
pub use task::{DetectedPicture, DetectionBatch, DetectionTask, TestTime};
