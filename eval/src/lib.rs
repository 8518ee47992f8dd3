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

pub use classification::{
    CALIBRATION_BINS, ClassTally, ClassificationMeter, Confusion, Prediction, PredictionsReader,
    PredictionsWriter, Ranked, TOP_K, write_per_class,
};
pub use error::EvalError;
pub use report::Report;
pub use rle::{
    MAX_COORDINATE, MAX_CROSSINGS, PolygonRasterizer, PreparedMask, Rle, RleError, box_iou,
    mask_iou,
};
pub use strictness::{Skipped, Strictness};
