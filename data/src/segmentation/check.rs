//! `data check` for segmentation: what is wrong with pictures and label maps, before days of training.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::label_check::{check_numbers, guessed_classes};
use super::label_tally::{LabelLook, Tally};
use super::numbering::SegmentationLabels;
use super::pairs::{Pairs, SegmentationSource};
use crate::check::{Findings, Look, Part, find_duplicates, look_at_all};
use crate::codec::Colour;
use crate::error::DataError;
use crate::report::{CheckReport, Severity, SplitSummary};

/// What to look at.
#[derive(Debug, Clone, Default)]
pub struct SegmentationCheckOptions {
    /// Training part.
    pub train: Option<SegmentationSource>,
    /// Validation part.
    pub val: Option<SegmentationSource>,
    /// What label numbers mean; where neither names nor a count are given, the largest number tells how many
    /// classes there are.
    pub labels: SegmentationLabels,
    /// How many classes there should be.
    pub expected_classes: Option<usize>,
}

/// One part of the data set, listed.
pub(super) struct Listed {
    pub source: SegmentationSource,
    pub pairs: Pairs,
    pub part: Part,
}

impl AsRef<Part> for Listed {
    fn as_ref(&self) -> &Part {
        &self.part
    }
}

type LabelLooks = Vec<Result<LabelLook, String>>;

/// Reads every picture and label map of a segmentation data set and reports all that is wrong. `progress` is
/// called with files done and files in all, from several threads.
///
/// # Errors
/// When there is nothing to check. What is wrong with the data is in the report.
pub fn check_segmentation(
    options: &SegmentationCheckOptions,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<CheckReport, DataError> {
    let mut findings = Findings::default();
    let mut parts = Vec::new();
    for (split, source) in [("train", &options.train), ("val", &options.val)] {
        if let Some(source) = source {
            match Listed::open(split, source, &mut findings) {
                Ok(part) => parts.push(part),
                Err(error) => findings.add(Severity::Error, error.to_string()),
            }
        }
    }
    if parts.is_empty() && findings.all.is_empty() {
        return Err(DataError::config(
            "data",
            "give a training or a validation part to check",
        ));
    }
    let pictures: usize = parts.iter().map(|part| part.part.items.len()).sum();
    let maps: usize = parts.iter().map(|part| part.pairs.pairs.len()).sum();
    let all = pictures + maps;
    let looks = look_at_all(&parts, &|done, _| progress(done, all));
    let done = AtomicUsize::new(pictures);
    let label_looks: Vec<LabelLooks> = parts
        .iter()
        .map(|part| {
            let pairs = part.pairs.pairs.par_iter();
            pairs
                .map(|pair| {
                    let look = LabelLook::at(&part.source.labels.join(&pair.label));
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1, all);
                    look
                })
                .collect()
        })
        .collect();
    let tallies: Vec<Tally> = label_looks.iter().map(|looks| Tally::of(looks)).collect();
    let names = class_names(options, &tallies, &mut findings);
    let mut splits = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let mut summary = part.check_pictures(&looks[at], &mut findings);
        part.check_maps(&looks[at], &label_looks[at], &mut findings);
        if let Some(names) = &names {
            check_numbers(
                part,
                &tallies[at],
                names,
                options.labels.reduce_zero_label,
                &mut summary,
                &mut findings,
            );
        }
        splits.push(summary);
    }
    let parts: Vec<Part> = parts.into_iter().map(|part| part.part).collect();
    find_duplicates(&parts, &looks, &mut findings);
    findings.all.sort_by_key(|finding| finding.severity);
    Ok(CheckReport {
        splits,
        findings: findings.all,
    })
}

/// The class names to judge by; none where the data set's cannot be had.
fn class_names(
    options: &SegmentationCheckOptions,
    tallies: &[Tally],
    findings: &mut Findings,
) -> Option<Vec<String>> {
    let mut labels = options.labels.clone();
    if labels.names.is_none() && labels.count.is_none() {
        labels.count = options.expected_classes.or_else(|| {
            let count = guessed_classes(tallies, labels.reduce_zero_label)?;
            findings.add(
                Severity::Note,
                format!("the number of classes is not given, and taken to be {count} by the largest label; give it to have labels checked against it"),
            );
            Some(count)
        });
        // No map could be read, which is told already.
        labels.count?;
    }
    let names = match labels.class_names() {
        Ok(names) => names,
        Err(error) => {
            findings.add(Severity::Error, error.to_string());
            return None;
        }
    };
    if let Some(expected) = options
        .expected_classes
        .filter(|&expected| expected != names.len())
    {
        let named = labels.names.as_ref().map_or_else(
            || "data.classes.count".to_owned(),
            |path| path.display().to_string(),
        );
        findings.add(
            Severity::Error,
            format!(
                "{named}: it gives {} classes but {expected} are expected; correct one of them",
                names.len()
            ),
        );
    }
    Some(names)
}

impl Listed {
    fn open(
        split: &'static str,
        source: &SegmentationSource,
        findings: &mut Findings,
    ) -> Result<Self, DataError> {
        let pairs = Pairs::list(source)?;
        for problem in pairs.left_over(source) {
            findings.add(Severity::Error, problem.to_string());
        }
        let paired = pairs.pairs.iter().map(|pair| &pair.picture);
        let items = paired
            .chain(&pairs.without_label)
            .map(|name| (name.clone(), -1))
            .collect();
        Ok(Self {
            part: Part {
                split,
                root: source.images.clone(),
                items,
                classes: Vec::new(),
            },
            source: source.clone(),
            pairs,
        })
    }

    fn check_pictures(&self, looks: &[Look], findings: &mut Findings) -> SplitSummary {
        let mut summary = SplitSummary {
            split: self.part.split.to_owned(),
            root: self.source.images.clone(),
            classes: 0,
            pictures: self.part.items.len(),
            smallest_class: 0,
            largest_class: 0,
            objects: None,
            labels: None,
            unreadable: 0,
            grey: 0,
            cmyk: 0,
            rotated: 0,
            smallest_side: usize::MAX,
            largest_side: 0,
        };
        let (mut unreadable, mut odd) = (Vec::new(), Vec::new());
        for ((name, _), look) in self.part.items.iter().zip(looks) {
            let picture = match &look.picture {
                Ok(picture) => picture,
                Err(message) => {
                    unreadable.push(message.clone());
                    continue;
                }
            };
            if let Some(warning) = &picture.info.warning {
                odd.push(format!(
                    "{}: readable but damaged ({warning}); replace it",
                    self.source.images.join(name).display()
                ));
            }
            let (width, height) = picture.info.upright(picture.width, picture.height);
            summary.grey += usize::from(picture.info.colour == Colour::Grey);
            summary.cmyk += usize::from(picture.info.colour == Colour::Cmyk);
            summary.rotated += usize::from(picture.info.orientation != 1);
            summary.smallest_side = summary.smallest_side.min(width.min(height));
            summary.largest_side = summary.largest_side.max(width.max(height));
        }
        summary.unreadable = unreadable.len();
        if summary.largest_side == 0 {
            summary.smallest_side = 0;
        }
        let place = format!("in {}", self.source.images.display());
        findings.list(
            Severity::Error,
            unreadable,
            &format!("unreadable pictures {place}"),
        );
        findings.list(Severity::Warning, odd, &format!("damaged pictures {place}"));
        summary
    }

    /// Whether label maps can be read and have the size of their pictures.
    fn check_maps(
        &self,
        looks: &[Look],
        label_looks: &[Result<LabelLook, String>],
        findings: &mut Findings,
    ) {
        let sizes: HashMap<&str, (usize, usize)> = (self.part.items.iter().zip(looks))
            .filter_map(|((name, _), look)| {
                let picture = look.picture.as_ref().ok()?;
                Some((
                    name.as_str(),
                    picture.info.upright(picture.width, picture.height),
                ))
            })
            .collect();
        let (mut unreadable, mut differ) = (Vec::new(), Vec::new());
        for (pair, look) in self.pairs.pairs.iter().zip(label_looks) {
            let look = match look {
                Ok(look) => look,
                Err(message) => {
                    unreadable.push(message.clone());
                    continue;
                }
            };
            if let Some(&size) = sizes.get(pair.picture.as_str()) {
                let label = self.source.labels.join(&pair.label);
                let picture = self.source.images.join(&pair.picture);
                if let Err(error) = super::dataset::check_size(&label, look.size, &picture, size) {
                    differ.push(error.to_string());
                }
            }
        }
        let place = format!("in {}", self.source.labels.display());
        findings.list(
            Severity::Error,
            unreadable,
            &format!("label maps that cannot be used {place}"),
        );
        findings.list(
            Severity::Error,
            differ,
            &format!("label maps of another size than their picture {place}"),
        );
    }
}
