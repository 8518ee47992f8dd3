//! Curves as tables: per category, precision over recall, and pycocotools' arrays.

use std::path::Path;

use super::accumulate::Curves;
use crate::error::EvalError;
use crate::file::{CsvFile, write_npy};

/// One category's numbers, 0..=1 or -1 where no object counts.
#[derive(Debug, Clone, PartialEq)]
pub struct CategoryScores {
    /// Its name; "all" where categories were not used.
    pub name: String,
    /// Objects that count, of any size.
    pub objects: u64,
    /// AP over the IoU thresholds, of any size.
    pub ap: f64,
    /// AP at IoU 0.50; -1 where that is no threshold.
    pub ap50: f64,
    /// AP at IoU 0.75.
    pub ap75: f64,
    /// AP per further area range, in the parameters' order.
    pub ap_by_area: Vec<f64>,
    /// AR over the IoU thresholds, of any size.
    pub ar: f64,
}

impl Curves {
    /// Numbers of every category, at the largest limit on detections.
    pub fn categories_scores(&self) -> Vec<CategoryScores> {
        let params = self.params();
        let last = params.max_detections.len() - 1;
        let at = |iou: f64| params.iou_thresholds.iter().position(|&t| t == iou);
        (0..self.groups())
            .map(|k| {
                let ap = |threshold: Option<usize>, area| {
                    self.average_precision(threshold, Some(k), area, last)
                };
                let at_iou = |iou| at(iou).map_or(-1.0, |threshold| ap(Some(threshold), 0));
                CategoryScores {
                    name: match self.categories().get(k) {
                        Some(category) => category.name.clone(),
                        None => "all".to_owned(),
                    },
                    objects: self.objects(k, 0),
                    ap: ap(None, 0),
                    ap50: at_iou(0.5),
                    ap75: at_iou(0.75),
                    ap_by_area: (1..params.areas.len()).map(|area| ap(None, area)).collect(),
                    ar: self.average_recall(None, Some(k), 0, last),
                }
            })
            .collect()
    }

    /// Writes [`Curves::categories_scores`], one line per category; undefined numbers are empty.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_per_category(&self, path: &Path) -> Result<(), EvalError> {
        let areas = &self.params().areas;
        let mut columns: Vec<String> = ["category_id", "category", "objects", "AP", "AP50", "AP75"]
            .map(str::to_owned)
            .to_vec();
        columns.extend(areas.iter().skip(1).map(|area| format!("AP_{}", area.name)));
        columns.push("AR".to_owned());
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let mut csv = CsvFile::create(path, &columns)?;
        for (k, scores) in self.categories_scores().into_iter().enumerate() {
            let id = self
                .categories()
                .get(k)
                .map(|category| category.id.to_string());
            let mut row = vec![
                id.unwrap_or_default(),
                scores.name,
                scores.objects.to_string(),
            ];
            row.extend([scores.ap, scores.ap50, scores.ap75].map(number));
            row.extend(scores.ap_by_area.into_iter().map(number));
            row.push(number(scores.ar));
            csv.row(&row)?;
        }
        csv.finish()
    }

    /// Writes precision and score at every recall, for each category and threshold, objects of any
    /// size, at the largest limit on detections.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_precision_recall(&self, path: &Path) -> Result<(), EvalError> {
        let params = self.params();
        let last = params.max_detections.len() - 1;
        let columns = ["category", "iou", "recall", "precision", "score"];
        let mut csv = CsvFile::create(path, &columns)?;
        for (k, scores) in self.categories_scores().into_iter().enumerate() {
            if self.objects(k, 0) == 0 {
                continue;
            }
            for (t, iou) in params.iou_thresholds.iter().enumerate() {
                let curve = self
                    .precision(t, k, 0, last)
                    .iter()
                    .zip(self.scores(t, k, 0, last));
                for (recall, (precision, score)) in params.recall_thresholds.iter().zip(curve) {
                    // Thresholds are sums of steps; their digits beyond the fourth say nothing.
                    csv.row([
                        scores.name.as_str(),
                        &format!("{iou:.2}"),
                        &format!("{recall:.2}"),
                        &precision.to_string(),
                        &score.to_string(),
                    ])?;
                }
            }
        }
        csv.finish()
    }

    /// Writes `precision.npy` and `scores.npy` `[T, R, K, A, M]` and `recall.npy` `[T, K, A, M]`: what
    /// pycocotools has in `COCOeval.eval`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write_arrays(&self, folder: &Path) -> Result<(), EvalError> {
        let [t, r, k, a, m] = self.shape();
        write_npy(
            &folder.join("precision.npy"),
            &[t, r, k, a, m],
            &self.precision_array(),
        )?;
        write_npy(
            &folder.join("scores.npy"),
            &[t, r, k, a, m],
            &self.scores_array(),
        )?;
        write_npy(
            &folder.join("recall.npy"),
            &[t, k, a, m],
            &self.recall_array(),
        )
    }
}

/// A number of a table: empty where no object counts.
fn number(value: f64) -> String {
    if value == -1.0 {
        String::new()
    } else {
        value.to_string()
    }
}
