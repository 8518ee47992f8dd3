//! AP with one type of error mended: what an oracle would gain.

use super::judge::Verdict;
use super::{CategoryMean, ErrorType};

/// Recalls at which precision is read: hundredths, each the double nearest to it.
const RECALLS: u32 = 100;

/// A category's detections, and what mending would bring into it.
#[derive(Debug, Default)]
pub(super) struct Events {
    events: Vec<Event>,
    /// Objects that are no crowds.
    pub objects: u64,
    /// Of these, the ones that a detection matches.
    pub matched: u64,
    /// The unmatched ones that mending a detection would match.
    pub covered: u64,
}

#[derive(Debug, Clone, Copy)]
struct Event {
    /// Sorts from the highest score down.
    key: u64,
    /// Place among all detections, by picture and then from the best down.
    order: u32,
    role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Right,
    Wrong(ErrorType),
    /// Right once this type is mended; until then not there.
    Mended(ErrorType),
}

/// A category's AP: with nothing mended, and with each type mended. Nothing where the category takes no
/// part in the mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct CategoryAps {
    pub base: Option<f64>,
    pub mended: [Option<f64>; ErrorType::ALL.len()],
}

impl Events {
    /// Adds a detection predicted as this category.
    pub(super) fn add(&mut self, key: u64, order: u32, verdict: Verdict) {
        let role = match verdict {
            Verdict::Correct => Role::Right,
            Verdict::Wrong { in_crowd: true, .. } => return,
            Verdict::Wrong { kind, .. } => Role::Wrong(kind),
        };
        self.events.push(Event { key, order, role });
    }

    /// Adds a detection that mending an error of this type would bring to an object of this category.
    pub(super) fn add_mended(&mut self, key: u64, order: u32, kind: ErrorType) {
        let role = Role::Mended(kind);
        self.events.push(Event { key, order, role });
    }

    /// The category's AP with each type mended.
    pub(super) fn aps(&mut self, mean: CategoryMean) -> CategoryAps {
        self.events
            .sort_unstable_by_key(|event| (event.key, event.order));
        let base = self.ap(None, self.objects, mean);
        // tidecv sums the errors up before the matches when it mends, and so has them first among
        // equal scores; with nothing mended, detections of equal score stand by picture.
        self.events
            .sort_unstable_by_key(|event| (event.key, event.role == Role::Right, event.order));
        let missed = self.objects - self.matched - self.covered;
        let mended = ErrorType::ALL.map(|kind| match kind {
            ErrorType::Missed => self.ap(Some(kind), self.objects - missed, mean),
            ErrorType::FalseNegative => self.ap(Some(kind), self.matched, mean),
            _ => self.ap(Some(kind), self.objects, mean),
        });
        CategoryAps { base, mended }
    }

    fn ap(&self, mended: Option<ErrorType>, objects: u64, mean: CategoryMean) -> Option<f64> {
        let all_wrong_last = mended == Some(ErrorType::FalsePositive);
        let mut precisions = Vec::new();
        let (mut right, mut wrong) = (0u64, 0u64);
        for event in &self.events {
            match event.role {
                Role::Wrong(kind) if mended != Some(kind) => wrong += 1,
                Role::Mended(kind) if mended != Some(kind) => {}
                Role::Wrong(_) => {}
                Role::Right | Role::Mended(_) => {
                    right += 1;
                    let before = if all_wrong_last { 0 } else { wrong };
                    precisions.push(right as f64 / (right + before) as f64);
                }
            }
        }
        if objects == 0 {
            let counts = mean == CategoryMean::ObjectsOrDetections && right + wrong > 0;
            return counts.then_some(0.0);
        }
        Some(interpolated(&mut precisions, objects))
    }
}

/// Mean of the best precision at each recall or a higher one, from the precision at each true positive.
fn interpolated(precisions: &mut [f64], objects: u64) -> f64 {
    for place in (1..precisions.len()).rev() {
        precisions[place - 1] = precisions[place - 1].max(precisions[place]);
    }
    let (mut place, mut sum) = (0, 0.0);
    for hundredth in 0..=RECALLS {
        let recall = f64::from(hundredth) / f64::from(RECALLS);
        while place < precisions.len() && ((place + 1) as f64 / objects as f64) < recall {
            place += 1;
        }
        match precisions.get(place) {
            Some(precision) => sum += precision,
            None => break,
        }
    }
    sum / f64::from(RECALLS + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: two objects, precisions 1 and 2/3; recalls 0 to 0.50 read 1, the other fifty 2/3.
    #[test]
    fn precision_is_read_at_101_recalls() {
        let found = interpolated(&mut [1.0, 2.0 / 3.0], 2);
        assert!((found - (51.0 + 50.0 * 2.0 / 3.0) / 101.0).abs() < 1e-15);
        assert_eq!(interpolated(&mut [], 3), 0.0);
    }

    /// 7 of 20 is exactly the double that 35 hundredths are, so recall 0.35 is reached; NumPy's
    /// `linspace(0, 1, 101)[35]` lies a bit above it.
    #[test]
    fn recalls_are_the_nearest_doubles() {
        let mut precisions = [1.0; 7];
        assert_eq!(interpolated(&mut precisions, 20), 36.0 / 101.0);
    }
}
