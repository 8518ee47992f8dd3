//! What the numbers in a label map mean, and what the classes are called.

use std::path::{Path, PathBuf};

use eval::segmentation::{LabelMap, LabelSpec, Labels, read_class_names};
use serde::{Deserialize, Serialize};

use crate::error::DataError;

/// The label of pixels that neither training nor evaluation looks at.
pub const IGNORED: u8 = 255;

/// Most classes that fit beside [`IGNORED`] into a byte.
pub(super) const MOST_CLASSES: usize = 255;

/// What label numbers mean: `[data.classes]` of a segmentation recipe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentationLabels {
    /// File of class names in class order: one a line, or ADE20K's `objectInfo150.txt`. Relative to the data
    /// set's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<PathBuf>,
    /// Number of classes; it may be left out where there are names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
    /// Label maps count classes from 1 and 0 means "other", as ADE20K's do: 0 is ignored, every other number
    /// is one too high.
    #[serde(default)]
    pub reduce_zero_label: bool,
    /// Red, green and blue of each class in pictures of results; without it, ADE20K's for its classes and
    /// made-up ones for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub palette: Option<Vec<[u8; 3]>>,
}

impl SegmentationLabels {
    /// The same with its path under `root`; an absolute one stays.
    pub fn under(&self, root: &Path) -> Self {
        Self {
            names: self.names.as_ref().map(|names| root.join(names)),
            ..self.clone()
        }
    }

    /// The class names in class order: those of the file, or numbers as text.
    ///
    /// # Errors
    /// When the file of names cannot be read, neither names nor a number of classes are given, they disagree,
    /// there are more than 255 classes, or the palette has another number of colours.
    pub fn class_names(&self) -> Result<Vec<String>, DataError> {
        let names: Vec<String> = match (&self.names, self.count) {
            (Some(path), count) => {
                let names = read_class_names(path)?;
                if let Some(count) = count.filter(|&count| count != names.len()) {
                    return Err(DataError::layout(
                        path,
                        format!(
                            "it names {} classes, but data.classes.count is {count}",
                            names.len()
                        ),
                        "correct one of them",
                    ));
                }
                names
            }
            (None, Some(count)) => {
                check_count(count, "data.classes.count")?;
                (0..count).map(|class| class.to_string()).collect()
            }
            (None, None) => {
                return Err(DataError::config(
                    "data.classes",
                    "give names, a file with one class name a line, or count, the number of classes",
                ));
            }
        };
        check_count(names.len(), "data.classes.names")?;
        if let Some(palette) = &self.palette
            && palette.len() != names.len()
        {
            return Err(DataError::config(
                "data.classes.palette",
                format!(
                    "{} colours must be as many as there are classes, {}",
                    palette.len(),
                    names.len()
                ),
            ));
        }
        Ok(names)
    }

    /// How the evaluation reads the data set's label maps.
    ///
    /// # Errors
    /// When there is no class.
    pub fn label_spec(&self, classes: usize) -> Result<LabelSpec, DataError> {
        let mut spec = LabelSpec::new(classes)?;
        spec.reduce_zero_label = self.reduce_zero_label;
        Ok(spec)
    }
}

fn check_count(count: usize, key: &str) -> Result<(), DataError> {
    if (1..=MOST_CLASSES).contains(&count) {
        return Ok(());
    }
    Err(DataError::config(
        key,
        format!("{count} classes must be 1 to {MOST_CLASSES}, since 255 means a pixel to ignore"),
    ))
}

/// From numbers as stored to classes.
///
/// Source: mmsegmentation `LoadAnnotations` (`reduce_zero_label`); equal to what [`LabelSpec`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbering {
    pub classes: usize,
    pub reduce_zero_label: bool,
}

/// A number that is no class, and the first pixel that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoClass {
    pub stored: u16,
    pub pixel: usize,
}

impl Numbering {
    /// The class a stored number means, or [`IGNORED`]; none where it is no class of the data set.
    pub(super) fn class(&self, stored: u16) -> Option<u8> {
        let number = match (self.reduce_zero_label, stored) {
            (true, 0) => return Some(IGNORED),
            (true, 255) if self.classes < MOST_CLASSES => 255,
            (true, stored) => stored - 1,
            (false, stored) => stored,
        };
        match u8::try_from(number) {
            Ok(IGNORED) => Some(IGNORED),
            Ok(class) if usize::from(class) < self.classes => Some(class),
            _ => None,
        }
    }

    /// The numbers that mean classes, first and last.
    pub(super) fn range(&self) -> [usize; 2] {
        let first = usize::from(self.reduce_zero_label);
        [first, first + self.classes - 1]
    }

    /// The classes of a map, row by row.
    pub(super) fn classes_of(&self, map: &LabelMap) -> Result<Vec<u8>, NoClass> {
        match map.labels() {
            Labels::U8(labels) => {
                let table: [Option<u8>; 256] =
                    std::array::from_fn(|stored| self.class(stored as u16));
                let mut unknown = None;
                let classes = labels
                    .iter()
                    .map(|&stored| {
                        table[usize::from(stored)].unwrap_or_else(|| {
                            unknown.get_or_insert(stored);
                            IGNORED
                        })
                    })
                    .collect();
                match unknown {
                    None => Ok(classes),
                    Some(stored) => Err(NoClass {
                        stored: stored.into(),
                        pixel: labels.iter().position(|&v| v == stored).unwrap_or(0),
                    }),
                }
            }
            Labels::U16(labels) => labels
                .iter()
                .enumerate()
                .map(|(pixel, &stored)| self.class(stored).ok_or(NoClass { stored, pixel }))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use eval::Strictness;
    use eval::segmentation::ImageCounter;

    use super::*;

    fn labels(text: &str) -> SegmentationLabels {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn names_come_from_the_file_or_are_numbers() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("names.txt"), "sky\nsea\n").unwrap();
        let named = labels(r#"{"names": "names.txt"}"#).under(root.path());
        assert_eq!(named.class_names().unwrap(), ["sky", "sea"]);
        assert_eq!(
            labels(r#"{"count": 3}"#).class_names().unwrap(),
            ["0", "1", "2"]
        );
        let problem = |labels: SegmentationLabels| {
            labels
                .under(root.path())
                .class_names()
                .unwrap_err()
                .to_string()
        };
        let both = problem(labels(r#"{"names": "names.txt", "count": 3}"#));
        assert!(both.contains("names.txt: it names 2 classes, but data.classes.count is 3"));
        assert!(problem(labels("{}")).starts_with("data.classes: give names"));
        assert!(problem(labels(r#"{"count": 256}"#)).contains("256 classes must be 1 to 255"));
        assert!(problem(labels(r#"{"count": 0}"#)).contains("data.classes.count: 0"));
        assert!(
            problem(labels(r#"{"count": 2, "palette": [[1, 2, 3]]}"#))
                .contains("1 colours must be")
        );
    }

    /// mmsegmentation: 0 becomes 255, the rest one less, 254 (which 255 became) 255 again.
    #[test]
    fn reducing_ignores_zero_and_keeps_255() {
        let numbering = Numbering {
            classes: 150,
            reduce_zero_label: true,
        };
        let expected = [
            (0, Some(255)),
            (1, Some(0)),
            (150, Some(149)),
            (151, None),
            (254, None),
            (255, Some(255)),
        ];
        for (stored, class) in expected {
            assert_eq!(numbering.class(stored), class, "{stored}");
        }
        assert_eq!(numbering.range(), [1, 150]);
    }

    #[test]
    fn the_evaluation_reads_the_same_classes() {
        for (classes, reduce_zero_label) in [
            (3, false),
            (3, true),
            (150, true),
            (254, true),
            (255, true),
            (255, false),
        ] {
            let numbering = Numbering {
                classes,
                reduce_zero_label,
            };
            let spec = SegmentationLabels {
                reduce_zero_label,
                ..SegmentationLabels::default()
            }
            .label_spec(classes)
            .unwrap();
            for stored in (0..300).chain([65535]) {
                let mut counter = ImageCounter::new(spec, Strictness::Lenient);
                let map = LabelMap::new(1, 1, vec![stored]).unwrap();
                let prediction = LabelMap::new(1, 1, vec![0_u8]).unwrap();
                let counted = counter
                    .count(&map, &prediction)
                    .ok()
                    .map(|counts| counts.pairs().first().map(|pair| usize::from(pair.label)));
                let read = numbering
                    .class(stored)
                    .map(|class| (class != IGNORED).then_some(usize::from(class)));
                assert_eq!(counted, read, "{classes} {reduce_zero_label} {stored}");
                let own = numbering.classes_of(&map);
                assert_eq!(own.is_ok(), counted.is_some());
            }
        }
    }

    #[test]
    fn what_is_no_class_is_found() {
        let numbering = Numbering {
            classes: 2,
            reduce_zero_label: false,
        };
        let map = LabelMap::new(3, 1, vec![0_u8, 255, 1]).unwrap();
        assert_eq!(numbering.classes_of(&map), Ok(vec![0, 255, 1]));
        let map = LabelMap::new(3, 1, vec![0_u8, 9, 7]).unwrap();
        assert_eq!(
            numbering.classes_of(&map),
            Err(NoClass {
                stored: 9,
                pixel: 1
            })
        );
    }
}
