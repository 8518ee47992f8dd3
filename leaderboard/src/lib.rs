//! Which checkpoint is better, at what, and by how much: run records in, leaderboards out.
//!
//! Nothing here needs a model or an image library: runs and evaluations left their predictions in
//! the field's own formats, and those are scored again.

mod board;
mod build;
mod differences;
mod entry;
mod error;
mod examples;
mod fingerprint;
mod grid;
mod html;
mod layers;
mod numbers;
mod output;
mod published;
mod record;
mod run_facts;
mod scores;

pub use board::{
    Answer, Board, ClassScores, Curve, Example, Gap, Kind, Metric, PrecisionRecall, PublishedRow,
    RunFacts, Score, SystemScores, TaskBoard,
};
pub use build::{BoardOptions, build};
pub use differences::flat_values;
pub use entry::{GivenTruth, Request};
pub use error::LeaderboardError;
pub use fingerprint::{classes_sha256, file_sha256, labels_sha256};
pub use html::{HtmlError, html, layer_plots};
pub use layers::{
    ANALYSIS_FILE, AnalysedCheckpoint, CheckpointFindings, HeadMeasures, LayerAnalysis,
    LayerMeasure, LayerScore, LayerSet, Measured, MeasuredLayers, Over, Setting, Similarity,
    TrainingCurve, Values, cka_csv, heads_csv, layer_pairs_csv, layers_csv,
};
pub use numbers::{p_text, score_text};
pub use output::{csv, json, markdown, table};
pub use record::{
    EVALUATION_FILE, EvaluationRecord, ExampleRecord, START_FILE, Start, Truth, Weights,
};
