//! Semantic segmentation metrics over label maps, equal to mmsegmentation's `IoUMetric`: counting
//! (label, prediction) pairs, scores from the counts, and folders of PNG label maps.

mod class_names;
mod comparison;
mod counter;
mod evaluate;
mod files;
mod label_map;
mod label_png;
mod label_spec;
mod meter;
mod pairing;
mod runs;
mod scores;

pub use class_names::read_class_names;
pub use comparison::{SEGMENTATION_METRICS, bootstrap_segmentation};
pub use counter::{ImageCounter, ImageCounts, LabelFault, PairCount};
pub use evaluate::{
    LabelFiles, ScoredImage, SegmentationOptions, SegmentationResult, evaluate_label_files,
    evaluate_label_folders,
};
pub use files::{write_class_scores, write_confused_classes, write_confusion_matrix};
pub use label_map::{LabelMap, Labels};
pub use label_png::read_label_png;
pub use label_spec::{LabelSpec, MAX_CLASSES};
pub use meter::{ClassAreas, ConfusedClasses, ImageTally, SegmentationMeter};
pub use scores::{ClassScores, SegmentationScores};
