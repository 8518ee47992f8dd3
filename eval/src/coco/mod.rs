//! COCO detection metrics for boxes and masks, digit by digit those of pycocotools.
//!
//! Stages follow each other and consume what they are given:
//! [`GroundTruth::read`] and [`ResultsFile::read`], then [`match_images`], [`Matches::accumulate`] and
//! [`Curves::summary`]. Source: pycocotools `coco.py`, `cocoeval.py` and `maskApi.c`.
//!
//! What is wrong with the detections is told by [`Matches::errors`], [`Matches::confusion`],
//! [`Matches::calibration`] and [`Curves::size_iou`].

mod accumulate;
mod annotations;
mod calibration;
mod confusion;
mod detections;
mod errors;
mod fields;
mod ground_truth;
mod groups;
mod id;
mod lists;
mod matching;
mod objects;
mod pair;
mod params;
mod pictures;
mod records;
mod resample;
mod segmentation;
mod size_iou;
mod summary;
mod tables;
mod without_boxes;

pub use accumulate::Curves;
pub use calibration::{CalibrationOptions, DetectionCalibration, ScoreBin};
pub use confusion::{ConfusedPair, ConfusionOptions, DetectionConfusion};
pub use detections::{Detection, Detections, ResultKind, ResultsFile};
pub use errors::{
    CategoryErrors, CategoryMean, ErrorAnalysis, ErrorEffect, ErrorOptions, ErrorType,
};
pub use ground_truth::{Annotation, Category, Geometry, GroundTruth, Image};
pub use id::Id;
pub use matching::{ImageMatches, Matches, match_images};
pub use objects::{AnnotationFile, ListedObject, Outline};
pub use params::{AreaRange, IouType, Params};
pub use resample::CocoResampler;
pub use size_iou::{ApAr, SizeIou, SizeScores};
pub use summary::CocoSummary;
pub use tables::CategoryScores;
