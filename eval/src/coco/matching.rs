//! First stage: detections are matched with objects.

use rayon::prelude::*;

use super::detections::Detections;
use super::ground_truth::GroundTruth;
use super::groups::Groups;
use super::pair::{Finding, PairMatcher, ignored_in, outside_of};
use super::params::{IouType, Params};
use crate::error::EvalError;

/// No entry among the overlapping detections.
pub(crate) const NOT_OVERLAPPING: u32 = u32::MAX;

/// Detections matched with objects, at every threshold and area range.
#[derive(Debug)]
pub struct Matches<'a> {
    truth: &'a GroundTruth,
    detections: &'a Detections,
    params: Params,
    iou_type: IouType,
    annotation_groups: Groups,
    detection_groups: Groups,
    pub(crate) groups: Vec<GroupMatches>,
}

/// The kept detections of one category, by picture and within a picture best first.
#[derive(Debug, Default)]
pub(crate) struct GroupMatches {
    /// Rows of the detections.
    pub rows: Vec<u32>,
    /// Place within picture and category.
    pub ranks: Vec<u32>,
    /// A bit per area range that the detection's own area is outside of.
    pub outside: Vec<u8>,
    /// Where the detection stands among the overlapping ones.
    pub entries: Vec<u32>,
    /// Per overlapping detection and area range.
    pub outcomes: Vec<Outcome>,
    /// Objects that count, per area range.
    pub counted: Vec<u64>,
}

/// What became of a detection in an area range: bits per IoU threshold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Matched, in the sense of pycocotools: with an object whose id is not 0.
    pub matched: u32,
    /// Neither right nor wrong.
    pub ignored: u32,
}

/// One picture's matches, as pycocotools lists them in `evalImgs`.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageMatches {
    /// Rows of the detections, best first.
    pub detections: Vec<usize>,
    /// Rows of the objects, those that count first.
    pub annotations: Vec<usize>,
    /// Whether each object is ignored.
    pub annotation_ignored: Vec<bool>,
    /// `[threshold][detection]`: position in `annotations` of the match.
    pub detection_matches: Vec<Vec<Option<usize>>>,
    /// `[threshold][annotation]`: position in `detections` of the match, the last one of a crowd.
    pub annotation_matches: Vec<Vec<Option<usize>>>,
    /// `[threshold][detection]`: whether it is neither right nor wrong.
    pub detection_ignored: Vec<Vec<bool>>,
}

/// Matches detections with the ground truth they were read for.
///
/// # Errors
/// When the parameters are unusable, or boxes or masks were not read that the overlap is made of.
pub fn match_images<'a>(
    truth: &'a GroundTruth,
    detections: &'a Detections,
    params: Params,
    iou_type: IouType,
) -> Result<Matches<'a>, EvalError> {
    let params = params.checked()?;
    let read = truth.geometry();
    let there = match iou_type {
        IouType::Bbox => read.boxes,
        IouType::Segm => read.masks,
    };
    if !there {
        return Err(EvalError::Params(format!(
            "{} cannot be scored: the ground truth was read without its geometry",
            iou_type.name()
        )));
    }
    let annotation_groups = Groups::of_annotations(truth, params.use_categories);
    let detection_groups =
        Groups::of_detections(detections, truth.categories().len(), params.use_categories);
    let mut matches = Matches {
        truth,
        detections,
        params,
        iou_type,
        annotation_groups,
        detection_groups,
        groups: Vec::new(),
    };
    matches.groups = (0..matches.annotation_groups.len())
        .into_par_iter()
        .map(|group| matches.match_group(group))
        .collect();
    Ok(matches)
}

impl<'a> Matches<'a> {
    /// The ground truth.
    pub fn truth(&self) -> &'a GroundTruth {
        self.truth
    }

    /// The detections.
    pub fn detections(&self) -> &'a Detections {
        self.detections
    }

    /// What was measured.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The objects of a group, by picture.
    pub(crate) fn annotation_rows(&self, group: usize) -> &[u32] {
        self.annotation_groups.rows(group)
    }

    /// Which overlap decided.
    pub fn iou_type(&self) -> IouType {
        self.iou_type
    }

    fn match_group(&self, group: usize) -> GroupMatches {
        let annotations = self.truth.annotations();
        let objects = self.annotation_groups.rows(group);
        let ordered = self.ordered_detections(group);
        let areas = self.params.areas.len();
        let mut out = GroupMatches {
            counted: vec![0; areas],
            ..GroupMatches::default()
        };
        for &row in objects {
            let ignored = ignored_in(&annotations[row as usize], &self.params);
            for (area, counted) in out.counted.iter_mut().enumerate() {
                *counted += u64::from(ignored >> area & 1 == 0);
            }
        }
        let kept = ordered.len();
        out.rows.reserve_exact(kept);
        out.ranks.reserve_exact(kept);
        let mut matcher =
            PairMatcher::new(self.truth, self.detections, &self.params, self.iou_type);
        let rows = self.detections.rows();
        let image_of = |row: u32| rows[row as usize].image as usize;
        let mut next_object = 0;
        for of_image in ordered.chunk_by(|&left, &right| image_of(left) == image_of(right)) {
            let image = image_of(of_image[0]);
            let of_image = &of_image[..of_image.len().min(self.params.most_detections())];
            let first = out.rows.len();
            out.rows.extend_from_slice(of_image);
            out.ranks.extend(0..of_image.len() as u32);
            out.entries.resize(out.rows.len(), NOT_OVERLAPPING);

            let rest = &objects[next_object..];
            let skipped = rest.partition_point(|&row| annotations[row as usize].image < image);
            let here = rest[skipped..]
                .iter()
                .take_while(|&&row| annotations[row as usize].image == image)
                .count();
            next_object += skipped + here;
            let of_object = &objects[next_object - here..next_object];
            if of_object.is_empty() {
                continue;
            }
            let (entries, outcomes) = (&mut out.entries, &mut out.outcomes);
            matcher.run(of_image, of_object, |finding| match finding {
                Finding::Overlap(detection) => {
                    entries[first + detection] = (outcomes.len() / areas) as u32;
                    outcomes.resize(outcomes.len() + areas, Outcome::default());
                }
                Finding::Match(matched) => {
                    let entry = entries[first + matched.detection] as usize;
                    let outcome = &mut outcomes[entry * areas + matched.area];
                    let bit = 1u32 << matched.threshold;
                    outcome.ignored |= if matched.ignored { bit } else { 0 };
                    // pycocotools notes a match by the object's id and takes 0 for none.
                    if !annotations[of_object[matched.object] as usize].id.is_zero() {
                        outcome.matched |= bit;
                    }
                }
            });
        }
        self.ignore_outside(&mut out);
        out
    }

    /// Notes which detections are of another size than an area range; where they match nothing, they
    /// are ignored.
    fn ignore_outside(&self, out: &mut GroupMatches) {
        let all = u32::MAX >> (32 - self.params.iou_thresholds.len());
        let areas = self.params.areas.len();
        out.outside = out
            .rows
            .iter()
            .map(|&row| outside_of(self.detections.area(row as usize), &self.params))
            .collect();
        for (&entry, &outside) in out.entries.iter().zip(&out.outside) {
            if entry == NOT_OVERLAPPING {
                continue;
            }
            for (area, outcome) in out.outcomes[entry as usize * areas..][..areas]
                .iter_mut()
                .enumerate()
            {
                if outside >> area & 1 == 1 {
                    outcome.ignored |= all & !outcome.matched;
                }
            }
        }
    }

    /// The detections of a group by picture, best first; equal scores in the file's order.
    fn ordered_detections(&self, group: usize) -> Vec<u32> {
        let rows = self.detections.rows();
        let mut keyed: Vec<(u32, u64, u32)> = self
            .detection_groups
            .rows(group)
            .iter()
            .enumerate()
            .map(|(place, &row)| {
                let detection = &rows[row as usize];
                (detection.image, descending(detection.score), place as u32)
            })
            .collect();
        if !keyed.is_sorted() {
            keyed.sort_unstable();
        }
        let group = self.detection_groups.rows(group);
        keyed
            .into_iter()
            .map(|(_, _, place)| group[place as usize])
            .collect()
    }

    /// One picture's matches in a category (or all, without categories) and an area range. It is
    /// matched anew, so that nobody pays for what nobody looks at.
    pub fn image(&self, image: usize, group: usize, area: usize) -> ImageMatches {
        let annotations = self.truth.annotations();
        let objects: Vec<u32> = self
            .annotation_groups
            .rows(group)
            .iter()
            .copied()
            .filter(|&row| annotations[row as usize].image == image)
            .collect();
        let kept = &self.groups[group];
        let rows: Vec<u32> = kept
            .rows
            .iter()
            .copied()
            .filter(|&row| self.detections.rows()[row as usize].image as usize == image)
            .collect();
        let ignored: Vec<bool> = objects
            .iter()
            .map(|&row| ignored_in(&annotations[row as usize], &self.params) >> area & 1 == 1)
            .collect();
        // Objects that count come first; the order is otherwise kept.
        let mut order: Vec<usize> = (0..objects.len()).collect();
        order.sort_by_key(|&place| ignored[place]);
        let mut position = vec![0; objects.len()];
        for (place, &object) in order.iter().enumerate() {
            position[object] = place;
        }
        let thresholds = self.params.iou_thresholds.len();
        let mut out = ImageMatches {
            detections: rows.iter().map(|&row| row as usize).collect(),
            annotations: order.iter().map(|&place| objects[place] as usize).collect(),
            annotation_ignored: order.iter().map(|&place| ignored[place]).collect(),
            detection_matches: vec![vec![None; rows.len()]; thresholds],
            annotation_matches: vec![vec![None; objects.len()]; thresholds],
            detection_ignored: vec![vec![false; rows.len()]; thresholds],
        };
        PairMatcher::new(self.truth, self.detections, &self.params, self.iou_type).run(
            &rows,
            &objects,
            |finding| {
                if let Finding::Match(found) = finding
                    && found.area == area
                {
                    let object = position[found.object];
                    out.detection_matches[found.threshold][found.detection] = Some(object);
                    out.annotation_matches[found.threshold][object] = Some(found.detection);
                    out.detection_ignored[found.threshold][found.detection] = found.ignored;
                }
            },
        );
        for (detection, &row) in rows.iter().enumerate() {
            let outside =
                outside_of(self.detections.area(row as usize), &self.params) >> area & 1 == 1;
            for threshold in 0..thresholds {
                let unmatched = match out.detection_matches[threshold][detection] {
                    None => true,
                    Some(object) => annotations[out.annotations[object]].id.is_zero(),
                };
                out.detection_ignored[threshold][detection] |= outside && unmatched;
            }
        }
        out
    }
}

/// A key that sorts scores from high to low; 0 and -0 are equal.
#[inline]
pub(crate) fn descending(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits();
    // Ascending order of the bits is that of the values once negative ones are turned round.
    let ascending = bits ^ ((bits as i64 >> 63) as u64 | 1 << 63);
    !ascending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_sort_from_high_to_low() {
        let scores = [f64::MAX, 1.5, 1.0, 5e-324, 0.0, -5e-324, -1.0, -f64::MAX];
        assert!(scores.is_sorted_by(|a, b| descending(*a) < descending(*b)));
        assert_eq!(descending(0.0), descending(-0.0));
    }
}
