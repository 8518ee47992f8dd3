//! Scores of picture classification: ranking a row of logits, counting hits, and the files in which
//! predictions are kept.

mod files;
mod meter;
mod prediction;

pub use files::{PredictionsReader, PredictionsWriter, write_per_class};
pub use meter::{CALIBRATION_BINS, ClassTally, ClassificationMeter, Confusion};
pub use prediction::{Prediction, Ranked, TOP_K};
