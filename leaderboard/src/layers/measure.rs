//! What is measured, and over which layers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerMeasure {
    /// Top-1 of a linear probe.
    Linear,
    /// Top-1 of nearest neighbours' votes.
    Knn,
    /// Mean over the training's epochs of the logged votes.
    KnnInTraining,
    /// Effective rank of the pictures' features.
    Rank,
    /// Mean attention distance.
    Distance,
    /// Entropy of attention.
    Entropy,
    /// Divergence of different heads.
    HeadDivergence,
    /// Cosine of different heads.
    HeadCosine,
}

impl LayerMeasure {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 8] = [
        Self::Linear,
        Self::Knn,
        Self::KnnInTraining,
        Self::Rank,
        Self::Distance,
        Self::Entropy,
        Self::HeadDivergence,
        Self::HeadCosine,
    ];

    /// Its name where a script reads it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Knn => "knn",
            Self::KnnInTraining => "knn_in_training",
            Self::Rank => "rank",
            Self::Distance => "distance",
            Self::Entropy => "entropy",
            Self::HeadDivergence => "head_divergence",
            Self::HeadCosine => "head_cosine",
        }
    }

    /// Its name in tables, with the unit.
    pub fn title(self) -> &'static str {
        match self {
            Self::Linear => "Linear probe, top-1 %",
            Self::Knn => "k-NN, top-1 %",
            Self::KnnInTraining => "k-NN during pre-training, mean over epochs, top-1 %",
            Self::Rank => "Effective rank",
            Self::Distance => "Attention distance, px",
            Self::Entropy => "Attention entropy, nats",
            Self::HeadDivergence => "Divergence of heads, nats",
            Self::HeadCosine => "Cosine of heads",
        }
    }

    /// Its unit, beside the axis of a plot.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Linear | Self::Knn | Self::KnnInTraining => "top-1 %",
            Self::Rank => "directions",
            Self::Distance => "pixels",
            Self::Entropy | Self::HeadDivergence => "nats",
            Self::HeadCosine => "cosine",
        }
    }

    /// Decimals in tables.
    pub fn decimals(self) -> usize {
        match self {
            Self::Linear | Self::Knn | Self::KnnInTraining | Self::Rank => 1,
            Self::Distance | Self::Entropy | Self::HeadDivergence => 2,
            Self::HeadCosine => 3,
        }
    }
}

/// Layers over which a measure is averaged. Written as `"3"`, `"shallower half"` and `"all"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum LayerSet {
    /// One layer, from 1.
    One(usize),
    /// The first half of the trunk.
    Shallow,
    /// All layers, or all that were measured.
    All,
}

impl LayerSet {
    /// Whether a layer of a trunk of `depth` is in it.
    pub(crate) fn holds(self, layer: usize, depth: usize) -> bool {
        match self {
            Self::One(number) => number == layer,
            Self::Shallow => layer <= depth / 2,
            Self::All => true,
        }
    }
}

impl fmt::Display for LayerSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(number) => number.fmt(f),
            Self::Shallow => f.write_str("shallower half"),
            Self::All => f.write_str("all"),
        }
    }
}

impl From<LayerSet> for String {
    fn from(set: LayerSet) -> Self {
        set.to_string()
    }
}

impl TryFrom<String> for LayerSet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "shallower half" => Ok(Self::Shallow),
            "all" => Ok(Self::All),
            number => number
                .parse()
                .map(Self::One)
                .map_err(|_| format!("{number:?} is no set of layers")),
        }
    }
}
