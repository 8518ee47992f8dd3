//! What `data check` found, for people and for scripts.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Training or evaluation would stop or give wrong numbers.
    Error,
    /// Probably not meant.
    Warning,
    /// Worth knowing.
    Note,
}

/// One thing found: a sentence with its file and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The sentence.
    pub message: String,
}

/// Counts of the objects in one part of a detection data set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ObjectSummary {
    /// Objects, crowds not counted.
    pub objects: usize,
    /// Crowds.
    pub crowds: usize,
    /// Objects whose outline is polygons.
    pub polygons: usize,
    /// Objects whose outline is a run-length mask.
    pub masks: usize,
    /// Objects that are boxes only.
    pub boxes_only: usize,
    /// Objects below 32x32 square pixels.
    pub small: usize,
    /// Objects up to 96x96 square pixels.
    pub medium: usize,
    /// Larger objects.
    pub large: usize,
    /// Pictures without an object that is not a crowd.
    pub empty_pictures: usize,
}

/// How often a class occurs in the label maps of a segmentation data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassShare {
    /// Its name, or its number.
    pub name: String,
    /// Pixels of it.
    pub pixels: u64,
    /// Share of the pixels that have a class, 0 to 1.
    pub share: f64,
    /// Label maps that have it.
    pub pictures: usize,
}

/// What the label maps of one part of a segmentation data set hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelSummary {
    /// Label maps that can be read.
    pub maps: usize,
    /// Their pixels.
    pub pixels: u64,
    /// Share of pixels that are ignored, 0 to 1.
    pub ignored: f64,
    /// All classes in class order.
    pub classes: Vec<ClassShare>,
}

impl LabelSummary {
    /// Classes shown in text; JSON has all.
    const SHOWN: usize = 12;
}

impl fmt::Display for LabelSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} label maps, {:.1} % of the pixels ignored",
            self.maps,
            100.0 * self.ignored
        )?;
        let mut classes: Vec<&ClassShare> = self.classes.iter().collect();
        classes.sort_by_key(|class| std::cmp::Reverse(class.pixels));
        classes.retain(|class| class.pixels > 0);
        for (place, class) in classes.iter().take(Self::SHOWN).enumerate() {
            let before = if place == 0 { "; " } else { ", " };
            write!(f, "{before}{} {:.1} %", class.name, 100.0 * class.share)?;
        }
        if let Some(rest) = classes.get(Self::SHOWN..).filter(|rest| !rest.is_empty()) {
            let share: f64 = rest.iter().map(|class| class.share).sum();
            write!(f, ", {} others {:.1} %", rest.len(), 100.0 * share)?;
        }
        Ok(())
    }
}

/// Counts of one part of a data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SplitSummary {
    /// `train` or `val`.
    pub split: String,
    /// Its folder.
    pub root: PathBuf,
    /// Classes, with or without pictures.
    pub classes: usize,
    /// Pictures.
    pub pictures: usize,
    /// Fewest pictures a class has or occurs in; fewest objects in a detection data set.
    pub smallest_class: usize,
    /// Most pictures a class has or occurs in; most objects in a detection data set.
    pub largest_class: usize,
    /// Objects, in a detection data set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<ObjectSummary>,
    /// Labels, in a segmentation data set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelSummary>,
    /// Pictures that cannot be read.
    pub unreadable: usize,
    /// Pictures with one channel.
    pub grey: usize,
    /// Pictures in printing inks.
    pub cmyk: usize,
    /// Pictures whose EXIF orientation is not upright.
    pub rotated: usize,
    /// Shortest side of any picture in pixels.
    pub smallest_side: usize,
    /// Longest side of any picture in pixels.
    pub largest_side: usize,
}

/// Everything a check found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// One entry for each part looked at.
    pub splits: Vec<SplitSummary>,
    /// Findings, the most severe first.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// Whether nothing was found that would stop or falsify training.
    pub fn is_ok(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.severity != Severity::Error)
    }

    /// How many findings have a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for split in &self.splits {
            writeln!(
                f,
                "{}: {} pictures in {} classes ({} to {}{} a class), sides {} to {} px, {} grey, {} CMYK, {} rotated by EXIF, {} unreadable ({})",
                split.split,
                split.pictures,
                split.classes,
                split.smallest_class,
                split.largest_class,
                if split.objects.is_some() {
                    " objects"
                } else {
                    ""
                },
                split.smallest_side,
                split.largest_side,
                split.grey,
                split.cmyk,
                split.rotated,
                split.unreadable,
                split.root.display()
            )?;
            if let Some(o) = split.objects {
                writeln!(
                    f,
                    "{}: {} objects ({} small, {} medium, {} large; {} with polygons, {} with masks, {} boxes only), {} crowds, {} pictures without objects",
                    split.split,
                    o.objects,
                    o.small,
                    o.medium,
                    o.large,
                    o.polygons,
                    o.masks,
                    o.boxes_only,
                    o.crowds,
                    o.empty_pictures
                )?;
            }
            if let Some(labels) = &split.labels {
                writeln!(f, "{}: {labels}", split.split)?;
            }
        }
        for finding in &self.findings {
            let severity = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            };
            writeln!(f, "{severity}: {}", finding.message)?;
        }
        let errors = self.count(Severity::Error);
        let warnings = self.count(Severity::Warning);
        match (errors, warnings) {
            (0, 0) => write!(f, "nothing wrong was found"),
            _ => write!(f, "{errors} errors, {warnings} warnings"),
        }
    }
}
