//! What can go wrong in this crate.

use crate::mask_targets::MaskTargetError;

/// An error of a detector or its data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DetectionError {
    /// A setting is out of range or contradicts another.
    #[error("{key}: {problem}; {remedy}")]
    Config {
        /// The setting.
        key: &'static str,
        /// What is wrong.
        problem: String,
        /// What to write instead.
        remedy: &'static str,
    },
    /// The trunk's configuration.
    #[error("trunk: {0}")]
    Trunk(#[from] backbone::BackboneError),
    /// A picture does not fit the network.
    #[error(
        "{name}: the picture has {width} x {height} pixels and the network takes {side} x {side}: let the transform make it smaller, or raise model.trunk.image_size"
    )]
    Picture {
        /// The picture.
        name: String,
        /// Its width in pixels.
        width: usize,
        /// Its height in pixels.
        height: usize,
        /// Largest side the network takes.
        side: usize,
    },
    /// An object's class is beyond the model's.
    #[error(
        "{name}: an object has class {class} and the model has {classes} classes: correct model.classes"
    )]
    Class {
        /// The picture.
        name: String,
        /// The class, from 0.
        class: usize,
        /// Classes of the model.
        classes: usize,
    },
    /// An object has no outline although masks are learnt.
    #[error(
        "{name}: an object has no outline, which learning masks needs: set model.masks = false for a data set of boxes alone"
    )]
    NoMask {
        /// The picture.
        name: String,
    },
    /// An outline cannot be rasterised.
    #[error("{name}: {source}")]
    MaskTarget {
        /// The picture.
        name: String,
        /// What is wrong with it.
        source: MaskTargetError,
    },
}
