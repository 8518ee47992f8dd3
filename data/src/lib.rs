//! Samples in host memory: decoding, transforms, data sets and the loader that feeds training.
//!
//! Nothing here knows tensors or models: a sample is plain vectors, built on worker threads. Pictures
//! equal what Pillow and torchvision make of the same files.

mod analysis;
pub mod augment;
mod check;
mod classes;
mod classification;
mod codec;
mod dataset;
pub mod detection;
mod draw;
mod error;
mod exif;
mod filter;
mod geometry;
mod image;
mod instance;
mod labels;
mod listing;
mod loader;
mod normalise;
mod pending;
mod recipe;
mod region;
mod report;
mod resize;
pub mod segmentation;
mod synth;
mod tokens;
mod transform;
mod transform_config;

pub use analysis::AnalysisData;
pub use check::{CheckOptions, check_classification};
pub use classes::{Class, read_classes};
pub use classification::{ClassificationConfig, ClassificationDataset, ClassificationSource};
pub use codec::{
    Colour, Orientation, PictureInfo, decode_bytes, decode_file, decode_into, write_jpeg, write_png,
};
pub use dataset::{ClassificationSample, Dataset, sample_seed};
pub use detection::{
    DetectionCategory, DetectionCheckOptions, DetectionData, DetectionDataset,
    DetectionEvalTransform, DetectionPicture, DetectionSource, DetectionTrainTransform,
    OverlayObject, SynthDetectionConfig, SynthDetectionSummary, check_detection, class_colour,
    detection_input, draw_detections, synth_detection,
};
pub use error::DataError;
pub use filter::Filter;
pub use geometry::{centre_crop_origin, random_resized_crop, short_side_size, single_draw_crop};
pub use image::RgbImage;
pub use instance::{DetectionSample, Instance, InstanceMask};
pub use loader::{EpochIter, Loader, LoaderConfig, Shard};
pub use normalise::ColourStatistics;
pub use recipe::{ClassificationData, LoadedSet, PictureData, ProbeData};
pub use report::{
    CheckReport, ClassShare, Finding, LabelSummary, ObjectSummary, Severity, SplitSummary,
};
pub use resize::{CropBox, resize, resize_crop, resize_crop_into, resize_window_into};
pub use segmentation::{
    CocoLabelsConfig, CocoLabelsSummary, IGNORED, SegmentationCheckOptions, SegmentationData,
    SegmentationDataset, SegmentationEvalTransform, SegmentationLabels, SegmentationSample,
    SegmentationSource, SegmentationTrainTransform, SynthSegmentationConfig,
    SynthSegmentationSummary, check_segmentation, class_palette, coco_labels, draw_labels,
    segmentation_views, synth_segmentation, write_label_png, write_palette_png,
};
pub use synth::{PictureFormat, SynthClassificationConfig, SynthSummary, synth_classification};
pub use tokens::{TOKEN_NAMES, TOKENS, TokenConfig, Tokenized, write_tokens};
pub use transform::Transform;
pub use transform_config::{EvalTransformConfig, TrainCrop, TrainTransformConfig};
