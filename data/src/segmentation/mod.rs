//! Pictures with a class for each pixel: segmentation data sets, made-up ones, their faults, and pictures of
//! results.

mod check;
mod coco_labels;
mod config;
mod dataset;
mod label_check;
mod label_file;
mod label_tally;
mod numbering;
mod overlay;
mod pairs;
mod palette;
mod photometric;
mod pixels;
mod recipe;
mod scene;
mod synth;
mod transform;

pub use check::{SegmentationCheckOptions, check_segmentation};
pub use coco_labels::{CocoLabelsConfig, CocoLabelsSummary, coco_labels};
pub use config::{SegmentationEvalTransform, SegmentationTrainTransform};
pub use dataset::{SegmentationDataset, SegmentationSample};
pub use label_file::{write_label_png, write_palette_png};
pub use numbering::{IGNORED, SegmentationLabels};
pub use overlay::draw_labels;
pub use pairs::SegmentationSource;
pub use palette::class_palette;
pub use photometric::PhotometricChange;
pub use recipe::SegmentationData;
pub use synth::{SynthSegmentationConfig, SynthSegmentationSummary, synth_segmentation};
pub use transform::{rescaled_size, resized_labels, resized_picture, segmentation_views};
