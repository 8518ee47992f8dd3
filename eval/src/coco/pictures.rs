//! Detections and objects of one picture, of all categories together: what looks across categories.

use rayon::prelude::*;

use super::ground_truth::Annotation;
use super::matching::{Matches, descending};
use super::pair::overlap;

/// The kept detections by picture, best first; equal scores in the file's order.
#[derive(Debug)]
pub(crate) struct Pictures<'a> {
    matches: &'a Matches<'a>,
    rows: Vec<u32>,
    /// Where each picture's detections begin; one more than there are pictures.
    starts: Vec<usize>,
    /// Where each picture's objects begin, likewise.
    object_starts: Vec<usize>,
}

/// How a category is called in tables.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CategoryName {
    /// Its identifier; empty where categories were not used.
    pub id: String,
    /// Its name; "all" where categories were not used.
    pub name: String,
}

impl<'a> Pictures<'a> {
    pub(crate) fn new(matches: &'a Matches<'a>) -> Self {
        let count = matches.truth().images().len();
        let detections = matches.detections().rows();
        let kept = || matches.groups.iter().flat_map(|group| &group.rows);
        let image_of = |row: u32| detections[row as usize].image as usize;
        let starts = starts(count, kept().map(|&row| image_of(row)));
        let mut next = starts.clone();
        let mut rows = vec![0u32; starts[count]];
        for &row in kept() {
            let place = &mut next[image_of(row)];
            rows[*place] = row;
            *place += 1;
        }
        let mut pieces: Vec<&mut [u32]> = Vec::with_capacity(count);
        let mut rest = rows.as_mut_slice();
        for ends in starts.windows(2) {
            let (piece, others) = rest.split_at_mut(ends[1] - ends[0]);
            pieces.push(piece);
            rest = others;
        }
        pieces.par_iter_mut().with_min_len(64).for_each(|piece| {
            piece.sort_unstable_by_key(|&row| (descending(detections[row as usize].score), row));
        });
        let objects = matches.truth().annotations().iter();
        Self {
            matches,
            rows,
            starts,
            object_starts: self::starts(count, objects.map(|object| object.image)),
        }
    }

    /// How many pictures there are.
    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Rows of a picture's detections, best first.
    pub(crate) fn detections(&self, image: usize) -> &[u32] {
        &self.rows[self.starts[image]..self.starts[image + 1]]
    }

    /// A picture's objects, crowds included, in the file's order.
    pub(crate) fn objects(&self, image: usize) -> &'a [Annotation] {
        &self.matches.truth().annotations()
            [self.object_starts[image]..self.object_starts[image + 1]]
    }

    /// The category of a detection; 0 for all where categories are not used.
    pub(crate) fn category(&self, row: u32) -> usize {
        self.place(self.matches.detections().rows()[row as usize].category as usize)
    }

    /// The category of an object, likewise.
    pub(crate) fn object_category(&self, object: &Annotation) -> usize {
        self.place(object.category)
    }

    fn place(&self, category: usize) -> usize {
        if self.matches.params().use_categories {
            category
        } else {
            0
        }
    }

    /// IoU of a detection and an object, over the detection's area where that is a crowd. Masks of
    /// different sizes do not overlap.
    pub(crate) fn overlap(&self, row: u32, object: &Annotation) -> f64 {
        let kind = self.matches.iou_type();
        overlap(self.matches.detections(), row as usize, object, kind).max(0.0)
    }

    /// Whether a detection lies in a crowd of its category: by more than `limit` of its area.
    pub(crate) fn in_crowd(&self, row: u32, objects: &[Annotation], limit: f64) -> bool {
        let category = self.category(row);
        objects.iter().any(|object| {
            object.crowd
                && self.object_category(object) == category
                && self.overlap(row, object) > limit
        })
    }
}

impl Matches<'_> {
    /// What the places on the category axis are called.
    pub(crate) fn category_names(&self) -> Vec<CategoryName> {
        if !self.params().use_categories {
            return vec![CategoryName {
                id: String::new(),
                name: "all".to_owned(),
            }];
        }
        let categories = self.truth().categories().iter();
        categories
            .map(|category| CategoryName {
                id: category.id.to_string(),
                name: category.name.clone(),
            })
            .collect()
    }
}

/// Where each picture begins in a list ordered by picture.
fn starts(pictures: usize, of: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut starts = vec![0usize; pictures + 1];
    for image in of {
        starts[image + 1] += 1;
    }
    for image in 0..pictures {
        starts[image + 1] += starts[image];
    }
    starts
}
