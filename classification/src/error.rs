//! What can go wrong in classification because of a configuration or of data.

/// An error of this crate, one sentence with its remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClassificationError {
    /// A setting that contradicts another one or lies outside its range.
    #[error("{key}: {problem}; {remedy}")]
    Config {
        /// Dotted name of the setting.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
        /// What to write instead.
        remedy: String,
    },
    /// A label that names no class of the model.
    #[error(
        "{name}: label {label} does not fit a model of {classes} classes; set model.classes to the number of classes of the data set"
    )]
    Label {
        /// The picture, relative to the data set.
        name: String,
        /// Its label, from 0; -1 is unknown.
        label: i64,
        /// Classes of the model.
        classes: i64,
    },
    /// A picture whose tensor is not what the model reads.
    #[error(
        "{name}: the picture was prepared at {found} px but the model reads {wanted} px; make data and model sizes equal"
    )]
    Size {
        /// The picture, relative to the data set.
        name: String,
        /// Its side in pixels.
        found: usize,
        /// The model's input side in pixels.
        wanted: i64,
    },
    /// Mixup and CutMix pair the batch with itself reversed, so it must be even.
    #[error(
        "a batch of {count} pictures cannot be mixed in pairs; use an even batch size and drop the last incomplete batch"
    )]
    OddBatch {
        /// Pictures in the batch.
        count: usize,
    },
    /// A batch without pictures.
    #[error("a batch without pictures; the data set is empty")]
    EmptyBatch,
    /// Fewer or more class names than classes.
    #[error(
        "there are {names} class names for a model of {classes} classes; give one name per class"
    )]
    ClassNames {
        /// Names given.
        names: usize,
        /// Classes of the model.
        classes: i64,
    },
    /// The trunk refused its part of the configuration.
    #[error(transparent)]
    Backbone(#[from] backbone::BackboneError),
    /// The mixing settings were refused.
    #[error(transparent)]
    Mixing(#[from] data::augment::AugmentError),
}
