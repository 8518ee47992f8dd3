//! Object detection and instance segmentation: ViTDet Mask R-CNN and Cascade Mask R-CNN on COCO.
//!
//! The operations between the networks' layers work on plain slices of boxes, on the host and on all
//! cores, and give for equal inputs the float32 results of detectron2 and torchvision.

pub mod anchors;
pub mod boxes;
pub mod evaluate;
pub mod inference;
pub mod levels;
pub mod mask_targets;
pub mod matcher;
pub mod nms;
pub mod paste;
pub mod results;
pub mod roi_align;
pub mod sampling;
pub mod tta;
