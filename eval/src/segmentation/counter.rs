//! Counts of one image: pixels by pair of label and prediction.

use super::label_map::{LabelMap, Labels};
use super::label_spec::{LabelSpec, Meaning};
use super::meter::{ClassAreas, ImageTally};
use super::runs::{PairTable, count_pairs};
use crate::strictness::Strictness;

/// Why a pair of maps cannot be scored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelFault {
    /// The prediction has another size than the ground truth.
    #[error(
        "the prediction is {} x {} pixels, its ground truth {} x {}: predict at the size of the \
         ground truth",
        .prediction.0, .prediction.1, .label.0, .label.1
    )]
    Size {
        /// Width and height of the ground truth.
        label: (usize, usize),
        /// Width and height of the prediction.
        prediction: (usize, usize),
    },
    /// The ground truth holds a number that is neither a class nor ignored.
    #[error(
        "the ground truth is {value} at column {column}, row {row}, which is none of the {classes} \
         classes ({numbering}): check the number of classes, the ignored number and \
         reduce-zero-label"
    )]
    Label {
        /// The number as stored.
        value: u16,
        /// Column of the first such pixel, from 0.
        column: usize,
        /// Row of that pixel, from 0.
        row: usize,
        /// Number of classes.
        classes: usize,
        /// How the ground truth is numbered, in words.
        numbering: String,
    },
    /// A pixel that counts is predicted as a number that is no class.
    #[error(
        "the prediction is {value} at column {column}, row {row}, which is none of the {classes} \
         classes (from {first}): check the number of classes and whether predictions count from 0 or \
         1, or score leniently, where such a pixel is wrong and nothing more"
    )]
    Prediction {
        /// The number as stored.
        value: u16,
        /// Column of the first such pixel, from 0.
        column: usize,
        /// Row of that pixel, from 0.
        row: usize,
        /// Number of classes.
        classes: usize,
        /// Number of the first class as stored.
        first: u16,
    },
}

/// How many pixels of an image have one label and one prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairCount {
    /// Class of the ground truth.
    pub label: u16,
    /// Predicted class; nothing where the predicted number is no class.
    pub predicted: Option<u16>,
    /// Pixels.
    pub pixels: u64,
}

/// The counts of one image: its pairs, each once, by label and then by prediction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageCounts {
    pairs: Vec<PairCount>,
}

impl ImageCounts {
    /// The pairs that occur, by label, then by prediction, "no class" last.
    pub fn pairs(&self) -> &[PairCount] {
        &self.pairs
    }

    /// The image's areas per class.
    pub fn tally(&self) -> ImageTally {
        let mut classes: Vec<u16> = self
            .pairs
            .iter()
            .flat_map(|pair| [Some(pair.label), pair.predicted])
            .flatten()
            .collect();
        classes.sort_unstable();
        classes.dedup();
        let mut areas = vec![ClassAreas::default(); classes.len()];
        // Every class of a pair is in the list.
        let place = |class: u16| classes.binary_search(&class).unwrap_or_default();
        for pair in &self.pairs {
            areas[place(pair.label)].labelled += pair.pixels;
            if let Some(predicted) = pair.predicted {
                areas[place(predicted)].predicted += pair.pixels;
                if predicted == pair.label {
                    areas[place(predicted)].intersection += pair.pixels;
                }
            }
        }
        ImageTally {
            classes: classes.into_iter().zip(areas).collect(),
        }
    }
}

/// Counts images one after the other; keeps its tables between them, so one per thread.
#[derive(Debug)]
pub struct ImageCounter {
    spec: LabelSpec,
    strictness: Strictness,
    narrow: NarrowTable,
    /// Made when the first 16-bit map comes.
    wide: Option<WideTable>,
}

impl ImageCounter {
    /// A counter for maps of this kind. Under [`Strictness::Lenient`] a predicted number that is no
    /// class makes its pixel wrong, as in mmsegmentation, instead of being a fault.
    pub fn new(spec: LabelSpec, strictness: Strictness) -> Self {
        Self {
            spec,
            strictness,
            narrow: NarrowTable::new(),
            wide: None,
        }
    }

    /// Counts one image.
    ///
    /// # Errors
    /// When the sizes differ or a number has no meaning.
    pub fn count(
        &mut self,
        label: &LabelMap,
        prediction: &LabelMap,
    ) -> Result<ImageCounts, LabelFault> {
        let [label_size, prediction_size] =
            [label, prediction].map(|map| (map.width(), map.height()));
        if label_size != prediction_size {
            return Err(LabelFault::Size {
                label: label_size,
                prediction: prediction_size,
            });
        }
        let mut pairs = Vec::new();
        let mut faulty = false;
        let strict = self.strictness == Strictness::Strict;
        let add = |label: Meaning, prediction: Meaning, pixels: u32| {
            let predicted = match prediction {
                Meaning::Class(class) => Some(class),
                Meaning::Ignored | Meaning::Outside => None,
            };
            match label {
                Meaning::Class(label) => {
                    faulty |= strict && predicted.is_none();
                    pairs.push(PairCount {
                        label,
                        predicted,
                        pixels: u64::from(pixels),
                    });
                }
                Meaning::Ignored => {}
                Meaning::Outside => faulty = true,
            }
        };
        match (label.labels(), prediction.labels()) {
            (Labels::U8(labels), Labels::U8(predictions)) => {
                count_pairs(labels, predictions, &mut self.narrow);
                self.narrow.drain(&self.spec, add);
            }
            (labels, predictions) => {
                let wide = self.wide.get_or_insert_with(|| WideTable::new(&self.spec));
                count_pairs(&labels.widened(), &predictions.widened(), wide);
                wide.drain(add);
            }
        }
        if faulty && let Some(fault) = self.first_fault(label, prediction) {
            return Err(fault);
        }
        // Predicted numbers that are no class become one pair.
        pairs.sort_unstable_by_key(|pair| (pair.label, pair.predicted.map_or(u32::MAX, u32::from)));
        pairs.dedup_by(|next, kept| {
            let same = (next.label, next.predicted) == (kept.label, kept.predicted);
            if same {
                kept.pixels += next.pixels;
            }
            same
        });
        Ok(ImageCounts { pairs })
    }

    /// The first pixel of the map that cannot be counted.
    fn first_fault(&self, label: &LabelMap, prediction: &LabelMap) -> Option<LabelFault> {
        let classes = self.spec.classes();
        let strict = self.strictness == Strictness::Strict;
        (0..label.labels().len()).find_map(|pixel| {
            let (column, row) = (pixel % label.width(), pixel / label.width());
            let stored = label.labels().get(pixel)?;
            let predicted = prediction.labels().get(pixel)?;
            match self.spec.label(stored) {
                Meaning::Outside => Some(LabelFault::Label {
                    value: stored,
                    column,
                    row,
                    classes,
                    numbering: self.spec.numbering(),
                }),
                Meaning::Class(_)
                    if strict && self.spec.prediction(predicted) == Meaning::Outside =>
                {
                    Some(LabelFault::Prediction {
                        value: predicted,
                        column,
                        row,
                        classes,
                        first: u16::from(self.spec.one_based_predictions),
                    })
                }
                _ => None,
            }
        })
    }
}

/// Counts by pairs of bytes as stored. Rows that were never touched need not be looked at.
#[derive(Debug)]
struct NarrowTable {
    counts: Box<[[u32; 256]; 256]>,
    used: Box<[bool; 256]>,
}

impl NarrowTable {
    fn new() -> Self {
        // Through vectors: a quarter of a megabyte does not belong on the stack.
        let boxed = vec![[0; 256]; 256].into_boxed_slice().try_into();
        Self {
            counts: boxed.unwrap_or_else(|_| Box::new([[0; 256]; 256])),
            used: Box::new([false; 256]),
        }
    }

    /// Hands out what was counted and forgets it.
    fn drain(&mut self, spec: &LabelSpec, mut add: impl FnMut(Meaning, Meaning, u32)) {
        let rows = self.counts.iter_mut().zip(self.used.iter_mut());
        for (label, (row, used)) in (0..).zip(rows) {
            if std::mem::take(used) {
                let label = spec.label(label);
                // Most cells are empty; sixteen at a time are dismissed in one comparison.
                for (first, cells) in (0..).step_by(16).zip(row.as_chunks_mut::<16>().0) {
                    if cells.iter().fold(0, |any, count| any | count) == 0 {
                        continue;
                    }
                    for (prediction, count) in (first..).zip(cells) {
                        if *count > 0 {
                            add(label, spec.prediction(prediction), std::mem::take(count));
                        }
                    }
                }
            }
        }
    }
}

impl PairTable<u8> for NarrowTable {
    #[inline(always)]
    fn add(&mut self, label: u8, prediction: u8, pixels: u32) {
        self.counts[usize::from(label)][usize::from(prediction)] += pixels;
        self.used[usize::from(label)] = true;
    }
}

/// Counts by pairs of 16-bit numbers, which are looked up first: a row or column for each class, one
/// for "ignored", one for "no class".
#[derive(Debug)]
struct WideTable {
    counts: Vec<u32>,
    used: Vec<bool>,
    labels: Vec<u16>,
    predictions: Vec<u16>,
    classes: u16,
}

impl WideTable {
    fn new(spec: &LabelSpec) -> Self {
        // At most `MAX_CLASSES`.
        let classes = spec.classes() as u16;
        let place = |meaning: Meaning| match meaning {
            Meaning::Class(class) => class,
            Meaning::Ignored => classes,
            Meaning::Outside => classes + 1,
        };
        let side = usize::from(classes) + 2;
        Self {
            counts: vec![0; side * side],
            used: vec![false; side],
            labels: (0..=u16::MAX).map(|n| place(spec.label(n))).collect(),
            predictions: (0..=u16::MAX).map(|n| place(spec.prediction(n))).collect(),
            classes,
        }
    }

    /// Hands out what was counted and forgets it.
    fn drain(&mut self, mut add: impl FnMut(Meaning, Meaning, u32)) {
        let meaning = |place: usize| match place as u16 {
            class if class < self.classes => Meaning::Class(class),
            place if place == self.classes => Meaning::Ignored,
            _ => Meaning::Outside,
        };
        let rows = self.counts.chunks_mut(self.used.len());
        for (label, (row, used)) in rows.zip(self.used.iter_mut()).enumerate() {
            if std::mem::take(used) {
                for (prediction, count) in row.iter_mut().enumerate() {
                    if *count > 0 {
                        add(meaning(label), meaning(prediction), std::mem::take(count));
                    }
                }
            }
        }
    }
}

impl PairTable<u16> for WideTable {
    fn add(&mut self, label: u16, prediction: u16, pixels: u32) {
        let row = usize::from(self.labels[usize::from(label)]);
        let column = usize::from(self.predictions[usize::from(prediction)]);
        self.counts[row * self.used.len() + column] += pixels;
        self.used[row] = true;
    }
}
