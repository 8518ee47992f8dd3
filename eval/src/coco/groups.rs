//! Objects and detections by category: what is matched with what.

use super::detections::Detections;
use super::ground_truth::GroundTruth;

/// Rows of each category, and the categories there are.
#[derive(Debug, Clone)]
pub(crate) struct Groups {
    rows: Vec<u32>,
    /// Where each category's rows begin; one more than there are categories.
    starts: Vec<usize>,
}

impl Groups {
    /// Rows `0..of.len()` by category, in order within each. A counting sort.
    fn new(categories: usize, of: impl Iterator<Item = usize> + Clone) -> Self {
        let mut starts = vec![0usize; categories + 1];
        for category in of.clone() {
            starts[category + 1] += 1;
        }
        for category in 0..categories {
            starts[category + 1] += starts[category];
        }
        let mut next = starts.clone();
        let mut rows = vec![0u32; starts[categories]];
        for (row, category) in of.enumerate() {
            rows[next[category]] = row as u32;
            next[category] += 1;
        }
        Self { rows, starts }
    }

    /// The annotations of each category. Without categories there is one group, in which objects of a
    /// picture stand by category, as pycocotools puts them.
    pub(crate) fn of_annotations(truth: &GroundTruth, use_categories: bool) -> Self {
        let annotations = truth.annotations();
        let by_category = Self::new(
            truth.categories().len(),
            annotations.iter().map(|annotation| annotation.category),
        );
        if use_categories {
            return by_category;
        }
        by_category.joined(|row| annotations[row as usize].image)
    }

    /// The detections of each category, likewise; within a category in the file's order.
    pub(crate) fn of_detections(
        detections: &Detections,
        categories: usize,
        use_categories: bool,
    ) -> Self {
        let rows = detections.rows();
        let by_category = Self::new(categories, rows.iter().map(|row| row.category as usize));
        if use_categories {
            return by_category;
        }
        by_category.joined(|row| rows[row as usize].image as usize)
    }

    fn joined(mut self, image: impl Fn(u32) -> usize) -> Self {
        self.rows.sort_by_key(|&row| image(row));
        self.starts = vec![0, self.rows.len()];
        self
    }

    /// How many groups there are.
    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// The rows of a group.
    pub(crate) fn rows(&self, group: usize) -> &[u32] {
        &self.rows[self.starts[group]..self.starts[group + 1]]
    }
}
