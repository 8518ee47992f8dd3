//! Scores of picture classification: ranking a row of logits, counting hits, the files in which
//! predictions and labels are kept, and the comparison of several such files.

mod class_list;
mod comparison;
mod files;
mod layout;
mod meter;
mod outcomes;
mod prediction;
mod prediction_set;
mod reader;
mod real;
mod truth;

pub use class_list::ClassList;
pub use comparison::{ClassificationComparison, ComparisonOptions, ScoredSet};
pub use files::{PredictionsWriter, write_calibration, write_confusion, write_per_class};
pub use meter::{CALIBRATION_BINS, CalibrationBin, ClassTally, ClassificationMeter, Confusion};
pub use outcomes::{ClassificationMetric, Outcomes};
pub use prediction::{Prediction, Ranked, TOP_K};
pub use prediction_set::PredictionSet;
pub use reader::PredictionsReader;
pub use real::RealLabels;
pub use truth::{LabelledPicture, PictureLabels};
