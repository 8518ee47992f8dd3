//! Pictures with objects: detection data sets, their geometry, made-up ones, their faults, and pictures of
//! results.

mod arrangement;
mod bitmap;
mod check;
mod clip;
mod config;
mod dataset;
mod faults;
mod geometry;
mod overlay;
mod recipe;
mod scene;
mod synth;
mod trace;
mod transform;

pub use check::{DetectionCheckOptions, check_detection};
pub use clip::clip_polygon;
pub use config::{DetectionEvalTransform, DetectionTrainTransform};
pub(crate) use dataset::called;
pub use dataset::{DetectionCategory, DetectionDataset, DetectionPicture, DetectionSource};
pub use geometry::{View, fixed_size_window, jittered_size, shortest_edge_size};
pub use overlay::{OverlayObject, class_colour, draw_detections};
pub use recipe::DetectionData;
pub(crate) use scene::{Scene, plain_object};
pub use synth::{SynthDetectionConfig, SynthDetectionSummary, synth_detection};
pub use transform::detection_input;
