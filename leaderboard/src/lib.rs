//! Which checkpoint is better, at what, and by how much: run records in, leaderboards out.
//!
//! Nothing here needs a model or an image library: runs and evaluations left their predictions in
//! the field's own formats, and those are scored again.

mod board;
mod html;

pub use board::{
    Answer, Board, ClassScores, Curve, Example, Gap, Kind, Metric, PrecisionRecall, PublishedRow,
    RunFacts, Score, SystemScores, TaskBoard,
};
pub use html::{HtmlError, html};
