//! Matching within one picture and category: the rules of pycocotools' `evaluateImg`.

use super::detections::Detections;
use super::ground_truth::{Annotation, GroundTruth};
use super::params::{IouType, Params};
use crate::rle::box_iou;

/// A match threshold is at most this, so that an IoU of 1 always matches (as in pycocotools).
const HIGHEST_THRESHOLD: f64 = 1.0 - 1e-10;

/// What matching needs to know, and the memory it works in.
#[derive(Debug)]
pub(crate) struct PairMatcher<'a> {
    truth: &'a GroundTruth,
    detections: &'a Detections,
    params: &'a Params,
    iou_type: IouType,
    /// Per object: a bit per area range in which it is ignored.
    ignored: Vec<u8>,
    /// Objects that overlap the detection at hand enough, with their IoU, in order.
    candidates: Vec<(u32, f64)>,
    /// Per area range and object: a bit per threshold at which it is taken.
    taken: Vec<u32>,
    thresholds: Vec<f64>,
}

/// What matching finds, detection by detection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Finding {
    /// The detection at this position in the list given overlaps some object enough for the lowest
    /// threshold. Its matches follow.
    Overlap(usize),
    /// It matches.
    Match(Match),
}

/// A match at one threshold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Match {
    /// Position of the detection in the list given.
    pub detection: usize,
    /// Area range.
    pub area: usize,
    /// IoU threshold.
    pub threshold: usize,
    /// Position of the object in the list given.
    pub object: usize,
    /// Whether the object, and so the detection, is ignored.
    pub ignored: bool,
}

impl<'a> PairMatcher<'a> {
    pub(crate) fn new(
        truth: &'a GroundTruth,
        detections: &'a Detections,
        params: &'a Params,
        iou_type: IouType,
    ) -> Self {
        Self {
            truth,
            detections,
            params,
            iou_type,
            ignored: Vec::new(),
            candidates: Vec::new(),
            taken: Vec::new(),
            thresholds: params
                .iou_thresholds
                .iter()
                .map(|threshold| threshold.min(HIGHEST_THRESHOLD))
                .collect(),
        }
    }

    /// Matches detections, best first, with objects, both as rows; calls `found` in the order of the
    /// detections.
    pub(crate) fn run(
        &mut self,
        detections: &[u32],
        objects: &[u32],
        mut found: impl FnMut(Finding),
    ) {
        let areas = self.params.areas.len();
        self.ignored.clear();
        self.ignored.extend(
            objects
                .iter()
                .map(|&row| ignored_in(&self.truth.annotations()[row as usize], self.params)),
        );
        self.taken.clear();
        self.taken.resize(areas * objects.len(), 0);
        let lowest = self.thresholds[0];
        for (detection, &row) in detections.iter().enumerate() {
            self.candidates.clear();
            for (object, &annotation) in objects.iter().enumerate() {
                let iou = overlap(
                    self.detections,
                    row as usize,
                    &self.truth.annotations()[annotation as usize],
                    self.iou_type,
                );
                if iou >= lowest {
                    self.candidates.push((object as u32, iou));
                }
            }
            if self.candidates.is_empty() {
                continue;
            }
            found(Finding::Overlap(detection));
            for area in 0..areas {
                for threshold in 0..self.thresholds.len() {
                    if let Some((object, ignored)) = self.choose(area, threshold, objects) {
                        self.taken[area * objects.len() + object] |= 1 << threshold;
                        found(Finding::Match(Match {
                            detection,
                            area,
                            threshold,
                            object,
                            ignored,
                        }));
                    }
                }
            }
        }
    }

    /// The object that the detection at hand matches: the one of the largest IoU among those that
    /// count, else among the ignored ones; of equal IoUs the later.
    fn choose(&self, area: usize, threshold: usize, objects: &[u32]) -> Option<(usize, bool)> {
        let taken = &self.taken[area * objects.len()..];
        let (limit, bit) = (self.thresholds[threshold], 1u32 << threshold);
        let mut best = None;
        let mut best_iou = limit;
        let mut best_ignored = None;
        let mut best_ignored_iou = limit;
        for &(object, iou) in &self.candidates {
            let object = object as usize;
            let free = taken[object] & bit == 0;
            if self.ignored[object] >> area & 1 == 0 {
                if free && iou >= best_iou {
                    (best, best_iou) = (Some(object), iou);
                }
            } else if iou >= best_ignored_iou
                && (free || self.truth.annotations()[objects[object] as usize].crowd)
            {
                (best_ignored, best_ignored_iou) = (Some(object), iou);
            }
        }
        best.map(|object| (object, false))
            .or(best_ignored.map(|object| (object, true)))
    }
}

/// A bit per area range in which an object is ignored: crowds, and objects of another size.
pub(crate) fn ignored_in(annotation: &Annotation, params: &Params) -> u8 {
    let outside = outside_of(annotation.area, params);
    if annotation.crowd { u8::MAX } else { outside }
}

/// A bit per area range that an area is outside of.
pub(crate) fn outside_of(area: f64, params: &Params) -> u8 {
    params
        .areas
        .iter()
        .enumerate()
        .fold(0, |bits, (place, range)| {
            bits | u8::from(area < range.low || area > range.high) << place
        })
}

/// The IoU of a detection and an object; over the detection's area where the object is a crowd.
pub(crate) fn overlap(
    detections: &Detections,
    row: usize,
    annotation: &Annotation,
    iou_type: IouType,
) -> f64 {
    match iou_type {
        IouType::Bbox => box_iou(
            &detections.rows()[row].bbox,
            &annotation.bbox,
            annotation.crowd,
        ),
        IouType::Segm => match (detections.mask(row), &annotation.mask) {
            (Some(detected), Some(object)) => detected.iou(object, annotation.crowd),
            // `match_images` sees to it that both sides have masks.
            _ => 0.0,
        },
    }
}
