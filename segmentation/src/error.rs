//! What can go wrong in this crate.

/// An error of a segmentor or its data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentationError {
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
        "{name}: the picture has {width} x {height} pixels and the network takes {side} x {side}: {remedy}"
    )]
    Picture {
        /// The picture.
        name: String,
        /// Its width in pixels.
        width: usize,
        /// Its height in pixels.
        height: usize,
        /// Side the network takes.
        side: usize,
        /// What to do.
        remedy: &'static str,
    },
    /// A label is beyond the model's classes.
    #[error(
        "{name}: the label map holds class {class} and the model has {classes} classes: correct model.classes or the label map (deepmim data check finds all)"
    )]
    Label {
        /// The picture.
        name: String,
        /// The class, from 0.
        class: u8,
        /// Classes of the model.
        classes: usize,
    },
    /// A training sample came without a label map.
    #[error("{name}: there is no label map, which training needs")]
    NoLabels {
        /// The picture.
        name: String,
    },
    /// A label map is not as large as its picture.
    #[error(
        "{name}: the label map has {labels} numbers and the picture {pixels} pixels: write it again in the picture's size"
    )]
    LabelSize {
        /// The picture.
        name: String,
        /// Numbers in the label map.
        labels: usize,
        /// Pixels of the picture.
        pixels: usize,
    },
}
