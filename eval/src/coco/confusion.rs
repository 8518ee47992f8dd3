//! Which categories are taken for which: detections matched with objects of any category.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use rayon::prelude::*;

use super::matching::Matches;
use super::pictures::{CategoryName, Pictures};
use crate::error::EvalError;
use crate::file::CsvFile;

/// Most categories that the matrix is written in full for.
const MOST_DENSE: usize = 200;
/// Pairs that are printed.
const SHOWN: usize = 10;

/// Which detections are matched with which objects.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConfusionOptions {
    /// Lowest IoU of a match.
    pub iou: f64,
    /// Lowest score of a detection that takes part.
    pub min_score: f64,
}

impl Default for ConfusionOptions {
    /// IoU 0.5 and score 0.3, which MMDetection's `confusion_matrix.py` starts from too.
    fn default() -> Self {
        Self {
            iou: 0.5,
            min_score: 0.3,
        }
    }
}

/// Objects of one category that were detected as another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConfusedPair {
    /// The object's category: its place among the categories.
    pub truth: usize,
    /// The detection's.
    pub predicted: usize,
    /// How often.
    pub count: u64,
    /// The share of the objects of that category.
    pub share: f64,
}

/// How often objects of each category were detected as each category, or not at all.
///
/// Within a picture, pairs are matched one to one from the largest IoU down, whatever their
/// categories; of equal IoUs, those of the better score first, then those of the same category, then in
/// the file's order. Detections that match nothing are background, unless they lie in a crowd of their
/// category, as in COCO. (Some tools count every pair that overlaps; then rows do not add up to
/// objects.)
#[derive(Debug, Clone, PartialEq)]
pub struct DetectionConfusion {
    options: ConfusionOptions,
    categories: Vec<CategoryName>,
    cells: BTreeMap<(u32, u32), u64>,
}

impl Matches<'_> {
    /// Matches the detections across categories; the largest limit per picture and category holds.
    ///
    /// # Errors
    /// When the IoU is not in 0..=1 and above 0, or the score is no number.
    pub fn confusion(&self, options: &ConfusionOptions) -> Result<DetectionConfusion, EvalError> {
        let ConfusionOptions { iou, min_score } = *options;
        if iou.is_nan() || iou <= 0.0 || iou > 1.0 || min_score.is_nan() {
            return Err(EvalError::Params(format!(
                "the confusion matrix needs an IoU above 0 and at most 1 and a score that is a number, not {iou} and {min_score}"
            )));
        }
        let pictures = Pictures::new(self);
        let categories = self.category_names();
        let none = categories.len() as u32;
        let found: Vec<Vec<(u32, u32)>> = (0..pictures.len())
            .into_par_iter()
            .with_min_len(16)
            .map(|image| self.confused(&pictures, image, options, none))
            .collect();
        let mut cells = BTreeMap::new();
        for pair in found.into_iter().flatten() {
            *cells.entry(pair).or_default() += 1;
        }
        Ok(DetectionConfusion {
            options: *options,
            categories,
            cells,
        })
    }

    /// True and predicted category of a picture's objects and detections; `none` stands for nothing.
    fn confused(
        &self,
        pictures: &Pictures<'_>,
        image: usize,
        options: &ConfusionOptions,
        none: u32,
    ) -> Vec<(u32, u32)> {
        let objects = pictures.objects(image);
        let scores = self.detections().rows();
        let rows = pictures.detections(image);
        let kept = rows.partition_point(|&row| scores[row as usize].score >= options.min_score);
        let rows = &rows[..kept];
        let mut pairs = Vec::new();
        for (place, &row) in rows.iter().enumerate() {
            for (object, annotation) in objects.iter().enumerate() {
                if annotation.crowd {
                    continue;
                }
                let iou = pictures.overlap(row, annotation);
                if iou >= options.iou {
                    let other = pictures.category(row) != pictures.object_category(annotation);
                    pairs.push((iou, place, other, object));
                }
            }
        }
        pairs.sort_unstable_by(|left, right| {
            let rest =
                |&(_, place, other, object): &(f64, usize, bool, usize)| (place, other, object);
            right
                .0
                .total_cmp(&left.0)
                .then_with(|| rest(left).cmp(&rest(right)))
        });
        let mut predicted = vec![none; objects.len()];
        let mut matched = vec![false; rows.len()];
        for (_, place, _, object) in pairs {
            if !matched[place] && predicted[object] == none {
                matched[place] = true;
                predicted[object] = pictures.category(rows[place]) as u32;
            }
        }
        let mut out = Vec::new();
        for (annotation, predicted) in objects.iter().zip(predicted) {
            if !annotation.crowd {
                out.push((pictures.object_category(annotation) as u32, predicted));
            }
        }
        for (&row, matched) in rows.iter().zip(matched) {
            if !matched && !pictures.in_crowd(row, objects, options.iou) {
                out.push((none, pictures.category(row) as u32));
            }
        }
        out
    }
}

impl DetectionConfusion {
    /// What was matched.
    pub fn options(&self) -> &ConfusionOptions {
        &self.options
    }

    /// How many categories there are.
    pub fn categories(&self) -> usize {
        self.categories.len()
    }

    /// A category's name; "all" where categories were not used.
    pub fn name(&self, category: usize) -> &str {
        &self.categories[category].name
    }

    /// How often an object of a category (nothing: of none, so a detection of background) was detected
    /// as a category (nothing: missed).
    pub fn count(&self, truth: Option<usize>, predicted: Option<usize>) -> u64 {
        let place = |category: Option<usize>| category.unwrap_or(self.categories.len()) as u32;
        let cell = (place(truth), place(predicted));
        self.cells.get(&cell).copied().unwrap_or(0)
    }

    /// Objects of each category.
    fn objects(&self) -> Vec<u64> {
        let mut objects = vec![0; self.categories.len() + 1];
        for (&(truth, _), count) in &self.cells {
            objects[truth as usize] += count;
        }
        objects
    }

    /// Objects detected as another category: the most frequent pairs first, then by categories.
    pub fn confused_pairs(&self) -> Vec<ConfusedPair> {
        let (none, objects) = (self.categories.len(), self.objects());
        let mut pairs: Vec<ConfusedPair> = self
            .cells
            .iter()
            .map(|(&(truth, predicted), &count)| ConfusedPair {
                truth: truth as usize,
                predicted: predicted as usize,
                count,
                share: count as f64 / objects[truth as usize] as f64,
            })
            .filter(|pair| pair.truth != pair.predicted)
            .filter(|pair| pair.truth != none && pair.predicted != none)
            .collect();
        // Stable: cells are ordered by categories.
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.count));
        pairs
    }

    /// Writes the matrix: rows are true categories and "background", columns predicted ones and
    /// "missed"; with more than 200 categories, one line per count that is not 0 instead, with the
    /// columns `category_id`, `category`, `predicted_id`, `predicted` and `count`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_csv(&self, path: &Path) -> Result<(), EvalError> {
        let none = self.categories.len();
        if none > MOST_DENSE {
            return self.write_cells(path);
        }
        let names = self
            .categories
            .iter()
            .map(|category| category.name.as_str());
        let columns: Vec<&str> = ["category_id", "category"]
            .into_iter()
            .chain(names)
            .chain(["missed"])
            .collect();
        let mut csv = CsvFile::create(path, &columns)?;
        for truth in 0..=none {
            let (id, name) = self.called(truth, "background");
            let mut row = vec![id.to_owned(), name.to_owned()];
            for predicted in 0..=none {
                let cell = (truth as u32, predicted as u32);
                // What is neither there nor detected cannot be counted.
                row.push(if truth == none && predicted == none {
                    String::new()
                } else {
                    self.cells.get(&cell).copied().unwrap_or(0).to_string()
                });
            }
            csv.row(&row)?;
        }
        csv.finish()
    }

    fn write_cells(&self, path: &Path) -> Result<(), EvalError> {
        let columns = [
            "category_id",
            "category",
            "predicted_id",
            "predicted",
            "count",
        ];
        let mut csv = CsvFile::create(path, &columns)?;
        for (&(truth, predicted), count) in &self.cells {
            let (id, name) = self.called(truth as usize, "background");
            let (predicted_id, predicted) = self.called(predicted as usize, "missed");
            csv.row([id, name, predicted_id, predicted, &count.to_string()])?;
        }
        csv.finish()
    }

    fn called(&self, place: usize, none: &'static str) -> (&str, &str) {
        match self.categories.get(place) {
            Some(category) => (&category.id, &category.name),
            None => ("", none),
        }
    }
}

impl fmt::Display for DetectionConfusion {
    /// The most confused pairs, ten at most, and how many objects were found.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = self.categories.len();
        let objects: u64 = self.objects()[..none].iter().sum();
        let sum = |wanted: fn(usize, usize, usize) -> bool| -> u64 {
            let cells = self.cells.iter();
            cells
                .filter(|((truth, predicted), _)| {
                    wanted(*truth as usize, *predicted as usize, none)
                })
                .map(|(_, count)| count)
                .sum()
        };
        write!(
            f,
            "Confusion at IoU {} and scores from {}: of {objects} objects {} right, {} as another category, {} missed; detections of background: {}",
            self.options.iou,
            self.options.min_score,
            sum(|truth, predicted, none| truth == predicted && truth != none),
            sum(|truth, predicted, none| truth != predicted && truth != none && predicted != none),
            sum(|truth, predicted, none| truth != none && predicted == none),
            sum(|truth, _, none| truth == none),
        )?;
        for pair in self.confused_pairs().iter().take(SHOWN) {
            write!(
                f,
                "\n {:>7} ({:>4.1} %)  {} taken for {}",
                pair.count,
                100.0 * pair.share,
                self.name(pair.truth),
                self.name(pair.predicted)
            )?;
        }
        Ok(())
    }
}
