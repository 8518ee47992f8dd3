//! Predictions of several runs on one ground truth, scored and resampled together.

mod classify;
mod detect;
mod segment;

use std::path::Path;

use eval::{Bootstrap, BootstrapConfig};

use crate::board::{ClassScores, Kind, Metric, PrecisionRecall};
use crate::entry::Entry;
use crate::error::LeaderboardError;

/// Scores of every entry, entries in their order.
pub(crate) struct Scored {
    pub columns: Vec<Column>,
    pub bootstrap: Bootstrap,
    /// The metric class by class; `values` has one row per entry.
    pub classes: ClassScores,
    /// Per entry.
    pub precision_recall: Vec<Vec<PrecisionRecall>>,
    pub pictures: usize,
    /// The ground truth in a few words.
    pub data: String,
    /// What users should know about the files.
    pub notes: Vec<String>,
}

/// A metric of the bootstrap and how it is shown.
pub(crate) struct Column {
    pub metric: Metric,
    /// Scores are multiplied by this: 100 for per cent.
    pub factor: f64,
}

impl Column {
    fn percent(key: &str, title: &str, headline: bool) -> Self {
        Self {
            metric: Metric {
                key: key.to_owned(),
                title: format!("{title} %"),
                decimals: 1,
                headline,
                higher_is_better: true,
            },
            factor: 100.0,
        }
    }
}

/// Scores entries of one kind and one ground truth. `progress(done, all)` counts resamples.
pub(crate) fn score(
    kind: Kind,
    entries: &[&Entry],
    config: &BootstrapConfig,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Scored, LeaderboardError> {
    match kind {
        Kind::Classify => classify::score(entries, config, progress),
        Kind::Detect => detect::score(entries, config, progress),
        Kind::Segment => segment::score(entries, config, progress),
    }
}

/// A file's or folder's own name.
fn short(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}
