//! AP of weighted pictures, from matches made once: what a bootstrap over pictures needs.
//!
//! A picture of weight w counts as w copies of it, side by side. Matching does not cross pictures, so
//! nothing is matched anew: precision and recall are summed with weights.

use rayon::prelude::*;

use super::accumulate::{SPACING, bits, by_score};
use super::matching::{Matches, NOT_OVERLAPPING, Outcome};
use super::pair::ignored_in;
use crate::bootstrap::IntervalMethod;

/// See [`CocoResampler::METRICS`].
const AREAS: [&str; 4] = ["all", "small", "medium", "large"];

/// Matches, reduced to what AP of weighted pictures is made of.
#[derive(Debug)]
pub struct CocoResampler {
    images: usize,
    groups: Vec<[Events; AREAS.len()]>,
    recalls: Vec<f64>,
    thresholds: usize,
    at_50: Option<usize>,
    at_75: Option<usize>,
}

/// A category's detections from the highest score down, and its objects, in an area range.
#[derive(Debug, Default)]
struct Events {
    detections: Vec<Event>,
    /// Pictures with objects that count, and how many.
    objects: Vec<(u32, u32)>,
}

/// A detection that counts at some threshold: a bit per threshold at which it is right, or wrong.
#[derive(Debug, Clone, Copy)]
struct Event {
    image: u32,
    right: u32,
    wrong: u32,
}

/// A step of a precision–recall curve.
#[derive(Debug, Clone, Copy)]
struct Step {
    hits: u64,
    precision: f64,
}

/// Memory that a thread reuses.
#[derive(Debug, Default)]
struct Scratch {
    steps: Vec<Vec<Step>>,
    hits: Vec<u64>,
    wrong: Vec<u64>,
}

impl Matches<'_> {
    /// Reduces matches to what resampling needs.
    pub fn resampler(&self) -> CocoResampler {
        let params = self.params();
        let places = AREAS.map(|name| params.areas.iter().position(|area| area.name == name));
        let at = |iou: f64| params.iou_thresholds.iter().position(|&t| t == iou);
        let groups = (0..self.groups.len())
            .into_par_iter()
            .map(|group| {
                places
                    .map(|area| area.map_or_else(Events::default, |area| self.events(group, area)))
            })
            .collect();
        CocoResampler {
            images: self.truth().images().len(),
            groups,
            recalls: params.recall_thresholds.clone(),
            thresholds: params.iou_thresholds.len(),
            at_50: at(0.5),
            at_75: at(0.75),
        }
    }

    fn events(&self, group: usize, area: usize) -> Events {
        let params = self.params();
        let (areas, kept) = (params.areas.len(), &self.groups[group]);
        let all = u32::MAX >> (32 - params.iou_thresholds.len());
        let rows = self.detections().rows();
        let score = |place: usize| rows[kept.rows[place] as usize].score;
        let mut detections = Vec::new();
        for place in by_score(kept, score) {
            let place = place as usize;
            let (right, wrong) = if kept.entries[place] == NOT_OVERLAPPING {
                (
                    0,
                    if kept.outside[place] >> area & 1 == 0 {
                        all
                    } else {
                        0
                    },
                )
            } else {
                let Outcome { matched, ignored } =
                    kept.outcomes[kept.entries[place] as usize * areas + area];
                (matched & !ignored, all & !matched & !ignored)
            };
            if right | wrong != 0 {
                let image = rows[kept.rows[place] as usize].image;
                detections.push(Event {
                    image,
                    right,
                    wrong,
                });
            }
        }
        let mut objects: Vec<(u32, u32)> = Vec::new();
        for &row in self.annotation_rows(group) {
            let annotation = &self.truth().annotations()[row as usize];
            if ignored_in(annotation, params) >> area & 1 == 1 {
                continue;
            }
            match objects.last_mut() {
                Some((image, count)) if *image as usize == annotation.image => *count += 1,
                _ => objects.push((annotation.image as u32, 1)),
            }
        }
        Events {
            detections,
            objects,
        }
    }
}

impl CocoResampler {
    /// The numbers that [`CocoResampler::scores`] gives, in this order.
    pub const METRICS: [&'static str; 6] = ["AP", "AP50", "AP75", "APs", "APm", "APl"];

    /// How intervals of these metrics are read off: resampling moves average precision upwards.
    pub const INTERVALS: IntervalMethod = IntervalMethod::BiasCorrected;

    /// Pictures that carry a weight, those of the ground truth in its order.
    pub fn images(&self) -> usize {
        self.images
    }

    /// The metrics with each picture counted `weights` times, at the largest limit on detections; NaN
    /// where no object counts.
    ///
    /// # Panics
    /// When there are not as many weights as pictures, or places as metrics.
    pub fn scores(&self, weights: &[u32], scores: &mut [f64]) {
        assert_eq!(weights.len(), self.images, "one weight per picture");
        assert_eq!(scores.len(), Self::METRICS.len(), "one place per metric");
        let mut scratch = Scratch::default();
        let mut sums = [(0.0f64, 0u64); AREAS.len()];
        let mut at_50 = (0.0f64, 0u64);
        let mut at_75 = (0.0f64, 0u64);
        for group in &self.groups {
            for (area, events) in group.iter().enumerate() {
                if !events.fill(weights, self.thresholds, &mut scratch) {
                    continue;
                }
                let counted = events.counted(weights) as f64;
                for (threshold, steps) in scratch.steps.iter_mut().enumerate() {
                    let precision = mean_precision(steps, counted, &self.recalls);
                    sums[area].0 += precision;
                    sums[area].1 += 1;
                    for (wanted, sum) in [(self.at_50, &mut at_50), (self.at_75, &mut at_75)] {
                        if area == 0 && wanted == Some(threshold) {
                            sum.0 += precision;
                            sum.1 += 1;
                        }
                    }
                }
            }
        }
        let [all, small, medium, large] = sums;
        for (place, (sum, count)) in scores
            .iter_mut()
            .zip([all, at_50, at_75, small, medium, large])
        {
            *place = if count == 0 {
                f64::NAN
            } else {
                sum / count as f64
            };
        }
    }
}

impl Events {
    fn counted(&self, weights: &[u32]) -> u64 {
        self.objects
            .iter()
            .map(|&(image, count)| u64::from(weights[image as usize]) * u64::from(count))
            .sum()
    }

    /// Sums the curve of each threshold up; whether any object counts.
    fn fill(&self, weights: &[u32], thresholds: usize, scratch: &mut Scratch) -> bool {
        if self.counted(weights) == 0 {
            return false;
        }
        let all = u32::MAX >> (32 - thresholds);
        let Scratch { steps, hits, wrong } = scratch;
        steps.resize(thresholds, Vec::new());
        steps.iter_mut().for_each(Vec::clear);
        hits.clear();
        hits.resize(thresholds, 0);
        wrong.clear();
        wrong.resize(thresholds, 0);
        let mut background = 0;
        for event in &self.detections {
            let weight = u64::from(weights[event.image as usize]);
            if weight == 0 {
                continue;
            }
            if event.wrong == all {
                background += weight;
                continue;
            }
            for threshold in bits(event.wrong) {
                wrong[threshold] += weight;
            }
            for threshold in bits(event.right) {
                hits[threshold] += weight;
                let (right, wrong) = (hits[threshold], background + wrong[threshold]);
                // Of several copies the last one has the best precision, which is what counts.
                steps[threshold].push(Step {
                    hits: right,
                    precision: right as f64 / (wrong as f64 + right as f64 + SPACING),
                });
            }
        }
        true
    }
}

/// Precision averaged over the recalls, each being the best at that recall or a higher one.
fn mean_precision(steps: &mut [Step], counted: f64, recalls: &[f64]) -> f64 {
    for place in (1..steps.len()).rev() {
        steps[place - 1].precision = steps[place - 1].precision.max(steps[place].precision);
    }
    let mut next = 0;
    let mut sum = 0.0;
    for &recall in recalls {
        while next < steps.len() && (steps[next].hits as f64 / counted) < recall {
            next += 1;
        }
        match steps.get(next) {
            Some(step) => sum += step.precision,
            None => break,
        }
    }
    sum / recalls.len() as f64
}
