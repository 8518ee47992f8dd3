//! Whether the numbers in label maps can be what they are said to be.

use std::path::PathBuf;

use super::check::Listed;
use super::label_tally::{NumberTally, Tally};
use super::numbering::{MOST_CLASSES, Numbering};
use crate::check::Findings;
use crate::report::{ClassShare, LabelSummary, Severity, SplitSummary};

/// Classes named one by one in a finding.
const NAMED: usize = 5;
/// With 0 ignored, a share of it above this is much for "other" where the last number never occurs.
const MUCH_ZERO: f64 = 0.05;

/// How many classes there seem to be, by the largest number in any map.
pub(super) fn guessed_classes(tallies: &[Tally], reduce_zero_label: bool) -> Option<usize> {
    let largest = tallies.iter().filter_map(Tally::largest).max()?;
    let count = largest + usize::from(!reduce_zero_label);
    Some(count.clamp(1, MOST_CLASSES))
}

/// Judges a part's labels and adds the shares of its classes to the summary.
pub(super) fn check_numbers(
    part: &Listed,
    tally: &Tally,
    names: &[String],
    reduce_zero_label: bool,
    summary: &mut SplitSummary,
    findings: &mut Findings,
) {
    let numbering = Numbering {
        classes: names.len(),
        reduce_zero_label,
    };
    if tally.maps > 0 {
        let folder = part.source.labels.display().to_string();
        let judge = Judge {
            part,
            tally,
            numbering,
            folder,
        };
        judge.unknown_numbers(findings);
        judge.zero(findings);
        judge.palettes(findings);
        judge.absent(names, findings);
    }
    summarise(tally, names, numbering, summary);
}

fn summarise(tally: &Tally, names: &[String], numbering: Numbering, summary: &mut SplitSummary) {
    let (classes, ignored) = tally.classes(numbering);
    let maps = || classes.iter().map(|sum| sum.maps);
    summary.classes = names.len();
    summary.smallest_class = maps().min().unwrap_or(0);
    summary.largest_class = maps().max().unwrap_or(0);
    let labelled: u64 = classes.iter().map(|sum| sum.pixels).sum();
    let share = |part: u64, all: u64| {
        if all == 0 {
            0.0
        } else {
            part as f64 / all as f64
        }
    };
    summary.labels = Some(LabelSummary {
        maps: tally.maps,
        pixels: tally.pixels(),
        ignored: share(ignored, tally.pixels()),
        classes: (names.iter().zip(&classes))
            .map(|(name, sum)| ClassShare {
                name: name.clone(),
                pixels: sum.pixels,
                share: share(sum.pixels, labelled),
                pictures: sum.maps,
            })
            .collect(),
    });
}

struct Judge<'a> {
    part: &'a Listed,
    tally: &'a Tally,
    numbering: Numbering,
    /// The folder of label maps, as messages begin with.
    folder: String,
}

impl Judge<'_> {
    fn map(&self, map: usize) -> PathBuf {
        let pair = &self.part.pairs.pairs[map];
        self.part.source.labels.join(&pair.label)
    }

    fn unknown_numbers(&self, findings: &mut Findings) {
        let [first, last] = self.numbering.range();
        let told = |number: usize, sum: NumberTally| {
            format!(
                "{}: label {number} is none of the {} classes ({first} to {last}), in {} pixels of {} label maps, the first is {}; check the number of classes and reduce_zero_label",
                self.folder,
                self.numbering.classes,
                sum.pixels,
                sum.maps,
                self.map(sum.first).display()
            )
        };
        let mut messages: Vec<String> = self
            .tally
            .unknown(self.numbering)
            .into_iter()
            .map(|(number, sum)| told(number, sum))
            .collect();
        if let Some((number, sum)) = self.tally.beyond {
            messages.push(told(usize::from(number), sum));
        }
        findings.list(
            Severity::Error,
            messages,
            &format!("labels that are no class in {}", self.folder),
        );
    }

    /// Whether 0 means what it is said to mean.
    fn zero(&self, findings: &mut Findings) {
        let zero = self.tally.numbers[0];
        let classes = self.numbering.classes;
        let largest = self.tally.largest();
        if self.numbering.reduce_zero_label {
            let share = zero.pixels as f64 / self.tally.pixels().max(1) as f64;
            if zero.maps == 0 {
                findings.add(
                    Severity::Note,
                    format!(
                        "{}: no label map has a 0, which reduce_zero_label ignores; check that labels count from 1",
                        self.folder
                    ),
                );
            } else if largest.is_none_or(|largest| largest < classes) && share > MUCH_ZERO {
                findings.add(
                    Severity::Warning,
                    format!(
                        "{}: label {classes}, the last class with reduce_zero_label, never occurs, and {:.1} % of the pixels are 0, which is ignored; if 0 is a class, set reduce_zero_label = false",
                        self.folder,
                        100.0 * share
                    ),
                );
            }
        } else if zero.maps == 0 {
            let (severity, known) = if largest == Some(classes) {
                (Severity::Error, format!(" and labels go up to {classes}"))
            } else {
                (Severity::Warning, String::new())
            };
            findings.add(
                severity,
                format!(
                    "{}: no label map has a 0{known}; if labels count from 1, as ADE20K's do, set reduce_zero_label = true",
                    self.folder
                ),
            );
        }
    }

    fn palettes(&self, findings: &mut Findings) {
        if let Some([first, other]) = self.tally.palettes_differ {
            findings.add(
                Severity::Warning,
                format!(
                    "{}: the same label has another colour in the palette of {}; probably colour pictures were reduced to palettes of their own, so that their indices are no class numbers; write class numbers",
                    self.map(other).display(),
                    self.map(first).display()
                ),
            );
        }
    }

    fn absent(&self, names: &[String], findings: &mut Findings) {
        let (classes, ignored) = self.tally.classes(self.numbering);
        if ignored == self.tally.pixels() {
            findings.add(
                Severity::Error,
                format!(
                    "{}: every pixel is ignored; check reduce_zero_label and the label maps",
                    self.folder
                ),
            );
            return;
        }
        let absent: Vec<&str> = (names.iter().zip(&classes))
            .filter(|(_, sum)| sum.maps == 0)
            .map(|(name, _)| name.as_str())
            .collect();
        if absent.is_empty() {
            return;
        }
        let more = if absent.len() > NAMED { ", .." } else { "" };
        findings.add(
            Severity::Warning,
            format!(
                "{}: {} of {} classes occur in no label map: {}{more}; is something missing?",
                self.folder,
                absent.len(),
                names.len(),
                absent[..absent.len().min(NAMED)].join(", ")
            ),
        );
    }
}
