//! Last stage: the twelve numbers.

use std::fmt;

use super::accumulate::Curves;
use super::params::IouType;
use crate::error::EvalError;
use crate::report::Report;

/// pycocotools' twelve numbers, 0..=1, or -1 where no object counts.
#[derive(Debug, Clone, PartialEq)]
pub struct CocoSummary {
    /// Boxes or masks.
    pub iou_type: IouType,
    /// The three limits on detections per picture and category.
    pub limits: [usize; 3],
    /// Average precision over IoU 0.50:0.95, with 100 detections; -1 where the limits lack 100.
    pub ap: f64,
    /// At IoU 0.50.
    pub ap50: f64,
    /// At IoU 0.75.
    pub ap75: f64,
    /// Of small objects.
    pub ap_small: f64,
    /// Of medium objects.
    pub ap_medium: f64,
    /// Of large objects.
    pub ap_large: f64,
    /// Average recall at the first limit.
    pub ar_first: f64,
    /// At the second.
    pub ar_second: f64,
    /// At the third.
    pub ar_third: f64,
    /// Of small objects, at the third.
    pub ar_small: f64,
    /// Of medium objects.
    pub ar_medium: f64,
    /// Of large objects.
    pub ar_large: f64,
}

impl Curves {
    /// The twelve numbers.
    ///
    /// # Errors
    /// When the parameters have fewer than three detection limits, which the numbers are named after.
    pub fn summary(&self) -> Result<CocoSummary, EvalError> {
        let params = self.params();
        let &[first, second, third, ..] = params.max_detections.as_slice() else {
            return Err(EvalError::Params(
                "the twelve numbers need three limits on detections, such as 1, 10 and 100".into(),
            ));
        };
        let hundred = params.max_detections.iter().position(|&limit| limit == 100);
        let threshold = |iou: f64| params.iou_thresholds.iter().position(|&t| t == iou);
        let area = |name: &str| params.areas.iter().position(|area| area.name == name);
        let precision = |threshold: Option<usize>, area: Option<usize>, limit: Option<usize>| match (
            area, limit,
        ) {
            (Some(area), Some(limit)) => self.average_precision(threshold, None, area, limit),
            _ => -1.0,
        };
        // A threshold or size that is not among the parameters has nothing to average.
        let at_iou = |iou: f64| match threshold(iou) {
            Some(place) => precision(Some(place), area("all"), Some(2)),
            None => -1.0,
        };
        let recall = |name: &str, limit: usize| match area(name) {
            Some(area) => self.average_recall(None, None, area, limit),
            None => -1.0,
        };
        Ok(CocoSummary {
            iou_type: self.iou_type(),
            limits: [first, second, third],
            ap: precision(None, area("all"), hundred),
            ap50: at_iou(0.5),
            ap75: at_iou(0.75),
            ap_small: precision(None, area("small"), Some(2)),
            ap_medium: precision(None, area("medium"), Some(2)),
            ap_large: precision(None, area("large"), Some(2)),
            ar_first: recall("all", 0),
            ar_second: recall("all", 1),
            ar_third: recall("all", 2),
            ar_small: recall("small", 2),
            ar_medium: recall("medium", 2),
            ar_large: recall("large", 2),
        })
    }
}

impl CocoSummary {
    /// The numbers in pycocotools' order.
    pub fn stats(&self) -> [f64; 12] {
        [
            self.ap,
            self.ap50,
            self.ap75,
            self.ap_small,
            self.ap_medium,
            self.ap_large,
            self.ar_first,
            self.ar_second,
            self.ar_third,
            self.ar_small,
            self.ar_medium,
            self.ar_large,
        ]
    }

    /// The numbers by the names that papers use: AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs,
    /// ARm, ARl (with the limits that were set), 0..=1 or -1.
    pub fn report(&self) -> Report {
        let [first, second, third] = self.limits;
        let names = [
            "AP".to_owned(),
            "AP50".to_owned(),
            "AP75".to_owned(),
            "APs".to_owned(),
            "APm".to_owned(),
            "APl".to_owned(),
            format!("AR{first}"),
            format!("AR{second}"),
            format!("AR{third}"),
            "ARs".to_owned(),
            "ARm".to_owned(),
            "ARl".to_owned(),
        ];
        names.into_iter().zip(self.stats()).collect()
    }
}

impl fmt::Display for CocoSummary {
    /// The table that users of pycocotools know, in its layout.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, third] = self.limits;
        let rows = [
            (true, "0.50:0.95", "all", 100),
            (true, "0.50", "all", third),
            (true, "0.75", "all", third),
            (true, "0.50:0.95", "small", third),
            (true, "0.50:0.95", "medium", third),
            (true, "0.50:0.95", "large", third),
            (false, "0.50:0.95", "all", first),
            (false, "0.50:0.95", "all", second),
            (false, "0.50:0.95", "all", third),
            (false, "0.50:0.95", "small", third),
            (false, "0.50:0.95", "medium", third),
            (false, "0.50:0.95", "large", third),
        ];
        for (place, ((precision, iou, area, limit), value)) in
            rows.into_iter().zip(self.stats()).enumerate()
        {
            if place > 0 {
                writeln!(f)?;
            }
            let (title, kind) = if precision {
                ("Average Precision", "(AP)")
            } else {
                ("Average Recall", "(AR)")
            };
            write!(
                f,
                " {title:<18} {kind} @[ IoU={iou:<9} | area={area:>6} | maxDets={limit:>3} ] = {value:.3}"
            )?;
        }
        Ok(())
    }
}
