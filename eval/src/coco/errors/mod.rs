//! Why AP is not higher: the error types of TIDE (Bolya, Foley, Hays and Hoffman, "TIDE: A General
//! Toolbox for Identifying Object Detection Errors", ECCV 2020, section 2), with the numbers of the
//! authors' `tidecv` 1.0.1.

mod judge;
mod oracle;
mod tables;

use rayon::prelude::*;

use self::judge::{Fate, Judged, Verdict, judge};
use self::oracle::{CategoryAps, Events};
use super::matching::{Matches, descending};
use super::params::IouType;
use super::pictures::Pictures;
use crate::error::EvalError;

/// A type of error; the last two are sums of others and so not to be added to these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// Right place, wrong category.
    Classification,
    /// Right category, place not exact enough.
    Localization,
    /// Neither is right, but it is no background.
    Both,
    /// A second detection of an object.
    Duplicate,
    /// Nothing is there.
    Background,
    /// An object that no detection comes near.
    Missed,
    /// Any detection that matches nothing.
    FalsePositive,
    /// Any object that is not matched.
    FalseNegative,
}

impl ErrorType {
    /// All types, in tidecv's order.
    pub const ALL: [Self; 8] = [
        Self::Classification,
        Self::Localization,
        Self::Both,
        Self::Duplicate,
        Self::Background,
        Self::Missed,
        Self::FalsePositive,
        Self::FalseNegative,
    ];

    /// tidecv's short name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classification => "Cls",
            Self::Localization => "Loc",
            Self::Both => "Both",
            Self::Duplicate => "Dupe",
            Self::Background => "Bkg",
            Self::Missed => "Miss",
            Self::FalsePositive => "FalsePos",
            Self::FalseNegative => "FalseNeg",
        }
    }

    /// What it means, in a few words.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Classification => "right place, wrong category",
            Self::Localization => "right category, place not exact",
            Self::Both => "wrong category and place not exact",
            Self::Duplicate => "second detection of an object",
            Self::Background => "nothing is there",
            Self::Missed => "object that no detection comes near",
            Self::FalsePositive => "all wrong detections",
            Self::FalseNegative => "all unmatched objects",
        }
    }
}

/// Which categories the mean is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CategoryMean {
    /// Those with objects or detections, as tidecv does: detections of a category that has no objects
    /// lower the mean.
    ObjectsOrDetections,
    /// Those with objects, as COCO does.
    Objects,
}

/// Where the lines between the types are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ErrorOptions {
    /// IoU from which on a detection matches.
    pub foreground: f64,
    /// IoU up to which there is only background.
    pub background: f64,
    /// Categories averaged over.
    pub mean: CategoryMean,
}

impl Default for ErrorOptions {
    /// The paper's: 0.5 and 0.1, averaged as tidecv does.
    fn default() -> Self {
        Self {
            foreground: 0.5,
            background: 0.1,
            mean: CategoryMean::ObjectsOrDetections,
        }
    }
}

/// How often a type of error occurs, and what it costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ErrorEffect {
    /// Detections, or objects, that have it; tidecv counts those in crowds too.
    pub count: u64,
    /// Of these, detections in crowds, which AP leaves out.
    pub in_crowds: u64,
    /// AP gained by mending this type alone, 0..=1; NaN where AP is.
    pub d_ap: f64,
}

impl Default for ErrorEffect {
    fn default() -> Self {
        Self {
            count: 0,
            in_crowds: 0,
            d_ap: f64::NAN,
        }
    }
}

/// One category's errors: detections count for the category they were given, objects for their own.
#[derive(Debug, Clone, PartialEq)]
pub struct CategoryErrors {
    /// The category's identifier; empty where categories were not used.
    pub id: String,
    /// Its name; "all" where categories were not used.
    pub name: String,
    /// Objects, without crowds; the sum of `matched`, `covered` and `missed`.
    pub objects: u64,
    /// Objects, and so detections, that match.
    pub matched: u64,
    /// Unmatched objects that mending a detection would match.
    pub covered: u64,
    /// Unmatched objects that nothing would.
    pub missed: u64,
    /// AP with nothing mended, 0..=1; NaN where the category takes no part in the mean.
    pub ap: f64,
    effects: [ErrorEffect; ErrorType::ALL.len()],
}

/// The errors of detections by type: TIDE (Bolya, Foley, Hays and Hoffman, ECCV 2020, section 2), with
/// the numbers of the authors' `tidecv` 1.0.1.
///
/// A detection that matches no object has one of five errors, in this order of precedence, where the
/// foreground threshold is 0.5 and the background threshold 0.1:
///
/// 1. localization: its best IoU with objects of its category is from background to foreground;
/// 2. classification: its best IoU with objects of other categories is at least foreground;
/// 3. duplicate: an object of its category with IoU of at least foreground is matched by a better one;
/// 4. background: it overlaps every object by background at most;
/// 5. both: anything else, such as the wrong category in the wrong place.
///
/// An object that nothing matches is *covered* if mending a localization or classification error would
/// match it, and *missed* otherwise. The weight of a type is the AP gained by mending it alone:
/// detections of localization and classification errors become right (the best one of each object; the
/// others go), those of duplicate, background and both go, and missed objects are not looked for. Two
/// further oracles give all false positives the lowest score, and leave out all unmatched objects.
///
/// # What differs from COCO's AP at IoU 0.50
/// The AP that gains are measured from follows tidecv where that and pycocotools part:
///
/// - a category with detections but without objects counts as 0 ([`CategoryMean`]);
/// - recalls are hundredths, which differ from NumPy's `linspace` in the last bit at times, so that one
///   of the 101 may be read elsewhere;
/// - of objects of equal IoU the first matches, not the last, and a crowd must cover more than half of
///   a detection, not half;
/// - an object with identifier 0 matches as any other, and areas do not matter.
///
/// # What differs from tidecv
/// tidecv keeps the best 100 detections of a picture, all categories together; here it is the largest
/// limit per picture and category, as in COCO. Where no limit bites, all numbers are equal, except that
/// detections of equal score in different pictures stand by ascending picture id here and in the file's
/// order there. Scores of -1 or less, which tidecv fails on, are scores like others; where mending leaves
/// no category to average over, and tidecv divides by zero, the gain is NaN.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorAnalysis {
    iou_type: IouType,
    options: ErrorOptions,
    ap: f64,
    effects: [ErrorEffect; ErrorType::ALL.len()],
    categories: Vec<CategoryErrors>,
}

impl Matches<'_> {
    /// The errors of the detections by type, with the paper's thresholds. Matching is done anew, by
    /// tidecv's rules: the parameters' IoU thresholds and areas play no part.
    pub fn errors(&self) -> ErrorAnalysis {
        self.analyse(&ErrorOptions::default())
    }

    /// The errors by type with other thresholds.
    ///
    /// # Errors
    /// When the thresholds are not 0 < background < foreground <= 1.
    pub fn errors_at(&self, options: &ErrorOptions) -> Result<ErrorAnalysis, EvalError> {
        let ErrorOptions {
            foreground,
            background,
            ..
        } = *options;
        if background > 0.0 && background < foreground && foreground <= 1.0 {
            return Ok(self.analyse(options));
        }
        Err(EvalError::Params(format!(
            "the background threshold {background} and the foreground threshold {foreground} must be greater than 0, the first less than the second, and that at most 1"
        )))
    }

    fn analyse(&self, options: &ErrorOptions) -> ErrorAnalysis {
        let pictures = Pictures::new(self);
        let judged: Vec<Judged> = (0..pictures.len())
            .into_par_iter()
            .with_min_len(16)
            .map(|image| judge(&pictures, image, options))
            .collect();
        let mut categories: Vec<CategoryErrors> = self
            .category_names()
            .into_iter()
            .map(|named| CategoryErrors {
                id: named.id,
                name: named.name,
                objects: 0,
                matched: 0,
                covered: 0,
                missed: 0,
                ap: f64::NAN,
                effects: Default::default(),
            })
            .collect();
        let mut events: Vec<Events> = categories.iter().map(|_| Events::default()).collect();
        let rows = self.detections().rows();
        let mut order = 0u32;
        for (image, judged) in judged.iter().enumerate() {
            for (&row, &verdict) in pictures.detections(image).iter().zip(&judged.verdicts) {
                let category = pictures.category(row);
                let key = descending(rows[row as usize].score);
                events[category].add(key, order, verdict);
                if let Verdict::Wrong {
                    kind,
                    in_crowd,
                    mended_as,
                } = verdict
                {
                    categories[category].count(kind, in_crowd);
                    categories[category].count(ErrorType::FalsePositive, in_crowd);
                    if let Some(category) = mended_as {
                        events[category].add_mended(key, order, kind);
                    }
                }
                order += 1;
            }
            for (object, &fate) in pictures.objects(image).iter().zip(&judged.fates) {
                categories[pictures.object_category(object)].enter(fate);
            }
        }
        drop(judged);
        let aps: Vec<CategoryAps> = events
            .par_iter_mut()
            .zip(&categories)
            .map(|(events, category)| {
                events.objects = category.objects;
                events.matched = category.matched;
                events.covered = category.covered;
                events.aps(options.mean)
            })
            .collect();
        ErrorAnalysis::new(self.iou_type(), options, categories, &aps)
    }
}

impl CategoryErrors {
    /// How often a type occurs in this category, and the AP that mending it everywhere brings here,
    /// which may be negative: a mended detection leaves the category it was given.
    pub fn of(&self, kind: ErrorType) -> ErrorEffect {
        self.effects[kind as usize]
    }

    fn count(&mut self, kind: ErrorType, in_crowd: bool) {
        let effect = &mut self.effects[kind as usize];
        effect.count += 1;
        effect.in_crowds += u64::from(in_crowd);
    }

    fn enter(&mut self, fate: Fate) {
        match fate {
            Fate::Crowd => return,
            Fate::Matched => self.matched += 1,
            Fate::Covered => {
                self.covered += 1;
                self.count(ErrorType::FalseNegative, false);
            }
            Fate::Missed => {
                self.missed += 1;
                self.count(ErrorType::Missed, false);
                self.count(ErrorType::FalseNegative, false);
            }
        }
        self.objects += 1;
    }
}

impl ErrorAnalysis {
    fn new(
        iou_type: IouType,
        options: &ErrorOptions,
        mut categories: Vec<CategoryErrors>,
        aps: &[CategoryAps],
    ) -> Self {
        let mut effects = [ErrorEffect::default(); ErrorType::ALL.len()];
        let ap = mean(aps.iter().filter_map(|aps| aps.base));
        for kind in ErrorType::ALL {
            let place = kind as usize;
            let effect = &mut effects[place];
            let gain = mean(aps.iter().filter_map(|aps| aps.mended[place])) - ap;
            // A loss comes from the recalls that precision is read at; tidecv sets it to 0 too.
            let special = matches!(kind, ErrorType::FalsePositive | ErrorType::FalseNegative);
            effect.d_ap = if gain < 0.0 && !special { 0.0 } else { gain };
            for (category, aps) in categories.iter_mut().zip(aps) {
                let own = &mut category.effects[place];
                effect.count += own.count;
                effect.in_crowds += own.in_crowds;
                let undefined = f64::NAN;
                category.ap = aps.base.unwrap_or(undefined);
                own.d_ap = aps.mended[place].unwrap_or(undefined) - category.ap;
            }
        }
        Self {
            iou_type,
            options: *options,
            ap,
            effects,
            categories,
        }
    }

    /// Boxes or masks.
    pub fn iou_type(&self) -> IouType {
        self.iou_type
    }

    /// The thresholds.
    pub fn options(&self) -> &ErrorOptions {
        &self.options
    }

    /// AP at the foreground threshold, which gains are measured from, 0..=1; NaN where there are
    /// neither objects nor detections.
    pub fn ap(&self) -> f64 {
        self.ap
    }

    /// How often a type occurs, and what it costs.
    pub fn of(&self, kind: ErrorType) -> ErrorEffect {
        self.effects[kind as usize]
    }

    /// Every category, in ascending order of identifiers.
    pub fn categories(&self) -> &[CategoryErrors] {
        &self.categories
    }
}

/// The mean; NaN of nothing.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0u64);
    for value in values {
        sum += value;
        count += 1;
    }
    if count == 0 {
        f64::NAN
    } else {
        sum / count as f64
    }
}
