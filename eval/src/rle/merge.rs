//! Unions and intersections.

use super::{Rle, RleError};

impl Rle {
    /// The union of masks, or what is inside all of them when `intersect`. One mask alone is
    /// returned as it is.
    ///
    /// # Errors
    /// When there is no mask, or they are of different pictures.
    pub fn merge(masks: &[Rle], intersect: bool) -> Result<Rle, RleError> {
        let (first, others) = masks.split_first().ok_or(RleError::NoMask)?;
        let mut merged = first.counts.clone();
        let mut spare = Vec::new();
        for other in others {
            if (other.height, other.width) != (first.height, first.width) {
                return Err(RleError::Sizes {
                    height: first.height,
                    width: first.width,
                    other_height: other.height,
                    other_width: other.width,
                });
            }
            merge_runs(&merged, &other.counts, intersect, &mut spare);
            std::mem::swap(&mut merged, &mut spare);
        }
        Ok(Rle {
            height: first.height,
            width: first.width,
            counts: merged,
        })
    }
}

/// Merges runs that cover the same number of pixels into `merged`, which is overwritten.
pub(super) fn merge_runs(a: &[u32], b: &[u32], intersect: bool, merged: &mut Vec<u32>) {
    merged.clear();
    let (mut a, mut b) = (Runs::new(a), Runs::new(b));
    let mut value = false;
    let mut length = 0;
    while a.more() && b.more() {
        let now = if intersect {
            a.inside && b.inside
        } else {
            a.inside || b.inside
        };
        if now != value {
            merged.push(length);
            length = 0;
            value = now;
        }
        let step = a.left.min(b.left);
        length += step;
        a.left -= step;
        b.left -= step;
    }
    merged.push(length);
}

/// Where a walk along runs is.
struct Runs<'a> {
    later: std::slice::Iter<'a, u32>,
    /// Pixels left of the current run.
    left: u32,
    inside: bool,
}

impl<'a> Runs<'a> {
    fn new(counts: &'a [u32]) -> Self {
        Self {
            later: counts.iter(),
            left: 0,
            // Turned by the first run.
            inside: true,
        }
    }

    /// Goes on to the next run that has pixels, where the current one is used up; false at the end.
    #[inline]
    fn more(&mut self) -> bool {
        while self.left == 0 {
            let Some(&run) = self.later.next() else {
                return false;
            };
            self.left = run;
            self.inside = !self.inside;
        }
        true
    }
}
