//! What can go wrong while setting up or applying an augmentation.

/// A setting or a batch that cannot be augmented.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AugmentError {
    /// The RandAugment description cannot be read.
    #[error(
        "RandAugment description \"{text}\", section \"{section}\": {reason}; \
         write it like rand-m9-mstd0.5-inc1"
    )]
    Policy {
        /// The whole description.
        text: String,
        /// The section that does not fit.
        section: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A number lies outside what the augmentation allows.
    #[error("{field} is {value}: it must be {allowed}")]
    Setting {
        /// Name of the setting as in the configuration file.
        field: &'static str,
        /// What it was.
        value: f64,
        /// What it may be.
        allowed: &'static str,
    },
    /// Label of one row of the batch is not a class.
    #[error(
        "row {row} of the batch has label {label}, but there are {classes} classes (0 to {}): \
         check the label file or the class folders",
        .classes.saturating_sub(1)
    )]
    Label {
        /// Row within the batch.
        row: usize,
        /// The label found; -1 means the picture has none.
        label: i64,
        /// Number of classes.
        classes: usize,
    },
    /// The pixels do not make up the labelled rows.
    #[error("{values} values are not {rows} square pictures of 3 channels")]
    Shape {
        /// Number of values in the batch.
        values: usize,
        /// Number of labels.
        rows: usize,
    },
}

/// Checks that a value lies in `low..=high`.
pub(super) fn check_range(
    field: &'static str,
    value: f64,
    low: f64,
    high: f64,
    allowed: &'static str,
) -> Result<(), AugmentError> {
    // Written so that NaN fails too.
    if value >= low && value <= high {
        Ok(())
    } else {
        Err(AugmentError::Setting {
            field,
            value,
            allowed,
        })
    }
}
