//! How far a prediction is from a teacher's features.

use serde::{Deserialize, Serialize};
use tch::{Reduction, Tensor};

use super::{cosine, squared_error, unit_length, wide};

/// Added to a feature's variance before the root.
const EPSILON: f64 = 1e-6;

/// A distance between features, with what a teacher's go through first ([`Distance::prepare`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// `2 - 2 cos`; the teacher's features are brought to length 1.
    #[default]
    Cosine,
    /// Mean squared error; the teacher's features are brought to mean 0 and variance 1.
    L2,
    /// Smooth L1 (Huber's, bend at 1); the teacher's features as for `l2`.
    SmoothL1,
}

impl Distance {
    /// A teacher's features `[.., P]` as they are compared.
    pub fn prepare(self, features: &Tensor) -> Tensor {
        match self {
            Self::Cosine => unit_length(features),
            Self::L2 | Self::SmoothL1 => standardised(features),
        }
    }

    /// `[B, M, P]` twice `-> [B, M]`.
    pub fn between(self, prediction: &Tensor, target: &Tensor) -> Tensor {
        match self {
            Self::Cosine => 2.0 - cosine(&wide(prediction), target) * 2.0,
            Self::L2 => squared_error(prediction, target),
            Self::SmoothL1 => {
                let prediction = wide(prediction);
                prediction
                    .smooth_l1_loss(target, Reduction::None, 1.0)
                    .mean_dim([-1i64].as_slice(), false, prediction.kind())
            }
        }
    }
}

/// Each feature at mean 0 and variance 1: LayerNorm without parameters.
pub(super) fn standardised(features: &Tensor) -> Tensor {
    let features = wide(features);
    let width = features.size()[features.dim() - 1];
    features.layer_norm([width], None::<&Tensor>, None::<&Tensor>, EPSILON, true)
}
