//! Object detection and instance segmentation: ViTDet Mask R-CNN and Cascade Mask R-CNN on COCO.

mod policy;

pub use policy::{vitdet_policy, vitdet_policy_decaying_all};
