//! AP and AR per size of the objects and IoU threshold, which the twelve numbers average over.

use std::fmt;
use std::path::Path;

use super::accumulate::Curves;
use crate::error::EvalError;
use crate::file::CsvFile;

/// AP and AR, 0..=1 or -1 where no object counts, at the largest limit on detections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ApAr {
    /// Average precision, over recalls and categories.
    pub ap: f64,
    /// Recall reached, averaged over categories.
    pub ar: f64,
}

/// One area range's numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct SizeScores {
    /// The range: "all", "small".
    pub area: String,
    /// Objects that count, in all categories.
    pub objects: u64,
    /// Per IoU threshold.
    pub at: Vec<ApAr>,
    /// The mean over the thresholds.
    pub mean: ApAr,
}

/// Scores of every area range at every IoU threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct SizeIou {
    /// IoU thresholds, the columns.
    pub iou_thresholds: Vec<f64>,
    /// Area ranges, the rows.
    pub sizes: Vec<SizeScores>,
}

impl Curves {
    /// AP and AR of every area range at every IoU threshold, over all categories.
    pub fn size_iou(&self) -> SizeIou {
        let params = self.params();
        let last = params.max_detections.len() - 1;
        let scores = |threshold, area| ApAr {
            ap: self.average_precision(threshold, None, area, last),
            ar: self.average_recall(threshold, None, area, last),
        };
        let sizes = params
            .areas
            .iter()
            .enumerate()
            .map(|(area, range)| SizeScores {
                area: range.name.clone(),
                objects: (0..self.groups()).map(|k| self.objects(k, area)).sum(),
                at: (0..params.iou_thresholds.len())
                    .map(|threshold| scores(Some(threshold), area))
                    .collect(),
                mean: scores(None, area),
            });
        SizeIou {
            sizes: sizes.collect(),
            iou_thresholds: params.iou_thresholds.clone(),
        }
    }
}

impl SizeIou {
    /// Writes one line per area range and IoU threshold, and one for the mean over these (`iou` is
    /// "mean"); undefined numbers are empty.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_csv(&self, path: &Path) -> Result<(), EvalError> {
        let mut csv = CsvFile::create(path, &["area", "objects", "iou", "AP", "AR"])?;
        let number = |value: f64| {
            if value == -1.0 {
                String::new()
            } else {
                value.to_string()
            }
        };
        for size in &self.sizes {
            let thresholds = self.iou_thresholds.iter().map(|iou| format!("{iou:.2}"));
            let scores = size.at.iter().chain([&size.mean]);
            for (iou, scores) in thresholds.chain(["mean".to_owned()]).zip(scores) {
                csv.row([
                    size.area.as_str(),
                    &size.objects.to_string(),
                    &iou,
                    &number(scores.ap),
                    &number(scores.ar),
                ])?;
            }
        }
        csv.finish()
    }
}

impl fmt::Display for SizeIou {
    /// AP, then AR, in percent: a row per area range, a column per IoU threshold; a dash where no
    /// object counts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = self.sizes.iter().map(|size| size.area.chars().count());
        let width = longest.max().unwrap_or(0).max(2);
        for title in ["AP", "AR"] {
            if title == "AR" {
                writeln!(f)?;
            }
            write!(f, " {title:<width$}")?;
            for iou in &self.iou_thresholds {
                write!(f, "  {iou:>5.2}")?;
            }
            write!(f, "   mean  objects")?;
            for size in &self.sizes {
                write!(f, "\n {:<width$}", size.area)?;
                for scores in size.at.iter().chain([&size.mean]) {
                    match if title == "AP" { scores.ap } else { scores.ar } {
                        -1.0 => write!(f, "      -")?,
                        value => write!(f, "  {:>5.1}", 100.0 * value)?,
                    }
                }
                write!(f, "  {:>7}", size.objects)?;
            }
        }
        Ok(())
    }
}
