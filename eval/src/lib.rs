//! Pure metrics: predictions in, numbers out. No tensors, no image library.
//!
//! Every metric works on predictions that can be written to a file and read back, so that scoring
//! the file gives the same digits as scoring the model. Sums are kept in double precision, in the
//! order in which rows are added; nothing here prints.

mod bootstrap;
mod classification;
pub mod coco;
mod error;
mod file;
mod input;
mod json;
mod report;
mod rle;
pub mod segmentation;
mod strictness;

pub use bootstrap::{
    Bootstrap, BootstrapConfig, BootstrapSize, ClassOverlap, Difference, ImageOverlaps, Interval,
    IntervalMethod, OverlapScores, bootstrap, draw, holm,
};
pub use classification::{
    CALIBRATION_BINS, CalibrationBin, ClassList, ClassTally, ClassificationComparison,
    ClassificationMeter, ClassificationMetric, ComparisonOptions, Confusion, LabelledPicture,
    Outcomes, PictureLabels, Prediction, PredictionSet, PredictionsReader, PredictionsWriter,
    Ranked, RealLabels, ScoredSet, TOP_K, write_calibration, write_confusion, write_per_class,
};
pub use error::EvalError;
pub use report::{Report, write_json};
pub use rle::{
    MAX_COORDINATE, MAX_CROSSINGS, PolygonRasterizer, PreparedMask, Rle, RleError, box_iou,
    mask_iou,
};
pub use strictness::{Skipped, Strictness};
