//! Second stage: precision and recall from matches, as pycocotools' `accumulate`.

use rayon::prelude::*;

use super::ground_truth::Category;
use super::matching::{GroupMatches, Matches, NOT_OVERLAPPING, Outcome, descending};
use super::params::{IouType, Params};

/// NumPy's `spacing(1)`, which keeps 0/0 out of the precision.
pub(crate) const SPACING: f64 = f64::EPSILON;

/// Precision and recall at every threshold, category, area range and detection limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Curves {
    params: Params,
    iou_type: IouType,
    categories: Vec<Category>,
    pub(crate) groups: Vec<GroupCurves>,
}

/// The curves of one category; each array has the axes `[area][limit][threshold]`, and recall last.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct GroupCurves {
    precision: Vec<f64>,
    scores: Vec<f64>,
    recall: Vec<f64>,
    /// Objects that count, per area range.
    counted: Vec<u64>,
}

impl Matches<'_> {
    /// Sums matches up to curves.
    pub fn accumulate(self) -> Curves {
        self.curves()
    }

    /// The curves, with the matches left for further questions.
    pub fn curves(&self) -> Curves {
        let params = self.params();
        let scores = self.detections().rows();
        let groups = self
            .groups
            .par_iter()
            .map(|group| {
                let score = |place: usize| scores[group.rows[place] as usize].score;
                accumulate_group(group, &by_score(group, score), score, params)
            })
            .collect();
        Curves {
            iou_type: self.iou_type(),
            categories: if params.use_categories {
                self.truth().categories().to_vec()
            } else {
                Vec::new()
            },
            params: params.clone(),
            groups,
        }
    }
}

/// Places of a group's detections from the highest score down; equal scores stay in order.
pub(crate) fn by_score(group: &GroupMatches, score: impl Fn(usize) -> f64) -> Vec<u32> {
    let mut keyed: Vec<(u64, u32)> = (0..group.rows.len())
        .map(|place| (descending(score(place)), place as u32))
        .collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, place)| place).collect()
}

/// A true positive: how many there are up to here, with the precision, and whose score it is.
#[derive(Debug, Clone, Copy)]
struct Hit {
    precision: f64,
    place: u32,
}

fn accumulate_group(
    group: &GroupMatches,
    order: &[u32],
    score: impl Fn(usize) -> f64,
    params: &Params,
) -> GroupCurves {
    let (areas, limits) = (params.areas.len(), params.max_detections.len());
    let (thresholds, recalls) = (params.iou_thresholds.len(), params.recall_thresholds.len());
    let cells = areas * limits * thresholds;
    let mut out = GroupCurves {
        precision: vec![-1.0; cells * recalls],
        scores: vec![-1.0; cells * recalls],
        recall: vec![-1.0; cells],
        counted: group.counted.clone(),
    };
    let all = u32::MAX >> (32 - thresholds);
    let mut hits: Vec<Vec<Hit>> = vec![Vec::new(); thresholds];
    let mut false_positives = vec![0u64; thresholds];
    for area in 0..areas {
        // Without any detection or object pycocotools leaves -1; so it does where no object counts.
        let counted = group.counted[area];
        if counted == 0 {
            continue;
        }
        for (limit, &most) in params.max_detections.iter().enumerate() {
            hits.iter_mut().for_each(Vec::clear);
            false_positives.fill(0);
            let mut background = 0u64;
            let mut first = None;
            for &place in order {
                let at = place as usize;
                if group.ranks[at] as usize >= most {
                    continue;
                }
                first.get_or_insert(place);
                if group.entries[at] == NOT_OVERLAPPING {
                    background += u64::from(group.outside[at] >> area & 1 == 0);
                    continue;
                }
                let Outcome { matched, ignored } =
                    group.outcomes[group.entries[at] as usize * areas + area];
                for threshold in bits(all & !matched & !ignored) {
                    false_positives[threshold] += 1;
                }
                for threshold in bits(matched & !ignored) {
                    let hits = &mut hits[threshold];
                    let right = (hits.len() + 1) as f64;
                    let wrong = (background + false_positives[threshold]) as f64;
                    hits.push(Hit {
                        precision: right / (wrong + right + SPACING),
                        place,
                    });
                }
            }
            let first_score = first.map(|place| score(place as usize));
            for (threshold, hits) in hits.iter_mut().enumerate() {
                let cell = (area * limits + limit) * thresholds + threshold;
                out.recall[cell] = hits.len() as f64 / counted as f64;
                read_curve(
                    hits,
                    counted as f64,
                    first_score,
                    &score,
                    params,
                    &mut out.precision[cell * recalls..][..recalls],
                    &mut out.scores[cell * recalls..][..recalls],
                );
            }
        }
    }
    out
}

/// Reads precision and score off at each recall: of the best precision at that recall or a higher one.
///
/// pycocotools looks at every detection; between true positives precision only falls, so looking at
/// these is enough. Only recall 0 is reached before the first of them, at the first detection.
fn read_curve(
    hits: &mut [Hit],
    counted: f64,
    first_score: Option<f64>,
    score: &impl Fn(usize) -> f64,
    params: &Params,
    precision: &mut [f64],
    scores: &mut [f64],
) {
    precision.fill(0.0);
    scores.fill(0.0);
    for place in (1..hits.len()).rev() {
        hits[place - 1].precision = hits[place - 1].precision.max(hits[place].precision);
    }
    let mut next = 0;
    for (slot, &recall) in params.recall_thresholds.iter().enumerate() {
        if recall <= 0.0 {
            precision[slot] = hits.first().map_or(0.0, |hit| hit.precision);
            scores[slot] = first_score.unwrap_or(0.0);
            continue;
        }
        while next < hits.len() && ((next + 1) as f64 / counted) < recall {
            next += 1;
        }
        let Some(hit) = hits.get(next) else {
            break;
        };
        precision[slot] = hit.precision;
        scores[slot] = score(hit.place as usize);
    }
}

/// Positions of the set bits, from the lowest.
#[inline]
pub(crate) fn bits(mut word: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (word != 0).then(|| {
            let lowest = word.trailing_zeros();
            word &= word - 1;
            lowest as usize
        })
    })
}

impl Curves {
    /// What was measured.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Which overlap decided.
    pub fn iou_type(&self) -> IouType {
        self.iou_type
    }

    /// The categories, one for each place on the category axis; none when categories were not used,
    /// in which case the axis has one place.
    pub fn categories(&self) -> &[Category] {
        &self.categories
    }

    /// Places on the category axis.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Objects of a category that count in an area range.
    pub fn objects(&self, category: usize, area: usize) -> u64 {
        self.groups[category].counted[area]
    }

    fn cell(&self, threshold: usize, area: usize, limit: usize) -> usize {
        (area * self.params.max_detections.len() + limit) * self.params.iou_thresholds.len()
            + threshold
    }

    /// Precision at every recall threshold; -1 where no object counts.
    pub fn precision(
        &self,
        threshold: usize,
        category: usize,
        area: usize,
        limit: usize,
    ) -> &[f64] {
        let recalls = self.params.recall_thresholds.len();
        let cell = self.cell(threshold, area, limit);
        &self.groups[category].precision[cell * recalls..][..recalls]
    }

    /// Scores of the detections at which precision was read.
    pub fn scores(&self, threshold: usize, category: usize, area: usize, limit: usize) -> &[f64] {
        let recalls = self.params.recall_thresholds.len();
        let cell = self.cell(threshold, area, limit);
        &self.groups[category].scores[cell * recalls..][..recalls]
    }

    /// The recall reached; -1 where no object counts.
    pub fn recall(&self, threshold: usize, category: usize, area: usize, limit: usize) -> f64 {
        self.groups[category].recall[self.cell(threshold, area, limit)]
    }

    /// `precision` as pycocotools has it: `[T, R, K, A, M]`, the last axis fastest.
    pub fn precision_array(&self) -> Vec<f64> {
        self.array(|t, r, k, a, m| self.precision(t, k, a, m)[r])
    }

    /// `scores` as pycocotools has it: `[T, R, K, A, M]`.
    pub fn scores_array(&self) -> Vec<f64> {
        self.array(|t, r, k, a, m| self.scores(t, k, a, m)[r])
    }

    /// `recall` as pycocotools has it: `[T, K, A, M]`.
    pub fn recall_array(&self) -> Vec<f64> {
        let [t, _, k, a, m] = self.shape();
        let mut out = Vec::with_capacity(t * k * a * m);
        for (t, k) in product(t, k) {
            for (a, m) in product(a, m) {
                out.push(self.recall(t, k, a, m));
            }
        }
        out
    }

    /// Lengths of the axes T, R, K, A, M.
    pub fn shape(&self) -> [usize; 5] {
        [
            self.params.iou_thresholds.len(),
            self.params.recall_thresholds.len(),
            self.groups.len(),
            self.params.areas.len(),
            self.params.max_detections.len(),
        ]
    }

    fn array(&self, value: impl Fn(usize, usize, usize, usize, usize) -> f64) -> Vec<f64> {
        let [t, r, k, a, m] = self.shape();
        let mut out = Vec::with_capacity(t * r * k * a * m);
        for (t, r) in product(t, r) {
            for k in 0..k {
                for (a, m) in product(a, m) {
                    out.push(value(t, r, k, a, m));
                }
            }
        }
        out
    }

    /// Average precision: the mean over thresholds (or at one of them), recalls, and categories (or of
    /// one of them); -1 where no object counts. The limit is a place in the parameters' list.
    pub fn average_precision(
        &self,
        threshold: Option<usize>,
        category: Option<usize>,
        area: usize,
        limit: usize,
    ) -> f64 {
        let mut mean = Mean::default();
        self.each(threshold, category, |t, k| {
            for &value in self.precision(t, k, area, limit) {
                mean.add(value);
            }
        });
        mean.value()
    }

    /// Average recall: likewise, of the recalls reached.
    pub fn average_recall(
        &self,
        threshold: Option<usize>,
        category: Option<usize>,
        area: usize,
        limit: usize,
    ) -> f64 {
        let mut mean = Mean::default();
        self.each(threshold, category, |t, k| {
            mean.add(self.recall(t, k, area, limit));
        });
        mean.value()
    }

    fn each(
        &self,
        threshold: Option<usize>,
        category: Option<usize>,
        mut visit: impl FnMut(usize, usize),
    ) {
        let thresholds = threshold.map_or(0..self.params.iou_thresholds.len(), |t| t..t + 1);
        let categories = category.map_or(0..self.groups.len(), |k| k..k + 1);
        for t in thresholds {
            for k in categories.clone() {
                visit(t, k);
            }
        }
    }
}

fn product(outer: usize, inner: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..outer).flat_map(move |a| (0..inner).map(move |b| (a, b)))
}

/// Mean of the values that are defined, which in pycocotools are those above -1.
#[derive(Debug, Default)]
struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        if value > -1.0 {
            self.sum += value;
            self.count += 1;
        }
    }

    fn value(&self) -> f64 {
        if self.count == 0 {
            -1.0
        } else {
            self.sum / self.count as f64
        }
    }
}
