//! What is measured: pycocotools' `Params`.

use crate::error::EvalError;

/// Which overlap decides a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IouType {
    /// Of bounding boxes.
    Bbox,
    /// Of masks.
    Segm,
}

impl IouType {
    /// As pycocotools calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bbox => "bbox",
            Self::Segm => "segm",
        }
    }
}

/// Ground truth of this area counts; both ends belong to the range. Unmatched detections of another
/// area are left out.
#[derive(Debug, Clone, PartialEq)]
pub struct AreaRange {
    /// "all", "small", "medium", "large".
    pub name: String,
    /// Smallest area, in square pixels.
    pub low: f64,
    /// Largest area.
    pub high: f64,
}

/// Thresholds and limits of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Params {
    /// IoU at or above which a detection may match, ascending.
    pub iou_thresholds: Vec<f64>,
    /// Recalls at which precision is read, ascending.
    pub recall_thresholds: Vec<f64>,
    /// Area ranges; the first is the headline.
    pub areas: Vec<AreaRange>,
    /// Most detections per image and category, ascending; the summary wants three of them.
    pub max_detections: Vec<usize>,
    /// Whether a detection must be of the category of its match.
    pub use_categories: bool,
}

impl Default for Params {
    /// COCO's: IoU 0.50 to 0.95 by 0.05, 101 recalls, four area ranges, 1, 10 and 100 detections.
    fn default() -> Self {
        let area = |name: &str, low: f64, high: f64| AreaRange {
            name: name.to_owned(),
            low,
            high,
        };
        Self {
            iou_thresholds: linspace(0.5, 0.95, 10),
            recall_thresholds: linspace(0.0, 1.0, 101),
            areas: vec![
                area("all", 0.0, 1e10),
                area("small", 0.0, 1024.0),
                area("medium", 1024.0, 9216.0),
                area("large", 9216.0, 1e10),
            ],
            max_detections: vec![1, 10, 100],
            use_categories: true,
        }
    }
}

impl Params {
    /// Most IoU thresholds: a match is a bit of a word per threshold.
    pub const MOST_THRESHOLDS: usize = 32;
    /// Most area ranges.
    pub const MOST_AREAS: usize = 8;

    /// Checks limits, and sorts the detection limits as pycocotools does.
    ///
    /// # Errors
    /// When a list is empty, too long, or not ascending.
    pub fn checked(mut self) -> Result<Self, EvalError> {
        self.max_detections.sort_unstable();
        let wrong = |problem: &str| Err(EvalError::Params(problem.to_owned()));
        let ascending =
            |values: &[f64]| values.iter().all(|value| value.is_finite()) && values.is_sorted();
        if !(1..=Self::MOST_THRESHOLDS).contains(&self.iou_thresholds.len())
            || !ascending(&self.iou_thresholds)
            || self.iou_thresholds[0] <= 0.0
        {
            return wrong("IoU thresholds must be 1 to 32 positive numbers in ascending order");
        }
        if self.recall_thresholds.is_empty() || !ascending(&self.recall_thresholds) {
            return wrong("recall thresholds must be numbers in ascending order");
        }
        if !(1..=Self::MOST_AREAS).contains(&self.areas.len()) {
            return wrong("there must be 1 to 8 area ranges");
        }
        match self.max_detections.as_slice() {
            [] | [0, ..] => wrong("the limits on detections per image must be positive"),
            _ => Ok(self),
        }
    }

    /// The largest limit on detections per image and category.
    pub(crate) fn most_detections(&self) -> usize {
        self.max_detections.last().copied().unwrap_or(0)
    }
}

/// NumPy's `linspace`: start plus whole steps, the last value exact.
fn linspace(start: f64, stop: f64, count: usize) -> Vec<f64> {
    let step = (stop - start) / (count - 1) as f64;
    let mut values: Vec<f64> = (0..count).map(|i| i as f64 * step + start).collect();
    values[count - 1] = stop;
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by `numpy.linspace` with all digits.
    #[test]
    fn thresholds_are_numpys() {
        let params = Params::default();
        assert_eq!(params.iou_thresholds[1], 0.55);
        assert_eq!(params.iou_thresholds[2], 0.6);
        assert_eq!(params.iou_thresholds[3], 0.65);
        assert_eq!(params.iou_thresholds[7], 0.85);
        assert_eq!(params.iou_thresholds[8], 0.8999999999999999);
        assert_eq!(params.recall_thresholds[29], 0.29);
        assert_eq!(params.recall_thresholds[35], 0.35000000000000003);
        assert_eq!(params.recall_thresholds[100], 1.0);
    }

    #[test]
    fn limits_are_checked() {
        let changed = |change: fn(&mut Params)| {
            let mut params = Params::default();
            change(&mut params);
            params.checked()
        };
        assert_eq!(
            changed(|p| p.max_detections = vec![100, 1, 10]).unwrap(),
            Params::default()
        );
        assert!(changed(|p| p.max_detections = vec![0, 10]).is_err());
        assert!(changed(|p| p.iou_thresholds = vec![0.5; 33]).is_err());
        assert!(changed(|p| p.iou_thresholds = vec![0.7, 0.5]).is_err());
        assert!(changed(|p| p.iou_thresholds = vec![f64::NAN]).is_err());
        assert!(changed(|p| p.recall_thresholds.clear()).is_err());
        assert!(changed(|p| p.areas.clear()).is_err());
    }
}
