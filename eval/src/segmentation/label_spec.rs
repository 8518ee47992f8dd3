//! What the numbers in a label map mean.

use crate::error::EvalError;

/// Most classes a meter counts: its confusion matrix has their square of cells.
pub const MAX_CLASSES: usize = 4096;

/// What the numbers in ground truth and predictions mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelSpec {
    classes: usize,
    /// Pixels of the ground truth with this number (after [`LabelSpec::reduce_zero_label`]) are left
    /// out, whatever is predicted there.
    pub ignore_index: Option<u16>,
    /// The ground truth counts classes from 1 and 0 means "other", as ADE20K's files do: 0 is
    /// ignored, every other number is one too high. As in mmsegmentation, 255 stays 255 where there
    /// are at most 254 classes.
    pub reduce_zero_label: bool,
    /// Predictions count classes from 1 too, as in files for ADE20K's evaluation server; a predicted
    /// 0 is no class then.
    pub one_based_predictions: bool,
}

/// What one number of a map stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Class(u16),
    /// The pixel is left out.
    Ignored,
    /// No class of this data set.
    Outside,
}

impl LabelSpec {
    /// `classes` classes counted from 0, number 255 ignored; with more than 255 classes, 65535.
    ///
    /// # Errors
    /// When there is no class, or more than [`MAX_CLASSES`].
    pub fn new(classes: usize) -> Result<Self, EvalError> {
        if !(1..=MAX_CLASSES).contains(&classes) {
            return Err(EvalError::ClassCount {
                classes,
                most: MAX_CLASSES,
            });
        }
        Ok(Self {
            classes,
            ignore_index: Some(if classes <= 255 { 255 } else { u16::MAX }),
            reduce_zero_label: false,
            one_based_predictions: false,
        })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    fn class(&self, number: u16) -> Meaning {
        if usize::from(number) < self.classes {
            Meaning::Class(number)
        } else {
            Meaning::Outside
        }
    }

    /// What a number of the ground truth stands for.
    pub(super) fn label(&self, stored: u16) -> Meaning {
        let number = match (self.reduce_zero_label, stored) {
            (true, 0) => return Meaning::Ignored,
            (true, 255) if self.classes <= 254 => 255,
            (true, stored) => stored - 1,
            (false, stored) => stored,
        };
        if self.ignore_index == Some(number) {
            Meaning::Ignored
        } else {
            self.class(number)
        }
    }

    /// How the ground truth is numbered, in words.
    pub(super) fn numbering(&self) -> String {
        let first = u16::from(self.reduce_zero_label);
        let zero = if self.reduce_zero_label { "0 and " } else { "" };
        match self.ignore_index {
            // Said as the number after subtraction, which is how the option is given.
            Some(ignored) => format!("from {first}, {zero}{ignored} ignored"),
            None if self.reduce_zero_label => format!("from {first}, 0 ignored"),
            None => format!("from {first}"),
        }
    }

    /// What a predicted number stands for; never ignored.
    pub(super) fn prediction(&self, stored: u16) -> Meaning {
        match (self.one_based_predictions, stored) {
            (true, 0) => Meaning::Outside,
            (true, stored) => self.class(stored - 1),
            (false, stored) => self.class(stored),
        }
    }
}
