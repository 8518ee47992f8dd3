//! What is wrong with each detection of a picture, and what became of each object.

use super::{ErrorOptions, ErrorType};
use crate::coco::ground_truth::Annotation;
use crate::coco::pictures::Pictures;

/// What became of a detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It matches an object.
    Correct,
    /// It does not.
    Wrong {
        /// Why.
        kind: ErrorType,
        /// Whether it lies in a crowd, so that AP leaves it out.
        in_crowd: bool,
        /// The category in which it would be right, were this error mended; nothing where the object
        /// it means is matched, or has a better detection that mending brings to it.
        mended_as: Option<usize>,
    },
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// A detection matches it.
    Matched,
    /// None does, but mending a wrong one would.
    Covered,
    /// None would.
    Missed,
    /// It is a crowd, which is not looked for.
    Crowd,
}

/// A picture's detections, in the order of [`Pictures::detections`], and objects in the file's.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub verdicts: Vec<Verdict>,
    pub fates: Vec<Fate>,
}

/// The object of largest IoU; of equal ones the first.
#[derive(Debug, Clone, Copy, Default)]
struct Best {
    iou: f64,
    object: Option<usize>,
}

impl Best {
    fn offer(&mut self, object: usize, iou: f64) {
        if iou > self.iou {
            *self = Self {
                iou,
                object: Some(object),
            };
        }
    }
}

pub(super) fn judge(pictures: &Pictures<'_>, image: usize, options: &ErrorOptions) -> Judged {
    let objects = pictures.objects(image);
    let rows = pictures.detections(image);
    let mut fates: Vec<Fate> = objects
        .iter()
        .map(|object| {
            if object.crowd {
                Fate::Crowd
            } else {
                Fate::Missed
            }
        })
        .collect();
    let mut wrong = Vec::new();
    let mut verdicts = Vec::with_capacity(rows.len());
    for (place, &row) in rows.iter().enumerate() {
        let verdict = match find(pictures, row, objects, &fates, options) {
            Found::Match(object) => {
                fates[object] = Fate::Matched;
                Verdict::Correct
            }
            Found::Error(kind, object) => {
                if let Some(object) = object {
                    wrong.push((place, object));
                }
                Verdict::Wrong {
                    kind,
                    in_crowd: pictures.in_crowd(row, objects, options.foreground),
                    mended_as: None,
                }
            }
        };
        verdicts.push(verdict);
    }
    // Only now is it known which objects stay without a match. Of several detections that mean the
    // same one, the best is mended; each object can be won once.
    for (place, object) in wrong {
        if fates[object] == Fate::Missed
            && let Verdict::Wrong { mended_as, .. } = &mut verdicts[place]
        {
            *mended_as = Some(pictures.object_category(&objects[object]));
            fates[object] = Fate::Covered;
        }
    }
    Judged { verdicts, fates }
}

enum Found {
    Match(usize),
    /// With the object it means, where mending would match it.
    Error(ErrorType, Option<usize>),
}

fn find(
    pictures: &Pictures<'_>,
    row: u32,
    objects: &[Annotation],
    fates: &[Fate],
    options: &ErrorOptions,
) -> Found {
    let category = pictures.category(row);
    let (mut free, mut same, mut other) = (Best::default(), Best::default(), Best::default());
    for (place, object) in objects.iter().enumerate() {
        if object.crowd {
            continue;
        }
        let iou = pictures.overlap(row, object);
        if pictures.object_category(object) != category {
            other.offer(place, iou);
            continue;
        }
        same.offer(place, iou);
        if fates[place] != Fate::Matched {
            free.offer(place, iou);
        }
    }
    let ErrorOptions {
        foreground,
        background,
        ..
    } = *options;
    if let Some(object) = free.object.filter(|_| free.iou >= foreground) {
        return Found::Match(object);
    }
    // The order of these tests is part of the definition.
    if (background..=foreground).contains(&same.iou) {
        Found::Error(ErrorType::Localization, same.object)
    } else if other.iou >= foreground {
        Found::Error(ErrorType::Classification, other.object)
    } else if same.iou >= foreground {
        Found::Error(ErrorType::Duplicate, None)
    } else if same.iou.max(other.iou) <= background {
        Found::Error(ErrorType::Background, None)
    } else {
        Found::Error(ErrorType::Both, None)
    }
}
