//! The analysis as tables.

use std::fmt;
use std::path::Path;

use super::{CategoryMean, ErrorAnalysis, ErrorType};
use crate::error::EvalError;
use crate::file::CsvFile;
use crate::report::Report;

impl ErrorAnalysis {
    /// Names and values: `TIDE_AP`, then `dAP_` and `errors_` of each type by tidecv's short names; AP
    /// in 0..=1.
    pub fn report(&self) -> Report {
        let mut report = Report::new();
        report.push("TIDE_AP", self.ap());
        for kind in ErrorType::ALL {
            report.push(format!("dAP_{}", kind.name()), self.of(kind).d_ap);
        }
        for kind in ErrorType::ALL {
            report.push(
                format!("errors_{}", kind.name()),
                self.of(kind).count as f64,
            );
        }
        report
    }

    /// What a user should know about the numbers, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let without = self
            .categories()
            .iter()
            .filter(|category| category.objects == 0 && category.ap == 0.0)
            .count();
        if without == 0 || self.options().mean == CategoryMean::Objects {
            return Vec::new();
        }
        vec![format!(
            "{without} categories have detections but no objects; as in tidecv they count as 0 in the AP of the error analysis, which COCO leaves them out of"
        )]
    }

    /// Writes one line per type: `dAP` in 0..=1, detections or objects that have it, and how many of
    /// these lie in crowds. The first line is the AP that gains are measured from.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_csv(&self, path: &Path) -> Result<(), EvalError> {
        let columns = ["type", "AP", "dAP", "count", "in_crowds", "meaning"];
        let mut csv = CsvFile::create(path, &columns)?;
        csv.row(["", &number(self.ap()), "", "", "", "nothing mended"])?;
        for kind in ErrorType::ALL {
            let effect = self.of(kind);
            csv.row([
                kind.name(),
                &number(self.ap() + effect.d_ap),
                &number(effect.d_ap),
                &effect.count.to_string(),
                &effect.in_crowds.to_string(),
                kind.meaning(),
            ])?;
        }
        csv.finish()
    }

    /// Writes one line per category: its objects and what became of them, its AP, and for each type
    /// the gain and the count; undefined numbers are empty.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_per_category(&self, path: &Path) -> Result<(), EvalError> {
        let mut columns: Vec<String> = [
            "category_id",
            "category",
            "objects",
            "matched",
            "covered",
            "missed",
            "AP",
        ]
        .map(str::to_owned)
        .to_vec();
        for prefix in ["dAP", "errors"] {
            columns.extend(ErrorType::ALL.map(|kind| format!("{prefix}_{}", kind.name())));
        }
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let mut csv = CsvFile::create(path, &columns)?;
        for category in self.categories() {
            let mut row = vec![category.id.clone(), category.name.clone()];
            let counts = [
                category.objects,
                category.matched,
                category.covered,
                category.missed,
            ];
            row.extend(counts.map(|count| count.to_string()));
            row.push(number(category.ap));
            row.extend(ErrorType::ALL.map(|kind| number(category.of(kind).d_ap)));
            row.extend(ErrorType::ALL.map(|kind| category.of(kind).count.to_string()));
            csv.row(&row)?;
        }
        csv.finish()
    }
}

impl fmt::Display for ErrorAnalysis {
    /// A table of the types, AP in percent as in the paper.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = self.options();
        write!(
            f,
            "Errors of {} by type (TIDE, IoU {} and {}), AP {:.2}",
            self.iou_type().name(),
            options.foreground,
            options.background,
            100.0 * self.ap()
        )?;
        write!(f, "\n {:<8}  {:>6}  {:>9}", "type", "dAP", "count")?;
        for kind in ErrorType::ALL {
            let effect = self.of(kind);
            write!(
                f,
                "\n {:<8}  {:>6.2}  {:>9}  {}",
                kind.name(),
                100.0 * effect.d_ap,
                effect.count,
                kind.meaning()
            )?;
        }
        Ok(())
    }
}

/// A number of a table: empty where it is undefined.
fn number(value: f64) -> String {
    if value.is_nan() {
        String::new()
    } else {
        value.to_string()
    }
}
